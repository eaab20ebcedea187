/**
 * What nodes on one Redis tell each other: the later word counts, a node that comes late hears everything, and a
 * Redis that lost it is told again; lists that all of them have; names that one of them has.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { z } from 'zod';
import { KeptList } from '../../src/platform/kept-list.ts';
import { NodeClaim, NodeNameTakenError } from '../../src/platform/node-claim.ts';
import { SharedBoard } from '../../src/platform/shared-board.ts';
import { shareList } from '../../src/platform/shared-list.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { redisMissing, startRedis, type TestRedis } from '../support/redis.ts';
import { type TempDir, tempDir } from '../support/temp-dir.ts';
import { waitFor } from '../support/wait-for.ts';

describe('nodes on one Redis', { skip: redisMissing }, () => {
  let redis: TestRedis;
  before(async () => {
    redis = await startRedis();
  });
  after(() => redis?.close());

  let prefixes = 0;
  /** A Redis of their own for the nodes of one test, and a clock for all that need no other. */
  function group() {
    const keyPrefix = `test${prefixes++}`;
    const clock = new FakeClock();
    const boards: SharedBoard[] = [];
    const full: string[] = [];
    const board = async (node: string, ownClock = clock) => {
      const onError = (error: Error) => assert.fail(error);
      const client = redis.client();
      await waitFor('a connection', () => client.status === 'ready');
      const onFull = (topic: string) => void full.push(`${node}: ${topic}`);
      const made = new SharedBoard({
        ...{ redis: client, keyPrefix, node, clock: ownClock, onError, onFull },
      });
      boards.push(made);
      return made;
    };
    return {
      ...{ keyPrefix, clock, board, full },
      /** Everything lost, as by FLUSHALL, but for this group alone. */
      forget: () =>
        redis.command('DEL', `${keyPrefix}:{board}:facts`, `${keyPrefix}:{board}:order`),
      async [Symbol.asyncDispose]() {
        for (const one of boards) await one.stop();
      },
    };
  }

  /** A node that says and hears. */
  async function member(board: SharedBoard) {
    const heard: string[] = [];
    const topic = board.topic('t', (key, { value, node }) =>
      heard.push(`${node}: ${key}=${String(value)}`),
    );
    board.start();
    await board.look();
    return { board, topic, heard };
  }

  test('hear what others say, the one that comes late, too, and that it holds no more', async () => {
    await using nodes = group();
    const a = await member(await nodes.board('a'));
    const b = await member(await nodes.board('b'));
    a.topic.say('x', { value: 1 });
    a.topic.say('y', { value: 2 });
    await a.board.look();
    await waitFor('both', async () => {
      await b.board.look();
      return b.heard.length === 2;
    });
    assert.deepEqual([b.heard, a.heard], [['a: x=1', 'a: y=2'], []]);
    b.topic.say('x', {});
    await b.board.look();
    await waitFor('the end of it', async () => {
      await a.board.look();
      return a.heard.length === 1;
    });
    assert.equal(a.topic.get('x')?.value, undefined);
    const late = await member(await nodes.board('late'));
    assert.deepEqual(late.heard.toSorted(), ['a: y=2', 'b: x=undefined']);
  });

  test('the later word counts, also of a node whose clock is slow', async () => {
    await using nodes = group();
    const slow = new FakeClock();
    nodes.clock.advance(3_600_000);
    const [a, b] = [
      await member(await nodes.board('a')),
      await member(await nodes.board('b', slow)),
    ];
    a.topic.say('x', { value: 'first' });
    await a.board.look();
    await waitFor('it', async () => {
      await b.board.look();
      return b.heard.length === 1;
    });
    b.topic.say('x', { value: 'second' });
    await b.board.look();
    await waitFor('it', async () => {
      await a.board.look();
      return a.heard.length === 1;
    });
    assert.deepEqual(
      [a, b].map(({ topic }) => topic.get('x')?.value),
      ['second', 'second'],
    );
  });

  test('a Redis that lost everything, or a part of it, is told again', async () => {
    await using nodes = group();
    const [a, b] = [await member(await nodes.board('a')), await member(await nodes.board('b'))];
    a.topic.say('x', { value: 1 });
    await a.board.look();
    await b.board.look();
    await nodes.forget();
    await b.board.look();
    const late = await member(await nodes.board('late'));
    assert.deepEqual(late.heard, ['a: x=1'], 'by one that had only heard of it');
    await redis.command('HDEL', `${nodes.keyPrefix}:{board}:facts`, 't x');
    nodes.clock.advance(61_000);
    await a.board.look();
    const later = await member(await nodes.board('later'));
    assert.deepEqual(later.heard, ['a: x=1'], 'as after a failover, within a minute');
  });

  test('what has ended, and what nobody understands, is dropped', async () => {
    await using nodes = group();
    const a = await member(await nodes.board('a'));
    a.topic.say('x', { value: 1, ends: nodes.clock.now() + 1000 });
    await a.board.look();
    const facts = `${nodes.keyPrefix}:{board}:facts`;
    await redis.command('HSET', facts, 't odd', 'no JSON');
    await redis.command('ZADD', `${nodes.keyPrefix}:{board}:order`, 1000, 't odd');
    await redis.command('HSET', facts, '#version', 1000);
    nodes.clock.advance(1001);
    assert.equal(a.topic.get('x'), undefined);
    const late = await member(await nodes.board('late'));
    assert.deepEqual(late.heard, []);
    nodes.clock.advance(400_000);
    await a.board.look();
    assert.deepEqual(((await redis.command('HKEYS', facts)) as string[]).sort(), [
      '#epoch',
      '#version',
    ]);
  });

  test('that say too much of one kind leave room for others, and it is told', async () => {
    await using nodes = group();
    const talker = async (name: string) => {
      const board = await nodes.board(name);
      const heard: string[] = [];
      const many = board.topic('many', () => {}, { roomForOthers: 19_990 });
      const few = board.topic('few', (key) => heard.push(key));
      board.start();
      await board.look();
      return { board, many, few, heard };
    };
    const [a, b] = [await talker('a'), await talker('b')];
    for (let n = 0; n < 8; n += 1) a.many.say(`a${n}`, { value: n });
    await a.board.look();
    for (let n = 0; n < 8; n += 1) b.many.say(`b${n}`, { value: n });
    b.few.say('x', { value: 1 });
    await b.board.look();
    const facts = `${nodes.keyPrefix}:{board}:facts`;
    const inRedis = async () => ((await redis.command('HKEYS', facts)) as string[]).length;
    assert.equal(await inRedis(), 10 + 1 + 2, 'ten of many, one of few, and what is the board’s');
    assert.deepEqual(nodes.full, ['b: many']);
    for (let n = 8; n < 20; n += 1) a.many.say(`a${n}`, { value: n });
    a.few.say('y', { value: 1 });
    await a.board.look();
    await b.board.look();
    assert.deepEqual([b.heard, nodes.full], [['y'], ['b: many', 'a: many']]);
    nodes.clock.advance(600_000);
    a.many.say('late', { value: 1 });
    assert.equal(nodes.full.length, 3, 'again after a while');
  });

  test('have the same list, each on its own disk', async () => {
    await using nodes = group();
    using dir = tempDir();
    const schema = z.object({ key: z.string(), text: z.string(), expires: z.number().optional() });
    const open = async (name: string) => {
      const list = await KeptList.open<z.infer<typeof schema>>({
        ...{ file: dir.file(`${name}.json`), schema, most: 3, clock: nodes.clock },
        ...{ keyOf: ({ key }) => key, onEnded: () => {}, onUnreadable: () => assert.fail() },
      });
      const board = await nodes.board(name);
      const taken: string[] = [];
      shareList(list, {
        ...{ board, topic: 'l', schema, keyOf: ({ key }) => key },
        onTaken: ({ key, entry, node }) => taken.push(`${node}: ${key}=${entry?.text}`),
        onError: (error) => assert.fail(error),
      });
      board.start();
      return { list, board, taken };
    };
    const settled = async (...all: { board: SharedBoard; list: { list(): unknown } }[]) => {
      await waitFor('the same everywhere', async () => {
        for (const { board } of all) await board.look();
        const [first, ...others] = all.map(({ list }) => JSON.stringify(list.list()));
        return others.every((one) => one === first);
      });
    };
    const [a, b] = [await open('a'), await open('b')];
    await a.list.put({ key: 'x', text: 'one' });
    await settled(a, b);
    await b.list.put({ key: 'x', text: 'two' });
    await b.list.put({ key: 'y', text: 'three' });
    await settled(a, b);
    assert.deepEqual(a.list.list(), [
      { key: 'x', text: 'two' },
      { key: 'y', text: 'three' },
    ]);
    // Removed while b was away, and Redis lost it: what b has on disk does not come back.
    await b.board.stop();
    await b.list.close();
    await a.list.remove('x');
    await nodes.forget();
    await a.board.look();
    const again = await open('b');
    assert.equal(again.list.list().length, 2, 'as it was left');
    await settled(a, again);
    assert.deepEqual(again.list.list(), [{ key: 'y', text: 'three' }]);
    await waitFor('word of it', () => again.taken.length > 0);
    assert.deepEqual(again.taken, ['a: x=undefined']);
    // Both at once, while they do not hear each other: one of them, on both.
    await Promise.all([
      a.list.put({ key: 'z', text: 'a' }),
      again.list.put({ key: 'z', text: 'b' }),
    ]);
    await waitFor('one of them', async () => {
      await settled(a, again);
      return true;
    });
    for (const { list } of [a, again]) await list.close();
  });

  describe('a name', () => {
    let dirs: TempDir[];
    before(() => {
      dirs = [tempDir(), tempDir()];
    });
    after(() => {
      for (const dir of dirs) dir.remove();
    });

    async function claim(keyPrefix: string, dir: number) {
      const clock = new FakeClock();
      const told: string[] = [];
      const client = redis.client();
      await waitFor('a connection', () => client.status === 'ready');
      const made = await NodeClaim.open({
        ...{ redis: client, keyPrefix, node: 'n', dataDir: dirs[dir]?.path ?? '', clock },
        events: {
          nodeTaken: (_node, holder) => told.push(`taken by ${holder}`),
          nodeRegained: () => told.push('regained'),
          redisError: (_kind, error) => told.push(error.message),
        },
      });
      return { claim: made, clock, told };
    }

    test('belongs to one directory; the same one has it back at once', async () => {
      const keyPrefix = `claim${prefixes++}`;
      const first = await claim(keyPrefix, 0);
      await first.claim.start();
      assert.equal(first.claim.isOurs, true);
      const again = await claim(keyPrefix, 0);
      await again.claim.start();
      assert.equal(again.claim.isCertain, true, 'as after a SIGKILL');
      const other = await claim(keyPrefix, 1);
      await other.claim.renew();
      assert.deepEqual([other.claim.isOurs, other.told.length], [false, 1]);
      assert.match(other.told[0] ?? '', /^taken by .*:\//);
      await other.claim.renew();
      assert.equal(other.told.length, 1, 'told once');
      await other.claim.release();
      await first.claim.release();
      await again.claim.release();
      const third = await claim(keyPrefix, 1);
      await third.claim.start();
      assert.equal(third.claim.isOurs, true, 'it was given back');
      await third.claim.release();
    });

    test('that Redis does not let be claimed is told of, once, and is nobody’s', async () => {
      const keyPrefix = `claim${prefixes++}`;
      await redis.command('LPUSH', `${keyPrefix}:node:n`, 'x');
      const { claim: made, told } = await claim(keyPrefix, 0);
      await made.start();
      await made.renew();
      assert.deepEqual([made.isOurs, told.length], [false, 1]);
      assert.match(made.trouble ?? '', /^the name n cannot be claimed on Redis \(.*WRONGTYPE/);
      await redis.command('DEL', `${keyPrefix}:node:n`);
      await made.renew();
      assert.deepEqual([made.isCertain, made.trouble], [true, undefined]);
      await made.release();
    });

    test('is certain for as long as the claim lasts', async () => {
      const { claim: made, clock } = await claim(`claim${prefixes++}`, 0);
      await made.start();
      await made.release(); // it is not claimed again
      clock.advance(14_999);
      assert.equal(made.isCertain, true);
      clock.advance(1);
      assert.equal(made.isCertain, false, 'somebody else may have it');
    });

    test('of one that is alive is refused, of one that died waited for', async () => {
      const keyPrefix = `claim${prefixes++}`;
      const first = await claim(keyPrefix, 0);
      await first.claim.start();
      const alive = await claim(keyPrefix, 1);
      let isRefused = false;
      const refused = assert.rejects(alive.claim.start(), NodeNameTakenError).finally(() => {
        isRefused = true;
      });
      await waitFor('the second look', async () => {
        await first.claim.renew();
        alive.clock.advance(500);
        return isRefused;
      });
      await refused;
      const patient = await claim(keyPrefix, 1);
      let isStarted = false;
      void patient.claim.start().then(() => {
        isStarted = true;
      });
      await redis.command('PEXPIRE', `${keyPrefix}:node:n`, 300); // as 15 s after its death
      await waitFor('its turn', () => {
        patient.clock.advance(500);
        return isStarted;
      });
      assert.equal(patient.claim.isOurs, true);
      await first.claim.renew();
      assert.equal(first.claim.isOurs, false, 'the one that was thought dead stands back');
      await patient.claim.release();
      await first.claim.release();
    });
  });
});
