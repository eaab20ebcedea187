/**
 * The DSN vectors: each event is settled and reported by the code that does it in the relay,
 * and the report is read back. What stands in LEFT_OUT is other code's, for the reason given.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { Readable } from 'node:stream';
import { describe, test } from 'node:test';
import type { Envelope, Notify } from '../../src/mail/envelope.ts';
import { type LocalCause, localFailure } from '../../src/mail/failure.ts';
import type { Outcome } from '../../src/mail/outcome.ts';
import type { RecipientReply, SessionFacts } from '../../src/mail/session-result.ts';
import { conclude, concludeWithoutSession } from '../../src/outcome/conclude.ts';
import { buildDsn } from '../../src/outcome/dsn-message.ts';
import { settle } from '../../src/outcome/settle.ts';
import { type DomainName, parseDomain } from '../../src/protocol/domain.ts';
import { parseReply } from '../../src/protocol/smtp/reply.ts';
import type { Spool } from '../../src/spool/store.ts';
import type { OutcomeEvents } from '../../src/telemetry/outcome-events.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { type Fields, parseReport, type Report } from '../unit/report-parser.ts';
import { octets, RECEIVED_AT, recordEvents, sampleEnvelope } from '../unit/sample-mail.ts';

const LEFT_OUT: Readonly<Record<string, string>> = {
  'dsn-010': 'delay-warning: reports of delays are not made yet',
  'dsn-020': 'delay-warning: reports of delays are not made yet',
  'dsn-021': 'delay-warning: reports of delays are not made yet',
  'dsn-022': 'delay-warning: reports of delays are not made yet',
  'dsn-023': 'delay-warning: reports of delays are not made yet',
  'dsn-099': 'delay-warning: reports of delays are not made yet',
  'dsn-025': 'source routes are refused at MAIL, see mailbox.test.ts',
  'dsn-031': 'REQUIRETLS is not offered yet',
  'dsn-034': 'REQUIRETLS is not offered yet',
  'dsn-084': 'parameters towards the next hop are written by delivery/wire.ts',
  'dsn-086': 'parameters towards the next hop are written by delivery/wire.ts',
  'dsn-087': 'parameters towards the next hop are written by delivery/wire.ts',
  'dsn-089': 'parameters towards the next hop are written by delivery/wire.ts',
};

interface RemoteEvent {
  readonly kind: 'remote';
  readonly stage: string;
  readonly peer: string;
  readonly code: number;
  readonly enhanced: string | null;
  readonly text: string;
}
type Event =
  | RemoteEvent
  | { readonly kind: 'local'; readonly reason: string }
  | { readonly kind: 'connect'; readonly peer: string | null; readonly text: string }
  | { readonly kind: 'accepted'; readonly peer: string; readonly peer_lists_dsn: boolean }
  | { readonly kind: 'expired'; readonly last: Event };

interface Expected {
  readonly dsn: null | {
    readonly envelope: { readonly mail_from: string; readonly rcpt_to: string };
    readonly per_message: Readonly<Record<string, string>>;
    readonly recipients: readonly Readonly<Record<string, string>>[];
    readonly third_part?: string;
    readonly absent?: readonly string[];
    readonly parts?: readonly string[];
    readonly headers?: Readonly<Record<string, string>>;
    readonly mail_params?: readonly string[];
    readonly content_type?: string;
  };
}

interface Vector {
  readonly id: string;
  readonly rule: string;
  readonly note?: string;
  readonly input: {
    readonly reporting_mta: string;
    readonly message: {
      readonly mail_from: string;
      readonly envid?: string;
      readonly ret?: string;
      readonly smtputf8?: boolean;
    };
    readonly recipients: readonly {
      readonly rcpt: string;
      readonly orcpt?: string;
      readonly notify?: string;
      readonly event: Event;
    }[];
  };
  readonly expect: Expected;
}

const STAGES = { MAIL: 'mail', RCPT: 'rcpt', DATA: 'data', 'DATA-END': 'end-of-data' } as const;
const REASONS: Readonly<Record<string, LocalCause>> = {
  'null-mx': 'null-mx',
  'mail-loop': 'mail-loops-back',
  'no-smtputf8': 'smtputf8-not-offered',
  'sts-enforce-cert-invalid': 'certificate-untrusted',
};
const LIFETIME_MS = 432_000_000;
const RETRY = {
  schedule: [60_000],
  lifetime: LIFETIME_MS,
  bounceLifetime: LIFETIME_MS,
  classes: {},
  domains: [],
};

function xtextDecoded(text: string): string {
  return text.replace(/\+([0-9A-F]{2})/g, (_, hex: string) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  );
}

function envelopeOf({ message, recipients }: Vector['input']): Envelope {
  const { envid, ret } = message;
  return sampleEnvelope({
    reversePath: message.mail_from,
    smtpUtf8: message.smtputf8 ?? false,
    recipients: recipients.map(({ rcpt, orcpt, notify }) => ({
      address: rcpt,
      ...(orcpt === undefined ? {} : { orcpt: xtextDecoded(orcpt) }),
      ...(notify === undefined ? {} : { notify: notify.split(',') as Notify[] }),
    })),
    ...(envid === undefined ? {} : { envid: xtextDecoded(envid) }),
    ...(ret === undefined ? {} : { ret: ret.toUpperCase() as 'FULL' | 'HDRS' }),
  });
}

function factsOf(peer: string): SessionFacts {
  const address = /^\[(.*)\]$/.exec(peer)?.[1];
  const host = address === undefined ? (parseDomain(peer) as DomainName) : undefined;
  return {
    candidate: { host, preference: 10, port: 25 },
    address: address ?? '192.0.2.1',
    localAddress: undefined,
    requirement: { level: 'opportunistic', minVersion: 'TLSv1.2', source: { kind: 'default' } },
    tls: undefined,
  };
}

function outcomeOf(event: Event, index: number): Outcome | undefined {
  switch (event.kind) {
    case 'expired':
      return outcomeOf(event.last, index);
    case 'local': {
      const cause = REASONS[event.reason];
      assert.ok(cause, event.reason);
      return concludeWithoutSession(localFailure(cause, event.reason), [index]).get(index);
    }
    case 'connect':
      return concludeWithoutSession(localFailure('timeout', event.text), [index]).get(index);
    case 'accepted': {
      const reply = parseReply('250 2.0.0 ok');
      assert.ok(reply);
      const one: RecipientReply = { kind: 'accepted', reply, dsnOffered: event.peer_lists_dsn };
      return transacted(event.peer, one, index);
    }
    case 'remote': {
      const reply = parseReply([event.code, event.enhanced, event.text].filter(Boolean).join(' '));
      const stage = STAGES[event.stage as keyof typeof STAGES];
      assert.ok(reply && stage, event.stage);
      return transacted(
        event.peer,
        { kind: 'failed', failure: { kind: 'reply', stage, reply } },
        index,
      );
    }
  }
}

function transacted(peer: string, reply: RecipientReply, index: number): Outcome | undefined {
  const recipients = new Map([[index, reply]]);
  return conclude([{ kind: 'transacted', facts: factsOf(peer), recipients }], [index]).get(index);
}

interface Answer {
  readonly envelope: Envelope;
  readonly report: Report;
}

/** The report that the events lead to; undefined when there is none. */
async function answer(input: Vector['input']): Promise<Answer | undefined> {
  const original = { envelope: envelopeOf(input), sizeBytes: 40, records: [] };
  const isOver = input.recipients.some(({ event }) => event.kind === 'expired');
  const outcomes = new Map<number, Outcome>();
  for (const [index, { event }] of input.recipients.entries()) {
    const outcome = outcomeOf(event, index);
    if (outcome) outcomes.set(index, outcome);
  }
  const record = await settle(
    { message: original, destination: 'dest.example', attempts: 1, outcomes },
    {
      spool: { append: async () => {} } as unknown as Spool,
      clock: new FakeClock(RECEIVED_AT + (isOver ? LIFETIME_MS : 1000)),
      retry: () => RETRY,
      events: recordEvents<OutcomeEvents>().events,
    },
  );
  if (record.dsnId === undefined) return undefined;
  const { envelope, body } = await buildDsn({
    dsnId: record.dsnId,
    original,
    record,
    attempts: 1,
    hostname: input.reporting_mta,
    openBody: async () => Readable.from([Buffer.from('Subject: hi\r\n\r\nbody\r\n')]),
  });
  return { envelope, report: parseReport(await octets(body)) };
}

