/** Is the relay itself well? */
import { assemble, curves, ranking, stat, yesNo } from './parts.ts';

const I = 'instance=~"$instance"';
const RATE = '[$__rate_interval]';

const GLANCE = [
  yesNo({
    title: 'Does Redis answer?',
    healthy: 'yes. Without it mail is taken to the spool, and nothing is delivered.',
    runbook: 'redis-is-in-trouble',
    queries: [[`min(stsrelay_redis_up{${I}})`, 'up']],
    span: 4,
  }),
  stat({
    title: 'How much room is left on the disk?',
    healthy: 'more than 3 times what is required; at 1 no mail is taken.',
    unit: 'none',
    runbook: 'the-disk-fills-up',
    queries: [
      [
        `min(stsrelay_disk_free_bytes{${I}} / stsrelay_disk_required_bytes{${I}})`,
        'times required',
      ],
    ],
    span: 4,
    limits: { yellow: 3, red: 1.5, isFloor: true },
  }),
  stat({
    title: 'Did the spool have errors? (1 h)',
    healthy: '0. Any: the disk is full or failing, or a file is damaged.',
    unit: 'short',
    runbook: 'the-spool-is-in-trouble',
    queries: [[`sum(increase(stsrelay_spool_errors_total{${I}}[1h]))`, 'errors']],
    span: 4,
    limits: { yellow: 1, red: 1 },
  }),
  stat({
    title: 'How busy is the busiest process?',
    healthy: 'below 0.7 of its one core.',
    unit: 'percentunit',
    runbook: 'mail-is-late',
    queries: [[`max(rate(stsrelay_event_loop_busy_seconds_total{${I}}${RATE}))`, 'busy']],
    span: 4,
    limits: { yellow: 0.7, red: 0.9 },
  }),
  stat({
    title: 'Did a part have to be restarted? (1 d)',
    healthy: '0. Any is a bug, or somebody who ended it by hand.',
    unit: 'short',
    runbook: 'a-part-of-the-relay-was-restarted',
    queries: [[`sum(increase(stsrelay_role_restarts_total{${I}}[1d]))`, 'restarts']],
    span: 4,
    limits: { yellow: 1, red: 3 },
  }),
  stat({
    title: 'For how long do they run?',
    healthy: 'since the last deployment.',
    unit: 's',
    runbook: 'a-part-of-the-relay-was-restarted',
    queries: [
      [
        `time() - max by (instance) (stsrelay_process_start_timestamp_seconds{${I}})`,
        '{{instance}}',
      ],
    ],
    span: 4,
  }),
];

const DOOR = [
  curves({
    title: 'Whom does the front door refuse, and why?',
    healthy:
      'a trickle of relay-denied and protocol-error. spool-*, queue-*: it is us, and nobody can hand over mail.',
    unit: 'cpm',
    runbook: 'no-mail-is-taken',
    queries: [
      [`60 * sum by (reason) (rate(stsrelay_refusals_total{${I}}${RATE})) > 0`, '{{reason}}'],
    ],
  }),
  curves({
    title: 'Does somebody guess passwords?',
    healthy: 'a few a day: people mistype.',
    unit: 'cpm',
    runbook: 'somebody-guesses-passwords',
    queries: [
      [`60 * sum by (protocol) (rate(stsrelay_auth_failures_total{${I}}${RATE}))`, '{{protocol}}'],
    ],
  }),
  curves({
    title: 'How many connections are open?',
    healthy: 'clients well below `limits.connections`; outgoing ones in step with the traffic.',
    unit: 'short',
    runbook: 'no-mail-is-taken',
    queries: [
      [`sum by (instance) (stsrelay_intake_connections_open{${I}})`, 'clients: {{instance}}'],
      [`sum by (instance) (stsrelay_connections_open{${I}})`, 'outgoing: {{instance}}'],
    ],
  }),
];

