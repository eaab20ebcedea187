/** Actions on queued mail as the API has them: what a release lets go and what not, changed holds, dry runs. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { QueueActions, type QueueAnswer, type QueueOrder } from '../../src/admin/queue-actions.ts';
import { ControlBench } from './queue-control-bench.ts';

const HOUR_MS = 3_600_000;

async function setUp() {
  const bench = await new ControlBench().open();
  const { control, rules, clock } = bench;
  const noted: object[] = [];
  const done: object[] = [];
  const actions = new QueueActions({
    ...{ control, rules, clock },
    gates: { isClosed: () => false, barriersOfLane: () => [] },
    audit: {
      during: async (entry, make, factsOf) => {
        noted.push(entry);
        const made = await make();
        done.push({ ...entry.facts, ...factsOf?.(made) });
        return made;
      },
    },
  });
  const act = async (order: Partial<QueueOrder> & Pick<QueueOrder, 'action' | 'filter'>) => {
    const whole = { dryRun: false, reason: '', onlyQueued: false, force: false, ...order };
    const answer = await actions.act(whole, 'ann');
    assert.ok(answer.ok);
    const { ok: _ok, action: _action, dryRun: _dryRun, matched: _matched, ...told } = answer;
    return told satisfies Partial<QueueAnswer>;
  };
  /** The dry run, which must say the same as what is done. */
  const both = async (order: Parameters<typeof act>[0]) => {
    const dry = await act({ ...order, dryRun: true });
    const done = await act(order);
    assert.deepEqual(dry, done);
    return done;
  };
  return {
    bench,
    act,
    both,
    noted,
    done,
    [Symbol.asyncDispose]: () => bench[Symbol.asyncDispose](),
  };
}

const EVE = { sender: 'eve@shop.example' };
const DEST = { domain: 'dest.example' };

describe('a retry', () => {
  test('of chosen messages puts them before the others; one by filters only hastens', async () => {
    await using at = await setUp();
    const { bench, act } = at;
    // Those of one moment go in the order of their ids.
    const all = [await bench.enter(), await bench.enter(), await bench.enter()];
    all.sort((one, other) => (one.id < other.id ? -1 : 1));
    const [first, second, third] = all;
    assert.ok(first && second && third);
    for (const one of all) bench.ledger.claim(one.lane, bench.clock.now());
    for (const one of all) {
      bench.ledger.postpone(one, bench.clock.now() + HOUR_MS, bench.clock.now());
    }
    await act({ action: 'retry', filter: DEST });
    assert.equal(bench.ledger.summary(bench.clock.now()).due, 3);
    assert.deepEqual(await act({ action: 'retry', filter: { ids: [third.id] } }), {
      ...{ touched: 1, underWay: 0, closed: 0 },
    });
    const { lane } = first;
    const order = all.map(() => bench.ledger.claim(lane, bench.clock.now()));
    assert.deepEqual(order, [third, first, second]);
  });
});

describe('a release by filters', () => {
  test('ends its own rule, and leaves held what another rule holds', async () => {
    await using at = await setUp();
    const { bench, act, both } = at;
    const ann = await bench.enter();
    const eve = await bench.enter(1, EVE.sender);
    await act({ action: 'hold', filter: EVE, reason: 'stolen account' });
    await act({ action: 'hold', filter: DEST, reason: 'their maintenance' });
    assert.deepEqual(await both({ action: 'release', filter: DEST }), {
      ...{ touched: 1, underWay: 0, held: 1 },
      rule: 'mail for dest.example',
      rulesLeft: ['mail from eve@shop.example'],
    });
    assert.deepEqual([ann.hold, eve.hold?.reason], [undefined, 'stolen account']);
    assert.deepEqual(
      bench.rules.list().map(({ pattern }) => pattern),
      [EVE],
    );
  });

  test('that fit no rule let nothing go but what was held one by one', async () => {
    await using at = await setUp();
    const { bench, act, both } = at;
    const eve = await bench.enter(1, EVE.sender);
    const ann = await bench.enter();
    await act({ action: 'hold', filter: EVE });
    await act({ action: 'hold', filter: { ids: [ann.id] } });
    assert.deepEqual(await both({ action: 'release', filter: { state: 'held' } }), {
      ...{ touched: 1, underWay: 0, held: 1 },
      rulesLeft: ['mail from eve@shop.example'],
    });
    assert.deepEqual([ann.hold, eve.hold?.rule], [undefined, 'mail from eve@shop.example']);
  });

  test('does not let a single hold go into a rule it was under all the time', async () => {
    await using at = await setUp();
    const { bench, act, both } = at;
    const eve = await bench.enter(1, EVE.sender);
    await act({ action: 'hold', filter: { ids: [eve.id] } });
    await act({ action: 'hold', filter: EVE });
    assert.equal((await both({ action: 'release', filter: DEST })).touched, 0);
    assert.equal(eve.hold?.rule, 'mail from eve@shop.example');
  });

  test('with force, by ids and of all: whatever holds it', async () => {
    await using at = await setUp();
    const { bench, act, both } = at;
    const some = [
      await bench.enter(1, EVE.sender),
      await bench.enter(1, EVE.sender),
      await bench.enter(1, EVE.sender, 'other.example'),
    ];
    await act({ action: 'hold', filter: EVE });
    const [first, second, third] = some;
    assert.ok(first && second && third);
    assert.deepEqual(await both({ action: 'release', filter: { ids: [first.id] } }), {
      ...{ touched: 1, underWay: 0 },
    });
    const forced = await both({ action: 'release', filter: DEST, force: true });
    assert.deepEqual(forced, { touched: 1, underWay: 0 });
    assert.ok(third.hold);
    assert.deepEqual(await both({ action: 'release', filter: {} }), {
      ...{ touched: 1, underWay: 0, rule: 'mail from eve@shop.example' },
    });
    assert.ok(some.every(({ hold }) => !hold));
  });
});

