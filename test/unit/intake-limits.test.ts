import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { AuthBrake } from '../../src/intake/auth-brake.ts';
import { ConnectionCount } from '../../src/intake/connection-count.ts';
import { MessageRateLimit } from '../../src/intake/rate-limit.ts';
import { FakeClock } from '../support/fake-clock.ts';

describe('messages per client', () => {
  test('a burst of `count`, then one each `perMs / count`', () => {
    const clock = new FakeClock();
    const limit = new MessageRateLimit({ count: 3, perMs: 60_000 }, clock);
    assert.deepEqual(
      [1, 2, 3, 4].map(() => limit.take('a')),
      [true, true, true, false],
    );
    assert.equal(limit.take('b'), true);
    clock.advance(19_000);
    assert.equal(limit.take('a'), false);
    clock.advance(1_000);
    assert.deepEqual([limit.take('a'), limit.take('a')], [true, false]);
  });
  test('refused messages cost nothing, and quiet brings no more than one burst', () => {
    const clock = new FakeClock();
    const limit = new MessageRateLimit({ count: 2, perMs: 10_000 }, clock);
    for (let i = 0; i < 100; i += 1) limit.take('a');
    clock.advance(3_600_000);
    assert.deepEqual(
      [1, 2, 3].map(() => limit.take('a')),
      [true, true, false],
    );
  });
  test('rounding never takes a message away', () => {
    for (const count of [1, 3, 7, 600, 999]) {
      const limit = new MessageRateLimit({ count, perMs: 1000 }, new FakeClock());
      for (let i = 0; i < count; i += 1) assert.equal(limit.take('a'), true, `${i} of ${count}`);
      assert.equal(limit.take('a'), false);
    }
  });
  test('none without a rate; a rate can come and go', () => {
    const limit = new MessageRateLimit(undefined, new FakeClock());
    for (let i = 0; i < 10; i += 1) assert.equal(limit.take('a'), true);
    limit.update({ count: 1, perMs: 1000 });
    assert.deepEqual([limit.take('a'), limit.take('a')], [true, false]);
    limit.update(undefined);
    assert.equal(limit.take('a'), true);
  });
});

describe('the brake on wrong passwords', () => {
  test('grows, is capped, and is forgiven after a quiet quarter of an hour', () => {
    const clock = new FakeClock();
    const brake = new AuthBrake(clock);
    const delays = [];
    for (let i = 0; i < 7; i += 1) {
      const delay = brake.failed('a');
      delays.push(delay);
      clock.advance(delay);
    }
    assert.deepEqual(delays, [1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
    assert.equal(brake.failed('b'), 1000);
    clock.advance(15 * 60_000 + 1);
    assert.equal(brake.failed('a'), 1000);
  });
  test('an address that is not waiting is not slowed', () => {
    const clock = new FakeClock();
    const brake = new AuthBrake(clock);
    assert.equal(brake.hold('a'), 0);
    clock.advance(brake.failed('a'));
    assert.equal(brake.hold('a'), 0);
  });
  test('attempts behind a wrong one queue up, each later, until the queue is full', () => {
    const clock = new FakeClock();
    const brake = new AuthBrake(clock);
    for (let i = 0; i < 4; i += 1) clock.advance(brake.failed('a'));
    brake.failed('a');
    assert.deepEqual(
      [1, 2, 3].map(() => brake.hold('a')),
      [16_000, undefined, undefined],
    );
    clock.advance(16_000);
    assert.equal(brake.hold('a'), 16_000);
  });
});

describe('connections', () => {
  test('are refused beyond the limits, dropped far beyond them, and admitted again', () => {
    const seen: number[] = [];
    const count = new ConnectionCount({ connections: 100, connectionsPerClient: 2 }, (open) =>
      seen.push(open),
    );
    const tickets = Array.from({ length: 13 }, () => count.admit('192.0.2.1'));
    assert.deepEqual(
      tickets.map(({ verdict }) => verdict),
      ['admitted', 'admitted', ...Array(10).fill('refused'), 'dropped'],
    );
    assert.equal(count.admit('192.0.2.2').verdict, 'admitted');
    for (const { release } of tickets) release();
    for (const { release } of tickets) release();
    assert.equal(count.open, 1);
    assert.equal(seen.at(-1), 1);
    assert.equal(count.admit('192.0.2.1').verdict, 'admitted');
  });
  test('all together', () => {
    const count = new ConnectionCount({ connections: 1, connectionsPerClient: 5 }, () => {});
    assert.equal(count.admit('192.0.2.1').verdict, 'admitted');
    assert.equal(count.admit('192.0.2.2').verdict, 'refused');
    count.update({ connections: 3, connectionsPerClient: 5 });
    assert.equal(count.admit('192.0.2.3').verdict, 'admitted');
  });
  test('behind a proxy: among all at once, for the client once it is named', () => {
    const count = new ConnectionCount({ connections: 100, connectionsPerClient: 1 }, () => {});
    const tickets = Array.from({ length: 12 }, () => count.admitProxied());
    assert.deepEqual(new Set(tickets.map(({ verdict }) => verdict)), new Set(['admitted']));
    assert.equal(count.open, 12);
    for (const ticket of tickets) ticket.nameClient('192.0.2.1');
    assert.deepEqual(
      tickets.map(({ verdict }) => verdict),
      ['admitted', ...Array(10).fill('refused'), 'dropped'],
    );
    assert.equal(count.admit('192.0.2.1').verdict, 'dropped');
    for (const { release } of [...tickets, ...tickets]) release();
    assert.equal(count.open, 0);
    assert.equal(count.admit('192.0.2.1').verdict, 'admitted');
  });
  test('behind a proxy: over the limit of all, and gone before it is named', () => {
    const count = new ConnectionCount({ connections: 1, connectionsPerClient: 1 }, () => {});
    const [first, second] = [count.admitProxied(), count.admitProxied()];
    second.nameClient('192.0.2.2');
    assert.deepEqual([first.verdict, second.verdict], ['admitted', 'refused']);
    first.release();
    first.nameClient('192.0.2.1');
    second.release();
    assert.equal(count.open, 0);
    assert.equal(count.admit('192.0.2.1').verdict, 'admitted');
  });
});
