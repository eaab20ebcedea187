/** From sessions to outcomes: the most telling failure is named, and nobody is forgotten. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { type Failure, type LocalCause, localFailure } from '../../src/mail/failure.ts';
import type { RecipientReply, SessionFacts, SessionResult } from '../../src/mail/session-result.ts';
import { classify } from '../../src/outcome/classify.ts';
import { conclude, concludeWithoutSession } from '../../src/outcome/conclude.ts';
import { type DomainName, parseDomain } from '../../src/protocol/domain.ts';
import { parseReply } from '../../src/protocol/smtp/reply.ts';

function facts(host = 'mx.dest.example', address: string | undefined = '192.0.2.1'): SessionFacts {
  return {
    candidate: { host: parseDomain(host) as DomainName, preference: 10, port: 25 },
    address,
    localAddress: undefined,
    requirement: { level: 'opportunistic', minVersion: 'TLSv1.2', source: { kind: 'default' } },
    tls: undefined,
  };
}

function reply(stage: 'greeting' | 'mail' | 'rcpt' | 'end-of-data', raw: string): Failure {
  const parsed = parseReply(raw);
  assert.ok(parsed);
  return { kind: 'reply', stage, reply: parsed };
}

function early(failure: Failure, host?: string): SessionResult {
  return { kind: 'ended-early', facts: facts(host), failure };
}

const local = (cause: LocalCause, host?: string) =>
  early(localFailure(cause, `because ${cause}`), host);

function transacted(replies: Record<number, RecipientReply>, host?: string): SessionResult {
  const recipients = new Map(Object.entries(replies).map(([index, one]) => [Number(index), one]));
  return { kind: 'transacted', facts: facts(host), recipients };
}

const OK = parseReply('250 2.0.0 ok');
assert.ok(OK);
const ACCEPTED: RecipientReply = { kind: 'accepted', reply: OK, dsnOffered: false };
const refused = (failure: Failure): RecipientReply => ({ kind: 'failed', failure });

/** Outcome of recipient 0, when all sessions ended early. */
function overall(...results: SessionResult[]) {
  const outcome = conclude(results, [0]).get(0);
  assert.ok(outcome && outcome.kind !== 'delivered');
  return { kind: outcome.kind, ...outcome.diagnosis };
}

function causeOf(failure: Failure): string {
  return failure.kind === 'local' ? failure.cause : `reply ${failure.reply.code}`;
}

describe('a transaction', () => {
  test('gives every recipient its own outcome', () => {
    const results = [
      local('connect-refused', 'a.example'),
      transacted({
        3: ACCEPTED,
        5: refused(reply('rcpt', '550 5.1.1 no such user')),
        7: refused(reply('rcpt', '450 4.2.0 greylisted')),
        9: refused(localFailure('connection-lost-after-data', 'x')),
      }),
    ];
    const outcomes = conclude(results, [3, 5, 7, 9]);
    assert.deepEqual(
      [...outcomes].map(([index, { kind }]) => [index, kind]),
      [
        [3, 'delivered'],
        [5, 'bounced'],
        [7, 'deferred'],
        [9, 'deferred'],
      ],
    );
    const bounced = outcomes.get(5);
    assert.ok(bounced?.kind === 'bounced');
    const { failure, host, address, status, causeClass } = bounced.diagnosis;
    assert.deepEqual(failure, reply('rcpt', '550 5.1.1 no such user'));
    assert.deepEqual([host, address], ['mx.dest.example', '192.0.2.1']);
    assert.deepEqual([status, causeClass], ['5.1.1', 'other']);
  });

  test('a recipient it says nothing about is deferred, never lost or delivered', () => {
    const outcomes = conclude([transacted({ 0: ACCEPTED })], [0, 1]);
    assert.equal(outcomes.get(0)?.kind, 'delivered');
    assert.equal(outcomes.get(1)?.kind, 'deferred');
  });

  test('counts however many hosts failed before it', () => {
    const outcomes = conclude([local('mx-outside-policy'), transacted({ 0: ACCEPTED })], [0]);
    assert.equal(outcomes.get(0)?.kind, 'delivered');
  });
});

