/** Does mail flow, and where does it not? */
import { assemble, curves, OUR_OWN, ranking, stat, yesNo } from './parts.ts';

const I = 'instance=~"$instance"';
const D = 'destination=~"$destination"';
const RATE = '[$__rate_interval]';
/** Mail is rare: 0.02 a second tells nobody anything. */
const PER_MINUTE = 'mpm';

const GLANCE = [
  yesNo({
    title: 'Is every part of every relay up?',
    healthy: 'yes. no: a relay does not answer, or one of its two processes is away.',
    runbook: 'the-relay-is-down',
    queries: [[`min(stsrelay_role_up{${I}} or up{job="stsrelay", ${I}})`, 'up']],
    span: 4,
  }),
  stat({
    title: 'How much mail comes in?',
    healthy:
      'what is usual at this time of day. A flat 0 in working hours: clients do not reach the relay.',
    unit: PER_MINUTE,
    runbook: 'no-mail-is-taken',
    queries: [[`60 * sum(rate(stsrelay_messages_received_total{${I}}${RATE}))`, 'messages']],
    span: 4,
  }),
  stat({
    title: 'How many recipients get their mail?',
    healthy: 'as many as come in, seconds later.',
    unit: PER_MINUTE,
    runbook: 'mail-is-not-flowing',
    queries: [[`60 * sum(rate(stsrelay_recipients_delivered_total{${I}}${RATE}))`, 'recipients']],
    span: 4,
  }),
  stat({
    title: 'How old is the oldest mail that could go?',
    healthy: 'a few seconds. Yellow from 1 minute, red from 5.',
    unit: 's',
    runbook: 'mail-is-late',
    queries: [[`max(stsrelay_queue_oldest_deliverable_seconds{${I}})`, 'age']],
    span: 4,
    limits: { yellow: 60, red: 300 },
  }),
  stat({
    title: 'How much mail waits where a TLS policy is not met?',
    healthy:
      '0. Otherwise what is queued for destinations that did not do what their policy says within the last 7 hours.',
    unit: 'short',
    runbook: 'a-destination-does-not-meet-its-policy',
    queries: [
      [
        `sum(stsrelay_destination_queue_messages{${I}, ${D}} and on (instance, destination) increase(stsrelay_destination_recipients_total{${I}, ${D}, result="policy-not-met"}[7h]) > 0) or 0 * sum(stsrelay_destination_queue_messages{${I}})`,
        'deliveries',
      ],
    ],
    span: 4,
    limits: { yellow: 1, red: 20 },
  }),
  stat({
    title: 'Are there signs of stripped TLS? (1 h)',
    healthy:
      '0; single ones when somebody changes hosts and forgets the policy. Without look-ups and fetches that failed.',
    unit: 'short',
    runbook: 'somebody-may-be-stripping-tls',
    queries: [
      [
        `sum(increase(stsrelay_downgrade_suspected_total{${I}, signal!~"${OUR_OWN}"}[1h]))`,
        'signs',
      ],
    ],
    span: 4,
    limits: { yellow: 1, red: 10 },
  }),
];

const quantile = (q: number, family: string) =>
  `histogram_quantile(${q}, sum by (le) (rate(stsrelay_${family}_bucket{${I}}${RATE})))`;

const FLOW = [
  curves({
    title: 'What comes in, and what becomes of it?',
    healthy:
      'delivered follows received; deferred is a tenth of it or less, bounced a few in a hundred.',
    unit: PER_MINUTE,
    runbook: 'mail-is-not-flowing',
    queries: [
      [`60 * sum(rate(stsrelay_messages_received_total{${I}}${RATE}))`, 'messages received'],
      [`60 * sum(rate(stsrelay_recipients_delivered_total{${I}}${RATE}))`, 'recipients delivered'],
      [`60 * sum(rate(stsrelay_recipients_deferred_total{${I}}${RATE}))`, 'recipients deferred'],
      [`60 * sum(rate(stsrelay_recipients_bounced_total{${I}}${RATE}))`, 'recipients bounced'],
    ],
  }),
  curves({
    title: 'How long does mail take to be delivered?',
    healthy:
      'half within a second or two, 95 % within a minute. Dots are messages: their id is in the log.',
    unit: 's',
    runbook: 'mail-is-late',
    queries: [
      [quantile(0.5, 'delivery_duration_seconds'), 'half'],
      [quantile(0.95, 'delivery_duration_seconds'), '95 %'],
      [quantile(0.99, 'delivery_duration_seconds'), '99 %'],
    ],
  }),
  curves({
    title: 'How long until the first attempt?',
    healthy:
      'below a second. It is what the relay itself adds; more means that it does not keep up.',
    unit: 's',
    runbook: 'mail-is-late',
    queries: [
      [quantile(0.5, 'first_attempt_delay_seconds'), 'half'],
      [quantile(0.95, 'first_attempt_delay_seconds'), '95 %'],
    ],
  }),
  curves({
    title: 'What share is delivered within a minute? (1 h)',
    healthy: 'over 0.95. Recorded, so that it can be looked at over months.',
    unit: 'percentunit',
    runbook: 'mail-is-late',
    queries: [[`stsrelay:delivered_within_minute:ratio_rate1h{${I}}`, '{{instance}}']],
    max: 1,
  }),
  curves({
    title: 'Why is mail deferred?',
    healthy:
      'greylisted and connection, a little. tlsPolicy: a policy is not met; dns: our resolver; reputation: our address.',
    unit: PER_MINUTE,
    runbook: 'mail-is-not-flowing',
    queries: [
      [`60 * sum by (cause) (rate(stsrelay_recipients_deferred_total{${I}}${RATE}))`, '{{cause}}'],
    ],
  }),
  curves({
    title: 'Why is mail bounced, and what are senders told?',
    healthy: 'other: addresses that do not exist. reputation: a provider blocks us.',
    unit: PER_MINUTE,
    runbook: 'mail-is-not-flowing',
    queries: [
      [
        `60 * sum by (cause) (rate(stsrelay_recipients_bounced_total{${I}}${RATE}))`,
        'bounced: {{cause}}',
      ],
      [`60 * sum by (action) (rate(stsrelay_dsn_total{${I}}${RATE}))`, 'DSN: {{action}}'],
      [
        `60 * sum(rate(stsrelay_recipients_dropped_total{${I}}${RATE}))`,
        'dropped by an administrator',
      ],
    ],
  }),
];

