/** Dialing: exactly the address asked for, each failure by its name, and sockets that cannot end the process. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { type DialRequest, dial } from '../../src/platform/dial.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { freePort } from '../support/free-port.ts';

describe('dial', () => {
  let server: Server;
  const accepted: Socket[] = [];

  before(async () => {
    server = createServer((socket) => {
      socket.on('error', () => {});
      accepted.push(socket);
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
  });
  after(() => {
    for (const socket of accepted) socket.destroy();
    server.close();
  });

  const request = (changes: Partial<DialRequest> = {}): DialRequest => ({
    address: '127.0.0.1',
    port: (server.address() as AddressInfo).port,
    timeoutMs: 5000,
    signal: new AbortController().signal,
    ...changes,
  });

  test('connected, from the local address asked for', async () => {
    const result = await dial(request({ localAddress: '127.0.0.3' }));
    assert.ok(result.kind === 'connected');
    assert.equal(result.socket.remoteAddress, '127.0.0.1');
    assert.equal(result.socket.localAddress, '127.0.0.3');
    result.socket.destroy();
  });

  test('errors after the connect do not end the process', async () => {
    const result = await dial(request());
    assert.ok(result.kind === 'connected');
    result.socket.emit('error', new Error('first'));
    result.socket.emit('error', new Error('second'));
    result.socket.destroy(new Error('third'));
    await once(result.socket, 'close');
  });

  test('the deadline ends with the connect', async () => {
    const clock = new FakeClock();
    const controller = new AbortController();
    const result = await dial(request({ clock, signal: controller.signal }));
    assert.ok(result.kind === 'connected');
    assert.equal(clock.pending, 0);
    controller.abort();
    assert.equal(result.socket.destroyed, false);
    result.socket.destroy();
  });

  test('refused', async () => {
    const result = await dial(request({ port: await freePort() }));
    assert.ok(result.kind === 'failed');
    assert.equal(result.cause, 'connect-refused');
    assert.match(result.detail, /ECONNREFUSED/);
  });

  test('unreachable', async () => {
    const result = await dial(request({ localAddress: '192.0.2.1' }));
    assert.equal(result.kind === 'failed' && result.cause, 'connect-unreachable');
  });

  test('a name is not looked up', async () => {
    for (const address of ['localhost', '', '127.1']) {
      const result = await dial(request({ address }));
      assert.equal(result.kind === 'failed' && result.cause, 'connect-unreachable', address);
    }
  });

  test('timeout', async () => {
    const clock = new FakeClock();
    const result = dial(request({ clock, timeoutMs: 3000 }));
    clock.advance(3000);
    assert.deepEqual(await result, {
      kind: 'failed',
      cause: 'timeout',
      detail: `no connection to 127.0.0.1:${request().port} in 3 s`,
    });
  });

  test('aborted, before and during', async () => {
    const before = await dial(request({ signal: AbortSignal.abort(new Error('stopping')) }));
    assert.deepEqual(before, { kind: 'failed', cause: 'aborted', detail: 'stopping' });
    const controller = new AbortController();
    const during = dial(request({ signal: controller.signal }));
    controller.abort(new Error('stopping'));
    assert.deepEqual(await during, { kind: 'failed', cause: 'aborted', detail: 'stopping' });
  });
});
