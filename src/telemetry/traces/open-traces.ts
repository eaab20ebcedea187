/**
 * Traces by OpenTelemetry's SDK: one for each message, whose ids are computed from the message's (trace-ids.ts), sent
 * by OTLP over HTTP. Nothing of the SDK is loaded unless the environment asks for it (trace-settings.ts).
 *
 * Promises: mail never waits for a trace and never fails for one. Spans that are over wait in a bounded queue; what a
 * collector does not take in time is dropped, which the log tells. At the end what waits gets CLOSE_MS.
 */
import { hostname } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import type {
  Attributes,
  Context,
  DiagLogger,
  Link,
  Span,
  SpanContext,
  Tracer,
} from '@opentelemetry/api';
import type { Sampler, SpanExporter, TracerProvider } from '@opentelemetry/sdk-trace';
import { LRUCache } from 'lru-cache';
import type { RoleName } from '../role-events.ts';
import type { TraceEvents } from '../trace-events.ts';
import type { SpanAttributes, SpanTree } from './span-tree.ts';
import { traceIdsOf } from './trace-ids.ts';
import { readTraceWish, type TraceSettings } from './trace-settings.ts';

export interface Traces {
  /** The trace of the message with this id; undefined where it is not among those that are sampled. */
  of(id: string): MessageTrace | undefined;
  /** Send what waits, for a while. Never rejects. */
  close(): Promise<void>;
}

export interface MessageTrace {
  readonly traceId: string;
  /** How the message came to be, the root of its trace; `about`: the id of another one, whose trace is linked to. */
  begin(tree: SpanTree, about?: string): void;
  /** Something that happened to it later. */
  tell(tree: SpanTree): void;
}

export interface TracesOptions {
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly version: string;
  readonly role: RoleName;
  readonly events: TraceEvents;
}

const CLOSE_MS = 3000;
/** Characters of what the SDK says. */
const MOST_SAID = 300;

/** As the environment asks for; undefined where it does not, or they cannot be had. Never rejects. */
export async function openTraces(options: TracesOptions): Promise<Traces | undefined> {
  const { environment, events } = options;
  const wish = readTraceWish(environment);
  if (wish.kind === 'off') return undefined;
  if (wish.kind === 'impossible') {
    events.impossible(wish.reason);
    return undefined;
  }
  const { settings } = wish;
  for (const warning of settings.warnings) events.warned(warning);
  try {
    const traces = new SdkTraces(await loadSdk(), settings, options);
    events.opened(settings);
    return traces;
  } catch (error) {
    events.impossible(whyNotLoaded(error as NodeJS.ErrnoException));
    return undefined;
  }
}

async function loadSdk() {
  const [api, trace, resources, exporter] = await Promise.all([
    import('@opentelemetry/api'),
    import('@opentelemetry/sdk-trace'),
    import('@opentelemetry/resources'),
    import('@opentelemetry/exporter-trace-otlp-proto'),
  ]);
  return { api, trace, resources, exporter };
}

type Sdk = Awaited<ReturnType<typeof loadSdk>>;

function whyNotLoaded({ code, message }: NodeJS.ErrnoException): string {
  if (code !== 'ERR_MODULE_NOT_FOUND') return message;
  const what = /'(@opentelemetry\/[^']+)'/.exec(message)?.[1] ?? '@opentelemetry/*';
  return `the package ${what} is not installed`;
}

/** The root of a trace as its other spans know it: it may have been told by another process. */
type Root = SpanContext & { readonly isRemote: true };

class SdkTraces implements Traces {
  readonly #sdk: Sdk;
  readonly #events: TraceEvents;
  readonly #sampler: Sampler;
  readonly #provider: TracerProvider;
  readonly #tracer: Tracer;
  /** Each line of the log about a message asks. */
  readonly #lately = new LRUCache<string, { readonly trace: SdkTrace | undefined }>({ max: 1000 });
  /** Of the root span that is being made. */
  #rootIds: Pick<SpanContext, 'traceId' | 'spanId'> | undefined;

