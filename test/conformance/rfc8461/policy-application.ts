/**
 * RFC 8461 §5, §5.1, §6 and §8: what a policy does to a delivery (R061, R067 to R078).
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { LocalCause } from '../../../src/mail/failure.ts';
import type { MxDescription, StsDescription } from '../../support/pretend-internet.ts';
import { assertToldNothing } from '../../support/relay-world.ts';
import type { SenderWorld } from '../../support/sender.ts';
import { assertDeferred, assertDelivered, causeOf, type Protection } from './outcomes.ts';

const DAY_MS = 86_400_000;

interface Fault {
  readonly fault: string;
  readonly host: Omit<MxDescription, 'host'>;
  readonly sts?: StsDescription;
  readonly cause: LocalCause;
  /** How mail goes there without the policy. */
  readonly without: Protection;
}

/** Ways in which an MX host can fail a policy: it does not come to TLS, */
const WITHOUT_TLS: readonly Fault[] = [
  {
    fault: 'offers no STARTTLS',
    host: { startTls: 'off' },
    cause: 'starttls-not-offered',
    without: 'clear-text',
  },
  {
    fault: 'refuses STARTTLS',
    host: { startTls: 'refused' },
    cause: 'starttls-refused',
    without: 'clear-text',
  },
  {
    fault: 'goes on in clear text after STARTTLS',
    host: { startTls: 'garbage' },
    cause: 'clear-text-after-starttls',
    without: 'clear-text',
  },
  {
    fault: 'breaks off at STARTTLS',
    host: { startTls: 'reset' },
    cause: 'tls-handshake-failed',
    without: 'clear-text',
  },
  {
    fault: 'speaks TLS 1.1 only',
    host: { maxTls: 'TLSv1.1' },
    cause: 'tls-version-too-low',
    without: 'clear-text',
  },
];
/** or the peer is not the right one. */
const WITH_TLS: readonly Fault[] = [
  {
    fault: 'shows a certificate of nobody trusted',
    host: { certificate: 'untrusted' },
    cause: 'certificate-untrusted',
    without: 'unauthenticated',
  },
  {
    fault: 'shows a certificate that has expired',
    host: { certificate: 'expired' },
    cause: 'certificate-expired',
    without: 'unauthenticated',
  },
  {
    fault: 'shows a certificate for somebody else',
    host: { certificate: 'wrong-host' },
    cause: 'certificate-host-mismatch',
    without: 'unauthenticated',
  },
  {
    fault: 'is not listed',
    host: {},
    sts: { mx: ['mx.elsewhere.test'] },
    cause: 'mx-outside-policy',
    without: 'verified',
  },
];
const FAULTS = [...WITHOUT_TLS, ...WITH_TLS];