test('a hold that is made again keeps what is not said about it', async () => {
  await using at = await setUp();
  const { bench, act } = at;
  const { clock, rules } = bench;
  const expiresMs = clock.now() + HOUR_MS;
  const since = clock.now();
  await act({ action: 'hold', filter: EVE, reason: 'stolen account', expiresMs });
  clock.advance(1000);
  const again = await act({ action: 'hold', filter: EVE });
  assert.deepEqual([again.rule, again.ruleChanged], ['mail from eve@shop.example', true]);
  await act({ action: 'hold', filter: EVE, reason: 'still' });
  const [rule] = rules.list();
  assert.deepEqual([rule?.reason, rule?.expires, rule?.since], ['still', expiresMs, since]);
});

test('what a stolen account handed over is held and bounced by its name, whoever it says it is from', async () => {
  await using at = await setUp();
  const { bench, act, both, done } = at;
  const by = (user?: string) => ({
    ...{ address: '203.0.113.9', helo: 'pc.test', tls: true },
    ...(user === undefined ? {} : { user }),
  });
  const enter = (count: number, user?: string) =>
    bench.enter(count, 'ann@home.example', 'dest.example', by(user));
  const stolen = [await enter(1, 'eve'), await enter(30, 'eve')];
  const others = [await enter(1), await enter(30, 'ann'), await bench.enter()];
  const filter = { user: 'eve' };
  const made = await both({ action: 'hold', filter, reason: 'stolen account' });
  assert.deepEqual(made, { touched: 2, underWay: 0, rule: 'mail by user eve' });
  const facts = { matched: 2, touched: 2, reason: 'stolen account', ruleMade: 'mail by user eve' };
  assert.deepEqual(done.at(-1), facts);
  const later = await enter(30, 'eve');
  const isHeld = ({ hold }: { hold: unknown }) => hold !== undefined;
  assert.deepEqual([...stolen, later].map(isHeld), [true, true, true]);
  assert.deepEqual(others.map(isHeld), [false, false, false]);
  const some = { user: 'eve', recipient: 'r25@*' };
  assert.equal((await bench.control.find(some)).length, 2, 'many recipients: the spool is asked');
  assert.equal((await both({ action: 'release', filter: DEST })).touched, 0);
  assert.equal(
    (await act({ action: 'bounce', filter: { ...filter, client: '203.*' } })).touched,
    3,
  );
  assert.deepEqual(
    (await bench.control.find({})).map(({ id }) => id).sort(),
    others.map(({ id }) => id).sort(),
  );
  await act({ action: 'release', filter });
  assert.deepEqual(done.at(-1), { matched: 0, touched: 0, ruleEnded: 'mail by user eve' });
});

test('trying now tells what is held of those that were meant', async () => {
  await using at = await setUp();
  const { bench, act } = at;
  await bench.enter(1, EVE.sender);
  await bench.enter();
  await act({ action: 'hold', filter: EVE });
  assert.deepEqual(
    { closed: 0, ...(await act({ action: 'retry', filter: DEST, dryRun: true })) },
    await act({ action: 'retry', filter: DEST }),
  );
  const told = await act({ action: 'retry', filter: EVE });
  assert.deepEqual([told.touched, told.held], [0, 1]);
  assert.equal((await act({ action: 'drop', filter: EVE, dryRun: true })).touched, 1);
  assert.equal((await act({ action: 'drop', filter: EVE })).touched, 1);
});
