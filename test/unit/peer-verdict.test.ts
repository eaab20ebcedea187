/**
 * The verdict on a peer and the gate before the message: decision tables.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  decideSession,
  firstMode,
  refusesSession,
  requireTlsIn,
} from '../../src/delivery/admission.ts';
import { judgePeer, type PeerEvidence } from '../../src/delivery/peer-verdict.ts';
import { handshakeFailure } from '../../src/delivery/tls-failure.ts';
import { localFailure } from '../../src/mail/failure.ts';
import type { PeerVerdict, TlsFacts, TlsMode } from '../../src/mail/session-result.ts';
import type { TlsLevel, TlsRequirement } from '../../src/mail/tls-requirement.ts';

const HOST = 'mx1.example.test';

function evidence(over: Partial<PeerEvidence> = {}): PeerEvidence {
  return {
    chainVerified: true,
    chainError: undefined,
    subjectAltName: `DNS:${HOST}`,
    certificatePresent: true,
    expiresAt: 'Jan  1 00:00:00 2030 GMT',
    issuer: 'Some CA',
    ...over,
  };
}

describe('the verdict on a peer (RFC 8461 §4.2)', () => {
  const good: [string, Partial<PeerEvidence>, string][] = [
    ['exact name', {}, HOST],
    ['one of several names', { subjectAltName: `DNS:a.test, DNS:${HOST}` }, HOST],
    ['wildcard for one label', { subjectAltName: 'DNS:*.example.test' }, '*.example.test'],
    ['another case', { subjectAltName: 'DNS:MX1.Example.TEST' }, HOST],
  ];
  for (const [what, over, matched] of good) {
    test(`accepted: ${what}`, () => {
      const verdict = judgePeer(evidence(over), HOST);
      assert.ok(verdict.verified);
      assert.equal(verdict.matchedName.toLowerCase(), matched);
    });
  }

  const bad: [string, Partial<PeerEvidence>, string][] = [
    ['a resumed session', { resumed: true }, 'certificate-missing'],
    ['no certificate', { certificatePresent: false }, 'certificate-missing'],
    ['no SAN: a CN is no name', { subjectAltName: undefined }, 'certificate-host-mismatch'],
    ['another host', { subjectAltName: 'DNS:mx2.example.test' }, 'certificate-host-mismatch'],
    ['partial wildcard', { subjectAltName: 'DNS:mx*.example.test' }, 'certificate-host-mismatch'],
    ['wildcard a label too high', { subjectAltName: 'DNS:*.test' }, 'certificate-host-mismatch'],
    ['an address', { subjectAltName: 'IP Address:192.0.2.1' }, 'certificate-host-mismatch'],
    ['expired', { chainVerified: false, chainError: 'CERT_HAS_EXPIRED' }, 'certificate-expired'],
    [
      'an issuer that expired',
      { chainVerified: false, chainError: 'CERT_HAS_EXPIRED', leafInDates: true },
      'certificate-expired',
    ],
    [
      'not valid yet',
      { chainVerified: false, chainError: 'CERT_NOT_YET_VALID' },
      'certificate-not-yet-valid',
    ],
    [
      'self-signed',
      { chainVerified: false, chainError: 'DEPTH_ZERO_SELF_SIGNED_CERT' },
      'certificate-self-signed',
    ],
    [
      'unknown root',
      { chainVerified: false, chainError: 'SELF_SIGNED_CERT_IN_CHAIN' },
      'certificate-untrusted',
    ],
    [
      'anything else OpenSSL objects to',
      { chainVerified: false, chainError: 'INVALID_PURPOSE' },
      'certificate-invalid',
    ],
    [
      'not verified and no reason given',
      { chainVerified: false, chainError: undefined },
      'certificate-invalid',
    ],
  ];
  for (const [what, over, cause] of bad) {
    test(`refused: ${what}`, () => {
      const verdict = judgePeer(evidence(over), HOST);
      assert.ok(!verdict.verified);
      assert.equal(verdict.cause, cause);
      assert.notEqual(verdict.detail, '');
    });
  }

  test('refused: an address literal has no name to check', () => {
    assert.equal(judgePeer(evidence(), undefined).verified, false);
  });
});

function requirement(level: TlsLevel, over: Partial<TlsRequirement> = {}): TlsRequirement {
  return { level, minVersion: 'TLSv1.2', source: { kind: 'default' }, ...over };
}

/** The ways TLS is tried at a host where no handshake succeeds. */
function modesFor(asked: TlsRequirement): readonly TlsMode[] {
  const failure = localFailure('tls-handshake-failed', 'reset');
  const modes = [firstMode({ requirement: asked })];
  for (let mode = modes[0]; mode !== undefined; ) {
    const next = decideSession({ requirement: asked, mode }, { kind: 'broken', failure });
    mode = next.kind === 'again' ? next.mode : undefined;
    if (mode) modes.push(mode);
  }
  return modes;
}

const VERIFIED: PeerVerdict = { verified: true, matchedName: HOST };
const EXPIRED: PeerVerdict = { verified: false, cause: 'certificate-expired', detail: 'expired' };

function facts(version: string, verdict: PeerVerdict): TlsFacts {
  return { version, cipher: 'TLS_AES_256_GCM_SHA384', certSha256: 'ab', verdict };
}

