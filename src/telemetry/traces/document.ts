/**
 * docs/traces.md, rendered from the declared spans. The committed file must equal the rendering (a test compares
 * them); `node test/support/write-docs.ts` writes it anew.
 */
import { ATTRIBUTES, SPANS, type SpanEntry } from './vocabulary.ts';

const INTRODUCTION = `# Traces

<!-- Generated from src/telemetry/traces by test/support/write-docs.ts: edit the declarations there, not this file. -->
<!-- not ours: tls.* -->

One OpenTelemetry trace for each message, from MAIL to the answer of its last recipient: its intake, the commit to disk,
every attempt with route, policy, hosts, TLS handshake and SMTP transaction, and its end. Attempts that come days later, or
after a restart, are in the same trace. The log says *what* became of a message; a trace shows *where its time went*.

They are **off** unless the environment asks for them, and then cost nothing: no package of the SDK is loaded, and
nothing is connected to.

\`\`\`sh
# In the environment of the relay: a container's, or with Environment= each, \`systemctl edit stsrelay\`
OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318
OTEL_SERVICE_NAME=stsrelay
OTEL_RESOURCE_ATTRIBUTES=deployment.environment.name=production
OTEL_TRACES_SAMPLER=parentbased_traceidratio
OTEL_TRACES_SAMPLER_ARG=0.05
\`\`\`

The log says \`traces.on\`, once for each of the two processes, or \`traces.off\` and why not.

## Variables

They are read at the start, not at a reload; both processes must have the same ones.

| variable | meaning |
| --- | --- |
| \`OTEL_TRACES_EXPORTER\` | \`otlp\` switches traces on, \`none\` off; unset, an endpoint switches them on |
| \`OTEL_SDK_DISABLED\` | \`true\`: off, whatever else is set |
| \`OTEL_EXPORTER_OTLP_ENDPOINT\`, \`OTEL_EXPORTER_OTLP_TRACES_ENDPOINT\` | The collector; \`http://localhost:4318\` when unset. To the first \`/v1/traces\` is added, the second is taken as it is |
| \`OTEL_EXPORTER_OTLP_PROTOCOL\`, \`OTEL_EXPORTER_OTLP_TRACES_PROTOCOL\` | \`http/protobuf\`, which is the default and the only one; with another one traces are off, and the log says so. Collectors take it on port 4318, where gRPC has 4317 |
| \`OTEL_EXPORTER_OTLP_HEADERS\`, \`_TIMEOUT\`, \`_COMPRESSION\`, \`_CERTIFICATE\`, \`_CLIENT_KEY\`, \`_CLIENT_CERTIFICATE\`, and the same with \`TRACES_\` | As the SDK has them |
| \`OTEL_TRACES_SAMPLER\`, \`OTEL_TRACES_SAMPLER_ARG\` | \`always_on\` (the default), \`always_off\`, \`traceidratio\`, each also as \`parentbased_…\`, which is the same here: SMTP has no parents. Messages are traced whole or not at all; a share that is raised or lowered holds for what is queued, too |
| \`OTEL_BSP_SCHEDULE_DELAY\`, \`OTEL_BSP_EXPORT_TIMEOUT\`, \`OTEL_BSP_MAX_QUEUE_SIZE\`, \`OTEL_BSP_MAX_EXPORT_BATCH_SIZE\` | What waits to be sent: 5000 ms, 30000 ms, 2048 and 512 spans |
| \`OTEL_SERVICE_NAME\`, \`OTEL_RESOURCE_ATTRIBUTES\` | Over \`service.name=stsrelay\`, \`service.version\`, \`host.name\`, \`process.pid\` and \`stsrelay.role\` (receive or deliver) |
| \`OTEL_LOG_LEVEL\`, \`OTEL_PROPAGATORS\` and the limits of spans | Without effect |

The SDK is in four packages (\`@opentelemetry/*\`, 18 MB), loaded only when the environment asks for traces. Where they were taken
out of an installation, \`traces.off\` names the one that is missing, and mail goes on.

## From a message to its trace, and back

The id of a trace is computed from that of the message, so nothing has to be looked up:

\`\`\`sh
printf %s 1KF0RBWX7Q2M4T9A | sha256sum | cut -c 1-32
\`\`\`

While traces are on every log line about a message that is traced has it as \`trace_id\`. In Grafana, a *derived field* of the Loki
data source with the regular expression \`"trace_id":"(\\w+)"\` and the Tempo data source makes it a link. Back from a trace: \`messaging.message.id\` is the
\`id\` in the log. In TraceQL:

\`\`\`
{ span.messaging.message.id = "1KF0RBWX7Q2M4T9A" }
{ name = "attempt" && span.messaging.destination.name = "example.org" && status = error }
{ name = "tls" && duration > 2s }
{ name = "policy" && duration > 1s }
{ name = "commit" && duration > 100ms }
{ name = "settled" && duration > 1h }
{ name = "session" && span.stsrelay.tls =~ "verify:(clear|encrypted)" }
\`\`\`

The \`receive\` span, the root, is sent when the message was taken, and each attempt when its result is on disk: a message that
waits has a whole trace up to now. Backends that close a trace some time after its last span, as those that sample at the tail do, see
an attempt hours later as a new piece of it.

A bounce is a message of its own, with a trace of its own, that links to the one it is about.

## When the collector is away

Mail never waits for a trace. What cannot be sent is tried again for ten seconds (\`OTEL_EXPORTER_OTLP_TIMEOUT\`), then
dropped; what does not fit into the queue meanwhile is dropped at once. \`traces.lost\` in the log says so when it begins and every ten minutes,
\`traces.sent\` when it is over. When the relay stops, what waits gets three seconds. A process that is killed loses what it
had not sent: never mail, only spans.

A busy relay makes some ten spans a message; sample when it has hundreds of messages a second.

## What is in them

No content, no header, no password, and no mailbox: addresses in replies of hosts are replaced by \`(mailbox)\`. Domains, addresses of
clients and hosts, and the names of users who logged in are, as in the log.

`;

/** The whole document, Markdown. */
export function renderTracesDoc(): string {
  const spans = Object.entries<SpanEntry>(SPANS).map(([name, { below, means, attributes }]) => [
    `\`${name}\``,
    below === 'the root' ? below : `\`${below}\``,
    `${means}.`,
    attributes.map((attribute) => `\`${attribute}\``).join(' '),
  ]);
  const attributes = Object.entries(ATTRIBUTES).map(([name, means]) => [`\`${name}\``, means]);
  return [
    INTRODUCTION,
    `## Spans\n\n${table(['span', 'below', 'meaning', 'attributes'], spans)}\n`,
    'Kind internal where nothing else is said. A span that ended in an error has status `Error`, its text, and `error.type`;\n',
    'the others have no status.\n\n',
    `## Attributes\n\n${table(['attribute', 'meaning'], attributes)}`,
  ].join('');
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line), ''].join('\n');
}
