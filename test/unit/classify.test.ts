/** What failures mean: the whole decision table, so that a change of mind shows in a diff. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import type { LocalCause, SmtpStage } from '../../src/mail/failure.ts';
import { localFailure } from '../../src/mail/failure.ts';
import { CAUSE_CLASSES } from '../../src/mail/outcome.ts';
import { classify } from '../../src/outcome/classify.ts';
import { parseReply } from '../../src/protocol/smtp/reply.ts';

/** Verdict, another host?, status, cause class. */
type Row = readonly ['bounce' | 'defer', 'next' | 'stop', string, string];

const LOCAL: { readonly [Cause in LocalCause]: Row } = {
  'starttls-not-offered': ['defer', 'next', '4.7.4', 'tlsPolicy'],
  'starttls-refused': ['defer', 'next', '4.7.4', 'tlsPolicy'],
  'tls-handshake-failed': ['defer', 'next', '4.7.5', 'tlsPolicy'],
  'tls-version-too-low': ['defer', 'next', '4.7.5', 'tlsPolicy'],
  'clear-text-after-starttls': ['defer', 'next', '4.7.5', 'tlsPolicy'],
  'certificate-expired': ['defer', 'next', '4.7.5', 'tlsPolicy'],
  'certificate-not-yet-valid': ['defer', 'next', '4.7.5', 'tlsPolicy'],
  'certificate-self-signed': ['defer', 'next', '4.7.5', 'tlsPolicy'],
  'certificate-untrusted': ['defer', 'next', '4.7.5', 'tlsPolicy'],
  'certificate-host-mismatch': ['defer', 'next', '4.7.5', 'tlsPolicy'],
  'certificate-missing': ['defer', 'next', '4.7.5', 'tlsPolicy'],
  'certificate-invalid': ['defer', 'next', '4.7.5', 'tlsPolicy'],
  'tlsa-mismatch': ['defer', 'next', '4.7.5', 'tlsPolicy'],
  'dnssec-failed': ['defer', 'next', '4.7.5', 'tlsPolicy'],
  'dane-required': ['defer', 'next', '4.7.5', 'tlsPolicy'],
  'mx-outside-policy': ['defer', 'next', '4.7.5', 'tlsPolicy'],
  'domain-not-found': ['bounce', 'stop', '5.1.2', 'other'],
  'null-mx': ['bounce', 'stop', '5.1.10', 'other'],
  'dns-failed': ['defer', 'next', '4.4.3', 'dns'],
  'no-usable-mx': ['bounce', 'next', '5.4.4', 'other'],
  'mail-loops-back': ['bounce', 'stop', '5.4.6', 'other'],
  'address-refused': ['defer', 'next', '4.4.4', 'connection'],
  'malformed-address': ['bounce', 'stop', '5.1.3', 'other'],
  'policy-unknown': ['defer', 'next', '4.4.3', 'dns'],
  'refused-before-tls': ['defer', 'next', '4.7.0', 'tlsPolicy'],
  'connect-refused': ['defer', 'next', '4.4.1', 'connection'],
  'connect-unreachable': ['defer', 'next', '4.4.1', 'connection'],
  'destination-closed': ['defer', 'next', '4.4.1', 'connection'],
  timeout: ['defer', 'next', '4.4.2', 'connection'],
  'connection-lost': ['defer', 'next', '4.4.2', 'connection'],
  'connection-lost-after-data': ['defer', 'stop', '4.4.2', 'connection'],
  'protocol-error': ['defer', 'next', '4.5.0', 'other'],
  'auth-not-possible': ['defer', 'next', '4.7.0', 'other'],
  'auth-paused': ['defer', 'stop', '4.7.0', 'other'],
  'smtputf8-not-offered': ['bounce', 'next', '5.6.7', 'other'],
  'smtputf8-header-not-offered': ['bounce', 'next', '5.6.9', 'other'],
  'eightbitmime-not-offered': ['bounce', 'next', '5.6.3', 'other'],
  'message-too-large': ['bounce', 'next', '5.3.4', 'other'],
  'requiretls-unsupported': ['bounce', 'next', '5.7.30', 'tlsPolicy'],
  'requiretls-mx-insecure': ['bounce', 'next', '5.7.30', 'tlsPolicy'],
  'relay-stopping': ['defer', 'stop', '4.3.0', 'other'],
  'spool-unreadable': ['defer', 'stop', '4.3.0', 'other'],
  'queue-lifetime-over': ['bounce', 'stop', '5.4.7', 'other'],
  'bounced-by-administrator': ['bounce', 'stop', '5.0.0', 'other'],
  'dropped-by-administrator': ['bounce', 'stop', '5.0.0', 'other'],
};

