/** The verdict on real sessions: a resumed one proves nothing, whatever OpenSSL remembers of it. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { describe, test } from 'node:test';
import { connect, createServer, type TLSSocket } from 'node:tls';
import { describePeer } from '../../src/delivery/peer-verdict.ts';
import { createCa } from '../support/ca.ts';

const HOST = 'mx.example.test';

describe('a session over TLS 1.2', () => {
  test('is judged by its certificate when it is new, and refused when it is resumed', async () => {
    const ca = await createCa();
    const { certPem, keyPem } = await ca.issueKind('good', HOST, '127.0.0.1');
    const server = createServer({ cert: certPem, key: keyPem, maxVersion: 'TLSv1.2' });
    server.on('secureConnection', (socket: TLSSocket) => socket.on('error', () => {}));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    async function open(session?: Buffer): Promise<TLSSocket> {
      const options = { port, host: '127.0.0.1', servername: HOST, ca: ca.certPem };
      const socket = connect({ ...options, ...(session ? { session } : {}) });
      await once(socket, 'secureConnect');
      return socket;
    }
    try {
      const first = await open();
      const facts = describePeer(first, HOST);
      assert.deepEqual(facts.verdict, { verified: true, matchedName: HOST });
      const session = first.getSession();
      first.destroy();
      const second = await open(session);
      assert.equal(second.isSessionReused(), true);
      assert.equal(second.authorized, true);
      const { verdict } = describePeer(second, HOST);
      second.destroy();
      assert.equal(verdict.verified, false);
      assert.equal(verdict.verified === false && verdict.cause, 'certificate-missing');
    } finally {
      server.close();
    }
  });
});