describe('the gate before the message', () => {
  const table: [TlsLevel, string, TlsFacts | undefined, string | undefined][] = [
    ['none', 'clear text', undefined, undefined],
    ['opportunistic', 'clear text', undefined, undefined],
    ['opportunistic', 'expired', facts('TLSv1.3', EXPIRED), undefined],
    ['encrypt', 'clear text', undefined, 'starttls-not-offered'],
    ['encrypt', 'expired', facts('TLSv1.2', EXPIRED), undefined],
    ['encrypt', 'TLS 1.1', facts('TLSv1.1', VERIFIED), 'tls-version-too-low'],
    ['encrypt', 'a version nobody knows', facts('unknown', VERIFIED), 'tls-version-too-low'],
    ['verify', 'clear text', undefined, 'starttls-not-offered'],
    ['verify', 'expired', facts('TLSv1.3', EXPIRED), 'certificate-expired'],
    ['verify', 'TLS 1.1', facts('TLSv1.1', VERIFIED), 'tls-version-too-low'],
    ['verify', 'verified', facts('TLSv1.2', VERIFIED), undefined],
    ['verify', 'verified', facts('TLSv1.3', VERIFIED), undefined],
  ];
  for (const [level, session, tls, cause] of table) {
    test(`${level}, ${session}: ${cause ?? 'goes'}`, () => {
      assert.equal(refusesSession(requirement(level), tls)?.cause, cause);
    });
  }

  test('the least version is the one that is required', () => {
    const strict = requirement('verify', { minVersion: 'TLSv1.3' });
    assert.equal(refusesSession(strict, facts('TLSv1.2', VERIFIED))?.cause, 'tls-version-too-low');
  });

  test('no mode without TLS is planned where TLS is required', () => {
    for (const level of ['encrypt', 'verify'] as const) {
      assert.deepEqual(modesFor(requirement(level)), ['full', 'small-hello'], level);
    }
    assert.deepEqual(modesFor(requirement('opportunistic')), ['full', 'small-hello', 'clear']);
    assert.deepEqual(modesFor(requirement('none')), ['clear']);
  });
});

describe('names for handshakes that fail', () => {
  const table: [string, string | undefined, string][] = [
    [
      '4037:error:0A00042E:SSL routines:ssl3_read_bytes:tlsv1 alert protocol version:../ssl/x.c:1605:SSL alert number 70',
      'ESOCKET',
      'tls-version-too-low',
    ],
    ['error:0A000102:SSL routines::unsupported protocol', 'ESOCKET', 'tls-version-too-low'],
    ['error:0A00010B:SSL routines::wrong version number', 'ESOCKET', 'clear-text-after-starttls'],
    ['read ECONNRESET', 'ESOCKET', 'tls-handshake-failed'],
    ['TLS handshake timed out', 'ETIMEDOUT', 'tls-handshake-failed'],
  ];
  for (const [message, code, cause] of table) {
    test(`${message.slice(0, 60)}: ${cause}`, () => {
      const error = Object.assign(new Error(message), code === undefined ? {} : { code });
      assert.equal(handshakeFailure(error).cause, cause);
    });
  }
});

describe('REQUIRETLS in a session (RFC 8689 §2)', () => {
  const VERIFIED = { verified: true, matchedName: HOST } as const;
  const DOUBTED = { verified: false, cause: 'certificate-expired', detail: 'expired' } as const;
  const tls = (verdict: PeerVerdict, version = 'TLSv1.3'): TlsFacts => ({
    version,
    cipher: 'TLS_AES_128_GCM_SHA256',
    certSha256: undefined,
    verdict,
  });
  const base = { minVersion: 'TLSv1.2', source: { kind: 'default' } } as const;
  const MUST: TlsRequirement = { ...base, level: 'verify', requireTls: 'required' };
  const MAY: TlsRequirement = { ...base, level: 'opportunistic', requireTls: 'preferred' };
  const PLAIN: TlsRequirement = { ...base, level: 'verify' };

  const rows: readonly (readonly [TlsRequirement, TlsFacts | undefined, boolean, string])[] = [
    [MUST, tls(VERIFIED), true, 'with'],
    [MUST, tls(VERIFIED), false, 'requiretls-unsupported'],
    [MUST, tls(DOUBTED), true, 'certificate-expired'],
    [MUST, tls(VERIFIED, 'TLSv1.1'), true, 'tls-version-too-low'],
    [MUST, undefined, true, 'starttls-not-offered'],
    [MAY, tls(VERIFIED), true, 'with'],
    [MAY, tls(VERIFIED), false, 'without'],
    [MAY, tls(DOUBTED), true, 'without'],
    [MAY, undefined, true, 'without'],
    [PLAIN, tls(VERIFIED), true, 'without'],
  ];
  for (const [requirement, facts, isOffered, expected] of rows) {
    const how = `${facts?.version ?? 'clear text'}, ${facts?.verdict.verified ? 'verified' : 'not verified'}`;
    const what = `${requirement.requireTls ?? 'not asked for'}; ${how}; ${isOffered ? '' : 'not '}offered`;
    test(`${what}: ${expected}`, () => {
      const answer = requireTlsIn(requirement, { tls: facts, isOffered });
      assert.equal(typeof answer === 'string' ? answer : answer.cause, expected);
    });
  }
});