const REPLIES: readonly (readonly [SmtpStage, string, Row])[] = [
  // Before MAIL it is about the host.
  ['greeting', '554 5.3.2 no service here', ['bounce', 'next', '5.3.2', 'other']],
  ['greeting', '554 go away', ['bounce', 'next', '5.3.2', 'other']],
  ['greeting', '421 4.3.2 shutting down', ['defer', 'next', '4.3.2', 'other']],
  ['greeting', '554 5.7.1 listed at RBL', ['bounce', 'next', '5.7.1', 'reputation']],
  ['ehlo', '501 bad name', ['bounce', 'next', '5.5.0', 'other']],
  ['starttls', '454 4.7.0 TLS not available', ['defer', 'next', '4.7.0', 'reputation']],
  ['auth', '535 5.7.8 wrong password', ['defer', 'stop', '4.7.8', 'other']],
  // MAIL: a 4xx is too often about the host.
  ['mail', '451 4.3.0 later', ['defer', 'next', '4.3.0', 'other']],
  ['mail', '553 5.1.8 no such sender', ['bounce', 'stop', '5.1.8', 'other']],
  ['mail', '552 too large', ['bounce', 'stop', '5.0.0', 'other']],
  ['mail', '450 4.7.1 rate limited', ['defer', 'next', '4.7.1', 'rateLimited']],
  // RCPT: about the recipient.
  ['rcpt', '550 5.1.1 no such user', ['bounce', 'stop', '5.1.1', 'other']],
  ['rcpt', '550 no such user', ['bounce', 'stop', '5.0.0', 'other']],
  ['rcpt', '450 4.2.0 greylisted, see http://x', ['defer', 'stop', '4.2.0', 'greylisted']],
  ['rcpt', '451 4.7.1 Greylisting in action', ['defer', 'stop', '4.7.1', 'greylisted']],
  ['rcpt', '451 please try again in 300 seconds', ['defer', 'stop', '4.0.0', 'greylisted']],
  ['rcpt', '452 4.2.2 over quota', ['defer', 'stop', '4.2.2', 'mailboxFull']],
  ['rcpt', '552 5.2.2 mailbox full', ['bounce', 'stop', '5.2.2', 'mailboxFull']],
  ['rcpt', '452 4.5.3 too many recipients', ['defer', 'stop', '4.5.3', 'rateLimited']],
  ['rcpt', '552 5.5.3 too many recipients', ['defer', 'stop', '4.5.3', 'rateLimited']],
  ['rcpt', '552 too many recipients', ['defer', 'stop', '4.0.0', 'rateLimited']],
  ['rcpt', '552 Recipients limit reached', ['defer', 'stop', '4.0.0', 'other']],
  ['rcpt', '552 mailbox is full', ['bounce', 'stop', '5.0.0', 'mailboxFull']],
  [
    'rcpt',
    '552 Too many: storage allocated for 10 recipients',
    ['defer', 'stop', '4.0.0', 'rateLimited'],
  ],
  ['rcpt', '552 exceeded storage allocation', ['bounce', 'stop', '5.0.0', 'other']],
  ['rcpt', '552 later', ['defer', 'stop', '4.0.0', 'other']],
  ['rcpt', '421 4.7.28 unusual rate', ['defer', 'next', '4.7.28', 'rateLimited']],
  ['rcpt', '451 4.4.5 congested', ['defer', 'stop', '4.4.5', 'rateLimited']],
  ['rcpt', '554 5.7.1 poor reputation', ['bounce', 'stop', '5.7.1', 'reputation']],
  ['rcpt', '450 corporate accounts separate', ['defer', 'stop', '4.0.0', 'other']],
  // The reply code counts where its enhanced status disagrees, and zeros in front do not.
  ['rcpt', '550 4.1.1 odd', ['bounce', 'stop', '5.0.0', 'other']],
  ['rcpt', '450 5.1.1 odd', ['defer', 'stop', '4.0.0', 'other']],
  ['rcpt', '550 5.01.001 odd', ['bounce', 'stop', '5.1.1', 'other']],
  // DATA and behind.
  ['data', '451 4.3.0 busy', ['defer', 'stop', '4.3.0', 'other']],
  ['data', '354 go ahead', ['defer', 'stop', '4.0.0', 'other']],
  ['end-of-data', '554 5.6.0 content rejected', ['bounce', 'stop', '5.6.0', 'other']],
  ['end-of-data', '554 5.7.1 spam', ['bounce', 'stop', '5.7.1', 'reputation']],
  ['end-of-data', '452 4.3.1 disk full', ['defer', 'stop', '4.3.1', 'other']],
  ['end-of-data', '554 rejected', ['bounce', 'stop', '5.0.0', 'other']],
];

