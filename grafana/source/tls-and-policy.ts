/** Is mail protected on its way, and does somebody interfere? */
import { assemble, curves, OUR_OWN, ranking, stat } from './parts.ts';

const I = 'instance=~"$instance"';
const D = 'destination=~"$destination"';
const RATE = '[$__rate_interval]';
const POLICY = 'a-destination-does-not-meet-its-policy';
const STRIPPED = 'somebody-may-be-stripping-tls';
const REFRESH = 'a-policy-cannot-be-refreshed';

/** Of the sessions that a policy binds, MTA-STS (by its mode) or TLSA records (which have none). */
const bound = (span: string, more = '') =>
  `(rate(stsrelay_tls_sessions_total{${I}, mode="enforce"${more}}${span}) or rate(stsrelay_tls_sessions_total{${I}, policy_type="tlsa"${more}}${span}))`;

const GLANCE = [
  stat({
    title: 'What share of recipients is reached over TLS? (1 h)',
    healthy: 'over 0.98. Yellow below 0.95, red below 0.8.',
    unit: 'percentunit',
    runbook: STRIPPED,
    queries: [
      [
        `1 - sum(rate(stsrelay_plaintext_deliveries_total{${I}}[1h])) / (sum(rate(stsrelay_recipients_delivered_total{${I}}[1h])) > 0)`,
        'share',
      ],
    ],
    nothing: 'no mail',
    span: 4,
    limits: { yellow: 0.95, red: 0.8, isFloor: true },
  }),
  stat({
    title: 'How many destinations do not meet their policy?',
    healthy:
      '0. One: its own mistake, mostly; its mail waits. Several at once: look at ourselves, or at who is on the way. `other` is not counted.',
    unit: 'short',
    runbook: POLICY,
    queries: [
      [
        `count(stsrelay_destination_queue_messages{${I}, destination!="other"} and on (instance, destination) increase(stsrelay_destination_recipients_total{${I}, result="policy-not-met"}[7h]) > 0) or 0 * sum(stsrelay_destination_queue_messages{${I}})`,
        'destinations',
      ],
    ],
    span: 4,
    limits: { yellow: 1, red: 5 },
  }),
  stat({
    title: 'Are there signs of a downgrade? (1 h)',
    healthy:
      '0; single ones when somebody changes hosts and forgets the policy. Without look-ups and fetches that failed.',
    unit: 'short',
    runbook: STRIPPED,
    queries: [
      [
        `sum(increase(stsrelay_downgrade_suspected_total{${I}, signal!~"${OUR_OWN}"}[1h]))`,
        'signs',
      ],
    ],
    span: 4,
    limits: { yellow: 1, red: 10 },
  }),
  stat({
    title: 'When does the first policy expire that cannot be refreshed?',
    healthy: 'none, or more than two days away: until then it stays in force.',
    unit: 's',
    runbook: REFRESH,
    queries: [
      [
        `min((stsrelay_mtasts_refresh_failing_next_expiry_timestamp_seconds{${I}} > 0) - time())`,
        'in',
      ],
    ],
    nothing: 'none',
    span: 4,
    limits: { yellow: 172_800, red: 86_400, isFloor: true },
  }),
  stat({
    title: 'How many exceptions are there?',
    healthy: 'few, each with an owner, a reason and an end (`stsrelay override list`).',
    unit: 'short',
    runbook: 'an-override-is-about-to-end',
    queries: [[`max(stsrelay_overrides_active{${I}})`, 'overrides']],
    span: 4,
  }),
  stat({
    title: 'When does the next exception end?',
    healthy: 'more than a day away; afterwards the policy counts again.',
    unit: 's',
    runbook: 'an-override-is-about-to-end',
    queries: [[`min((stsrelay_override_next_expiry_timestamp_seconds{${I}} > 0) - time())`, 'in']],
    nothing: 'none',
    span: 4,
    limits: { yellow: 86_400, red: 3600, isFloor: true },
  }),
];

