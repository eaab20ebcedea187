/**
 * Vectors `dsn` (RFC 3461, RFC 3464, RFC 6533): the intake makes the envelope, each event becomes an
 * outcome, which the relay's own code settles and reports, and the report is read back; with
 * `relay_to`, the parameters that a session on loopback passes on.
 */
import { Readable } from 'node:stream';
import type { Envelope } from '../../../src/mail/envelope.ts';
import type { MessageId } from '../../../src/mail/message-id.ts';
import type { Outcome } from '../../../src/mail/outcome.ts';
import { delayRecord } from '../../../src/outcome/delay-record.ts';
import { dsnEntries } from '../../../src/outcome/dsn-entries.ts';
import { buildDsn, type DsnMessage } from '../../../src/outcome/dsn-message.ts';
import { settle } from '../../../src/outcome/settle.ts';
import { needsSmtpUtf8 } from '../../../src/protocol/mailbox.ts';
import {
  type AttemptRecord,
  groupByDestination,
  type ReportedRecord,
} from '../../../src/spool/message-state.ts';
import type { Spool, StoredMessage } from '../../../src/spool/store.ts';
import type { OutcomeEvents } from '../../../src/telemetry/outcome-events.ts';
import { parseReport } from '../../unit/report-parser.ts';
import { destinationOf, octets, RECEIVED_AT, recordEvents } from '../../unit/sample-mail.ts';
import { FakeClock } from '../fake-clock.ts';
import { dsnDifferences } from './dsn-compare.ts';
import { type DsnEvent, outcomeOf } from './dsn-event.ts';
import { intakeEnvelope } from './intake-envelope.ts';
import { passedOn } from './loopback-mx.ts';
import { onlyKeys, type VectorKind } from './vector.ts';

export interface Input {
  readonly reporting_mta?: string;
  /** The next hop, where it is about what is passed on. */
  readonly relay_to?: { readonly ehlo: readonly string[] };
  readonly message: {
    readonly mail_from: string;
    readonly envid?: string;
    readonly ret?: string;
    readonly smtputf8?: boolean;
    readonly requiretls?: boolean;
  };
  readonly recipients: readonly {
    readonly rcpt: string;
    readonly orcpt?: string;
    readonly notify?: string;
    readonly event?: DsnEvent;
  }[];
}

const LIFETIME_MS = 432_000_000;
const DELAY_WARNING_MS = 14_400_000;
const BODY = Buffer.from('Subject: hi\r\n\r\nbody\r\n');

export const dsn: VectorKind = {
  async answer(input: Input) {
    onlyKeys('input', input, ['reporting_mta', 'relay_to', 'message', 'recipients']);
    onlyKeys('message', input.message, ['mail_from', 'envid', 'ret', 'smtputf8', 'requiretls']);
    for (const recipient of input.recipients) {
      onlyKeys('recipient', recipient, ['rcpt', 'orcpt', 'notify', 'event']);
    }
    if (!input.relay_to) return { dsn: await reportOf(input) };
    onlyKeys('relay_to', input.relay_to, ['ehlo']);
    return passedOn(envelopeOf(input), input.relay_to.ehlo);
  },
  differences: dsnDifferences,
};

function envelopeOf({ message, recipients }: Input): Envelope {
  const { mail_from: from, envid, ret, smtputf8, requiretls } = message;
  return intakeEnvelope({
    from,
    parameters: [
      ...(envid === undefined ? [] : [`ENVID=${envid}`]),
      ...(ret === undefined ? [] : [`RET=${ret}`]),
      ...(smtputf8 ? ['SMTPUTF8'] : []),
      ...(requiretls ? ['REQUIRETLS'] : []),
    ],
    recipients: recipients.map(({ rcpt, orcpt, notify }) => ({
      to: rcpt,
      parameters: [
        ...(orcpt === undefined ? [] : [`ORCPT=${orcpt}`]),
        ...(notify === undefined ? [] : [`NOTIFY=${notify}`]),
      ],
    })),
  });
}