  constructor(sdk: Sdk, { ratio, batch }: TraceSettings, options: TracesOptions) {
    const { api, trace, exporter } = sdk;
    const { events } = options;
    this.#sdk = sdk;
    this.#events = events;
    // Before anything reads the environment and finds fault with it.
    const logLevel = api.DiagLogLevel.WARN;
    api.diag.setLogger(diagnosticsTo(events), { logLevel, suppressOverrideMessage: true });
    // All samplers that the environment can name are this one for what has no parent.
    this.#sampler = new trace.TraceIdRatioBasedSampler(ratio);
    const random = new trace.RandomIdGenerator();
    const told = tellingExporter(new exporter.OTLPTraceExporter(), events);
    this.#provider = new trace.TracerProvider({
      sampler: this.#sampler,
      resource: resourceOf(sdk, options),
      spanProcessors: [new trace.BatchSpanProcessor({ exporter: told, ...batch })],
      idGenerator: {
        generateTraceId: () => this.#rootIds?.traceId ?? random.generateTraceId(),
        generateSpanId: () => this.#rootIds?.spanId ?? random.generateSpanId(),
      },
    });
    this.#tracer = this.#provider.getTracer('stsrelay', options.version);
  }

  of(id: string): MessageTrace | undefined {
    const before = this.#lately.get(id);
    if (before) return before.trace;
    const root = this.#rootOf(id);
    const trace = this.#isSampled(root.traceId) ? new SdkTrace(root, this) : undefined;
    this.#lately.set(id, { trace });
    return trace;
  }

  #rootOf(id: string): Root {
    const { traceId, rootSpanId: spanId } = traceIdsOf(id);
    const { SAMPLED } = this.#sdk.api.TraceFlags;
    return { traceId, spanId, traceFlags: SAMPLED, isRemote: true };
  }

  #isSampled(traceId: string): boolean {
    const { ROOT_CONTEXT, SpanKind } = this.#sdk.api;
    const { decision } = this.#sampler.shouldSample(
      ROOT_CONTEXT,
      traceId,
      'receive',
      SpanKind.SERVER,
      {},
      [],
    );
    return decision === this.#sdk.trace.SamplingDecision.RECORD_AND_SAMPLED;
  }

  begin(root: Root, tree: SpanTree, about: string | undefined): void {
    this.#safely(() => {
      this.#rootIds = root;
      const links = about === undefined ? [] : [{ context: this.#rootOf(about) }];
      const span = this.#start(tree, this.#sdk.api.ROOT_CONTEXT, links);
      this.#rootIds = undefined;
      this.#finish(span, tree);
    });
  }

  tell(root: Root, tree: SpanTree): void {
    this.#safely(() => this.#tell(root, tree));
  }

  /** No mail suffers from a bug in here, or in the SDK. */
  #safely(work: () => void): void {
    try {
      work();
    } catch (error) {
      this.#events.warned(`a span was not made: ${(error as Error).message}`);
    } finally {
      this.#rootIds = undefined;
    }
  }

  #tell(parent: SpanContext, tree: SpanTree): void {
    const { trace, ROOT_CONTEXT } = this.#sdk.api;
    this.#finish(this.#start(tree, trace.setSpanContext(ROOT_CONTEXT, parent), []), tree);
  }

  #start({ name, kind, startMs, attributes, problem }: SpanTree, parent: Context, links: Link[]) {
    const { SpanKind, SpanStatusCode } = this.#sdk.api;
    const kinds = { server: SpanKind.SERVER, client: SpanKind.CLIENT };
    const span = this.#tracer.startSpan(
      name,
      {
        kind: kind ? kinds[kind] : SpanKind.INTERNAL,
        startTime: startMs,
        attributes: known({ ...attributes, 'error.type': problem?.type }),
        links,
      },
      parent,
    );
    if (problem) span.setStatus({ code: SpanStatusCode.ERROR, message: problem.text });
    return span;
  }

  #finish(span: Span, { startMs, endMs, children = [] }: SpanTree): void {
    for (const child of children) this.#tell(span.spanContext(), within(child, { startMs, endMs }));
    span.end(Math.max(startMs, endMs));
  }

  async close(): Promise<void> {
    const late = sleep(CLOSE_MS, undefined, { ref: false });
    await Promise.race([this.#provider.shutdown().catch(() => {}), late]);
    this.#sdk.api.diag.disable();
  }
}

class SdkTrace implements MessageTrace {
  readonly #root: Root;
  readonly #traces: SdkTraces;

  constructor(root: Root, traces: SdkTraces) {
    this.#root = root;
    this.#traces = traces;
  }

  get traceId(): string {
    return this.#root.traceId;
  }

  begin(tree: SpanTree, about?: string): void {
    this.#traces.begin(this.#root, tree, about);
  }

  tell(tree: SpanTree): void {
    this.#traces.tell(this.#root, tree);
  }
}

/** Threads read the clock for themselves: nothing sticks out of the span above. */
function within(child: SpanTree, { startMs, endMs }: Pick<SpanTree, 'startMs' | 'endMs'>) {
  const fit = (ms: number) => Math.min(Math.max(ms, startMs), Math.max(startMs, endMs));
  return { ...child, startMs: fit(child.startMs), endMs: fit(child.endMs) };
}

function known(attributes: SpanAttributes): Attributes {
  const all: Record<string, string | number | boolean> = {};
  for (const name in attributes) {
    const value = attributes[name as keyof SpanAttributes];
    if (value !== undefined) all[name] = value;
  }
  return all;
}

/** What the environment says of the resource goes over what is known here. */
function resourceOf({ resources }: Sdk, { version, role }: TracesOptions) {
  const own = resources.resourceFromAttributes({
    'service.name': 'stsrelay',
    'service.version': version,
    'host.name': hostname(),
    'process.pid': process.pid,
    'stsrelay.role': role,
  });
  const { resourceAttributesEnvDetector, serviceNameEnvDetector } = resources;
  const detectors = [resourceAttributesEnvDetector, serviceNameEnvDetector];
  return resources.defaultResource().merge(own).merge(resources.detectResources({ detectors }));
}

/** `exporter`, whose failures are told: the SDK keeps them to itself. */
function tellingExporter(exporter: SpanExporter, events: TraceEvents): SpanExporter {
  return {
    export(spans, done) {
      exporter.export(spans, (result) => {
        if (result.code === 0) events.sent();
        else events.lost(spans.length, result.error?.message || 'the collector refused them');
        done(result);
      });
    },
    shutdown: () => exporter.shutdown(),
    forceFlush: async () => exporter.forceFlush?.(),
  };
}

/** A URL that cannot be read is quoted with what stands in it. */
function withoutSecrets(text: string): string {
  return text.slice(0, MOST_SAID).replace(/\/\/[^/@\s]*@/, '//***@');
}

/** What the SDK says of itself: its warnings, and each batch that failed once more. */
function diagnosticsTo(events: TraceEvents): DiagLogger {
  const silent = () => {};
  return {
    ...{ debug: silent, info: silent, verbose: silent },
    warn: (...words) => events.warned(withoutSecrets(words.map(String).join(' '))),
    error: (text) =>
      events.lost(0, /"message":"([^"]*)/.exec(text)?.[1] ?? text.slice(0, MOST_SAID)),
  };
}
