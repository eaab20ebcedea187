/** The families of the front door and of the spool behind it. */
import { counter, gauge, histogram, LATENCY_BUCKETS } from './family.ts';

/** Why a client was told no. */
export const REFUSAL_REASONS = [
  'relay-denied',
  'auth-required',
  'auth-failed',
  'sender-not-allowed',
  'too-many-connections',
  'too-many-recipients',
  'too-large',
  'rate-limited',
  'smuggling',
  'loop',
  'spool-full',
  'spool-failed',
  'queue-full',
  'queue-away',
  'bad-address',
  'tls-failed',
  'proxy-protocol',
  'protocol-error',
] as const;

export const INTAKE_FAMILIES = {
  messagesReceived: counter('messages_received_total', {
    help: 'Messages acknowledged with 250.',
    healthy: 'Follows the working day of those who send through the relay.',
    alert:
      'None at a time when there always are some: clients cannot reach the relay, or are refused (`refusals_total`).',
  }),
  refusals: counter('refusals_total', {
    help: 'Commands, messages and connections refused, by reason.',
    labels: { reason: REFUSAL_REASONS },
    healthy:
      'A trickle of `relay-denied` and `protocol-error` from scanners, where the port is open to them.',
    alert:
      'Any `spool-full`, `spool-failed`, `queue-full` or `queue-away`: it is the relay, not the client, and nobody can hand over mail.',
  }),
  authFailures: counter('auth_failures_total', {
    help: 'Wrong passwords (AUTH, protocol smtp) and wrong tokens of the API (http).',
    labels: { protocol: ['smtp', 'http'] },
    healthy: 'A few a day: people mistype.',
    alert:
      'More than a few dozen within minutes: somebody is guessing, or a client has an old password.',
  }),
  intakeConnections: gauge('intake_connections_open', {
    help: 'Client connections open now.',
    healthy: 'Well below `limits.connections`.',
    alert: 'Near `limits.connections`: the next clients get 421.',
  }),
  dkimSignatures: counter('dkim_signatures_total', {
    help: 'Messages that were to be signed with a key of `dkim`: signed, or sent without (failed; malformed: lines in the header are no fields).',
    labels: { result: ['signed', 'failed', 'malformed'] },
    healthy: '`failed` stays 0. `malformed` is about what clients send.',
    alert: '`failed`: recipients may refuse what is not signed; see the event `dkim.unsigned`.',
  }),
  spoolLatency: histogram('spool_latency_seconds', {
    help: 'Time of one durable spool operation: a message (commit), what became of it (append), its end (remove).',
    labels: { operation: ['commit', 'append', 'remove'] },
    buckets: LATENCY_BUCKETS,
    healthy: 'Commits take what the disk needs for a sync: 1 to 10 ms. Every 250 waits for one.',
    alert: 'p99 of commits over half a second: the disk is overloaded or failing.',
  }),
  spoolErrors: counter('spool_errors_total', {
    help: 'Spool operations that failed; `damaged` is something acknowledged that cannot be read, `policy` and `tls-report` are what else is kept on this disk.',
    labels: {
      operation: ['begin', 'commit', 'append', 'read', 'remove', 'damaged', 'policy', 'tls-report'],
    },
    healthy: '0.',
    alert:
      'Any: the disk is full or failing, or a file is damaged. The log says which (`spool.failed`, `spool.damaged`).',
  }),
  diskFree: gauge('disk_free_bytes', {
    help: 'Octets free for the relay on the disk of `dataDir`.',
    healthy: 'Several times `disk_required_bytes`.',
    alert: 'Below twice `disk_required_bytes`: soon no mail is taken (452 4.3.1).',
  }),
  diskRequired: gauge('disk_required_bytes', {
    help: 'Below so many free octets no mail is taken: `limits.minFreeDisk`.',
    healthy: 'As configured.',
  }),
};
