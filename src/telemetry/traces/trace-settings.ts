/**
 * Whether there are traces, and how: the environment variables that OpenTelemetry defines for every SDK. What the SDK
 * for Node.js reads itself (where the collector is, headers, certificates, timeouts, the resource) is left to it.
 *
 * Off unless somebody asks: OTEL_TRACES_EXPORTER=otlp, or an endpoint. A value that is not understood is told and otherwise
 * ignored, as the specification has it; a wish that cannot be fulfilled leaves them off.
 */

export interface TraceSettings {
  /** The share of messages that are traced, 0 to 1. */
  readonly ratio: number;
  /** What waits to be sent; the SDK's defaults where absent. */
  readonly batch: {
    readonly scheduledDelayMillis?: number;
    readonly exportTimeoutMillis?: number;
    readonly maxQueueSize?: number;
    readonly maxExportBatchSize?: number;
  };
  /** Values that were ignored. */
  readonly warnings: readonly string[];
}

export type TraceWish =
  | { readonly kind: 'off' }
  | { readonly kind: 'impossible'; readonly reason: string }
  | { readonly kind: 'on'; readonly settings: TraceSettings };

type Environment = Readonly<Record<string, string | undefined>>;

/** The one every collector speaks. */
const PROTOCOL = 'http/protobuf';
const ENDPOINTS = ['OTEL_EXPORTER_OTLP_TRACES_ENDPOINT', 'OTEL_EXPORTER_OTLP_ENDPOINT'];
const BATCH = {
  scheduledDelayMillis: 'OTEL_BSP_SCHEDULE_DELAY',
  exportTimeoutMillis: 'OTEL_BSP_EXPORT_TIMEOUT',
  maxQueueSize: 'OTEL_BSP_MAX_QUEUE_SIZE',
  maxExportBatchSize: 'OTEL_BSP_MAX_EXPORT_BATCH_SIZE',
} as const;
/** Spans are small, but somebody may mean milliseconds. */
const MOST_QUEUED = 100_000;

export function readTraceWish(environment: Environment): TraceWish {
  const read = (name: string) => environment[name]?.trim() ?? '';
  if (read('OTEL_SDK_DISABLED').toLowerCase() === 'true') return { kind: 'off' };
  const exporter = read('OTEL_TRACES_EXPORTER').toLowerCase();
  const isAsked = exporter === '' && ENDPOINTS.some((name) => read(name) !== '');
  if (exporter === 'none' || (exporter === '' && !isAsked)) return { kind: 'off' };
  if (exporter !== '' && exporter !== 'otlp') {
    return { kind: 'impossible', reason: `OTEL_TRACES_EXPORTER is ${exporter}, not otlp` };
  }
  const protocol =
    read('OTEL_EXPORTER_OTLP_TRACES_PROTOCOL') || read('OTEL_EXPORTER_OTLP_PROTOCOL') || PROTOCOL;
  if (protocol !== PROTOCOL) {
    const reason = `OTEL_EXPORTER_OTLP_PROTOCOL is ${protocol}; traces go by ${PROTOCOL} alone`;
    return { kind: 'impossible', reason };
  }
  const warnings: string[] = [];
  const ratio = readRatio(read, warnings);
  const batch = readBatch(read, warnings);
  return { kind: 'on', settings: { ratio, batch, warnings } };
}

type Read = (name: string) => string;

/** A message has no parent: what a sampler makes of one does not matter. */
function readRatio(read: Read, warnings: string[]): number {
  const named = read('OTEL_TRACES_SAMPLER').toLowerCase();
  switch (named.replace(/^parentbased_/, '')) {
    case '':
    case 'always_on':
      return 1;
    case 'always_off':
      return 0;
    case 'traceidratio':
      break;
    default:
      warnings.push(`OTEL_TRACES_SAMPLER is ${named}, which is not known: every message is traced`);
      return 1;
  }
  const argument = read('OTEL_TRACES_SAMPLER_ARG');
  const ratio = Number(argument);
  if (argument === '' || (ratio >= 0 && ratio <= 1)) return argument === '' ? 1 : ratio;
  warnings.push(`OTEL_TRACES_SAMPLER_ARG is ${argument}, not 0 to 1: every message is traced`);
  return 1;
}

function readBatch(read: Read, warnings: string[]): TraceSettings['batch'] {
  const batch: Record<string, number> = {};
  for (const [option, name] of Object.entries(BATCH)) {
    const text = read(name);
    if (text === '') continue;
    const isSize = option.startsWith('max');
    const value = Number(text);
    const isFit = Number.isInteger(value) && value > 0 && (!isSize || value <= MOST_QUEUED);
    if (isFit) batch[option] = value;
    else warnings.push(`${name} is ${text}, which is not used`);
  }
  return batch;
}
