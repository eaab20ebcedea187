import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { type Failure, localFailure } from '../../src/mail/failure.ts';
import type { SessionFacts, SessionResult } from '../../src/mail/session-result.ts';
import { type SessionResultType, sessionResultType } from '../../src/mail/session-result-type.ts';
import type { RequirementSource, TlsLevel } from '../../src/mail/tls-requirement.ts';
import { parseReply } from '../../src/protocol/smtp/reply.ts';
import { domain } from './policy-parts.ts';

const DEFAULT: RequirementSource = { kind: 'default' };
const TESTING = sts({ mode: 'testing', listed: true });

function sts(part: { mode: 'enforce' | 'testing'; listed: boolean }): RequirementSource {
  return { kind: 'mta-sts', domain: domain('w.example'), policyId: '1', policyText: 'x', ...part };
}

const VERIFIED = { verified: true, matchedName: 'mx.w.example' } as const;
const EXPIRED = { verified: false, cause: 'certificate-expired', detail: 'old' } as const;
const IN_CLEAR = { clearTextBecause: { cause: 'starttls-not-offered', detail: 'none' } } as const;

function overTls(verdict: typeof VERIFIED | typeof EXPIRED): Partial<SessionFacts> {
  return { tls: { version: 'TLSv1.3', cipher: 'x', certSha256: undefined, verdict } };
}

interface Session extends Partial<SessionFacts> {
  readonly source?: RequirementSource;
  readonly level?: TlsLevel;
}

function factsOf({ source = DEFAULT, level = 'opportunistic', ...facts }: Session): SessionFacts {
  return {
    candidate: { host: domain('mx.w.example'), preference: 10, port: 25 },
    address: '192.0.2.1',
    localAddress: undefined,
    requirement: { level, minVersion: 'TLSv1.2', source },
    tls: undefined,
    ...facts,
  };
}

function transacted(session: Session): SessionResult {
  return { kind: 'transacted', facts: factsOf(session), recipients: new Map() };
}

function ended(failure: Failure, session: Session = {}): SessionResult {
  return { kind: 'ended-early', facts: factsOf(session), failure };
}

const reply = parseReply('554 5.7.1 go away');
assert.ok(reply);

const TABLE: readonly (readonly [string, SessionResult, SessionResultType | undefined])[] = [
  ['valid TLS', transacted(overTls(VERIFIED)), 'successful'],
  ['any TLS where nobody asks for a certificate', transacted(overTls(EXPIRED)), 'successful'],
  ['testing, valid TLS', transacted({ source: TESTING, ...overTls(VERIFIED) }), 'successful'],
  [
    'testing, bad certificate',
    transacted({ source: TESTING, ...overTls(EXPIRED) }),
    'certificate-expired',
  ],
  [
    'testing, host outside the policy',
    transacted({ source: sts({ mode: 'testing', listed: false }), ...overTls(VERIFIED) }),
    'validation-failure',
  ],
  ['delivered in clear', transacted(IN_CLEAR), 'starttls-not-supported'],
  [
    'testing, delivered in clear',
    transacted({ source: TESTING, ...IN_CLEAR }),
    'starttls-not-supported',
  ],
  ['clear text on purpose', transacted({ level: 'none' }), 'clear-text'],
  [
    'enforce, candidate skipped',
    ended(localFailure('mx-outside-policy', ''), {
      source: sts({ mode: 'enforce', listed: false }),
    }),
    'validation-failure',
  ],
  ['handshake failed', ended(localFailure('tls-handshake-failed', '')), 'validation-failure'],
  [
    'enforce, certificate refused',
    ended(localFailure('certificate-expired', ''), overTls(EXPIRED)),
    'certificate-expired',
  ],
  ['nobody there', ended(localFailure('connect-refused', '')), undefined],
  [
    'nobody there, at a host outside a testing policy',
    ended(localFailure('timeout', ''), { source: sts({ mode: 'testing', listed: false }) }),
    undefined,
  ],
  ['refused before TLS', ended({ kind: 'reply', stage: 'greeting', reply }), undefined],
  [
    'refused after TLS',
    ended({ kind: 'reply', stage: 'mail', reply }, { source: TESTING, ...overTls(VERIFIED) }),
    'successful',
  ],
  [
    'lost on a session in clear on purpose',
    ended(localFailure('timeout', ''), { level: 'none' }),
    undefined,
  ],
];

describe('sessionResultType', () => {
  for (const [name, result, expected] of TABLE) {
    test(name, () => assert.equal(sessionResultType(result), expected));
  }
});
