/**
 * docs/logs.md, rendered from the declared events. The committed file must equal the
 * rendering (a test compares them); `node test/support/write-docs.ts` writes it anew.
 */
import type { EventEntry } from './vocabulary/entry.ts';
import { EVENTS } from './vocabulary/events.ts';
import { FIELDS } from './vocabulary/fields.ts';

const INTRODUCTION = `# The log

<!-- Generated from src/telemetry/vocabulary by test/support/write-docs.ts: edit the declarations there, not this file. -->

One JSON object a line on stdout; text for people where that is a terminal, or with \`log.format: pretty\`. Each line has
\`level\` (debug, info, warn, error), \`time\` (RFC 3339, UTC) and \`event\`, as \`stage.event\`; every line about a message has
its \`id\`. Fields that are not known are left out. No content of mail, no header but the Message-ID, no passwords and no tokens.

\`\`\`json
{"level":"info","time":"2026-11-22T18:04:05.678Z","event":"delivery.delivered","id":"1KF0RBWX7Q2M4T9A","recipient":"bob@example.org","destination":"example.org","attempt":1,"mx":"mx.example.org","address":"192.0.2.1","required":"verify","policy":"sts","policyDomain":"example.org","policyId":"20260101T000000","policyMode":"enforce","tlsVersion":"TLSv1.3","cipher":"TLS_AES_256_GCM_SHA384","certSha256":"9f86d0…","verified":true,"reply":"250 2.0.0 Ok","afterMs":412}
\`\`\`

**What a stranger can cause is limited**: refusals of one reason, wrong passwords and broken sessions are 60 lines a minute
each; what is beyond is at level debug, is counted in \`unsaid\` of the next line, and in the metrics in any case. A trouble that
lasts (a full disk, \`deliver\` away) is one line when it begins, one every ten minutes, one at its end. Lines that cannot be
written are kept up to 4 MiB, then counted (\`stsrelay_log_lines_lost\`); the log never holds up mail.

## Questions

\`LOG\` is a file with the lines, or \`<(journalctl -u stsrelay -o cat)\`.

\`\`\`sh
# Everything about one message, in order
grep -F '"id":"1KF0RBWX7Q2M4T9A"' LOG
# From a Message-ID to the id
jq -r 'select(.messageId == "<4711@shop.example>") | .id' LOG
# What became of mail to bob, and when
jq -r 'select(.recipient == "bob@example.org") | [.time, .event, .mx, .reply // .reason] | @tsv' LOG
# Proof that a message went over verified TLS
jq 'select(.event == "delivery.delivered" and .id == "1KF0RBWX7Q2M4T9A") | {time, recipient, mx, address, tlsVersion, cipher, certSha256, policyMode, verified}' LOG
# Which destinations are deferred, and why
jq -r 'select(.event == "delivery.deferred") | [.destination, .causeClass] | @tsv' LOG | sort | uniq -c | sort -rn | head
# What a policy holds back, by host and reason
jq -r 'select(.event == "delivery.deferred" and .causeClass == "tlsPolicy") | [.destination, .mx, .reason] | @tsv' LOG | sort | uniq -c
# Where mail went in clear text
jq -r 'select(.event == "delivery.delivered" and .tlsVersion == null) | [.destination, .clearText] | @tsv' LOG | sort | uniq -c | sort -rn
# Signs of a downgrade, by domain
jq -r 'select(.event == "policy.downgrade_suspected") | [.domain, .signal, .detail] | @tsv' LOG | sort | uniq -c
# Who is refused, and why
jq -r 'select(.event == "intake.refused") | [.reason, .client] | @tsv' LOG | sort | uniq -c | sort -rn | head
\`\`\`

The same in LogQL, for lines with the label \`job="stsrelay"\`:

\`\`\`logql
{job="stsrelay"} |= \`"id":"1KF0RBWX7Q2M4T9A"\`
{job="stsrelay"} |= \`<4711@shop.example>\` | json | event = \`intake.accepted\`
{job="stsrelay"} | json | recipient = \`bob@example.org\` | line_format "{{.event}} {{.mx}} {{.reply}} {{.reason}}"
sum by (destination, causeClass) (count_over_time({job="stsrelay"} |= \`delivery.deferred\` | json [1h]))
sum by (destination) (count_over_time({job="stsrelay"} |= \`delivery.delivered\` | json | tlsVersion = \`\` [1h]))
sum by (domain, signal) (count_over_time({job="stsrelay"} |= \`policy.downgrade_suspected\` | json [24h]))
topk(10, sum by (reason, client) (count_over_time({job="stsrelay"} |= \`intake.refused\` | json [1h])))
quantile_over_time(0.95, {job="stsrelay"} |= \`delivery.delivered\` | json | unwrap afterMs [15m]) by (destination)
\`\`\`

Make \`level\` and \`event\` labels at most, never \`id\`, \`recipient\` or \`client\`: there are too many of them.

While messages are [traced](traces.md), lines about one that is have its \`trace_id\` besides.
`;

/** The whole document, Markdown. */
export function renderLogsDoc(): string {
  const all = Object.entries<EventEntry>(EVENTS);
  const stages = [...new Set(all.map(([name]) => stageOf(name)))];
  const sections = stages.map((stage) => {
    const rows = all.filter(([name]) => stageOf(name) === stage).map(renderEvent);
    return `### ${stage}\n\n${table(['event', 'level', 'meaning', 'fields'], rows)}`;
  });
  const fields = Object.entries(FIELDS).map(([name, means]) => [`\`${name}\``, means]);
  return [
    INTRODUCTION,
    '## Events\n',
    ...sections,
    `## Fields\n\n${table(['field', 'meaning'], fields)}`,
  ].join('\n');
}

function stageOf(event: string): string {
  return event.slice(0, event.indexOf('.'));
}

function renderEvent([name, { level, means, fields }]: readonly [string, EventEntry]) {
  const levels = typeof level === 'string' ? level : level.join(', ');
  return [`\`${name}\``, levels, means, fields.map((field) => `\`${field}\``).join(' ')];
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line), ''].join('\n');
}
