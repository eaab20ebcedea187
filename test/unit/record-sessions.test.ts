/** What the record of an attempt keeps of its sessions: what happened there, within bounds. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { type Failure, localFailure } from '../../src/mail/failure.ts';
import type { SessionFacts, SessionResult, TlsFacts } from '../../src/mail/session-result.ts';
import { recordSessions } from '../../src/outcome/record-sessions.ts';
import { parseReply } from '../../src/protocol/smtp/reply.ts';
import { isSpoolRecord } from '../../src/spool/message-state.ts';
import { domain } from './policy-parts.ts';
import { attempt } from './sample-mail.ts';

const HOST = domain('mx.dest.example');
const STS = {
  kind: 'mta-sts',
  domain: domain('dest.example'),
  policyId: 'one',
  policyText: 'x'.repeat(60_000),
  mode: 'enforce',
  listed: true,
} as const;
const VERIFY = { level: 'verify', minVersion: 'TLSv1.2', source: STS } as const;
const EXPIRED = { cause: 'certificate-expired', detail: 'certificate has expired' } as const;
const TLS: TlsFacts = {
  version: 'TLSv1.3',
  cipher: 'TLS_AES_256_GCM_SHA384',
  certSha256: 'ab'.repeat(32),
  certValidToMs: 5000,
  verdict: { verified: true, matchedName: '*.dest.example' },
};
const FACTS: SessionFacts = {
  candidate: { host: HOST, preference: 10, port: 25 },
  address: '192.0.2.1',
  localAddress: '192.0.2.99',
  requirement: VERIFY,
  tls: TLS,
};

function early(failure: Failure, facts: Partial<SessionFacts> = {}): SessionResult {
  return { kind: 'ended-early', facts: { ...FACTS, ...facts }, failure };
}

function replyOf(raw: string) {
  const reply = parseReply(raw);
  assert.ok(reply);
  return reply;
}

function transacted(raw: string, facts: Partial<SessionFacts> = {}): SessionResult {
  const reply = replyOf(raw);
  const one =
    reply.code < 300
      ? ({ kind: 'accepted', reply, dsnOffered: false } as const)
      : ({ kind: 'failed', failure: { kind: 'reply', stage: 'rcpt', reply } } as const);
  return { kind: 'transacted', facts: { ...FACTS, ...facts }, recipients: new Map([[0, one]]) };
}

const ASKED = {
  level: 'verify',
  text: 'The MTA-STS policy of dest.example (mode enforce, id one) asks for TLS with a valid certificate, at a host that it lists.',
};
const sessionsOf = (...results: SessionResult[]) => recordSessions(results).sessions ?? [];

describe('a session is recorded with', () => {
  test('host, address, what was asked and reached, and the reply to the message', () => {
    assert.deepEqual(sessionsOf(transacted('250 2.0.0 queued as 1')), [
      {
        host: HOST,
        address: '192.0.2.1',
        asked: ASKED,
        tls: {
          version: 'TLSv1.3',
          cipher: 'TLS_AES_256_GCM_SHA384',
          certSha256: 'ab'.repeat(32),
          certValidToMs: 5000,
          verifiedAs: '*.dest.example',
        },
        end: { kind: 'transacted', reply: '250 2.0.0 queued as 1' },
      },
    ]);
  });

  test('why the certificate was not accepted', () => {
    const tls = { ...TLS, certSha256: undefined, certValidToMs: Number.NaN };
    const failure = localFailure(EXPIRED.cause, EXPIRED.detail);
    const facts = { tls: { ...tls, verdict: { verified: false, ...EXPIRED } } as const };
    const [session] = sessionsOf(early(failure, facts));
    assert.deepEqual(session?.tls, {
      version: 'TLSv1.3',
      cipher: 'TLS_AES_256_GCM_SHA384',
      doubt: EXPIRED,
    });
    assert.deepEqual(session?.end, { kind: 'local', cause: EXPIRED.cause, text: EXPIRED.detail });
  });

  test('why it was in clear text, and that the connection was open already', () => {
    const clearTextBecause = { cause: 'starttls-not-offered', detail: 'not offered' } as const;
    const requirement = {
      level: 'opportunistic',
      minVersion: 'TLSv1.2',
      source: { kind: 'default' },
    } as const;
    const facts = { requirement, tls: undefined, clearTextBecause, reused: true } as const;
    assert.deepEqual(sessionsOf(transacted('450 4.2.0 later', facts)), [
      {
        host: HOST,
        address: '192.0.2.1',
        asked: {
          level: 'opportunistic',
          text: 'This mail system asks for TLS where it is offered.',
        },
        clearTextBecause,
        reused: true,
        end: { kind: 'transacted' },
      },
    ]);
  });

  test('why it took a small ClientHello', () => {
    const smallHelloBecause = {
      cause: 'tls-handshake-failed',
      detail: `reset${'!'.repeat(5000)}`,
    } as const;
    const [session] = sessionsOf(transacted('450 4.2.0 later', { smallHelloBecause }));
    assert.equal(session?.smallHelloBecause?.cause, 'tls-handshake-failed');
    assert.equal(session?.smallHelloBecause?.detail.length, 1000);
  });

  test('the stage of a reply that ended it, and a port that is not 25', () => {
    const failure: Failure = { kind: 'reply', stage: 'ehlo', reply: replyOf('421 4.3.2 closing') };
    const candidate = { host: undefined, preference: 0, port: 587 };
    const [session] = sessionsOf(early(failure, { candidate, tls: undefined }));
    const { host, port, end } = session ?? {};
    assert.deepEqual(
      [host, port, end],
      [undefined, 587, { kind: 'reply', stage: 'ehlo', text: '421 4.3.2 closing' }],
    );
  });

  test('no address where it was not connected to', () => {
    const failure = localFailure('mx-outside-policy', 'not listed');
    const [session] = sessionsOf(early(failure, { address: undefined, tls: undefined }));
    assert.deepEqual(Object.keys(session ?? {}), ['host', 'asked', 'end']);
  });
});

describe('several sessions', () => {
  test('what is asked stands with the first of those of whom the same is asked', () => {
    const other = { ...VERIFY, level: 'encrypt', source: { kind: 'default' } } as const;
    const failure = localFailure('timeout', 'x');
    const sessions = sessionsOf(
      early(failure),
      early(failure, { address: '192.0.2.2' }),
      early(failure, { requirement: other }),
      early(failure),
    );
    assert.deepEqual(
      sessions.map(({ asked }) => asked?.level),
      ['verify', undefined, 'encrypt', 'verify'],
    );
  });

  test('further transactions over one session repeat nothing of it', () => {
    const first = transacted('250 2.0.0 one');
    const next = transacted('250 2.0.0 two', { reused: true });
    const [, second] = sessionsOf(first, next);
    const short = {
      host: HOST,
      address: '192.0.2.1',
      continued: true,
      end: { kind: 'transacted', reply: '250 2.0.0 two' },
    };
    assert.deepEqual(second, short);
    assert.deepEqual(recordSessions([next], first).sessions, [short]);
    // Opened by another message.
    assert.equal(recordSessions([next]).sessions?.[0]?.continued, undefined);
    const elsewhere = transacted('250 2.0.0 two', { reused: true, address: '192.0.2.2' });
    assert.equal(recordSessions([elsewhere], first).sessions?.[0]?.continued, undefined);
  });

  test('of many the first ones and the last are kept, the others counted', () => {
    const failure = localFailure('connect-refused', 'x');
    const many = Array.from({ length: 30 }, (_, n) => early(failure, { address: `192.0.2.${n}` }));
    const { sessions, sessionsLeftOut } = recordSessions(many);
    assert.deepEqual(
      sessions?.map(({ address }) => address),
      [0, 1, 2, 3, 4, 5, 6, 29].map((n) => `192.0.2.${n}`),
    );
    assert.equal(sessionsLeftOut, 22);
    const again = Array.from({ length: 50 }, () => transacted('250 ok', { reused: true }));
    const kept = recordSessions([...many.slice(0, 7), transacted('250 ok'), ...again]);
    assert.deepEqual([kept.sessions?.length, kept.sessionsLeftOut], [8, 50]);
  });

  test('none leave no trace', () => {
    assert.deepEqual(recordSessions([]), {});
  });

  test('long texts are cut, less where they are few', () => {
    const text = 'y'.repeat(70_000);
    const facts = {
      tls: { ...TLS, verdict: { verified: false, cause: EXPIRED.cause, detail: text } },
    };
    const one = early(localFailure('certificate-expired', text), facts as Partial<SessionFacts>);
    const lengths = sessionsOf(one).map(({ end, tls }) => [
      end.kind === 'local' && end.text.length,
      tls?.doubt?.detail.length,
    ]);
    assert.deepEqual(lengths, [[1000, 1000]]);
    const many = JSON.stringify(recordSessions(Array.from({ length: 100 }, () => one)));
    assert.ok(many.length < 8 * 1024, `${many.length}`);
  });

  test('whatever hosts say, a record stays small, on one line, and a record', () => {
    const text = fc.oneof(
      fc.string({ unit: 'binary', maxLength: 1200 }),
      fc.constant('€'.repeat(3000)),
    );
    const label = 'x'.repeat(60);
    const long = domain(`${label}.${label}.${label}.example`);
    const result = fc
      .record({ text, more: text, isEarly: fc.boolean() })
      .map((one): SessionResult => {
        const verdict = { verified: false, cause: EXPIRED.cause, detail: one.more } as const;
        const facts = {
          candidate: { host: long, preference: 1, port: 2525 },
          tls: { ...TLS, verdict },
          requirement: { ...VERIFY, source: { ...STS, domain: long } },
        };
        if (one.isEarly) return early(localFailure('certificate-expired', one.text), facts);
        return transacted(`250 ${one.text.replaceAll(/[\r\n]/g, '')}`, facts);
      });
    fc.assert(
      fc.property(fc.array(result, { minLength: 1, maxLength: 12 }), (results) => {
        const record = attempt(recordSessions(results));
        const json = JSON.stringify(record);
        // Characters of up to three octets, or six where JSON writes them as \uXXXX.
        assert.ok(Buffer.byteLength(json) < 24_000, `${Buffer.byteLength(json)}`);
        assert.ok(isSpoolRecord(JSON.parse(json)));
        assert.deepEqual(JSON.parse(json), record);
        for (const { end, tls } of record.sessions ?? []) {
          const texts = [end.kind === 'transacted' ? end.reply : end.text, tls?.doubt?.detail];
          for (const one of texts) assert.doesNotMatch(one ?? '', /\p{Cc}/u);
        }
      }),
      { numRuns: 30 },
    );
  });
});
