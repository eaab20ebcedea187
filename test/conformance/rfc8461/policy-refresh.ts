/**
 * RFC 8461 §3.3 and §10.2: policies are fetched anew before they expire (R052, R056, R057).
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { StsDescription } from '../../support/pretend-internet.ts';
import type { Sender, SenderWorld } from '../../support/sender.ts';
import { domain as domainName } from '../../unit/policy-parts.ts';
import { assertDeferred, assertDelivered } from './outcomes.ts';

/** The refresher looks what is due at most this often. */
const BETWEEN_LOOKS_MS = 1000;
const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const WEEK_MS = 7 * DAY_MS;

/** A sender that keeps the policy of a domain fresh. */
async function keeping(world: SenderWorld, name: string, sts: StsDescription) {
  const sender = await world.sender();
  const domain = await world.domain(name, { sts });
  await sender.send(`bob@${name}`);
  sender.refresher.start();
  await sender.refresher.ready;
  return { sender, domain };
}

/** Let the time come at which the policy is refreshed, and the refresh end. */
async function nextRefresh(sender: Sender, name: string): Promise<void> {
  const due = sender.refresher.nextRefreshMs(domainName(name));
  assert.ok(due !== undefined && due > sender.clock.now());
  const before = endsOf(sender);
  sender.clock.set(Math.ceil(due) + BETWEEN_LOOKS_MS);
  await sender.log.until('the end of a refresh', () =>
    endsOf(sender) > before ? true : undefined,
  );
  await sender.refresher.idle();
}

function endsOf(sender: Sender): number {
  return ['policy.refreshed', 'policy.refresh_failed'].flatMap((event) => sender.logged(event))
    .length;
}

/** Refreshes in the background. */
export function policyRefresh(world: SenderWorld): void {
  test('R056 a policy is refreshed within a day, and well before it expires', async () => {
    for (const [name, maxAge, latestMs] of [
      ['r056-long.test', 604_800, DAY_MS],
      ['r056-short.test', 7200, HOUR_MS],
    ] as const) {
      const { sender } = await keeping(world, name, { maxAge });
      await using _ = sender;
      assert.equal(sender.settings.security.mtaSts.refreshEvery, DAY_MS);
      const due = sender.refresher.nextRefreshMs(domainName(name));
      assert.ok(due !== undefined && due - sender.clock.now() <= latestMs);
    }
  });

  test('R056 the record is gone: the policy host is asked all the same', async () => {
    const { sender, domain } = await keeping(world, 'r056.test', {});
    await using _ = sender;
    world.internet.dns.remove('_mta-sts.r056.test');
    await nextRefresh(sender, 'r056.test');
    assert.equal(world.internet.policyHost.requestsFor(domain.policyHostName).length, 2);
    assert.equal(await sender.metric('mtasts_refreshes_total', { result: 'fetched' }), 1);
  });

  test('R052 a refresh starts the time of a policy anew', async () => {
    const { sender, domain } = await keeping(world, 'r052-refresh.test', {});
    await using _ = sender;
    await nextRefresh(sender, 'r052-refresh.test');
    const refreshedAtMs = sender.clock.now();
    await sender.refresher.stop();
    domain.withdrawSts();
    domain.mx[0]?.change({ startTls: 'off' });
    sender.clock.set(refreshedAtMs + WEEK_MS - 1000);
    assertDeferred(await sender.send('bob@r052-refresh.test'), 'starttls-not-offered');
    sender.clock.advance(1000);
    assertDelivered(await sender.send('bob@r052-refresh.test'), 'clear-text');
  });

  test('R054 what a refresh finds takes the place of what was kept, also under the same id', async () => {
    const { sender, domain } = await keeping(world, 'r054-refresh.test', { mode: 'testing' });
    await using _ = sender;
    await domain.publishSts({ mode: 'enforce' });
    await nextRefresh(sender, 'r054-refresh.test');
    domain.mx[0]?.change({ startTls: 'off' });
    assertDeferred(await sender.send('bob@r054-refresh.test'), 'starttls-not-offered');
  });

  for (const [mode, level] of [
    ['enforce', 'warn'],
    ['testing', 'warn'],
    ['none', 'debug'],
  ] as const) {
    test(`R057 a refresh that fails while mode ${mode} is in force is logged (${level}) and counted`, async () => {
      const name = `r057-${mode}.test`;
      const { sender, domain } = await keeping(world, name, { mode });
      await using _ = sender;
      await domain.changePolicyAnswer({ status: 503 });
      await nextRefresh(sender, name);
      const [line] = sender.logged('policy.refresh_failed');
      assert.equal(line?.level, level);
      assert.equal(line?.['domain'], name);
      assert.equal(line?.['inForce'], mode);
      const labels = { cause: 'background', result: 'sts-policy-fetch-error' };
      assert.equal(await sender.metric('mtasts_refreshes_total', labels), 1);
    });
  }

  test('R057 a refresh that fails takes nothing away', async () => {
    const { sender, domain } = await keeping(world, 'r057.test', {});
    await using _ = sender;
    domain.withdrawSts();
    await nextRefresh(sender, 'r057.test');
    domain.mx[0]?.change({ startTls: 'off' });
    assertDeferred(await sender.send('bob@r057.test'), 'starttls-not-offered');
  });
}
