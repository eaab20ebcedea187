/** The story of a message as an administrator reads it, whole: what is printed is what is here. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { formatStory, type StoryView } from '../../src/cli/queue-story.ts';
import { storyOf } from '../../src/outcome/story.ts';
import type { StoredMessage } from '../../src/spool/store.ts';
import { attempt, destinationOf, RECEIVED_AT } from './sample-mail.ts';
import {
  BREACHES,
  CLEAR,
  DSN_ID,
  failedFor,
  GOOD,
  GREY,
  HELD,
  HOUR,
  MINUTE,
  messageWith,
  NO_DNS,
  RETRY,
  said,
  to,
} from './story-samples.ts';

function text(message: StoredMessage, view: Partial<StoryView> = {}): string {
  const story = storyOf(message, { retry: RETRY, destinationOf });
  return formatStory(story, { nowMs: RECEIVED_AT + 10 * MINUTE, ...view });
}

/** Below the head. */
function body(message: StoredMessage, view: Partial<StoryView> = {}): string {
  return text(message, view).split('\n\n').slice(1).join('\n\n');
}

describe('the text about a message tells', () => {
  test('of one that was not tried yet', () => {
    assert.equal(
      text(messageWith(), { nowMs: RECEIVED_AT + 5000 }),
      `message     01ARZ3NDEKTSV4RR
received    2026-01-15T12:00:00Z, 5 s ago
client      192.0.2.7 (HELO app.sender.example), user shop, over TLS
sender      ann@sender.example
size        4321 octets
recipients  1: waits
reports     failed: when it is given up, with the last reason

dest.example, 1 recipient: waits; not tried yet, the first attempt has been due since 2026-01-15T12:00:00Z (5 s ago), given up after 2026-01-20T12:00:00Z (in 4 d 23 h).
  waits       bob@dest.example`,
    );
  });

  test('of one that says itself what TLS it wants', () => {
    const lineOf = (envelope: Parameters<typeof messageWith>[0], label: string) =>
      text(messageWith(envelope))
        .split('\n')
        .find((line) => line.startsWith(label));
    assert.equal(lineOf({ requireTls: true }, 'parameters'), 'parameters  REQUIRETLS');
    assert.match(
      lineOf({ requireTls: true }, 'TLS ') ?? '',
      /only to hosts that are known securely/,
    );
    assert.match(
      lineOf({ requireTls: true, reversePath: '' }, 'TLS ') ?? '',
      /where the way allows/,
    );
    assert.match(lineOf({ tlsRequiredNo: true }, 'TLS ') ?? '', /TLS-Required: No/);
    assert.equal(lineOf({}, 'TLS '), undefined);
  });

  test('what its sender will be told, and when', () => {
    const message = messageWith({}, failedFor([0], GREY));
    const lines = (nowMs: number) => {
      const story = storyOf(message, {
        retry: { ...RETRY, delayWarning: 4 * HOUR },
        destinationOf,
      });
      const head = formatStory(story, { nowMs }).split('\n\n')[0] ?? '';
      return head.slice(head.indexOf('reports')).split('\n');
    };
    assert.deepEqual(lines(RECEIVED_AT + HOUR), [
      'reports     delayed: at 2026-01-15T16:00:00Z (in 3 h), if it still waits',
      '            failed: when it is given up, with the last reason',
    ]);
    assert.match(
      lines(RECEIVED_AT + 5 * HOUR)[0] ?? '',
      /delayed: has been due since .* \(1 h ago\)/,
    );
  });

  test('the name that its sender knows it by', () => {
    const [, line] = text(messageWith({ messageId: '<1@shop.example>' })).split('\n');
    assert.equal(line, 'Message-ID  <1@shop.example>');
  });

  test('of one that is greylisted', () => {
    assert.equal(
      body(messageWith({}, failedFor([0], GREY, { sessions: [GOOD] }))),
      `dest.example, 1 recipient: waits; tried once, the next attempt is due at 2026-01-15T12:15:01Z (in 5 min 1 s), given up after 2026-01-20T12:00:00Z (in 4 d 23 h).
  waits       bob@dest.example
              mx1.dest.example[192.0.2.1] said to RCPT: 450 4.7.1 Greylisted, come back in 5 minutes
  attempt 1 at 2026-01-15T12:00:01Z (9 min 59 s ago)
    mx1.dest.example[192.0.2.1]
      asked   The MTA-STS policy of dest.example (mode enforce, id 20260101) asks for TLS with a valid certificate, at a host that it lists.
      TLS     TLSv1.3 TLS_AES_256_GCM_SHA384 (verify:verified)
      cert    valid for mx1.dest.example, ends 2026-04-01
              SHA-256 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
    deferred: bob@dest.example: mx1.dest.example[192.0.2.1] said to RCPT: 450 4.7.1 Greylisted, come back in 5 minutes`,
    );
  });

  test('of one that waits nobody knows for how long: when it is given up', () => {
    const { destinations, ...story } = storyOf(messageWith(), { retry: RETRY, destinationOf });
    const [only] = destinations;
    assert.ok(only);
    const { nextAttempt: _next, ...parked } = only;
    const told = formatStory({ ...story, destinations: [parked] }, { nowMs: RECEIVED_AT });
    assert.match(
      told,
      /^dest\.example, 1 recipient: waits; not tried yet, given up after 2026-01-20T12:00:00Z \(in 5 d\)\.$/m,
    );
  });

  test('of one that a policy holds back at both hosts, and a pause', () => {
    const held = messageWith({}, failedFor([0], HELD, { sessions: BREACHES }));
    assert.equal(
      body(held, { waitsFor: () => ['a pause, until it is resumed: they move'] }),
      `dest.example, 1 recipient: waits; tried once, the next attempt is due at 2026-01-15T12:15:01Z (in 5 min 1 s), given up after 2026-01-20T12:00:00Z (in 4 d 23 h).
  because     a pause, until it is resumed: they move
  waits       bob@dest.example
              mx1.dest.example[192.0.2.1]: certificate has expired (valid until Jan  1 00:00:00 2026 GMT, issued by CA, CERT_HAS_EXPIRED) (certificate-expired, 4.7.5); also tried: mx9.elsewhere.example: mx-outside-policy
              The MTA-STS policy of dest.example (mode enforce, id 20260101) asks for TLS with a valid certificate, at a host that it lists.
  attempt 1 at 2026-01-15T12:00:01Z (9 min 59 s ago)
    mx1.dest.example[192.0.2.1]
      asked   The MTA-STS policy of dest.example (mode enforce, id 20260101) asks for TLS with a valid certificate, at a host that it lists.
      TLS     TLSv1.3 TLS_AES_256_GCM_SHA384 (verify:encrypted)
      cert    not verified: certificate has expired (valid until Jan  1 00:00:00 2026 GMT, issued by CA, CERT_HAS_EXPIRED)
              SHA-256 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
      ended   before any mail (certificate-expired)
    mx9.elsewhere.example, not connected to
      skipped mx9.elsewhere.example is not among the hosts of the policy of dest.example (mx1.dest.example) (mx-outside-policy)
    deferred: bob@dest.example (certificate-expired, 4.7.5)`,
    );
  });

  test('of one for which DNS fails, the same each time', () => {
    const again = { afterMs: 16 * MINUTE, waitMs: HOUR };
    const message = messageWith({}, failedFor([0], NO_DNS), failedFor([0], NO_DNS, again));
    assert.equal(
      body(message, { nowMs: RECEIVED_AT + 3 * HOUR }),
      `dest.example, 1 recipient: waits; tried twice, the next attempt has been due since 2026-01-15T13:16:00Z (1 h 44 min ago), given up after 2026-01-20T12:00:00Z (in 4 d 21 h).
  waits       bob@dest.example
              MX lookup of dest.example failed: SERVFAIL (dns-failed, 4.4.3)
  attempts 1 to 2, all alike, from 2026-01-15T12:00:01Z (2 h 59 min ago) to 2026-01-15T12:16:00Z (2 h 44 min ago)
    deferred: bob@dest.example: MX lookup of dest.example failed: SERVFAIL (dns-failed, 4.4.3)`,
    );
  });

  test('of one with a fate for each recipient', () => {
    const bee = { notify: ['NEVER'], orcpt: 'rfc822;bee@home.example' } as const;
    const recipients = to('a', 'b', 'c', 'd@other.example', 'nobody@').map((one, i) =>
      i === 1 ? { ...one, ...bee } : one,
    );
    const end = { kind: 'transacted', reply: '250 2.0.0 queued as 7F3' } as const;
    const message = messageWith(
      { recipients, ret: 'HDRS', envid: 'order 17', eightBitMime: true, smtpUtf8: true },
      attempt({
        delivered: [0],
        bounced: [{ index: 1, failure: said('550 5.1.1 no such user') }],
        deferred: [{ index: 2, failure: GREY }],
        nextAttemptMs: RECEIVED_AT + 15 * MINUTE,
        sessions: [{ ...GOOD, end }],
      }),
      attempt({
        destination: 'other.example',
        atMs: RECEIVED_AT + 2000,
        delivered: [3],
        relayed: [{ index: 3, host: 'mx.other.example', reply: '250 thanks' }],
      }),
      { kind: 'delay', atMs: RECEIVED_AT + 5 * MINUTE, waiting: [], dsnId: DSN_ID },
      { kind: 'notified', atMs: RECEIVED_AT + 6 * MINUTE, dsnId: DSN_ID },
    );
    assert.equal(
      text(message),
      `message     01ARZ3NDEKTSV4RR
received    2026-01-15T12:00:00Z, 10 min ago
client      192.0.2.7 (HELO app.sender.example), user shop, over TLS
sender      ann@sender.example
size        4321 octets
parameters  BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=order 17
recipients  5: 2 wait, 2 delivered, 1 bounced
notify      NEVER for b@dest.example
orcpt       b@dest.example was rfc822;bee@home.example
reports     delayed: queued as 01ARZ3NDEKTSV4RS at 2026-01-15T12:06:00Z (4 min ago)
            failed: when it is given up, with the last reason

dest.example, 3 recipients: 1 waits, 1 delivered, 1 bounced; tried once, the next attempt is due at 2026-01-15T12:15:00Z (in 5 min), given up after 2026-01-20T12:00:00Z (in 4 d 23 h).
  waits       c@dest.example
              mx1.dest.example[192.0.2.1] said to RCPT: 450 4.7.1 Greylisted, come back in 5 minutes
  bounced     b@dest.example
              2026-01-15T12:00:01Z (9 min 59 s ago)
              mx1.dest.example[192.0.2.1] said to RCPT: 550 5.1.1 no such user
  delivered   a@dest.example
              2026-01-15T12:00:01Z (9 min 59 s ago), by mx1.dest.example[192.0.2.1], 250 2.0.0 queued as 7F3
  attempt 1 at 2026-01-15T12:00:01Z (9 min 59 s ago)
    mx1.dest.example[192.0.2.1]
      asked   The MTA-STS policy of dest.example (mode enforce, id 20260101) asks for TLS with a valid certificate, at a host that it lists.
      TLS     TLSv1.3 TLS_AES_256_GCM_SHA384 (verify:verified)
      cert    valid for mx1.dest.example, ends 2026-04-01
              SHA-256 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
    delivered: a@dest.example: 250 2.0.0 queued as 7F3
    bounced: b@dest.example: mx1.dest.example[192.0.2.1] said to RCPT: 550 5.1.1 no such user
    deferred: c@dest.example: mx1.dest.example[192.0.2.1] said to RCPT: 450 4.7.1 Greylisted, come back in 5 minutes

addresses without a usable domain, 1 recipient: waits; not tried yet, the first attempt has been due since 2026-01-15T12:00:00Z (10 min ago), given up after 2026-01-20T12:00:00Z (in 4 d 23 h).
  waits       nobody@

other.example, 1 recipient: delivered; nothing is left to do.
  delivered   d@other.example
              2026-01-15T12:00:02Z (9 min 58 s ago), by mx.other.example, 250 thanks
  attempt 1 at 2026-01-15T12:00:02Z (9 min 58 s ago)
    delivered: d@other.example: 250 thanks`,
    );
  });

  test('of one with 500 recipients, each named in its reply', () => {
    const recipients = to(...Array.from({ length: 500 }, (_, n) => `r${n}`));
    const deferred = recipients.map(({ address }, index) => ({
      index,
      failure: said(`450 4.7.1 <${address}>: Greylisted`),
    }));
    const nextAttemptMs = RECEIVED_AT + 15 * MINUTE;
    const record = attempt({ deferred, nextAttemptMs, sessions: [GOOD] });
    assert.equal(
      body(messageWith({ recipients }, record)),
      `dest.example, 500 recipients: all wait; tried once, the next attempt is due at 2026-01-15T12:15:00Z (in 5 min), given up after 2026-01-20T12:00:00Z (in 4 d 23 h).
  wait        500 recipients (r0@dest.example, r1@dest.example, r2@dest.example and 497 more)
              mx1.dest.example[192.0.2.1] said to RCPT: 450 4.7.1 <(address)>: Greylisted
  attempt 1 at 2026-01-15T12:00:01Z (9 min 59 s ago)
    mx1.dest.example[192.0.2.1]
      asked   The MTA-STS policy of dest.example (mode enforce, id 20260101) asks for TLS with a valid certificate, at a host that it lists.
      TLS     TLSv1.3 TLS_AES_256_GCM_SHA384 (verify:verified)
      cert    valid for mx1.dest.example, ends 2026-04-01
              SHA-256 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
    deferred: 500 recipients (r0@dest.example, r1@dest.example, r2@dest.example and 497 more): mx1.dest.example[192.0.2.1] said to RCPT: 450 4.7.1 <(address)>: Greylisted`,
    );
  });

  test('of one that was refused in clear text', () => {
    assert.equal(
      body(messageWith({}, failedFor([0], GREY, { sessions: [CLEAR] }))),
      `dest.example, 1 recipient: waits; tried once, the next attempt is due at 2026-01-15T12:15:01Z (in 5 min 1 s), given up after 2026-01-20T12:00:00Z (in 4 d 23 h).
  waits       bob@dest.example
              mx1.dest.example[192.0.2.1] said to RCPT: 450 4.7.1 Greylisted, come back in 5 minutes
  attempt 1 at 2026-01-15T12:00:01Z (9 min 59 s ago)
    mx1.dest.example[192.0.2.1]
      asked   This mail system asks for TLS where it is offered.
      TLS     none, in clear text: STARTTLS was not offered (opportunistic:clear)
    deferred: bob@dest.example: mx1.dest.example[192.0.2.1] said to RCPT: 450 4.7.1 Greylisted, come back in 5 minutes`,
    );
  });

  test('of one that bounced at the end of its lifetime, with a report owed', () => {
    const failure = { ...HELD, expired: true as const };
    const message = messageWith({}, attempt({ bounced: [{ index: 0, failure }], dsnId: DSN_ID }));
    assert.equal(
      body(message) +
        '\n' +
        text(message)
          .split('\n')
          .find((line) => line.startsWith('reports')),
      `dest.example, 1 recipient: bounced; nothing is left to do.
  bounced     bob@dest.example
              2026-01-15T12:00:01Z (9 min 59 s ago)
              lifetime over; the last reason: mx1.dest.example[192.0.2.1]: certificate has expired (valid until Jan  1 00:00:00 2026 GMT, issued by CA, CERT_HAS_EXPIRED) (certificate-expired, 4.7.5); also tried: mx9.elsewhere.example: mx-outside-policy
              The MTA-STS policy of dest.example (mode enforce, id 20260101) asks for TLS with a valid certificate, at a host that it lists.
  attempt 1 at 2026-01-15T12:00:01Z (9 min 59 s ago)
    bounced: bob@dest.example: lifetime over; the last reason: mx1.dest.example[192.0.2.1]: certificate has expired (valid until Jan  1 00:00:00 2026 GMT, issued by CA, CERT_HAS_EXPIRED) (certificate-expired, 4.7.5); also tried: mx9.elsewhere.example: mx-outside-policy
reports     failed (dest.example): owed since 2026-01-15T12:00:01Z (9 min 59 s ago)`,
    );
  });

  test('of an attempt over an open connection, under way', () => {
    const end = { kind: 'transacted', reply: '250 2.0.0 ok' } as const;
    const session = { ...GOOD, reused: true as const, port: 587, end };
    const first = attempt({ delivered: [0], more: true, sessions: [session] });
    const again = { host: 'mx1.dest.example', continued: true as const, end };
    const second = attempt({ delivered: [1], more: true, sessions: [again], sessionsLeftOut: 3 });
    assert.equal(
      body(messageWith({ recipients: to('a', 'b', 'c') }, first, second)),
      `dest.example, 3 recipients: 1 waits, 2 delivered; the first attempt, which is not at its end, has been due since 2026-01-15T12:00:00Z (10 min ago), given up after 2026-01-20T12:00:00Z (in 4 d 23 h).
  waits       c@dest.example
  delivered   a@dest.example
              2026-01-15T12:00:01Z (9 min 59 s ago), by mx1.dest.example[192.0.2.1], 250 2.0.0 ok
  delivered   b@dest.example
              2026-01-15T12:00:01Z (9 min 59 s ago), by mx1.dest.example, 250 2.0.0 ok
  attempt 1 at 2026-01-15T12:00:01Z (9 min 59 s ago), not at its end: under way, or cut off
    mx1.dest.example[192.0.2.1], port 587, over a connection that was open, 2 transactions
      asked   The MTA-STS policy of dest.example (mode enforce, id 20260101) asks for TLS with a valid certificate, at a host that it lists.
      TLS     TLSv1.3 TLS_AES_256_GCM_SHA384 (verify:verified)
      cert    valid for mx1.dest.example, ends 2026-04-01
              SHA-256 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
    and 3 more hosts or addresses
    delivered: a@dest.example: 250 2.0.0 ok
    delivered: b@dest.example: 250 2.0.0 ok`,
    );
  });

  test('of hosts that ended it before the transaction', () => {
    const closing = { ...said('421 4.3.2 closing'), cause: 'ehlo' };
    const { tls: _tls, ...plain } = GOOD;
    const text = 'connect ECONNREFUSED 192.0.2.9:25';
    const sessions = [
      { ...plain, address: '192.0.2.9', end: { kind: 'local', cause: 'connect-refused', text } },
      { ...plain, end: { kind: 'reply', stage: 'ehlo', text: '421 4.3.2 closing' } },
    ] as const;
    assert.equal(
      body(messageWith({}, failedFor([0], closing, { sessions }))),
      `dest.example, 1 recipient: waits; tried once, the next attempt is due at 2026-01-15T12:15:01Z (in 5 min 1 s), given up after 2026-01-20T12:00:00Z (in 4 d 23 h).
  waits       bob@dest.example
              mx1.dest.example[192.0.2.1] said to EHLO: 421 4.3.2 closing
  attempt 1 at 2026-01-15T12:00:01Z (9 min 59 s ago)
    mx1.dest.example[192.0.2.9]
      asked   The MTA-STS policy of dest.example (mode enforce, id 20260101) asks for TLS with a valid certificate, at a host that it lists.
      ended   connection refused (192.0.2.9:25) (connect-refused)
    mx1.dest.example[192.0.2.1]
      ended   said to EHLO: 421 4.3.2 closing
    deferred: bob@dest.example (the reply to EHLO, 4.3.2)`,
    );
  });
});

