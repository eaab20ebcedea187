/**
 * What the tests of spool, queue and outcome begin with: an envelope, records of attempts, and
 * event functions that remember their calls.
 */
import type { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import type { Envelope } from '../../src/mail/envelope.ts';
import { newMessageId } from '../../src/mail/message-id.ts';
import type { Destination } from '../../src/mail/route.ts';
import type { AttemptRecord, RecordedFailure } from '../../src/spool/message-state.ts';
import { openSegmentStore, type SegmentStoreOptions } from '../../src/spool/segment-store.ts';
import type { Draft, Spool, SpoolEvents } from '../../src/spool/store.ts';
import { Chronicle } from '../support/wait-for.ts';

export const RECEIVED_AT = Date.parse('2026-01-15T12:00:00Z');

export function sampleEnvelope(change: Partial<Envelope> = {}): Envelope {
  return {
    id: newMessageId(RECEIVED_AT),
    reversePath: 'ann@sender.example',
    recipients: [{ address: 'bob@dest.example' }],
    receivedAtMs: RECEIVED_AT,
    eightBitMime: false,
    smtpUtf8: false,
    ...change,
  };
}

/** As outbound.ts, without address literals. */
export function destinationOf(address: string): Destination | undefined {
  return /@([a-z0-9.-]+)$/.exec(address)?.[1];
}

export const FAILURE: RecordedFailure = {
  text: '550 5.1.1 no such user',
  source: 'remote',
  cause: 'rcpt',
  host: 'mx.dest.example',
  status: '5.1.1',
  causeClass: 'other',
};

/** A record of an attempt at which nothing happened but what `change` says. */
export function attempt(change: Partial<AttemptRecord> = {}): AttemptRecord {
  return {
    kind: 'attempt',
    atMs: RECEIVED_AT + 1000,
    destination: 'dest.example',
    delivered: [],
    relayed: [],
    bounced: [],
    deferred: [],
    ...change,
  };
}

export interface Call {
  readonly name: string;
  readonly args: readonly unknown[];
}

/** An object of event functions, and the calls they got. */
export function recordEvents<T extends object>(): {
  readonly events: T;
  readonly calls: Chronicle<Call>;
  /** The arguments of every call of `name`. */
  of(name: string): readonly (readonly unknown[])[];
} {
  const calls = new Chronicle<Call>();
  const events = new Proxy({} as T, {
    get:
      (_target, name) =>
      (...args: unknown[]) => {
        if (typeof name === 'string') calls.push({ name, args });
      },
  });
  return {
    events,
    calls,
    of: (name) => calls.entries.filter((call) => call.name === name).map(({ args }) => args),
  };
}

export interface TestSpool {
  readonly spool: Spool;
  readonly recorded: ReturnType<typeof recordEvents<SpoolEvents>>;
}

/** A segment store below `directory`. */
export async function openSpool(
  directory: string,
  minFreeBytes: () => number = () => 0,
  options: Pick<SegmentStoreOptions, 'disk' | 'segmentOctets' | 'reserveOctets'> = {},
): Promise<TestSpool> {
  const recorded = recordEvents<SpoolEvents>();
  const spool = await openSegmentStore({
    directory,
    minFreeBytes,
    // No test has to wait for 16 MiB.
    reserveOctets: 64 * 1024,
    ...options,
    // A proxy cannot be spread, which the store does.
    events: {
      took: recorded.events.took,
      failed: recorded.events.failed,
      damaged: recorded.events.damaged,
      leftover: recorded.events.leftover,
    },
  });
  return { spool, recorded };
}

/** Commit a message with `body`. */
export async function store(
  spool: Spool,
  envelope: Envelope,
  body: string | Buffer = 'Subject: x\r\n\r\nhello\r\n',
): Promise<void> {
  const draft = await spool.begin(envelope.id);
  await fill(draft, body);
  await draft.commit(envelope);
}

export async function fill(draft: Draft, body: string | Buffer): Promise<void> {
  await draft.write(Buffer.from(body));
}

export async function octets(body: Buffer | Readable): Promise<Buffer> {
  return Buffer.isBuffer(body) ? body : buffer(body);
}