/** §5: the modes. */
export function policyApplication(world: SenderWorld): void {
  async function assertToldNothingOf({ host, sts, cause }: Fault): Promise<void> {
    await using sender = await world.sender();
    const name = `enforce-${cause}.test`;
    const hosts = [{ host: `mx.${name}`, ...host }];
    const { mx } = await world.domain(name, { mx: hosts, sts: { ...sts } });
    assertDeferred(await sender.send(`bob@${name}`), cause);
    for (const one of mx) assertToldNothing(one);
  }
  for (const fault of WITHOUT_TLS) {
    test(`R061 R067 enforce: a host that ${fault.fault} is told nothing of the message`, () =>
      assertToldNothingOf(fault));
  }
  for (const fault of WITH_TLS) {
    test(`R067 enforce: a host that ${fault.fault} is told nothing of the message`, () =>
      assertToldNothingOf(fault));
  }

  for (const [n, { fault, host, sts, cause, without }] of FAULTS.entries()) {
    test(`R068 testing: a host that ${fault} gets the message as without the policy, and it shows`, async () => {
      await using sender = await world.sender();
      const name = `testing-${n}.test`;
      const policy = { ...sts, mode: 'testing' as const };
      await world.domain(name, { mx: [{ host: `mx.${name}`, ...host }], sts: policy });
      const sent = await sender.send(`bob@${name}`);
      assertDelivered(sent, without);
      const { facts } = sent.sessions.at(-1) ?? {};
      const source = facts?.requirement.source;
      assert.ok(source?.kind === 'mta-sts' && source.mode === 'testing');
      assert.equal(source.listed, cause !== 'mx-outside-policy');
      const verdict = facts?.tls?.verdict;
      const found = verdict?.verified === false ? verdict.cause : facts?.clearTextBecause?.cause;
      assert.equal(found, cause === 'mx-outside-policy' ? undefined : cause);
    });
  }

  for (const [n, { fault, host, sts, without }] of FAULTS.entries()) {
    test(`R069 none: a host that ${fault} gets the message as without a policy`, async () => {
      await using sender = await world.sender();
      const name = `none-${n}.test`;
      const policy = { ...sts, mode: 'none' as const };
      await world.domain(name, { mx: [{ host: `mx.${name}`, ...host }], sts: policy });
      const sent = await sender.send(`bob@${name}`);
      assertDelivered(sent, without);
      assert.equal(sent.sessions.at(-1)?.facts.requirement.source.kind, 'default');
    });
  }

  test('R072 when all hosts fail the policy, the message waits with a status of 4.7', async () => {
    await using sender = await world.sender();
    const mx = [
      { host: 'a.r072.test', certificate: 'expired' as const },
      { host: 'b.r072.test', startTls: 'off' as const },
    ];
    await world.domain('r072.test', { mx, sts: {} });
    const { outcome, record } = await sender.send('bob@r072.test');
    assert.ok(outcome.kind === 'deferred');
    assert.match(outcome.diagnosis.status, /^4\.7\.\d+$/);
    assert.ok((record.nextAttemptMs ?? 0) > sender.clock.now());
  });
}