function holds(fields: Fields, expected: Readonly<Record<string, string>>): void {
  for (const [name, value] of Object.entries(expected)) {
    assert.equal(fields.get(name.toLowerCase())?.replace(/;\s+/, '; '), value, name);
  }
}

function compare(given: Answer | undefined, { dsn }: Expected): void {
  if (dsn === null) {
    assert.equal(given, undefined);
    return;
  }
  assert.ok(given, 'a report');
  const { envelope, report } = given;
  assert.equal(`<${envelope.reversePath}>`, dsn.envelope.mail_from);
  assert.deepEqual(
    envelope.recipients.map(({ address }) => address),
    [dsn.envelope.rcpt_to],
  );
  holds(report.perMessage, dsn.per_message);
  assert.equal(report.recipients.length, dsn.recipients.length);
  for (const [n, block] of dsn.recipients.entries())
    holds(report.recipients[n] ?? new Map(), block);
  for (const unwanted of dsn.absent ?? []) {
    const [name = '', start = ''] = unwanted.toLowerCase().split(': ');
    for (const block of [report.perMessage, ...report.recipients]) {
      const found = block.get(name);
      assert.ok(found === undefined || (start !== '' && !found.startsWith(start)), unwanted);
    }
  }
  const types = report.parts.map(({ type }) => type);
  if (dsn.parts) assert.deepEqual(types, dsn.parts);
  if (dsn.third_part) assert.equal(types[2], dsn.third_part);
  if (dsn.headers) holds(report.fields, dsn.headers);
  if (dsn.content_type) assert.ok(report.fields.get('content-type')?.startsWith(dsn.content_type));
  if (dsn.mail_params?.includes('SMTPUTF8')) assert.equal(envelope.smtpUtf8, true);
}

const url = new URL('../fixtures/vectors/dsn.json', import.meta.url);
const vectors: readonly Vector[] = JSON.parse(readFileSync(url, 'utf8'));

describe('dsn.json', () => {
  test('what is left out is there', () => {
    for (const id of Object.keys(LEFT_OUT))
      assert.ok(
        vectors.some((vector) => vector.id === id),
        id,
      );
  });
  for (const { id, rule, note, input, expect } of vectors) {
    if (id in LEFT_OUT) continue;
    test(`${id} ${rule} ${note ?? ''}`, async () => compare(await answer(input), expect));
  }
});
