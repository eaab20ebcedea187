/**
 * Every metric family of the relay, declared once. One registry per relay, so that tests can
 * run several side by side. Labels are closed sets: never an address, a domain or a text
 * somebody else chose.
 */
import { Counter, Gauge, Histogram, Registry } from 'prom-client';

const PREFIX = 'stsrelay_';
const LATENCY_BUCKETS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5];
const DELIVERY_BUCKETS = [
  0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200, 86400, 432000,
];

export type Metrics = ReturnType<typeof createMetrics>;

/** All families, registered in a registry of their own. */
export function createMetrics() {
  const registry = new Registry();
  const counter = <L extends string = never>(name: string, help: string, labelNames: L[] = []) =>
    new Counter<L>({ name: PREFIX + name, help, labelNames, registers: [registry] });
  const gauge = <L extends string = never>(name: string, help: string, labelNames: L[] = []) =>
    new Gauge<L>({ name: PREFIX + name, help, labelNames, registers: [registry] });
  const histogram = <L extends string = never>(
    name: string,
    help: string,
    buckets: number[],
    labelNames: L[] = [],
  ) => new Histogram<L>({ name: PREFIX + name, help, buckets, labelNames, registers: [registry] });

  return {
    registry,
    // intake
    messagesReceived: counter('messages_received_total', 'Messages acknowledged with 250.'),
    refusals: counter('refusals_total', 'Commands, messages and connections refused, by reason.', [
      'reason',
    ]),
    authFailures: counter(
      'auth_failures_total',
      'Wrong passwords (AUTH, protocol smtp) and wrong tokens of the API (http).',
      ['protocol'],
    ),
    intakeConnections: gauge('intake_connections_open', 'Client connections open now.'),
    dkimSignatures: counter(
      'dkim_signatures_total',
      'Messages that were to be signed with a key of `dkim`: signed, or sent without (failed). Healthy: failed stays 0; a message counted there may be refused by recipients, see the event dkim.unsigned.',
      ['result'],
    ),
    // spool
    spoolLatency: histogram(
      'spool_latency_seconds',
      'Time of one durable spool operation.',
      LATENCY_BUCKETS,
      ['operation'],
    ),
    spoolErrors: counter('spool_errors_total', 'Spool operations that failed.', ['operation']),
    // queue
    queueMessages: gauge('queue_messages', 'Deliveries (message x destination) in the queue.', [
      'state',
    ]),
    queueOldestDeliverable: gauge(
      'queue_oldest_deliverable_seconds',
      'Age of the oldest delivery that is due and not being attempted.',
    ),
    queueOverdue: gauge(
      'queue_overdue_messages',
      'Deliveries due for over a minute and not being attempted.',
    ),
    breakerState: gauge(
      'breaker_state',
      'Groups of hosts whose mail waits because they do not answer: open, or half-open while a probe is due.',
      ['state'],
    ),
    rateLimited: counter(
      'rate_limited_total',
      'Windows of time in which mail had to wait because a rate of `destinations` was used up: that of a domain, or of a group of hosts (site). Fine where a rate is meant to hold mail back; when it grows in every window while `parked` grows too, more comes in than the rate lets out.',
      ['scope'],
    ),
    rateClosed: gauge(
      'rate_closed',
      'Domains, and groups of hosts (site), whose mail waits for the next window of their rate now.',
      ['scope'],
    ),
    firstAttemptDelay: histogram(
      'first_attempt_delay_seconds',
      'From acknowledgement to the first attempt.',
      DELIVERY_BUCKETS,
    ),
    requeued: counter('queue_requeued_total', 'Jobs put back by the reconciler, by reason.', [
      'reason',
    ]),
    // delivery
    attempts: counter('attempts_total', 'Delivery attempts, by result.', ['result']),
    recipientsDelivered: counter('recipients_delivered_total', 'Recipients delivered.'),
    recipientsDeferred: counter(
      'recipients_deferred_total',
      'Recipients deferred, by cause class.',
      ['cause'],
    ),
    recipientsBounced: counter('recipients_bounced_total', 'Recipients bounced, by cause class.', [
      'cause',
    ]),
    recipientsDropped: counter(
      'recipients_dropped_total',
      'Recipients given up by an administrator without telling anybody.',
    ),
    deliveryDuration: histogram(
      'delivery_duration_seconds',
      'From acknowledgement to delivery.',
      DELIVERY_BUCKETS,
    ),
    connectionsOpen: gauge('connections_open', 'Outgoing SMTP connections open now.'),
    connectionsReused: counter(
      'connections_reused_total',
      'Messages that went over a connection another message had opened.',
    ),
    tlsSessions: counter(
      'tls_sessions_total',
      'Outgoing sessions by policy type, mode and RFC 8460 result type (`successful` when none applies).',
      ['policy_type', 'mode', 'result'],
    ),
    tlsFallbacks: counter(
      'tls_fallbacks_total',
      'Handshakes that failed and were followed by another try at the same address: with a small ClientHello, which is no weaker, or in clear text where the level allows it. Fine: a few of the first kind. One that grows with `to="clear"` is mail that somebody may read; `clear-text-after-starttls` is never innocent for long.',
      ['to', 'cause'],
    ),
    tlsReports: counter(
      'tls_reports_total',
      'TLS reports (RFC 8460): `made`, and what became of each copy, by transport.',
      ['transport', 'result'],
    ),
    tlsHandshakes: counter('tls_handshakes_total', 'Finished outgoing TLS handshakes.', [
      'version',
      'cipher',
    ]),
    smartHostLoginFailures: counter(
      'smart_host_login_failures_total',
      'AUTH to smart hosts of `routes` that was refused or not possible; any is worth an alert.',
    ),
    tlsDeliveries: counter(
      'tls_deliveries_total',
      'Recipients delivered, by the level of TLS that was asked, by whom (as `policy` in the log), and what was reached: clear, encrypted (nobody knows by whom) or verified. Healthy: `asked="verify"` with `reached="verified"` alone, always; the share of `reached="clear"` falls over the months.',
      ['asked', 'policy', 'reached'],
    ),
    plaintextDeliveries: counter('plaintext_deliveries_total', 'Messages delivered in clear text.'),
    dsn: counter('dsn_total', 'DSNs sent, by action.', ['action']),
    // policy
    mtastsLookups: counter('mtasts_lookups_total', 'MTA-STS policy look-ups, by result.', [
      'result',
    ]),
    mtastsFetches: counter('mtasts_fetches_total', 'Policy fetches over HTTPS, by result.', [
      'result',
    ]),
    mtastsRefreshes: counter(
      'mtasts_refreshes_total',
      'Policies fetched anew without a delivery that needs it, by cause and result.',
      ['cause', 'result'],
    ),
    mtastsRefreshOverdue: gauge(
      'mtasts_refresh_overdue_seconds',
      'How long the background refresh of a policy that waits longest is overdue.',
    ),
    mtastsCacheEntries: gauge('mtasts_cache_entries', 'Policies in force, by mode.', ['mode']),
    overridesActive: gauge('overrides_active', 'Overrides in force.'),
    overrideNextExpiry: gauge(
      'override_next_expiry_timestamp_seconds',
      'When the next override ends; 0 when none does.',
    ),
    downgradeSuspected: counter(
      'downgrade_suspected_total',
      'Signs that somebody weakens the TLS of a domain, by signal.',
      ['signal'],
    ),
    // Redis and the process
    redisLatency: histogram('redis_latency_seconds', 'Round trip of a PING.', LATENCY_BUCKETS),
    redisErrors: counter('redis_errors_total', 'Redis errors, by kind.', ['kind']),
    redisUp: gauge('redis_up', '1 while Redis answers.'),
    redisEvictionUnsafe: gauge(
      'redis_eviction_unsafe',
      '1 when the maxmemory-policy of Redis is not noeviction: it may drop jobs.',
    ),
    roleUp: gauge(
      'role_up',
      '1 while this role is there; that of deliver vanishes with all metrics, which it serves.',
      ['role'],
    ),
    roleRestarts: counter(
      'role_restarts_total',
      'Roles that ended without being asked to and were started again.',
      ['role'],
    ),
    configReloads: counter('config_reloads_total', 'Configuration reloads, by result.', ['result']),
    logLinesLost: gauge('log_lines_lost', 'Log lines that could not be written since the start.'),
    buildInfo: gauge('build_info', 'Always 1; the version in a label.', [
      'version',
      'node_version',
    ]),
  };
}
