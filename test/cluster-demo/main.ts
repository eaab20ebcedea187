/**
 * `make cluster-demo`: three relays on one Redis in a pretend internet, all on loopback. Under load one of them is
 * killed (SIGKILL) and started again, a host is away for a while, a destination has a rate. At the end the ledger of the
 * internet says whether every promise held: exit status 0 only then.
 *
 *   --short      a quarter of the time, for the tests
 *   MAIN=FILE    another main.js or main.ts than dist/main.js
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { redisMissing } from '../support/redis.ts';
import { connect } from '../support/smtp-client.ts';
import { waitFor } from '../support/wait-for.ts';
import { Ledger } from './ledger.ts';
import { runLoad } from './load.ts';
import { type Promise_, promisesKept } from './promises.ts';
import { Screen } from './screen.ts';
import { look } from './view.ts';
import { DESTINATIONS, type Node, openWorld, type Plan, type World } from './world.ts';

const LONG: Plan = {
  rate: { count: 20, perMs: 5000 },
  breaker: { failures: 5, probeEveryMs: 4000 },
  ...{ killAtMs: 8000, restartAtMs: 13_000, reviveAtMs: 17_000, loadMs: 22_000, perSecond: 12 },
};
const SHORT: Plan = {
  rate: { count: 10, perMs: 3000 },
  breaker: { failures: 5, probeEveryMs: 2000 },
  ...{ killAtMs: 2000, restartAtMs: 3500, reviveAtMs: 5000, loadMs: 6000, perSecond: 8 },
};
const DRAW_MS = 500;
/** For everything that waits at the end. */
const DRAIN_MS = 90_000;

async function main(): Promise<number> {
  if (redisMissing) throw new Error(redisMissing);
  const plan = process.argv.includes('--short') ? SHORT : LONG;
  const screen = new Screen(process.stdout.isTTY === true);
  screen.say('Three relays, one Redis, one pretend internet; starting, some seconds ...');
  const main = process.env['MAIN'];
  const world = await openWorld(
    plan,
    main === undefined || main === ''
      ? new URL('../../dist/main.js', import.meta.url).pathname
      : main,
  );
  try {
    const promises = await run({ world, plan, screen });
    for (const { ok, text } of promises) screen.say(`${ok ? 'kept  ' : 'BROKEN'}  ${text}`);
    return promises.every(({ ok }) => ok) ? 0 : 1;
  } finally {
    await world.close();
  }
}

interface Scene {
  readonly world: World;
  readonly plan: Plan;
  readonly screen: Screen;
}

async function run({ world, plan, screen }: Scene): Promise<readonly Promise_[]> {
  const ledger = new Ledger(world.domains);
  const drawing = new AbortController();
  const draw = (async () => {
    while (!drawing.signal.aborted) {
      const { table, plain } = await look(world, ledger, plan);
      if (!drawing.signal.aborted) screen.draw(table, plain);
      await sleep(DRAW_MS, undefined, { signal: drawing.signal }).catch(() => {});
    }
  })();
  const day = new Date().toISOString().slice(0, 10);
  await closeBreaker(world, ledger, screen);
  const closedAtMs = Date.now();
  const [until, end] = [new AbortController(), new AbortController()];
  const loads = world.nodes.map(({ relay, name }) =>
    runLoad(
      {
        ...{ relay, node: name, perSecond: plan.perSecond },
        destinationOf: (n) => DESTINATIONS[n % DESTINATIONS.length] ?? '',
        ...{ until: until.signal, end: end.signal },
      },
      ledger,
    ),
  );
  const revivedAtMs = await happen({ world, plan, screen });
  until.abort();
  const again = await Promise.all(loads);
  screen.say(
    `The load ends; ${again.reduce((sum, n) => sum + n, 0)} times a client had to hand over again. What waits goes out now ...`,
  );
  const drained = await waitFor(
    'all to arrive',
    () => ledger.account().missing.length === 0,
    DRAIN_MS,
  ).then(
    () => true,
    () => false,
  );
  end.abort();
  if (drained) await quiet(world);
  drawing.abort();
  await draw;
  const { table, plain } = await look(world, ledger, plan);
  screen.draw(table, plain);
  screen.say([...table, ''].join('\n'));
  return promisesKept({ world, plan, ledger, day, closedAtMs, revivedAtMs });
}

/** Node one gets mail for hosts that are away, finds out, and the others hear of it. */
async function closeBreaker({ nodes }: World, ledger: Ledger, screen: Screen): Promise<void> {
  const [one] = nodes;
  if (!one) return;
  const { address: host, smtpPort: port } = one.relay;
  using client = await connect({ host, port });
  await client.send('EHLO app.sender.test');
  for (let n = 0; n < 8; n += 1) {
    const token = `one-early-${n}`;
    const data = `Subject: ${token}\r\n\r\nhello\r\n`;
    const to = `early${n}@dead.test`;
    const { accepted } = await client.deliver({ from: 'app@sender.test', to, data });
    if (accepted) ledger.acknowledged(token, one.name);
  }
  await one.relay.waitForEvent('queue.breaker_opened');
  // The others look twice a second.
  await sleep(1500);
  screen.say(
    'Node one found that mx.dead.test is away, and closed it for all. The load begins ...',
  );
}

/** What happens while the load lasts; when the dead host came back. */
async function happen({ world, plan, screen }: Scene): Promise<number> {
  const beganAtMs = performance.now();
  const at = (ms: number) => sleep(Math.max(0, ms - (performance.now() - beganAtMs)));
  const two = world.nodes.find(({ name }) => name === 'two') as Node;
  await at(plan.killAtMs);
  two.state = 'killed -9';
  await two.relay.kill('SIGKILL', { group: true });
  screen.say(
    'kill -9 of all processes of node two. What it holds waits on its disk; its clients try again.',
  );
  await at(plan.restartAtMs);
  two.state = 'starting';
  screen.say('Node two is started again, on the same data.');
  await two.relay.start();
  two.state = 'up';
  await at(plan.reviveAtMs);
  const revivedAtMs = Date.now();
  world.revive();
  screen.say('mx.dead.test answers again; one node will find out, and open it for all.');
  await at(plan.loadMs);
  return revivedAtMs;
}

/** Until no node has anything queued: the last records are written after the last messages arrived. */
async function quiet({ nodes }: World): Promise<void> {
  for (const { relay } of nodes) {
    await waitFor(
      'an empty queue',
      async () => {
        const text = await relay.metrics();
        const queued = [...text.matchAll(/^stsrelay_queue_messages\{.*\} (\d+)/gm)];
        return queued.every(([, value]) => value === '0');
      },
      30_000,
    ).catch(() => {});
  }
}

main().then(
  (code) => process.exit(code),
  (error: Error) => {
    process.stderr.write(`cluster-demo: ${error.message}\n`);
    process.exit(2);
  },
);