const QUEUE = [
  curves(
    {
      title: 'What is in the queue?',
      healthy:
        'due near 0 and going up and down; delayed a steady level of mail for hosts in trouble.',
      unit: 'short',
      runbook: 'mail-is-late',
      queries: [[`sum by (state) (stsrelay_queue_messages{${I}})`, '{{state}}']],
    },
    { stacked: true },
  ),
  curves({
    title: 'What closes the destinations of mail that is due?',
    healthy:
      'breaker follows dead hosts; pause only while somebody wants it; rate goes back to 0 in each window.',
    unit: 'short',
    runbook: 'mail-is-late',
    queries: [
      [`sum by (reason) (stsrelay_queue_parked_messages{${I}})`, '{{reason}}'],
      [`sum(stsrelay_queue_overdue_messages{${I}})`, 'overdue, and open'],
    ],
  }),
  curves({
    title: 'How many groups of hosts do not answer?',
    healthy: 'a handful. Many at once: it is our connection, our DNS, or port 25.',
    unit: 'short',
    runbook: 'mail-is-not-flowing',
    queries: [[`sum by (state) (stsrelay_breaker_state{${I}})`, 'breaker {{state}}']],
  }),
  curves({
    title: 'Do attempts reach a host that listens?',
    healthy:
      'transacted for most; sessions that end early are hosts that are away. Only ended-early: nobody is reached.',
    unit: PER_MINUTE,
    runbook: 'mail-is-not-flowing',
    queries: [
      [`60 * sum by (result) (rate(stsrelay_attempts_total{${I}}${RATE}))`, '{{result}}'],
      [`60 * sum(rate(stsrelay_connections_reused_total{${I}}${RATE}))`, 'over an open connection'],
    ],
    span: 12,
  }),
  curves({
    title: 'Do our own rates hold mail back?',
    healthy: '0, but where a rate is meant to: then back to 0 in each window.',
    unit: 'short',
    runbook: 'mail-is-late',
    queries: [
      [`sum by (scope) (stsrelay_rate_closed{${I}})`, 'closed now: {{scope}}'],
      [
        `sum by (scope) (increase(stsrelay_rate_limited_total{${I}}${RATE}))`,
        'windows used up: {{scope}}',
      ],
    ],
    span: 12,
  }),
];

const DESTINATIONS = [
  ranking({
    title: 'Which destinations have mail waiting?',
    healthy: 'no one stands out that is not a large one.',
    unit: 'short',
    runbook: 'mail-is-late',
    queries: [
      [
        `topk(15, sum by (destination) (stsrelay_destination_queue_messages{${I}, ${D}}) > 0)`,
        '{{destination}}',
      ],
    ],
  }),
  curves({
    title: 'Where does most mail go?',
    healthy: 'the large providers, and whoever is written to today.',
    unit: PER_MINUTE,
    runbook: 'mail-is-not-flowing',
    queries: [
      [
        `60 * topk(10, sum by (destination) (rate(stsrelay_destination_recipients_total{${I}, ${D}, result="delivered"}${RATE})))`,
        '{{destination}}',
      ],
    ],
  }),
  curves({
    title: 'Which destinations suffer?',
    healthy:
      'little, and never the same one for long: deferred may be greylisting, policy-not-met is trouble.',
    unit: PER_MINUTE,
    runbook: 'a-destination-does-not-meet-its-policy',
    queries: [
      [
        `60 * topk(10, sum by (destination, result) (rate(stsrelay_destination_recipients_total{${I}, ${D}, result!="delivered"}${RATE})))`,
        '{{destination}}: {{result}}',
      ],
    ],
  }),
];

export function mailFlow() {
  return assemble({
    uid: 'stsrelay-mail-flow',
    title: 'Mail flow',
    description: 'Does mail flow, where does it not, and what is in the queue?',
    rows: [
      ['At a glance', GLANCE],
      ['Flow', FLOW],
      ['Queue', QUEUE],
      ['Destinations', DESTINATIONS],
    ],
  });
}