const SESSIONS = [
  curves({
    title: 'Which policy decides, and how do sessions go?',
    healthy: 'successful for nearly all; without a policy some starttls-not-supported.',
    unit: 'cpm',
    runbook: POLICY,
    queries: [
      [
        `60 * sum by (policy_type, mode, result) (rate(stsrelay_tls_sessions_total{${I}}${RATE})) > 0`,
        '{{policy_type}} {{mode}}: {{result}}',
      ],
    ],
  }),
  curves({
    title: 'Why do sessions fail that a policy binds?',
    healthy: 'nothing at all. A result type is what the domain is told in its TLS report.',
    unit: 'cpm',
    runbook: POLICY,
    queries: [
      [
        `60 * sum by (policy_type, result) ${bound(RATE, ', result!="successful"')} > 0`,
        '{{policy_type}}: {{result}}',
      ],
    ],
  }),
  curves({
    title: 'What TLS was asked for, and what was reached?',
    healthy: 'verify is always verified; of opportunistic little is clear, and less each month.',
    unit: 'mpm',
    runbook: STRIPPED,
    queries: [
      [
        `60 * sum by (asked, policy, reached) (rate(stsrelay_tls_deliveries_total{${I}}${RATE}))`,
        '{{asked}} ({{policy}}): {{reached}}',
      ],
    ],
  }),
  curves({
    title: 'Do handshakes need a second try?',
    healthy: 'a few, with a small ClientHello. In clear text: mail that somebody may read.',
    unit: 'cpm',
    runbook: STRIPPED,
    queries: [
      [
        `60 * sum by (to, cause) (rate(stsrelay_tls_fallbacks_total{${I}}${RATE}))`,
        '{{to}}: {{cause}}',
      ],
    ],
  }),
  curves({
    title: 'Which destinations do not meet their policy?',
    healthy:
      'none. One: its own mistake, mostly. Several at once: look at ourselves, or at who is on the way.',
    unit: 'cpm',
    runbook: POLICY,
    queries: [
      [
        `60 * topk(10, sum by (destination) (rate(stsrelay_destination_recipients_total{${I}, ${D}, result="policy-not-met"}${RATE})))`,
        '{{destination}}',
      ],
    ],
  }),
  curves({
    title: 'How much goes in clear text?',
    healthy: 'one in a hundred or less, and no rise. Dots are messages: their id is in the log.',
    unit: 'mpm',
    runbook: STRIPPED,
    queries: [
      [
        `60 * sum(rate(stsrelay_plaintext_deliveries_total{${I}}${RATE}))`,
        'recipients in clear text',
      ],
    ],
  }),
  curves({
    title: 'Which versions of TLS are spoken?',
    healthy:
      'TLSv1.3 for most. A sudden shift to TLSv1.2: something on the way rewrites handshakes.',
    unit: 'cpm',
    runbook: STRIPPED,
    queries: [
      [`60 * sum by (version) (rate(stsrelay_tls_handshakes_total{${I}}${RATE}))`, '{{version}}'],
    ],
  }),
  ranking({
    title: 'Which ciphers are used? (1 h)',
    healthy: 'AES-GCM and CHACHA20 only.',
    unit: 'short',
    runbook: STRIPPED,
    queries: [
      [
        `topk(8, sum by (version, cipher) (increase(stsrelay_tls_handshakes_total{${I}}[1h])))`,
        '{{version}} {{cipher}}',
      ],
    ],
    span: 16,
  }),
];

const POLICIES = [
  curves({
    title: 'What signs of a downgrade are there?',
    healthy: 'nothing. Of several domains at once: somebody on the way, or our own resolver.',
    unit: 'short',
    runbook: STRIPPED,
    queries: [
      [`sum by (signal) (increase(stsrelay_downgrade_suspected_total{${I}}${RATE}))`, '{{signal}}'],
    ],
  }),
  curves({
    title: 'Do policy look-ups have an answer?',
    healthy: 'mostly absent; unknown near 0.',
    unit: 'cpm',
    runbook: REFRESH,
    queries: [
      [`60 * sum by (result) (rate(stsrelay_mtasts_lookups_total{${I}}${RATE}))`, '{{result}}'],
    ],
  }),
  curves(
    {
      title: 'How many policies are in force?',
      healthy: 'grows slowly. A drop: `state/policies` was lost.',
      unit: 'short',
      runbook: REFRESH,
      queries: [[`sum by (mode) (stsrelay_mtasts_cache_entries{${I}})`, '{{mode}}']],
    },
    { stacked: true },
  ),
  curves({
    title: 'Can policies be fetched and refreshed?',
    healthy: 'fetched, about once a day for each. Failures are single policy hosts.',
    unit: 'short',
    runbook: REFRESH,
    queries: [
      [
        `sum by (result) (increase(stsrelay_mtasts_fetches_total{${I}}${RATE}))`,
        'fetch: {{result}}',
      ],
      [
        `sum by (cause, result) (increase(stsrelay_mtasts_refreshes_total{${I}}${RATE}))`,
        'refresh ({{cause}}): {{result}}',
      ],
    ],
  }),
  curves({
    title: 'How many policies cannot be refreshed?',
    healthy: '0 or a few: policy hosts come and go, and what is kept stays in force.',
    unit: 'short',
    runbook: REFRESH,
    queries: [[`sum by (mode) (stsrelay_mtasts_refresh_failing_policies{${I}})`, '{{mode}}']],
  }),
  curves({
    title: 'Is the background refresh on time?',
    healthy: 'below a minute.',
    unit: 's',
    runbook: REFRESH,
    queries: [
      [`max by (instance) (stsrelay_mtasts_refresh_overdue_seconds{${I}})`, '{{instance}}'],
    ],
  }),
];

const REPORTS = [
  curves({
    title: 'What became of the TLS reports? (1 d)',
    healthy: 'once a day some are made, and as many delivered or posted.',
    unit: 'short',
    runbook: 'tls-reports-fail',
    queries: [
      [`sum(increase(stsrelay_tls_reports_total{${I}, result="made"}[1d]))`, 'made'],
      [
        `sum by (transport, result) (increase(stsrelay_tls_reports_total{${I}, result=~"delivered|posted|queued"}[1d]))`,
        '{{transport}}: {{result}}',
      ],
    ],
    span: 12,
  }),
  curves({
    title: 'Which TLS reports reach nobody? (1 d)',
    healthy:
      'a few: somebody’s mailbox. All of a transport: ours. none: it could not be made; not-mailed: tlsRpt is not set up.',
    unit: 'short',
    runbook: 'tls-reports-fail',
    queries: [
      [
        `sum by (transport, result) (increase(stsrelay_tls_reports_total{${I}, result=~"failed|suspended|not-mailed|waiting"}[1d]))`,
        '{{transport}}: {{result}}',
      ],
    ],
    span: 12,
  }),
];

export function tlsAndPolicy() {
  return assemble({
    uid: 'stsrelay-tls-policy',
    title: 'TLS & policy',
    description:
      'Is mail protected on its way, does somebody interfere, and which policies do we know?',
    rows: [
      ['At a glance', GLANCE],
      ['Sessions', SESSIONS],
      ['Policies', POLICIES],
      ['TLS reports', REPORTS],
    ],
  });
}