function row(failure: Parameters<typeof classify>[0]): Row {
  const { permanent, tryNextHost, status, causeClass } = classify(failure);
  return [permanent ? 'bounce' : 'defer', tryNextHost ? 'next' : 'stop', status, causeClass];
}

function reply(raw: string) {
  const parsed = parseReply(raw);
  assert.ok(parsed, raw);
  return parsed;
}

describe('causes of our own', () => {
  for (const [cause, expected] of Object.entries(LOCAL)) {
    test(`${cause}: ${expected.join(' ')}`, () => {
      assert.deepEqual(row(localFailure(cause as LocalCause, 'x')), expected);
    });
  }

  test('what the text of a failure says changes nothing', () => {
    const failure = localFailure('connect-refused', '550 5.1.1 greylisted mailbox full');
    assert.deepEqual(row(failure), LOCAL['connect-refused']);
  });

  test('failing TLS is never permanent (RFC 8461 §5)', () => {
    const source = readFileSync(new URL('../../src/mail/failure.ts', import.meta.url), 'utf8');
    const [, union = ''] = /type TlsFailureCause =([^;]*);/.exec(source) ?? [];
    const causes = [...union.matchAll(/'([a-z-]+)'/g)].map(([, cause]) => cause as LocalCause);
    assert.ok(causes.length >= 12);
    for (const cause of causes) assert.equal(LOCAL[cause][3], 'tlsPolicy', cause);
    for (const cause of causes) assert.equal(LOCAL[cause][0], 'defer', cause);
  });
});

describe('replies', () => {
  for (const [stage, raw, expected] of REPLIES) {
    test(`${stage} ${raw}: ${expected.join(' ')}`, () => {
      assert.deepEqual(row({ kind: 'reply', stage, reply: reply(raw) }), expected);
    });
  }

  test('any reply has a status of its own class and a known cause', () => {
    const stages = ['greeting', 'ehlo', 'starttls', 'auth', 'mail', 'rcpt', 'data'] as const;
    const raw = fc.tuple(
      fc.integer({ min: 200, max: 599 }),
      fc.oneof(fc.string(), fc.constantFrom('5.7.1 x', '4.2.2 full', '2.0.0', '5.999.001 z')),
    );
    fc.assert(
      fc.property(fc.constantFrom(...stages), raw, (stage, [code, text]) => {
        const parsed = parseReply(`${code} ${text.replace(/[\r\n]/g, ' ')}`);
        assert.ok(parsed);
        const { permanent, status, causeClass } = classify({ kind: 'reply', stage, reply: parsed });
        assert.match(status, /^[245]\.(0|[1-9]\d{0,2})\.(0|[1-9]\d{0,2})$/);
        assert.ok(!permanent || status.startsWith('5'));
        assert.ok(CAUSE_CLASSES.includes(causeClass));
      }),
    );
  });
});
