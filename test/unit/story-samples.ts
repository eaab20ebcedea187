/**
 * Messages with a past, for the tests of the story and of its text.
 */
import type { Envelope } from '../../src/mail/envelope.ts';
import type { MessageId } from '../../src/mail/message-id.ts';
import type { RetrySettings } from '../../src/queue/retry-schedule.ts';
import type { RecordedFailure, SpoolRecord } from '../../src/spool/message-state.ts';
import type { RecordedSession } from '../../src/spool/recorded-session.ts';
import type { StoredMessage } from '../../src/spool/store.ts';
import { attempt, RECEIVED_AT, sampleEnvelope } from './sample-mail.ts';

export const MINUTE = 60_000;
export const HOUR = 60 * MINUTE;
export const DAY = 24 * HOUR;
export const ID = '01ARZ3NDEKTSV4RR' as MessageId;
export const DSN_ID = '01ARZ3NDEKTSV4RS' as MessageId;

export const RETRY: RetrySettings = {
  schedule: [15 * MINUTE, HOUR],
  lifetime: 5 * DAY,
  bounceLifetime: 2 * DAY,
  classes: {},
  domains: [],
};

export function messageWith(
  change: Partial<Envelope> = {},
  ...records: readonly SpoolRecord[]
): StoredMessage {
  const client = { address: '192.0.2.7', helo: 'app.sender.example', user: 'shop', tls: true };
  const envelope = sampleEnvelope({ id: ID, client, ...change });
  return { envelope, sizeBytes: 4321, records };
}

export const to = (...names: readonly string[]) =>
  names.map((name) => ({ address: name.includes('@') ? name : `${name}@dest.example` }));

const ENFORCE: NonNullable<RecordedSession['asked']> = {
  level: 'verify',
  text: 'The MTA-STS policy of dest.example (mode enforce, id 20260101) asks for TLS with a valid certificate, at a host that it lists.',
};
const OPTIONAL: NonNullable<RecordedSession['asked']> = {
  level: 'opportunistic',
  text: 'This mail system asks for TLS where it is offered.',
};
const TLS = { version: 'TLSv1.3', cipher: 'TLS_AES_256_GCM_SHA384' };
const SHA = '0123456789abcdef'.repeat(4);

export const GOOD: RecordedSession = {
  host: 'mx1.dest.example',
  address: '192.0.2.1',
  asked: ENFORCE,
  tls: {
    ...TLS,
    certSha256: SHA,
    certValidToMs: Date.parse('2026-04-01T00:00:00Z'),
    verifiedAs: 'mx1.dest.example',
  },
  end: { kind: 'transacted' },
};

export const CLEAR: RecordedSession = {
  host: 'mx1.dest.example',
  address: '192.0.2.1',
  asked: OPTIONAL,
  clearTextBecause: { cause: 'starttls-not-offered', detail: 'STARTTLS was not offered' },
  end: { kind: 'transacted' },
};

const EXPIRED =
  'certificate has expired (valid until Jan  1 00:00:00 2026 GMT, issued by CA, CERT_HAS_EXPIRED)';

/** Neither host comes up to the policy. */
export const BREACHES: readonly RecordedSession[] = [
  {
    ...GOOD,
    tls: {
      ...TLS,
      certSha256: SHA,
      certValidToMs: Date.parse('2026-01-01T00:00:00Z'),
      doubt: { cause: 'certificate-expired', detail: EXPIRED },
    },
    end: { kind: 'local', cause: 'certificate-expired', text: EXPIRED },
  },
  {
    host: 'mx9.elsewhere.example',
    end: {
      kind: 'local',
      cause: 'mx-outside-policy',
      text: 'mx9.elsewhere.example is not among the hosts of the policy of dest.example (mx1.dest.example)',
    },
  },
];

export const HELD: RecordedFailure = {
  text: `${EXPIRED}; also tried: mx9.elsewhere.example: mx-outside-policy`,
  source: 'local',
  cause: 'certificate-expired',
  status: '4.7.5',
  causeClass: 'tlsPolicy',
  host: 'mx1.dest.example',
  address: '192.0.2.1',
  demand: ENFORCE.text,
};

export const NO_DNS: RecordedFailure = {
  text: 'MX lookup of dest.example failed: SERVFAIL',
  source: 'local',
  cause: 'dns-failed',
  status: '4.4.3',
  causeClass: 'dns',
};

/** A reply to RCPT. */
export function said(text: string): RecordedFailure {
  const status = /\d\.\d\.\d/.exec(text)?.[0] ?? '4.0.0';
  const causeClass = /grey/i.test(text) ? 'greylisted' : 'other';
  const place = { host: 'mx1.dest.example', address: '192.0.2.1' };
  return { text, source: 'remote', cause: 'rcpt', status, causeClass, ...place };
}

export const GREY = said('450 4.7.1 Greylisted, come back in 5 minutes');

/** An attempt that failed for all of `indexes`, so many ms after the message came. */
export function failedFor(
  indexes: readonly number[],
  failure: RecordedFailure,
  { afterMs = 1000, waitMs = 15 * MINUTE, sessions }: FailedOptions = {},
) {
  const atMs = RECEIVED_AT + afterMs;
  return attempt({
    atMs,
    deferred: indexes.map((index) => ({ index, failure })),
    nextAttemptMs: atMs + waitMs,
    ...(sessions ? { sessions } : {}),
  });
}

interface FailedOptions {
  readonly afterMs?: number;
  readonly waitMs?: number;
  readonly sessions?: readonly RecordedSession[];
}
