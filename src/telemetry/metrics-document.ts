/**
 * docs/metrics.md, rendered from the declared families. The committed file must equal the
 * rendering (a test compares them); `node test/support/write-docs.ts` writes it anew.
 */
import { DELIVERY_FAMILIES } from './families/delivery.ts';
import type { AnyFamily, LabelValues } from './families/family.ts';
import { INTAKE_FAMILIES } from './families/intake.ts';
import { POLICY_FAMILIES } from './families/policy.ts';
import { PROCESS_FAMILIES } from './families/process.ts';
import { QUEUE_FAMILIES } from './families/queue.ts';
import { PREFIX } from './metrics.ts';

const INTRODUCTION = `# Metrics

<!-- Generated from src/telemetry/families by test/support/write-docs.ts: edit the declarations there, not this file. -->

\`/metrics\` on \`http.address\` needs no token. It is the text format of Prometheus, or OpenMetrics where the scraper
asks for it; Prometheus does by itself. Then the families marked *exemplars* carry the id of the last message
(\`id\`), which is on every log line about it ([logs.md](logs.md)); for Prometheus to keep them:
\`--enable-feature=exemplar-storage\`.

A relay is two processes and one exposition: what both count is added up, what each uses has the label \`role\`.
Counters start at 0 with the process: use \`rate\` and \`increase\`, never the number itself. Of several relays
(\`instance\`) everything adds up but timestamps, the \`_seconds\` of \`queue_oldest_deliverable_seconds\` and
\`mtasts_refresh_overdue_seconds\` (take the maximum) and \`redis_up\` and \`role_up\` (the minimum).

Labels are closed sets. \`destination\` is a list of at most 130: the 30 destinations with most traffic and trouble
in the last hours, those named in \`destinations\`, \`retry\`, \`routes\` and \`overrides\` that have mail, and
\`other\` for all the rest; who is on it changes, the sum is always the whole.

They cost about 10 µs of CPU a message, and 3 ms a scrape.

Dashboards are in [grafana/](../grafana), alerts in [deploy/prometheus/](../deploy/prometheus), and what to do about an
alert in [operations.md](operations.md).
`;

const SECTIONS = [
  ['The front door and the spool', INTAKE_FAMILIES],
  ['The queue, destinations and Redis', QUEUE_FAMILIES],
  ['Delivery and TLS', DELIVERY_FAMILIES],
  ['Policies', POLICY_FAMILIES],
  ['Processes', PROCESS_FAMILIES],
] as const;

/** The whole document, Markdown. */
export function renderMetricsDoc(): string {
  const sections = SECTIONS.map(([title, families]) => {
    const entries = Object.values<AnyFamily>(families).map(renderFamily);
    return `## ${title}\n\n${entries.join('\n')}`;
  });
  return [INTRODUCTION, ...sections].join('\n');
}

function renderFamily(family: AnyFamily): string {
  const { name, type, help, labels = {}, buckets, healthy, alert } = family;
  const exemplars = family.hasExemplars ? ', exemplars' : '';
  const lines = [
    `### ${PREFIX}${name}`,
    '',
    `*${type}${exemplars}*. ${help}`,
    '',
    ...Object.entries(labels).map(([label, values]) => `- \`${label}\`: ${listed(values)}`),
    ...(buckets ? [`- Buckets: ${buckets.join(', ')} s`] : []),
    `- **Healthy:** ${healthy}`,
    ...(alert ? [`- **Alert:** ${alert}`] : []),
    '',
  ];
  return lines.join('\n');
}

function listed(values: LabelValues): string {
  return typeof values === 'string' ? values : values.map((value) => `\`${value}\``).join(', ');
}
