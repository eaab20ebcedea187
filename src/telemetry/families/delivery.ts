/** The families of attempts, of their sessions and of what recipients and senders are told. */
import { CAUSE_CLASSES } from '../../mail/outcome.ts';
import { TLS_REACHED } from '../../mail/tls-outcome.ts';
import { RESULT_TYPES } from '../../protocol/tlsrpt/result-type.ts';
import { counter, DELIVERY_BUCKETS, gauge, histogram, withExemplars } from './family.ts';

/** RFC 8460 §4.3: what a report would say, and what is no failure. */
const SESSION_RESULTS = ['successful', 'clear-text', ...RESULT_TYPES] as const;
/** Where a policy binds nobody wants clear text. */
const BINDING_RESULTS = ['successful', ...RESULT_TYPES] as const;

/** What becomes of a report, and of each copy of it. */
const REPORT_RESULTS = [
  'made',
  'waiting',
  'handing-over',
  'queued',
  'delivered',
  'posted',
  'failed',
  'suspended',
  'not-mailed',
  'excluded',
] as const;

export const DELIVERY_FAMILIES = {
  attempts: counter('attempts_total', {
    help: 'Sessions, and hosts that were skipped, of delivery attempts: `transacted` got as far as the envelope.',
    labels: { result: ['transacted', 'ended-early'] },
    healthy: 'Mostly `transacted`.',
    alert: 'Only `ended-early`: no host is reached at all.',
  }),
  recipientsDelivered: counter('recipients_delivered_total', {
    help: 'Recipients delivered.',
    healthy: 'Follows `messages_received_total` within seconds.',
    alert: 'Stands still while attempts are made: mail does not flow.',
  }),
  recipientsDeferred: withExemplars(
    counter('recipients_deferred_total', {
      help: 'Recipients deferred, by cause class; each attempt counts.',
      labels: { cause: CAUSE_CLASSES },
      healthy: 'A tenth of the deliveries or less, most of them `greylisted` and `connection`.',
      alert:
        '`tlsPolicy`: a policy is not met. `dns` for many domains: our resolver. `reputation`: a large provider refuses our address.',
    }),
  ),
  recipientsBounced: withExemplars(
    counter('recipients_bounced_total', {
      help: 'Recipients bounced, by cause class.',
      labels: { cause: CAUSE_CLASSES },
      healthy: 'One or two in a hundred, nearly all of them `other`: addresses that do not exist.',
      alert: 'Over a tenth: a stolen account, a bad address list, or a block (`reputation`).',
    }),
  ),
  recipientsDropped: counter('recipients_dropped_total', {
    help: 'Recipients given up by an administrator without telling anybody.',
    healthy: '0; the audit log says who did it.',
  }),
  deliveryDuration: withExemplars(
    histogram('delivery_duration_seconds', {
      help: 'From acknowledgement to delivery.',
      buckets: DELIVERY_BUCKETS,
      healthy: 'p50 around a second, p95 below a minute; greylisting makes a tail of minutes.',
      alert: 'p50 over a minute: everything waits for something.',
    }),
  ),
  connectionsOpen: gauge('connections_open', {
    help: 'Outgoing SMTP connections open now.',
    healthy: 'In step with the traffic; at most `destinations.*.connections` for each destination.',
  }),
  connectionsReused: counter('connections_reused_total', {
    help: 'Messages that went over a connection another message had opened.',
    healthy: 'Most messages for busy destinations.',
  }),
  tlsSessions: counter('tls_sessions_total', {
    help: 'Outgoing sessions by policy type, mode and RFC 8460 result type: `successful` when none applies, `clear-text` when an administrator wants no TLS there. Without a policy the mode is what decided instead.',
    labels: {
      policy_type: ['sts', 'tlsa', 'no-policy-found'],
      mode: ['enforce', 'testing', 'none', 'default', 'override', 'route', 'tls-required-no'],
      result: SESSION_RESULTS,
    },
    from0: [
      ...BINDING_RESULTS.map((result) => ({ policy_type: 'sts', mode: 'enforce', result })),
      // A mode is something that MTA-STS alone has.
      ...BINDING_RESULTS.map((result) => ({ policy_type: 'tlsa', mode: 'none', result })),
      { policy_type: 'no-policy-found', mode: 'default', result: 'successful' },
      { policy_type: 'no-policy-found', mode: 'default', result: 'starttls-not-supported' },
    ],
    healthy: '`successful` for nearly all; without a policy some `starttls-not-supported`.',
    alert:
      'Anything but `successful` in mode enforce, or of `policy_type="tlsa"` (its mode is always none): that mail waits.',
  }),
  tlsReports: counter('tls_reports_total', {
    help: 'TLS reports (RFC 8460): `made`, and what became of each copy, by transport.',
    labels: { transport: ['none', 'mailto', 'https'], result: REPORT_RESULTS },
    from0: [
      { transport: 'none', result: 'made' },
      { transport: 'none', result: 'failed' },
      { transport: 'mailto', result: 'delivered' },
      { transport: 'mailto', result: 'failed' },
      { transport: 'mailto', result: 'suspended' },
      { transport: 'https', result: 'posted' },
      { transport: 'https', result: 'failed' },
      { transport: 'https', result: 'suspended' },
    ],
    healthy:
      'A burst a day, in the window after `tlsRpt.sendAfter`: for each `made` a `posted` or `queued`, later `delivered`, for each of its `rua`.',
    alert:
      '`failed` or `suspended`, and nothing `delivered` or `posted`: no domain learns of the failures that we see.',
  }),
  tlsHandshakes: counter('tls_handshakes_total', {
    help: 'Finished outgoing TLS handshakes, whatever the certificate was worth.',
    labels: { version: 'as OpenSSL names it: `TLSv1.3`', cipher: 'as OpenSSL names it' },
    healthy: 'TLSv1.3 for most, TLSv1.2 for the rest.',
    alert: 'A sudden shift from TLSv1.3 to TLSv1.2: something on the way rewrites handshakes.',
  }),
  tlsFallbacks: counter('tls_fallbacks_total', {
    help: 'Handshakes that failed and were followed by another try at the same address: with a small ClientHello, which is no weaker, or in clear text where the level allows it.',
    labels: {
      to: ['small-hello', 'clear'],
      cause: ['tls-handshake-failed', 'tls-version-too-low', 'clear-text-after-starttls'],
    },
    healthy: 'A few with a small ClientHello.',
    alert:
      '`to="clear"` that grows is mail that somebody may read; `clear-text-after-starttls` is never innocent for long.',
  }),
  tlsDeliveries: counter('tls_deliveries_total', {
    help: 'Recipients delivered, by the level of TLS that was asked, by whom (as `policy` in the log), and what was reached: clear, encrypted (nobody knows by whom) or verified.',
    labels: {
      asked: ['none', 'opportunistic', 'encrypt', 'verify'],
      policy: ['sts', 'tlsa', 'override', 'route', 'default', 'tls-required-no'],
      reached: TLS_REACHED,
    },
    healthy:
      '`asked="verify"` with `reached="verified"` alone, always; the share of `reached="clear"` falls over the months.',
    alert: '`asked="verify"` with anything but `verified`: a bug, report it.',
  }),
  smartHostLoginFailures: counter('smart_host_login_failures_total', {
    help: 'AUTH to smart hosts of `routes` that was refused or not possible.',
    healthy: '0.',
    alert: 'Any: all mail of the route waits until somebody mends it.',
  }),
  plaintextDeliveries: withExemplars(
    counter('plaintext_deliveries_total', {
      help: 'Recipients delivered in clear text.',
      healthy: 'One in a hundred or less: hosts without TLS have become rare.',
      alert: 'A rise: TLS is stripped on our way out, if it is many destinations at once.',
    }),
  ),
  dsn: counter('dsn_total', {
    help: 'DSNs put into the queue, by action.',
    labels: { action: ['failed', 'delayed', 'relayed'] },
    healthy: '`failed` in step with `recipients_bounced_total`.',
  }),
};