describe('sessions that all ended early', () => {
  test('no session at all: the time was over', () => {
    const { kind, failure, host } = overall();
    assert.deepEqual([kind, causeOf(failure), host], ['deferred', 'timeout', undefined]);
  });

  test('all hosts outside the policy: that is the named cause, with a host', () => {
    const { kind, failure, host, status } = overall(
      local('mx-outside-policy', 'a.example'),
      local('mx-outside-policy', 'b.example'),
    );
    assert.deepEqual([kind, host, status], ['deferred', 'a.example', '4.7.5']);
    assert.equal(causeOf(failure), 'mx-outside-policy');
    assert.ok(failure.kind === 'local');
    assert.equal(
      failure.detail,
      'because mx-outside-policy; also tried: b.example: mx-outside-policy',
    );
  });

  test('a policy that was not met is named before a host that was away', () => {
    const [first, second] = [
      local('certificate-expired', 'a.example'),
      local('timeout', 'b.example'),
    ];
    for (const order of [
      [first, second],
      [second, first],
    ]) {
      assert.equal(causeOf(overall(...order).failure), 'certificate-expired');
    }
  });

  test('permanent only when every host failed for good', () => {
    const gone = early(reply('greeting', '554 5.3.2 no mail here'), 'a.example');
    const narrow = local('smtputf8-not-offered', 'b.example');
    assert.equal(overall(gone, narrow).kind, 'bounced');
    assert.equal(overall(gone, narrow, local('timeout', 'c.example')).kind, 'deferred');
    assert.equal(causeOf(overall(gone, local('timeout'), narrow).failure), 'timeout');
    assert.equal(overall(gone).kind, 'bounced');
    assert.equal(causeOf(overall(narrow, gone).failure), 'reply 554');
  });

  test('a MAIL refused for good decides, though a host before was away', () => {
    const outcome = overall(
      local('connect-refused', 'a.example'),
      early(reply('mail', '550 5.7.1 not from you'), 'b.example'),
    );
    assert.deepEqual(
      [outcome.kind, outcome.status, outcome.host],
      ['bounced', '5.7.1', 'b.example'],
    );
    const busy = overall(
      local('connect-refused', 'a.example'),
      early(reply('mail', '451 4.3.0 later'), 'b.example'),
    );
    assert.equal(busy.kind, 'deferred');
  });

  test('a reply is quoted as it was, without remarks of ours', () => {
    const said = reply('greeting', '421 4.3.2 closing');
    assert.deepEqual(overall(local('timeout', 'a.example'), early(said)).failure, said);
  });

  test('what else was tried is bounded', () => {
    const many = Array.from({ length: 50 }, (_, n) =>
      early(reply('greeting', `554 ${'x'.repeat(900)}`), `h${n}.example`),
    );
    const { failure } = overall(local('certificate-expired'), ...many);
    assert.ok(failure.kind === 'local' && failure.detail.length < 1200);
  });

  test('REQUIRETLS that no host of the domain has: for good, whoever else is in DNS', () => {
    const plain = local('requiretls-unsupported', 'a.example');
    const stray = local('mx-outside-policy', 'b.example');
    for (const order of [[plain], [plain, plain], [plain, stray], [stray, plain]]) {
      const { kind, status, host, causeClass } = overall(...order);
      assert.deepEqual([kind, status, host], ['bounced', '5.7.30', 'a.example']);
      assert.equal(causeClass, 'tlsPolicy');
    }
    // What may be there the next time is waited for.
    for (const cause of ['certificate-expired', 'connect-refused', 'dns-failed'] as const) {
      assert.equal(overall(plain, local(cause)).kind, 'deferred');
      assert.equal(overall(local(cause), plain, stray).kind, 'deferred');
    }
    assert.equal(overall(stray).kind, 'deferred');
  });

  test('any mixture is permanent exactly when all of it is', () => {
    const causes: LocalCause[] = [
      'timeout',
      'smtputf8-not-offered',
      'mx-outside-policy',
      'null-mx',
    ];
    const results = fc.array(fc.constantFrom(...causes), { minLength: 1, maxLength: 6 });
    fc.assert(
      fc.property(results, (mixture) => {
        const { kind } = overall(...mixture.map((cause) => local(cause)));
        const allPermanent = mixture.every((cause) => classify(localFailure(cause, '')).permanent);
        assert.equal(kind, allPermanent ? 'bounced' : 'deferred');
      }),
    );
  });
});

test('a failure before any host was chosen is everybody’s', () => {
  const outcomes = concludeWithoutSession(localFailure('null-mx', 'accepts no mail'), [2, 4]);
  assert.deepEqual([...outcomes.keys()], [2, 4]);
  for (const outcome of outcomes.values()) {
    assert.ok(outcome.kind === 'bounced');
    assert.deepEqual([outcome.diagnosis.host, outcome.diagnosis.address], [undefined, undefined]);
    assert.equal(outcome.diagnosis.status, '5.1.10');
  }
});
