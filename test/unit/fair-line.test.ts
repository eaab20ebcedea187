/** Senders take turns at a destination, and each one's mail goes in its order. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { FairLine, senderKey } from '../../src/queue/fair-line.ts';

interface One {
  readonly id: string;
  readonly sender: string;
  readonly nextAttemptMs: number;
}

const lineOf = () => new FairLine<One>(({ sender }) => sender);

describe('a fair line', () => {
  test('one message does not wait behind the thousands of somebody else', () => {
    const line = lineOf();
    for (let n = 0; n < 5000; n++) line.push({ id: `${n}`, sender: 'news', nextAttemptMs: n });
    line.push({ id: 'letter', sender: 'ann', nextAttemptMs: 5000 });
    const first = [line.shift()?.id, line.shift()?.id, line.shift()?.id];
    assert.deepEqual(first, ['0', 'letter', '1']);
    assert.equal(line.size, 4998);
  });

  test('a sender who comes back is behind those who wait', () => {
    const line = lineOf();
    const push = (id: string, sender: string) => line.push({ id, sender, nextAttemptMs: 0 });
    push('a1', 'a');
    push('b1', 'b');
    assert.equal(line.shift()?.id, 'a1');
    push('a2', 'a');
    assert.deepEqual([line.shift()?.id, line.shift()?.id, line.shift()], ['b1', 'a2', undefined]);
  });

  test('whatever comes and goes: nothing is lost, each sender in order, nobody is passed over', () => {
    const step = fc.oneof(
      { weight: 3, arbitrary: fc.record({ push: fc.constantFrom('a', 'b', 'c', 'd') }) },
      { weight: 3, arbitrary: fc.constant('shift' as const) },
      { weight: 1, arbitrary: fc.record({ take: fc.nat(4) }) },
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
        const line = lineOf();
        const known: One[] = [];
        /** Turns of others since a sender came to have mail, or had its own. */
        const passed = new Map<string, Set<string>>();
        let count = 0;
        for (const one of steps) {
          if (one === 'shift') {
            const got = line.shift();
            const first = known.findIndex(({ sender }) => sender === got?.sender);
            assert.equal(known[first], got);
            if (!got) continue;
            known.splice(first, 1);
            for (const [sender, others] of passed) {
              if (sender === got.sender) continue;
              assert.ok(!others.has(got.sender), `${got.sender} twice before ${sender}`);
              others.add(got.sender);
            }
            if (known.some(({ sender }) => sender === got.sender))
              passed.set(got.sender, new Set());
            else passed.delete(got.sender);
          } else if ('push' in one) {
            const item = { id: `${count}`, sender: one.push, nextAttemptMs: count++ };
            if (!known.some(({ sender }) => sender === one.push)) passed.set(one.push, new Set());
            known.push(item);
            line.push(item);
          } else {
            const isTaken = ({ id }: One) => Number(id) % 5 === one.take;
            const taken = new Set(line.takeWhere(isTaken));
            assert.deepEqual(taken, new Set(known.filter(isTaken)));
            for (let at = known.length - 1; at >= 0; at--) {
              if (isTaken(known[at] as One)) known.splice(at, 1);
            }
            for (const sender of passed.keys()) {
              if (!known.some((item) => item.sender === sender)) passed.delete(sender);
            }
          }
          assert.equal(line.size, known.length);
          const times = known.map(({ nextAttemptMs }) => nextAttemptMs);
          assert.equal(line.oldestMs, times.length === 0 ? undefined : Math.min(...times));
          assert.equal(line.countDueBefore(50), times.filter((ms) => ms < 50).length);
        }
      }),
    );
  });
});

test('the addresses of one list are one sender', () => {
  const CASES: readonly [string, string][] = [
    ['ann@home.test', 'ann@home.test'],
    ['', ''],
    ['list+ann=home.test@lists.test', 'list@lists.test'],
    ['bounces-17-ann=home.test@lists.test', 'bounces@lists.test'],
    ['mary-jane@home.test', 'mary-jane@home.test'],
    ['+odd@home.test', '+odd@home.test'],
    ['-a=b@home.test', '-a=b@home.test'],
  ];
  for (const [address, key] of CASES) assert.equal(senderKey(address), key, address);
});