describe('the text', () => {
  test('names numbers where it leaves something out', () => {
    const recipients = to(...Array.from({ length: 30 }, (_, n) => `r${n}@d${n % 150}.example`));
    const many = Array.from({ length: 150 }, (_, n) => `r${n}@d${n}.example`);
    const deferred = recipients.map((_, index) => ({ index, failure: said(`450 busy ${index}`) }));
    const all = { recipients: to(...recipients.map((_, n) => `r${n}`)) };
    const nextAttemptMs = RECEIVED_AT + HOUR;
    const records = Array.from({ length: 70 }, () => attempt({ deferred, nextAttemptMs }));
    const answers = body(messageWith(all, ...records));
    assert.match(answers, /^ {2}and 10 more different answers$/m);
    assert.match(answers, /^ {2}10 attempts in between are not shown$/m);
    assert.match(text(messageWith({ recipients: to(...many) })), /\n\n50 more destinations$/);
  });

  test('tells attempts once that went the same way, others apart', () => {
    const at = (n: number) => ({ afterMs: n * HOUR, sessions: [GOOD] });
    const attempts = [GREY, GREY, GREY, said('451 later'), GREY].map((failure, n) =>
      failedFor([0], failure, at(n)),
    );
    const headings = body(messageWith({}, ...attempts)).match(
      /^ {2}attempts? .*?(?=[, ]+(at|all))/gm,
    );
    assert.deepEqual(headings, ['  attempts 1 to 3', '  attempt 4', '  attempt 5']);
  });

  test('holds no control character, whatever strangers said', () => {
    const any = fc.string({ unit: 'binary', maxLength: 40 });
    fc.assert(
      fc.property(any, any, any, (one, two, three) => {
        const recipients = [{ address: `${one}@dest.example`, orcpt: `rfc822;${two}` }];
        const client = { address: '192.0.2.7', helo: two, user: three, tls: false };
        const session = { ...GOOD, host: three, end: { kind: 'transacted', reply: one } } as const;
        const failed = failedFor([0], { ...GREY, text: two }, { sessions: [session] });
        const envelope = { reversePath: three, recipients, client, envid: one };
        const lines = text(messageWith(envelope, failed), { waitsFor: () => [two] }).split('\n');
        assert.ok(lines.every((line) => !/[\p{Cc}\p{Cf}]/u.test(line)));
        assert.ok(lines.length < 30);
      }),
      { numRuns: 100 },
    );
  });
});