/** §5.1: from attempt to attempt. */
export function policyControlFlow(world: SenderWorld): void {
  for (const [n, { fault, host, sts }] of FAULTS.entries()) {
    test(`R070 a host that ${fault} is passed over, and the next one gets the message`, async () => {
      await using sender = await world.sender();
      const name = `r070-${n}.test`;
      const [bad, good] = [`bad.${name}`, `good.${name}`];
      const mx = [{ host: bad, ...host }, { host: good }];
      const listed = sts ? { mx: [good] } : {};
      const made = await world.domain(name, { mx, sts: listed });
      const sent = await sender.send(`bob@${name}`);
      assertDelivered(sent, 'verified');
      assert.equal(sent.messages[0]?.session, made.mx[1]?.sessions[0]);
      assert.equal(made.mx[0]?.messages.length, 0);
    });
  }

  test('R073 before it bounces for a policy, record and policy are looked at once more', async () => {
    await using sender = await world.sender();
    const mx = [{ host: 'mx.r073.test', certificate: 'expired' as const }];
    const { policyHostName } = await world.domain('r073.test', { mx, sts: {} });
    const { id } = await sender.send('bob@r073.test');
    const { dns, policyHost } = world.internet;
    const asked = () => [
      dns.queriesFor('_mta-sts.r073.test', 'TXT').length,
      policyHost.requestsFor(policyHostName).length,
    ];
    assert.deepEqual(asked(), [1, 1]);
    sender.clock.advance(5 * DAY_MS);
    const { record } = await sender.attempt(id);
    assert.equal(record.bounced.length, 1);
    assert.deepEqual(asked(), [3, 2]);
  });

  test('R073 a policy that was corrected under its old id is found then, and the message delivered', async () => {
    await using sender = await world.sender();
    const sts = { mx: ['old.r073-same.test'] };
    const domain = await world.domain('r073-same.test', { sts });
    const { id } = await sender.send('bob@r073-same.test');
    await domain.publishSts({});
    assertDeferred(await sender.attempt(id), 'mx-outside-policy');
    sender.clock.advance(5 * DAY_MS);
    const last = await sender.attempt(id);
    assertDelivered(last, 'verified');
    assert.deepEqual(last.record.bounced, []);
  });

  test('R073 while neither DNS nor the policy host answer, the message does not bounce', async () => {
    await using sender = await world.sender();
    const sts = { mx: ['old.r073-cut.test'] };
    const domain = await world.domain('r073-cut.test', { sts });
    const { id } = await sender.send('bob@r073-cut.test');
    const { dns } = world.internet;
    dns.behave('_mta-sts.r073-cut.test', 'TXT', 'servfail');
    dns.behave(domain.policyHostName, '*', 'servfail');
    sender.clock.advance(5 * DAY_MS);
    const late = await sender.attempt(id);
    assert.deepEqual([late.outcome.kind, late.record.bounced], ['deferred', []]);
    assert.equal(sender.logged('policy.last_check_failed').length, 1);
    dns.behave('_mta-sts.r073-cut.test', 'TXT', undefined);
    dns.behave(domain.policyHostName, '*', undefined);
    await domain.publishSts({ id: 'corrected' });
    assertDelivered(await sender.attempt(id), 'verified');
  });

  test('R074 a new id while the message waits: the next attempt is under the new policy', async () => {
    await using sender = await world.sender();
    const mx = [{ host: 'mx.r074.test' }];
    const domain = await world.domain('r074.test', { mx, sts: { mx: ['old.r074.test'] } });
    const sent = await sender.send('bob@r074.test');
    assertDeferred(sent, 'mx-outside-policy');
    await domain.publishSts({ id: 'corrected' });
    assertDelivered(await sender.attempt(sent.id), 'verified');
  });

  test('R075 no new policy: the message bounces when its lifetime ends, with what was missing', async () => {
    await using sender = await world.sender();
    const mx = [{ host: 'mx.r075.test', certificate: 'expired' as const }];
    const domain = await world.domain('r075.test', { mx, sts: {} });
    const { id, record } = await sender.send('bob@r075.test');
    assert.deepEqual(record.bounced, []);
    sender.clock.advance(5 * DAY_MS - 1000);
    assert.deepEqual((await sender.attempt(id)).record.bounced, []);
    sender.clock.advance(1000);
    const last = await sender.attempt(id);
    const [bounced] = last.record.bounced;
    assert.equal(bounced?.failure.status, '4.7.5');
    assert.match(bounced?.failure.text ?? '', /expired/);
    assert.match(bounced?.failure.demand ?? '', /policy of r075\.test/);
    assert.deepEqual(domain.messages, []);
    for (const host of domain.mx) assertToldNothing(host);
  });
}

/** §8.4: the order of the hosts. */
export function candidateTraversal(world: SenderWorld): void {
  test('R071 hosts that fail the policy keep their place: the list is walked in order', async () => {
    await using sender = await world.sender();
    const mx = [
      { host: 'a.r071.test', certificate: 'expired' as const },
      { host: 'b.r071.test' },
      { host: 'c.r071.test', down: true },
      { host: 'd.r071.test' },
      { host: 'e.r071.test' },
    ];
    const listed = ['a', 'c', 'd', 'e'].map((label) => `${label}.r071.test`);
    await world.domain('r071.test', { mx, sts: { mx: listed } });
    const sent = await sender.send('bob@r071.test');
    assertDelivered(sent, 'verified');
    assert.deepEqual(
      sent.sessions.map(({ facts }) => facts.candidate.host),
      mx.slice(0, 4).map(({ host }) => host),
    );
  });

  test('R071 the loop protection sees the whole list, hosts outside the policy as well', async () => {
    await using sender = await world.sender({ settings: { hostname: 'own.r071-loop.test' } });
    const mx = [
      { host: 'bad.r071-loop.test' },
      { host: 'own.r071-loop.test' },
      { host: 'good.r071-loop.test' },
    ];
    const sts = { mx: ['good.r071-loop.test'] };
    const made = await world.domain('r071-loop.test', { mx, sts });
    const sent = await sender.send('bob@r071-loop.test');
    assertDeferred(sent, 'mx-outside-policy');
    for (const host of made.mx) assert.equal(host.sessions.length, 0);
  });
}

const REUSING = { destinations: { default: { messagesPerConnection: 100 } } };

