/**
 * The clock of the machine is set while the relay runs, forward and back, by hours and days: what
 * waits is attempted when the clock says so or, where a time is from before it was set back, at once;
 * never is it held for longer than the schedule says, nor given up before its lifetime by the clock.
 */
import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { type MessageId, timeOfId } from '../../src/mail/message-id.ts';
import { type RecoveryScene, startScene } from '../support/recovery-scene.ts';
import { redisMissing } from '../support/redis.ts';
import { waitFor } from '../support/wait-for.ts';
import { WrongClock } from '../support/wrong-clock.ts';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

describe('the clock is set', { skip: redisMissing }, () => {
  let scene: RecoveryScene;
  let clock: WrongClock;
  before(async () => {
    clock = new WrongClock();
    scene = await startScene({
      settings: { retry: { schedule: ['1h'], lifetime: '5d' } },
      relay: { env: clock.env },
    });
  });
  beforeEach(() => setClock(0));
  after(async () => {
    await scene?.close();
    clock?.remove();
  });

  /** Returns once both processes of the relay go by it: the one that receives, which gives the ids, and the other. */
  async function setClock(offsetMs: number): Promise<void> {
    clock.set(offsetMs);
    const isSet = (ms: number) => Math.abs(ms - Date.now() - offsetMs) < HOUR_MS / 4;
    await waitFor('the clock to be set', async () => {
      await scene.relay.http('/metrics');
      const [sent] = await scene.send(1);
      assert.ok(sent);
      const { time } = await scene.world.answer(sent);
      return isSet(timeOfId(sent.id as MessageId)) && isSet(Date.parse(String(time)));
    });
  }

  test('forward: what is due by then is attempted at once, and nothing else', async () => {
    const all = await scene.sendDeferred(4);
    await setClock(HOUR_MS / 2);
    const other = await scene.sendDeferred(4);
    for (const sent of all) assert.equal(scene.world.answers(sent).length, 1);
    await setClock((4 / 3) * HOUR_MS); // times are spread by up to a quarter
    await scene.relay.waitForLog('the first ones', () =>
      all.every((sent) => scene.world.answers(sent).length === 2) ? true : undefined,
    );
    for (const sent of other) assert.equal(scene.world.answers(sent).length, 1);
    await setClock(3 * HOUR_MS);
    await scene.assertDelivered([...all, ...other]);
    scene.assertNotEarly([...all, ...other]);
  });

  test('forward by days: what is within its lifetime by the clock is attempted, the rest given up', async () => {
    const all = await scene.sendDeferred(4);
    scene.isHeld = true;
    await setClock(4 * DAY_MS);
    for (const sent of all) {
      assert.equal((await scene.world.answer(sent, { nth: 2 })).event, 'delivery.deferred');
    }
    const [young] = await scene.send(1);
    assert.ok(young);
    await scene.world.answer(young);
    await setClock(5 * DAY_MS + HOUR_MS);
    for (const sent of all) {
      assert.equal((await scene.world.answer(sent, { nth: 3 })).event, 'outcome.bounced');
    }
    assert.equal((await scene.world.answer(young, { nth: 2 })).event, 'delivery.deferred');
    scene.isHeld = false;
    await setClock(6 * DAY_MS);
    await scene.assertDelivered([young]);
  });

  test('back: what has a time from before is attempted at once, and later by the schedule', async () => {
    await setClock(9 * HOUR_MS);
    const all = await scene.sendDeferred(4);
    await setClock(0);
    await scene.assertDelivered(all);
    for (const sent of all) assert.equal(scene.world.answers(sent).length, 2);
  });

  test('back during attempts: they end, and what waits behind them is attempted', async () => {
    await setClock(3 * DAY_MS);
    const { promise: isSet, resolve } = Promise.withResolvers<void>();
    let held = 0;
    scene.script = async (_session, { verb }) => {
      if (verb !== '.') return undefined;
      held += 1;
      await isSet;
      return undefined;
    };
    const all = [...(await scene.send(4))];
    await waitFor('the attempts', () => held >= 4);
    clock.set(0);
    all.push(...(await scene.send(4)));
    resolve();
    await scene.assertDelivered(all);
    scene.script = () => undefined;
  });

  test('back, and turns are lost then: they are missed as ever', async () => {
    const requeued = scene.watchRequeued();
    await setClock(8 * HOUR_MS);
    await scene.holdTurns();
    const all = await scene.send(4);
    await waitFor('their jobs', async () => (await scene.queue.getWaitingCount()) === all.length);
    clock.set(0);
    for (const job of await scene.jobs()) await job.remove();
    await scene.queue.resume();
    await requeued('missing');
    await scene.assertDelivered(all);
  });
});