const STORES = [
  curves({
    title: 'How long does the spool take? (fsync)',
    healthy: 'what the disk needs for a sync: 1 to 10 ms. Every 250 waits for one.',
    unit: 's',
    runbook: 'the-spool-is-in-trouble',
    queries: [
      [
        `histogram_quantile(0.5, sum by (le, operation) (rate(stsrelay_spool_latency_seconds_bucket{${I}}${RATE})))`,
        'half: {{operation}}',
      ],
      [
        `histogram_quantile(0.99, sum by (le, operation) (rate(stsrelay_spool_latency_seconds_bucket{${I}}${RATE})))`,
        '99 %: {{operation}}',
      ],
      [
        `histogram_quantile(0.99, sum by (le, instance) (rate(stsrelay_spool_latency_seconds_bucket{${I}, operation="commit"}${RATE})))`,
        '99 % of commits: {{instance}}',
      ],
    ],
  }),
  curves({
    title: 'What fails in the spool?',
    healthy: 'nothing.',
    unit: 'short',
    runbook: 'the-spool-is-in-trouble',
    queries: [
      [`sum by (operation) (increase(stsrelay_spool_errors_total{${I}}${RATE}))`, '{{operation}}'],
    ],
  }),
  curves({
    title: 'How much disk is free?',
    healthy: 'several times what is required.',
    unit: 'bytes',
    runbook: 'the-disk-fills-up',
    queries: [
      [`min by (instance) (stsrelay_disk_free_bytes{${I}})`, 'free: {{instance}}'],
      [`max by (instance) (stsrelay_disk_required_bytes{${I}})`, 'required: {{instance}}'],
    ],
  }),
  curves({
    title: 'How fast is Redis?',
    healthy: '99 % below 5 ms.',
    unit: 's',
    runbook: 'redis-is-in-trouble',
    queries: [
      [
        `histogram_quantile(0.5, sum by (le) (rate(stsrelay_redis_latency_seconds_bucket{${I}}[5m])))`,
        'half',
      ],
      [
        `histogram_quantile(0.99, sum by (le, instance) (rate(stsrelay_redis_latency_seconds_bucket{${I}}[5m])))`,
        '99 %: {{instance}}',
      ],
    ],
  }),
  curves({
    title: 'What fails in Redis?',
    healthy: 'nothing; bursts while it was away.',
    unit: 'short',
    runbook: 'redis-is-in-trouble',
    queries: [
      [`sum by (kind) (increase(stsrelay_redis_errors_total{${I}}${RATE}))`, '{{kind}}'],
      [
        `max by (instance) (stsrelay_redis_eviction_unsafe{${I}})`,
        'may drop jobs (maxmemory-policy): {{instance}}',
      ],
    ],
  }),
  curves({
    title: 'Does the queue have to be mended?',
    healthy: '0; bursts after Redis was away or emptied. No mail is lost by it.',
    unit: 'short',
    runbook: 'redis-is-in-trouble',
    queries: [
      [`sum by (reason) (increase(stsrelay_queue_requeued_total{${I}}${RATE}))`, '{{reason}}'],
    ],
  }),
];

const PROCESSES = [
  curves({
    title: 'How busy are the processes?',
    healthy:
      'the event loop below 0.7: at 1 the process is the limit. CPU may be more, over several cores.',
    unit: 'percentunit',
    runbook: 'mail-is-late',
    queries: [
      [
        `sum by (instance, role) (rate(stsrelay_event_loop_busy_seconds_total{${I}}${RATE}))`,
        'event loop: {{instance}} {{role}}',
      ],
      [
        `sum by (instance, role) (rate(stsrelay_process_cpu_seconds_total{${I}}${RATE}))`,
        'CPU: {{instance}} {{role}}',
      ],
    ],
  }),
  curves({
    title: 'For how long does something hold up everything?',
    healthy: 'below 0.1 s. Above 1 s replies and timeouts are late.',
    unit: 's',
    runbook: 'mail-is-late',
    queries: [
      [
        `max by (instance, role) (stsrelay_event_loop_delay_seconds{${I}})`,
        '{{instance}} {{role}}',
      ],
    ],
  }),
  curves({
    title: 'How much memory do they use?',
    healthy: 'levels off after some hours; about 1 KiB for each queued delivery on top.',
    unit: 'bytes',
    runbook: 'a-part-of-the-relay-was-restarted',
    queries: [
      [
        `sum by (instance, role) (stsrelay_process_resident_memory_bytes{${I}})`,
        '{{instance}} {{role}}',
      ],
    ],
  }),
];

const UPKEEP = [
  curves({
    title: 'Were configurations applied?',
    healthy: 'applied, when somebody changed it. refused: the old settings hold.',
    unit: 'short',
    runbook: 'a-configuration-was-refused',
    queries: [
      [
        `sum by (instance, result) (increase(stsrelay_config_reloads_total{${I}}${RATE}))`,
        '{{instance}} {{result}}',
      ],
    ],
  }),
  curves({
    title: 'Are log lines, logins or signatures lost?',
    healthy:
      'nothing. Lines are lost when their reader stands still; a login that fails makes mail wait.',
    unit: 'short',
    runbook: 'a-smart-host-refuses-our-login',
    queries: [
      [`sum by (instance) (stsrelay_log_lines_lost{${I}})`, 'log lines lost: {{instance}}'],
      [
        `sum(increase(stsrelay_smart_host_login_failures_total{${I}}${RATE}))`,
        'smart host logins that failed',
      ],
      [
        `sum(increase(stsrelay_dkim_signatures_total{${I}, result="failed"}${RATE}))`,
        'messages left unsigned',
      ],
    ],
  }),
  ranking({
    title: 'Which versions run?',
    healthy: 'one, but during an upgrade.',
    unit: 'short',
    runbook: 'a-part-of-the-relay-was-restarted',
    queries: [
      [
        `count by (version, node_version) (stsrelay_build_info{${I}})`,
        '{{version}} on Node.js {{node_version}}',
      ],
    ],
  }),
];

export function relayHealth() {
  return assemble({
    uid: 'stsrelay-relay-health',
    title: 'Relay health',
    description: 'Is the relay itself well: processes, spool, disk, Redis, front door?',
    rows: [
      ['At a glance', GLANCE],
      ['Front door', DOOR],
      ['Spool, disk and Redis', STORES],
      ['Processes', PROCESSES],
      ['Upkeep', UPKEEP],
    ],
  });
}