/** §5: what may be used again. */
export function connectionReuse(world: SenderWorld): void {
  test('R078 messages to a host share a session that was authenticated for its name', async () => {
    await using sender = await world.sender({ settings: REUSING });
    const { mx } = await world.domain('r078-again.test', { sts: {} });
    const [first, second] = [
      await sender.send('a@r078-again.test'),
      await sender.send('b@r078-again.test'),
    ];
    assert.deepEqual(
      mx[0]?.sessions.map(({ messages }) => messages.length),
      [2],
    );
    const [told, again] = [first, second].map(({ events }) =>
      events.find(({ event }) => event === 'delivery.delivered'),
    );
    assert.ok(told && again);
    assert.equal(told['reused'], undefined);
    assert.equal(again['reused'], true);
    const evidence = ['mx', 'address', 'tlsVersion', 'cipher', 'certSha256', 'policy', 'policyId'];
    for (const key of [...evidence, 'policyMode', 'verified']) {
      assert.ok(again[key] !== undefined && again[key] === told[key], key);
    }
    assert.equal(await sender.metric('connections_reused_total'), 1);
    assert.equal(await sender.metric('tls_handshakes_total'), 1);
    assert.equal(await sender.metric('tls_sessions_total', { result: 'successful' }), 1);
  });

  test('R078 a policy that changed finds no session, not even with the same hosts', async () => {
    await using sender = await world.sender({ settings: REUSING });
    const domain = await world.domain('r078-changed.test', { sts: { id: '1' } });
    assertDelivered(await sender.send('a@r078-changed.test'), 'verified');
    await domain.publishSts({ id: '2' });
    assertDelivered(await sender.send('a@r078-changed.test'), 'verified');
    await domain.publishSts({ id: '3', mx: ['elsewhere.r078-changed.test'] });
    assertDeferred(await sender.send('a@r078-changed.test'), 'mx-outside-policy');
    assert.deepEqual(
      domain.mx[0]?.sessions.map(({ messages }) => messages.length),
      [1, 1],
    );
  });

  test('R078 two domains on one host never share a session where one has a policy', async () => {
    await using sender = await world.sender({ settings: REUSING });
    const mx = [{ host: 'mx.r078-both.test' }];
    const domains = ['r078-one.test', 'r078-two.test', 'r078-none.test', 'r078-nothing.test'];
    for (const [n, name] of domains.entries()) {
      await world.domain(name, { mx, ...(n < 2 ? { sts: { mx: ['*.r078-both.test'] } } : {}) });
    }
    for (const name of domains) assert.equal((await sender.send(`a@${name}`)).messages.length, 1);
    const [host] = (await world.domain('r078-three.test', { mx })).mx;
    assert.deepEqual(
      host?.sessions.map(({ messages }) => messages.length),
      [1, 1, 2],
    );
  });

  test('R078 where one message is all, the next connection resumes the session that was authenticated', async () => {
    await using sender = await world.sender();
    const { mx } = await world.domain('r078.test', { sts: {} });
    const told = [];
    for (const recipient of ['a@r078.test', 'b@r078.test']) {
      const sent = await sender.send(recipient);
      assertDelivered(sent, 'verified');
      told.push(sent.events.find(({ event }) => event === 'delivery.delivered'));
    }
    assert.deepEqual(
      mx[0]?.sessions.map(({ tls, messages }) => [tls?.resumed, messages.length]),
      [
        [false, 1],
        [true, 1],
      ],
    );
    const [full, resumed] = told;
    assert.deepEqual([full?.['resumed'], resumed?.['resumed']], [undefined, true]);
    for (const key of ['certSha256', 'policyId', 'verified']) {
      assert.ok(resumed?.[key] !== undefined && resumed[key] === full?.[key], key);
    }
  });

  test('R078 two domains on one host resume nothing of each other', async () => {
    await using sender = await world.sender();
    const mx = [{ host: 'mx.r078-apart.test' }];
    const domains = ['r078-first.test', 'r078-second.test'];
    for (const name of domains)
      await world.domain(name, { mx, sts: { mx: ['*.r078-apart.test'] } });
    for (const name of domains) assertDelivered(await sender.send(`a@${name}`), 'verified');
    const [host] = (await world.domain('r078-third.test', { mx })).mx;
    assert.deepEqual(
      host?.sessions.map(({ tls }) => tls?.resumed),
      [false, false],
    );
  });

  test('R078 a host that was good once proves it again', async () => {
    await using sender = await world.sender();
    const { mx } = await world.domain('r078-once.test', { sts: {} });
    assertDelivered(await sender.send('bob@r078-once.test'), 'verified');
    const certificate = await world.internet.ca.issueKind('wrong-host', 'mx.r078-once.test');
    mx[0]?.change({ certificate });
    assertDeferred(await sender.send('bob@r078-once.test'), 'certificate-host-mismatch');
  });

  test('R078 two domains on one host: the policy of one is not that of the other', async () => {
    await using sender = await world.sender();
    const host = 'mx.r078-shared.test';
    const mx = [{ host, certificate: 'self-signed' as const }];
    await world.domain('r078-plain.test', { mx });
    await world.domain('r078-enforce.test', { mx, sts: {} });
    await world.domain('r078-testing.test', { mx, sts: { mode: 'testing' } });
    for (let round = 0; round < 2; round++) {
      assertDelivered(await sender.send('bob@r078-plain.test'), 'unauthenticated');
      assert.equal(causeOf(await sender.send('bob@r078-enforce.test')), 'certificate-self-signed');
      assertDelivered(await sender.send('bob@r078-testing.test'), 'unauthenticated');
    }
  });
}

