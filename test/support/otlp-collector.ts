/**
 * A collector of traces on loopback: takes OTLP over HTTP as protobuf and keeps the spans. It can be told to
 * refuse, or to say nothing at all.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Chronicle } from './wait-for.ts';

export type AttributeValue = string | number | boolean;
export type Attributes = Readonly<Record<string, AttributeValue>>;

export interface CollectedSpan {
  readonly traceId: string;
  readonly spanId: string;
  /** Empty: it is a root. */
  readonly parentSpanId: string;
  readonly name: string;
  /** 1 internal, 2 server, 3 client. */
  readonly kind: number;
  readonly startNs: bigint;
  readonly endNs: bigint;
  readonly attributes: Attributes;
  /** Trace ids that it links to. */
  readonly links: readonly string[];
  readonly isError: boolean;
  readonly statusText: string;
  readonly resource: Attributes;
}

export class OtlpCollector implements AsyncDisposable {
  readonly #server: Server;
  readonly #spans = new Chronicle<CollectedSpan>();
  /** What it does with a request: 200, another status, or nothing. */
  answer: number | 'silence' = 200;
  /** Requests that came, whatever the answer. */
  requests = 0;
  /** Connections that were made. */
  connections = 0;
  /** Of the last request. */
  headers: IncomingMessage['headers'] = {};

  private constructor() {
    this.#server = createServer((request, response) => void this.#take(request, response));
    this.#server.on('connection', () => {
      this.connections += 1;
    });
  }

  static async start(): Promise<OtlpCollector> {
    const collector = new OtlpCollector();
    await new Promise<void>((resolve) => collector.#server.listen(0, '127.0.0.1', resolve));
    return collector;
  }

  /** For OTEL_EXPORTER_OTLP_ENDPOINT. */
  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  get spans(): readonly CollectedSpan[] {
    return this.#spans.entries;
  }

  /** Of one trace, in the order in which they began. */
  trace(traceId: string): readonly CollectedSpan[] {
    return this.spans
      .filter((span) => span.traceId === traceId)
      .toSorted((a, b) => Number(a.startNs - b.startNs));
  }

  /** Until `probe` finds something among the spans. */
  waitFor<R>(what: string, probe: (spans: readonly CollectedSpan[]) => R | undefined): Promise<R> {
    return this.#spans.until(what, () => probe(this.spans));
  }

  async #take(request: IncomingMessage, response: ServerResponse): Promise<void> {
    this.requests += 1;
    this.headers = request.headers;
    const pieces: Buffer[] = [];
    request.on('error', () => {});
    response.on('error', () => {});
    for await (const piece of request) pieces.push(piece as Buffer);
    if (this.answer === 'silence') return;
    response.writeHead(this.answer).end();
    const isRight = request.url === '/v1/traces' && request.method === 'POST';
    if (this.answer !== 200 || !isRight) return;
    for (const span of readRequest(Buffer.concat(pieces))) this.#spans.push(span);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

type Field = readonly [number: number, value: Buffer | bigint];

/** The fields of a protobuf message, in order. */
function fieldsOf(message: Buffer): readonly Field[] {
  const fields: Field[] = [];
  let at = 0;
  const varint = (): bigint => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const octet = BigInt(message.readUInt8(at++));
      value |= (octet & 0x7fn) << shift;
      if ((octet & 0x80n) === 0n) return value;
    }
  };
  while (at < message.length) {
    const key = Number(varint());
    const [number, type] = [key >> 3, key & 7];
    if (type === 0) fields.push([number, varint()]);
    else if (type === 1) {
      fields.push([number, message.subarray(at, at + 8)]);
      at += 8;
    } else if (type === 2) {
      const length = Number(varint());
      fields.push([number, message.subarray(at, at + length)]);
      at += length;
    } else if (type === 5) {
      fields.push([number, message.subarray(at, at + 4)]);
      at += 4;
    } else throw new Error(`wire type ${type}`);
  }
  return fields;
}

function all(fields: readonly Field[], wanted: number): readonly Buffer[] {
  return fields.flatMap(([number, value]) =>
    number === wanted && Buffer.isBuffer(value) ? [value] : [],
  );
}

function octets(fields: readonly Field[], wanted: number): Buffer {
  return all(fields, wanted)[0] ?? Buffer.alloc(0);
}

function number(fields: readonly Field[], wanted: number): number {
  return Number(fields.find(([field]) => field === wanted)?.[1] ?? 0);
}

/** ExportTraceServiceRequest. */
function readRequest(message: Buffer): CollectedSpan[] {
  return all(fieldsOf(message), 1).flatMap((one) => {
    const resourceSpans = fieldsOf(one);
    const resource = attributesOf(all(fieldsOf(octets(resourceSpans, 1)), 1));
    return all(resourceSpans, 2)
      .flatMap((scopeSpans) => all(fieldsOf(scopeSpans), 2))
      .map((span) => readSpan(fieldsOf(span), resource));
  });
}

function readSpan(span: readonly Field[], resource: Attributes): CollectedSpan {
  const status = fieldsOf(octets(span, 15));
  return {
    traceId: octets(span, 1).toString('hex'),
    spanId: octets(span, 2).toString('hex'),
    parentSpanId: octets(span, 4).toString('hex'),
    name: octets(span, 5).toString(),
    kind: number(span, 6),
    startNs: octets(span, 7).readBigUInt64LE(),
    endNs: octets(span, 8).readBigUInt64LE(),
    attributes: attributesOf(all(span, 9)),
    links: all(span, 13).map((link) => octets(fieldsOf(link), 1).toString('hex')),
    isError: number(status, 3) === 2,
    statusText: octets(status, 2).toString(),
    resource,
  };
}

function attributesOf(pairs: readonly Buffer[]): Attributes {
  return Object.fromEntries(
    pairs.map((pair) => {
      const fields = fieldsOf(pair);
      return [octets(fields, 1).toString(), anyValueOf(fieldsOf(octets(fields, 2)))];
    }),
  );
}

/** AnyValue, as far as it is used. */
function anyValueOf([field]: readonly Field[]): AttributeValue {
  if (!field) return '';
  const [kind, value] = field;
  if (kind === 2) return value === 1n;
  if (kind === 3) return Number(value);
  if (kind === 4 && Buffer.isBuffer(value)) return value.readDoubleLE();
  return value.toString();
}
