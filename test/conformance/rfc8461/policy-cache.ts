/**
 * RFC 8461 §3.3, §5.1 and §10.2: what is known about a policy once it was fetched (R050 to R055).
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { PolicyAnswer } from '../../support/policy-host.ts';
import type { PretendDomain } from '../../support/pretend-internet.ts';
import type { Sender, SenderWorld } from '../../support/sender.ts';
import { assertDeferred, assertDelivered, policyOf } from './outcomes.ts';

const DAY_MS = 86_400_000;
const WEEK_MS = 7 * DAY_MS;

/** A domain whose policy was fetched once; since then its host shows a certificate of its own making. */
async function fetched(world: SenderWorld, sender: Sender, name: string): Promise<PretendDomain> {
  const domain = await world.domain(name, { sts: { id: 'first' } });
  assertDelivered(await sender.send(`bob@${name}`), 'verified');
  const certificate = await world.internet.ca.issueKind('self-signed', `mx.${name}`);
  domain.mx[0]?.change({ certificate });
  return domain;
}

/** The cache. */
export function policyCache(world: SenderWorld): void {
  test('R050 nothing is live any more, in DNS or over HTTPS: the policy in force is applied', async () => {
    await using sender = await world.sender();
    const domain = await fetched(world, sender, 'r050.test');
    domain.withdrawSts();
    sender.clock.advance(WEEK_MS - 1000);
    assertDeferred(await sender.send('bob@r050.test'), 'certificate-self-signed');
  });

  const failures: readonly (readonly [what: string, answer: PolicyAnswer])[] = [
    ['that is not there', { status: 404 }],
    ['with a bad certificate', { certificate: 'self-signed' }],
    ['that breaks the grammar', { body: 'version: STSv1\r\nmode: none' }],
    ['that is empty', { body: '' }],
    ['that is a web page', { headers: { 'content-type': 'text/html' } }],
    ['that is cut', { reset: 'body', body: 'version: STSv1\r\nmode: none\r\nmax_age: 1\r\n' }],
  ];
  for (const [n, [what, answer]] of failures.entries()) {
    test(`R051 a new id leads to a policy ${what}: the one in force stays`, async () => {
      await using sender = await world.sender();
      const name = `r051-${n}.test`;
      const domain = await fetched(world, sender, name);
      await domain.publishSts({ id: 'second', mode: 'none' }, answer);
      const sent = await sender.send(`bob@${name}`);
      assertDeferred(sent, 'certificate-self-signed');
      assert.equal(policyOf(sent), `${name} first enforce`);
    });
  }

  test('R052 R053 a policy is kept for max_age from its fetch, and not applied after it', async () => {
    await using sender = await world.sender();
    const domain = await fetched(world, sender, 'r053.test');
    domain.withdrawSts();
    sender.clock.advance(WEEK_MS - 1000);
    assertDeferred(await sender.send('bob@r053.test'), 'certificate-self-signed');
    sender.clock.advance(1000);
    assertDelivered(await sender.send('bob@r053.test'), 'unauthenticated');
  });

  test('R052 another fetch starts the time anew', async () => {
    await using sender = await world.sender();
    const domain = await fetched(world, sender, 'r052.test');
    sender.clock.advance(WEEK_MS - 1000);
    await domain.publishSts({ id: 'second' });
    assertDeferred(await sender.send('bob@r052.test'), 'certificate-self-signed');
    domain.withdrawSts();
    sender.clock.advance(WEEK_MS - 1000);
    const sent = await sender.send('bob@r052.test');
    assertDeferred(sent, 'certificate-self-signed');
    assert.equal(policyOf(sent), 'r052.test second enforce');
  });

  test('R053 a policy with max_age 0 is over as soon as it is there', async () => {
    await using sender = await world.sender();
    const certificate = 'self-signed' as const;
    const mx = [{ host: 'mx.r053-zero.test', certificate }];
    await world.domain('r053-zero.test', { mx, sts: { maxAge: 0 } });
    assertDelivered(await sender.send('bob@r053-zero.test'), 'unauthenticated');
  });

  for (const mode of ['testing', 'none'] as const) {
    test(`R054 a newly fetched policy takes the place of a stricter one: enforce to ${mode}`, async () => {
      await using sender = await world.sender();
      const name = `r054-${mode}.test`;
      const domain = await fetched(world, sender, name);
      const { id } = await sender.send(`bob@${name}`);
      await domain.publishSts({ id: 'second', mode });
      assertDelivered(await sender.attempt(id), 'unauthenticated');
      domain.withdrawSts();
      assertDelivered(await sender.send(`bob@${name}`), 'unauthenticated');
    });
  }

  test('R055 a restart forgets no policy, with Redis or without', async () => {
    await using before = await world.sender();
    const domain = await fetched(world, before, 'r055.test');
    domain.withdrawSts();
    const { dir, clock } = before;
    const sender = await world.sender({ dir, clock });
    assertDeferred(await sender.send('bob@r055.test'), 'certificate-self-signed');
  });
}