/** The message after the events, and the records that owe a DSN: an attempt's for each destination, a delay's. */
async function settled(input: Input): Promise<readonly Owed[]> {
  const message = { envelope: envelopeOf(input), sizeBytes: BODY.length, records: [] };
  const { clock, retry } = timesOf(input.recipients.map(({ event }) => event));
  const records: AttemptRecord[] = [];
  for (const [destination, indexes] of groupByDestination(message.envelope, destinationOf)) {
    const outcomes = new Map<number, Outcome>();
    for (const index of indexes) {
      const event = input.recipients[index]?.event;
      if (event) outcomes.set(index, outcomeOf(asNeeded(event, input), index));
    }
    const spool = { append: async () => {} } as unknown as Spool;
    const { events } = recordEvents<OutcomeEvents>();
    const attempt = { message, destination, attempts: 1, outcomes };
    records.push(await settle(attempt, { ...{ spool, clock, retry }, events }));
  }
  const original = { ...message, records };
  const isDelayed = input.recipients.some(({ event }) => event?.kind === 'delay-warning');
  const parts = { nowMs: clock.now(), retry: retry(), destinationOf };
  const delay = isDelayed ? delayRecord(original, parts) : undefined;
  return [...records, ...(delay ? [delay] : [])].flatMap((record) =>
    record.dsnId === undefined ? [] : [{ original, record, dsnId: record.dsnId }],
  );
}

/** What SMTPUTF8 was needed for, as delivery/hand-over.ts sees it. */
function asNeeded(event: DsnEvent, { message, recipients }: Input): DsnEvent {
  if (event.kind === 'expired' || event.kind === 'delay-warning') {
    return { ...event, last: asNeeded(event.last, { message, recipients }) };
  }
  if (event.kind !== 'local' || event.reason !== 'no-smtputf8') return event;
  const addresses = [message.mail_from, ...recipients.map(({ rcpt }) => rcpt)];
  return addresses.some(needsSmtpUtf8) ? event : { ...event, reason: 'no-smtputf8-header' };
}

interface Owed {
  readonly original: StoredMessage;
  readonly record: ReportedRecord;
  readonly dsnId: MessageId;
}

/** The DSNs that the events lead to. */
export async function dsnsOf(input: Input): Promise<readonly DsnMessage[]> {
  const owed = await settled(input);
  return Promise.all(
    owed.map(({ original, record, dsnId }) =>
      buildDsn({
        ...{ dsnId, original },
        atMs: record.atMs,
        entries: dsnEntries(original, record),
        hostname: input.reporting_mta ?? 'relay.example',
        openBody: async () => Readable.from([BODY]),
      }),
    ),
  );
}

/** The reports that the events lead to, taken apart, as one; null when there is none. */
export async function reportOf(input: Input) {
  const answers = await Promise.all((await dsnsOf(input)).map(takeApart));
  const [first] = answers;
  return first ? { ...first, recipients: answers.flatMap(({ recipients }) => recipients) } : null;
}

async function takeApart({ envelope, body }: DsnMessage) {
  const report = parseReport(await octets(body));
  const types = report.parts.map(({ type }) => type);
  return {
    envelope: {
      mail_from: `<${envelope.reversePath}>`,
      rcpt_to: envelope.recipients.map(({ address }) => address).join(', '),
    },
    per_message: Object.fromEntries(report.perMessage),
    recipients: report.recipients.map((block) => Object.fromEntries(block)),
    third_part: types[2],
    parts: types,
    headers: Object.fromEntries(report.fields),
    content_type: report.fields.get('content-type'),
    mail_params: [
      ...(envelope.smtpUtf8 ? ['SMTPUTF8'] : []),
      ...(envelope.requireTls ? ['REQUIRETLS'] : []),
      ...(envelope.ret ? [`RET=${envelope.ret}`] : []),
    ],
  };
}

/** When the attempt ends, and how long the message may wait. */
function timesOf(events: readonly (DsnEvent | undefined)[]) {
  const isOver = events.some((event) => event?.kind === 'expired');
  const warning = events.find((event) => event?.kind === 'delay-warning');
  const lifetime = warning ? Date.parse(warning.retry_until) - RECEIVED_AT : LIFETIME_MS;
  const passedMs = isOver ? lifetime : warning ? DELAY_WARNING_MS : 1000;
  const rest = { schedule: [60_000], bounceLifetime: lifetime, classes: {}, domains: [] };
  return { clock: new FakeClock(RECEIVED_AT + passedMs), retry: () => ({ lifetime, ...rest }) };
}
