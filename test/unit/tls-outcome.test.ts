/** The two words for how TLS went, and what came after a handshake that failed. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { localFailure } from '../../src/mail/failure.ts';
import type { SessionFacts, SessionResult } from '../../src/mail/session-result.ts';
import { fallbacksOf, tlsWordsOf } from '../../src/mail/tls-outcome.ts';
import type { TlsLevel } from '../../src/mail/tls-requirement.ts';

function facts(level: TlsLevel, more: Partial<SessionFacts> = {}): SessionFacts {
  return {
    candidate: { host: undefined, preference: 10, port: 25 },
    address: '192.0.2.1',
    localAddress: undefined,
    requirement: { level, minVersion: 'TLSv1.2', source: { kind: 'default' } },
    tls: undefined,
    ...more,
  };
}

const BASE = { version: 'TLSv1.3', cipher: 'x', certSha256: undefined } as const;
const GOOD = { ...BASE, verdict: { verified: true, matchedName: 'mx.test' } } as const;
const BAD = {
  ...BASE,
  verdict: { verified: false, cause: 'certificate-expired', detail: 'expired' },
} as const;

function delivered(of: SessionFacts): SessionResult {
  return { kind: 'transacted', facts: of, recipients: new Map() };
}
function ended(of: SessionFacts): SessionResult {
  return { kind: 'ended-early', facts: of, failure: localFailure('connection-lost', 'x') };
}

describe('asked and reached', () => {
  const rows: readonly (readonly [string, SessionResult])[] = [
    ['none:clear', delivered(facts('none'))],
    ['opportunistic:clear', delivered(facts('opportunistic'))],
    ['opportunistic:encrypted', delivered(facts('opportunistic', { tls: BAD }))],
    ['opportunistic:verified', delivered(facts('opportunistic', { tls: GOOD }))],
    ['encrypt:encrypted', delivered(facts('encrypt', { tls: BAD }))],
    ['verify:verified', delivered(facts('verify', { tls: GOOD }))],
    ['verify:encrypted', ended(facts('verify', { tls: BAD }))],
    ['verify:-', ended(facts('verify'))],
    ['opportunistic:-', ended(facts('opportunistic'))],
  ];
  for (const [words, result] of rows) {
    test(words, () => assert.equal(tlsWordsOf(result), words));
  }
});

describe('fallbacks', () => {
  const reset = { cause: 'tls-handshake-failed', detail: 'reset' } as const;
  const old = { cause: 'tls-version-too-low', detail: 'TLS 1.1' } as const;
  const missing = { cause: 'starttls-not-offered', detail: 'not offered' } as const;
  const of = (more: Partial<SessionFacts>) => fallbacksOf(facts('opportunistic', more));

  test('none where nothing failed, nor where STARTTLS was not to be had', () => {
    assert.deepEqual(of({ tls: GOOD }), []);
    assert.deepEqual(of({ clearTextBecause: missing }), []);
  });

  test('in the order in which they were made', () => {
    assert.deepEqual(of({ smallHelloBecause: reset, clearTextBecause: old }), [
      { to: 'small-hello', because: reset },
      { to: 'clear', because: old },
    ]);
    assert.deepEqual(of({ smallHelloBecause: reset, clearTextBecause: missing }), [
      { to: 'small-hello', because: reset },
    ]);
  });
});
