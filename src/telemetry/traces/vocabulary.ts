/**
 * The spans of a trace and what is said with them. docs/traces.md is generated from these declarations, and
 * the compiler holds the code to them. Names are those of OpenTelemetry's semantic conventions where there are any.
 */

export const ATTRIBUTES = {
  // the message
  'messaging.system': 'Always `stsrelay`',
  'messaging.operation.name': 'The name of the span',
  'messaging.message.id': 'The id of the message: `queued as ID`, and `id` in the log',
  'messaging.message.body.size': 'Octets',
  'messaging.destination.name': 'Recipient domain',
  'stsrelay.recipients': 'How many',
  'stsrelay.recipients.delivered': 'How many of them were delivered',
  'stsrelay.recipients.deferred': 'How many wait for the next attempt',
  'stsrelay.recipients.bounced': 'How many bounced, or were given up',
  'stsrelay.attempt': 'Which attempt of this delivery, from 1',
  'stsrelay.next_attempt': 'When the next one is, RFC 3339',
  'stsrelay.signed': 'It gets a DKIM signature',
  'stsrelay.about': 'The message a DSN is about; the span has a link to its trace',
  // the client, the host
  'client.address': 'Address of the client',
  'user.name': 'The user it logged in as',
  'server.address': 'The listener; of a session the MX host, or smart host',
  'server.port': 'Its port',
  'network.peer.address': 'The address that was connected to',
  'network.peer.port': 'Its port',
  'network.transport': 'Always `tcp`',
  'network.protocol.name': 'Always `smtp`',
  'stsrelay.reused': 'Over a connection that another message had opened',
  'stsrelay.smtp.reply': 'The reply to the message, without mailboxes',
  // TLS
  'tls.established': 'Whether the session was encrypted',
  'tls.protocol.name': 'Always `tls`',
  'tls.protocol.version': 'e.g. `1.3`',
  'tls.cipher': 'As OpenSSL names it',
  'tls.resumed': 'TLS was resumed from an earlier connection: as `resumed` in the log',
  'tls.server.hash.sha256': 'SHA-256 of the certificate',
  'stsrelay.tls': 'What was asked and what was reached, `verify:verified`: as `tls` in the log',
  'stsrelay.tls.verdict': 'Why the certificate is not verified',
  // policy, route
  'stsrelay.policy.type': 'Who asked: as `policy` in the log',
  'stsrelay.policy.domain': 'Whose policy',
  'stsrelay.policy.id': 'Its id',
  'stsrelay.policy.mode': 'Its mode',
  'stsrelay.route': 'mx, implicit-mx, literal or configured',
  'stsrelay.route.hosts': 'How many hosts there are to try',
  'stsrelay.addresses': 'How many addresses the host has',
  'error.type': 'What failed: `cause` in the log, or the code of the reply',
} as const;

export type AttributeName = keyof typeof ATTRIBUTES;

export interface SpanEntry {
  /** The span it hangs below. */
  readonly below: string;
  readonly means: string;
  readonly attributes: readonly AttributeName[];
}

const MESSAGE = ['messaging.system', 'messaging.operation.name', 'messaging.message.id'] as const;
const FATES = [
  'stsrelay.recipients.delivered',
  'stsrelay.recipients.deferred',
  'stsrelay.recipients.bounced',
] as const;