/** §6: what is to be reported. */
export function failureReports(world: SenderWorld): void {
  test('R079 a fetch that fails with a valid record is counted by its result type', async () => {
    await using sender = await world.sender();
    const answers = {
      'sts-policy-fetch-error': { status: 404 },
      'sts-policy-invalid': { body: 'version: STSv2\r\n' },
      'sts-webpki-invalid': { certificate: 'self-signed' as const },
    };
    for (const [result, policy] of Object.entries(answers)) {
      const name = `r079-${result}.test`;
      await world.domain(name, { sts: {}, policy });
      await sender.send(`bob@${name}`);
      assert.equal(await sender.metric('mtasts_fetches_total', { result }), 1);
    }
  });

  for (const mode of ['enforce', 'testing'] as const) {
    test(`R079 under ${mode}, each host that fails the policy is counted by its result type`, async () => {
      await using sender = await world.sender();
      const expected: Record<string, number> = {};
      for (const [n, { host, sts, cause }] of FAULTS.entries()) {
        const name = `r079-${mode}-${n}.test`;
        await world.domain(name, { mx: [{ host: `mx.${name}`, ...host }], sts: { ...sts, mode } });
        await sender.send(`bob@${name}`);
        const result = RESULT_TYPES[cause] ?? 'validation-failure';
        expected[result] = (expected[result] ?? 0) + 1;
      }
      for (const [result, count] of Object.entries(expected)) {
        const labels = { policy_type: 'sts', mode, result };
        assert.equal(await sender.metric('tls_sessions_total', labels), count, result);
      }
    });
  }

  test('R079 under none nothing is counted as a failure of the policy', async () => {
    await using sender = await world.sender();
    const mx = [{ host: 'mx.r079-none.test', certificate: 'expired' as const }];
    await world.domain('r079-none.test', { mx, sts: { mode: 'none' } });
    await sender.send('bob@r079-none.test');
    assert.equal(await sender.metric('tls_sessions_total', { policy_type: 'sts' }), 0);
    const labels = { policy_type: 'no-policy-found', result: 'successful' };
    assert.equal(await sender.metric('tls_sessions_total', labels), 1);
  });
}

/** RFC 8460 §4.3.1. */
const RESULT_TYPES: { readonly [C in LocalCause]?: string } = {
  'starttls-not-offered': 'starttls-not-supported',
  'starttls-refused': 'starttls-not-supported',
  'certificate-untrusted': 'certificate-not-trusted',
  'certificate-expired': 'certificate-expired',
  'certificate-host-mismatch': 'certificate-host-mismatch',
};
