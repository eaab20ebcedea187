/**
 * The deliver process stands still (SIGSTOP) for longer than BullMQ's locks last, with attempts under
 * way. Meanwhile somebody with BullMQ finds its jobs stalled and puts them back in line, as another
 * worker would. Nothing is lost, and only what was in flight, its answer lost, comes twice.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Worker } from 'bullmq';
import { idOf, startScene } from '../support/recovery-scene.ts';
import { redisMissing } from '../support/redis.ts';
import { Chronicle, waitFor } from '../support/wait-for.ts';

const IN_FLIGHT = 8;

test('deliver stands still for longer than locks last', { skip: redisMissing }, async () => {
  await using scene = await startScene({ settings: { retry: { schedule: ['5s'] } } });
  const { relay, redis, queue } = scene;
  const { promise: stopped, resolve: hasStopped } = Promise.withResolvers<void>();
  let asked = 0;
  scene.script = async (_session, { verb }) => {
    if (verb !== '.' || asked >= IN_FLIGHT) return undefined;
    const number = asked++;
    await stopped;
    // Half of the answers wait in the socket, the other half is lost on the way.
    return number % 2 === 0 ? undefined : { reply: '250 2.0.0 Taken', ending: 'reset' };
  };
  const all = [...(await scene.sendDeferred(4)), ...(await scene.send(IN_FLIGHT + 4))];
  await waitFor('attempts under way', () => asked === IN_FLIGHT);

  const deliver = relay.rolePid('deliver');
  process.kill(deliver, 'SIGSTOP');
  const dotted = scene.hosts.flatMap((host) => host.received);
  const inFlight = dotted.filter(({ reply }) => reply === undefined).map(idOf);
  assert.equal(inFlight.length, IN_FLIGHT);
  const active = await queue.getActiveCount();
  assert.ok(active >= scene.hosts.length, `${active} active`);
  hasStopped();
  const other = new Worker(scene.names.name, null, {
    connection: redis.client(),
    prefix: scene.names.prefix,
    skipVersionCheck: true,
    stalledInterval: 200,
    maxStalledCount: 1_000_000,
  });
  const stalled = new Chronicle<string>();
  other.on('error', () => {});
  other.on('stalled', (jobId: string) => stalled.push(jobId));
  await other.startStalledCheckTimer();
  await stalled.untilCount('stalled job', active);
  await other.close(true);
  process.kill(deliver, 'SIGCONT');

  await scene.assertDelivered(
    all,
    all.filter(({ id }) => inFlight.includes(id)),
  );
  const arrivals = scene.hosts.flatMap((host) => host.messages).map(idOf);
  const twice = arrivals.filter((id, at) => arrivals.indexOf(id) !== at);
  assert.ok(twice.length <= IN_FLIGHT / 2, `${twice.length} came twice whose answers were there`);
  assert.deepEqual(relay.events('relay.role_ended'), []);
  await waitFor('nothing of it to be left', async () => (await scene.jobs()).length === 0);
});