export const SPANS = {
  receive: {
    below: 'the root',
    means:
      'A client handed the message over: from MAIL to its 250. Kind server. Sent at once, whatever becomes of the message',
    attributes: [
      ...MESSAGE,
      'messaging.message.body.size',
      'stsrelay.recipients',
      'stsrelay.signed',
      'client.address',
      'user.name',
      'server.address',
      'server.port',
      'network.transport',
      'network.protocol.name',
      'tls.established',
      'tls.protocol.name',
      'tls.protocol.version',
      'tls.cipher',
    ],
  },
  content: { below: 'receive', means: 'From 354 to the end of the content', attributes: [] },
  commit: {
    below: 'receive',
    means: 'Until the message was on disk, the way from `receive` to `deliver` included',
    attributes: [],
  },
  'compose dsn': {
    below: 'the root',
    means: 'In place of `receive`: the relay made this message, a bounce or a note of delay',
    attributes: [...MESSAGE, 'stsrelay.about'],
  },
  'compose tls report': {
    below: 'the root',
    means: 'In place of `receive`: the relay made this message, a TLS report',
    attributes: [...MESSAGE, 'messaging.message.body.size', 'stsrelay.recipients'],
  },
  attempt: {
    below: 'receive',
    means:
      'One attempt of the delivery to one destination, until its result is on disk. An error when somebody was deferred or bounced. One that was put off (a rate, no free connection) or cut short by the end of the relay is not told',
    attributes: [
      ...MESSAGE,
      'messaging.destination.name',
      'stsrelay.attempt',
      'stsrelay.recipients',
      ...FATES,
      'stsrelay.next_attempt',
      'error.type',
    ],
  },
  route: {
    below: 'attempt',
    means: 'The hosts of the destination: MX records, or a route',
    attributes: ['stsrelay.route', 'stsrelay.route.hosts', 'error.type'],
  },
  policy: {
    below: 'attempt',
    means: 'What TLS is asked for: the MTA-STS record, and the policy where it has to be fetched',
    attributes: ['error.type'],
  },
  addresses: {
    below: 'attempt',
    means: 'The addresses of one host',
    attributes: ['server.address', 'stsrelay.addresses', 'error.type'],
  },
  dane: {
    below: 'attempt',
    means: 'TLSA records of one host',
    attributes: ['server.address', 'error.type'],
  },
  skip: {
    below: 'attempt',
    means:
      'A host that was not connected to: outside the policy, without an address, without TLSA records that hold, with a login that was refused a moment ago',
    attributes: [
      'server.address',
      'server.port',
      'stsrelay.tls',
      'stsrelay.policy.type',
      'stsrelay.policy.domain',
      'stsrelay.policy.id',
      'stsrelay.policy.mode',
      'error.type',
    ],
  },
  session: {
    below: 'attempt',
    means:
      'The message at one address of one host. Kind client. Several where TLS is tried anew, or another address or host',
    attributes: [
      'server.address',
      'server.port',
      'network.peer.address',
      'network.peer.port',
      'network.transport',
      'network.protocol.name',
      'stsrelay.reused',
      'stsrelay.smtp.reply',
      'tls.established',
      'tls.protocol.name',
      'tls.protocol.version',
      'tls.cipher',
      'tls.resumed',
      'tls.server.hash.sha256',
      'stsrelay.tls',
      'stsrelay.tls.verdict',
      'stsrelay.policy.type',
      'stsrelay.policy.domain',
      'stsrelay.policy.id',
      'stsrelay.policy.mode',
      'error.type',
    ],
  },
  connect: { below: 'session', means: 'The TCP connection', attributes: [] },
  greeting: {
    below: 'session',
    means: 'Greeting, EHLO and STARTTLS',
    attributes: [],
  },
  tls: { below: 'session', means: 'The TLS handshake', attributes: [] },
  login: {
    below: 'session',
    means: 'From TLS to the first MAIL: EHLO again, the verdict, AUTH',
    attributes: [],
  },
  transaction: {
    below: 'session',
    means: 'MAIL, RCPT, DATA, the content, and the reply to it',
    attributes: [],
  },
  recheck: {
    below: 'attempt',
    means: 'A policy that held the message back to the end of its lifetime is fetched anew',
    attributes: [],
  },
  settle: {
    below: 'attempt',
    means: 'What became of the recipients is written to disk',
    attributes: [...FATES],
  },
  'give up': {
    below: 'receive',
    means:
      'Recipients were given up without an attempt: by an administrator, or at the end of their lifetime',
    attributes: [...MESSAGE, 'messaging.destination.name', ...FATES, 'error.type'],
  },
  settled: {
    below: 'receive',
    means:
      'Every recipient has an answer, and the message left the spool. It lasts as long as the message was here; an error when somebody did not get it',
    attributes: [
      ...MESSAGE,
      'stsrelay.recipients',
      'stsrelay.recipients.delivered',
      'stsrelay.recipients.bounced',
      'error.type',
    ],
  },
} as const satisfies Readonly<Record<string, SpanEntry>>;

export type SpanName = keyof typeof SPANS;
