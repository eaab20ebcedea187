/**
 * The web servers of the pretend internet: one HTTPS listener on a loopback address that plays
 * every policy host (and every `https:` report endpoint) named to it, told apart by the TLS
 * server name. Each can answer well or fail at each step of an HTTPS request.
 */
import {
  createServer as createHttpServer,
  type IncomingMessage,
  type ServerResponse,
} from 'node:http';
import { createServer, type Server, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { createSecureContext, type SecureContext, type SecureVersion, TLSSocket } from 'node:tls';
import type { CertificateKind, IssuedCertificate, TestCa } from './ca.ts';
import { peekServerName } from './client-hello.ts';
import { Chronicle } from './wait-for.ts';

const LARGEST_REQUEST = 16 * 1024 * 1024;

/** Where a host stops playing along. */
export type Step = 'handshake' | 'response' | 'body';

export interface PolicyAnswer {
  /** Default 200. */
  readonly status?: number;
  /** Besides `content-type: text/plain`; null leaves one out. */
  readonly headers?: Readonly<Record<string, string | null>>;
  readonly body?: string | Buffer;
  /** Instead of `body`: written one by one (chunked), endless ones until the client goes. */
  readonly chunks?: Iterable<string | Buffer>;
  /** Pause before each chunk but the first. */
  readonly drip?: { readonly everyMs: number };
  /** Wait before the response. */
  readonly delayMs?: number;
  /** Answer with this `location`, and 301 unless `status` says otherwise. */
  readonly redirect?: string;
  /** Go silent there, the connection stays open. */
  readonly hang?: Step;
  /** Reset the connection there. */
  readonly reset?: Step;
  /** Written in place of a whole HTTP response. */
  readonly raw?: string | Buffer;
  /** Default `good`. */
  readonly certificate?: CertificateKind | IssuedCertificate;
  readonly minTls?: SecureVersion;
  readonly maxTls?: SecureVersion;
}

export interface LoggedRequest {
  /** From the TLS server name. */
  readonly host: string;
  readonly hostHeader: string | undefined;
  readonly method: string;
  readonly path: string;
  readonly headers: Readonly<NodeJS.Dict<string | string[]>>;
  readonly body: Buffer;
  readonly tlsVersion: string | null;
  readonly atMs: number;
}

/** Every TLS connection, those that failed too. */
export interface LoggedConnection {
  readonly host: string;
  /** Why the handshake failed, in OpenSSL's words. */
  error: string | undefined;
}

interface Served {
  readonly answer: PolicyAnswer;
  readonly context: SecureContext;
}

export interface PolicyHostOptions {
  readonly ca: TestCa;
  readonly address: string;
  /** 0 for any. */
  readonly port: number;
}

export class PolicyHost implements AsyncDisposable {
  readonly address: string;
  readonly #ca: TestCa;
  #port: number;
  #listener: Server | undefined;
  readonly #http = createHttpServer((request, response) => void this.#onRequest(request, response));
  readonly #hosts = new Map<string, Served>();
  readonly #sockets = new Set<Socket>();
  readonly #requests = new Chronicle<LoggedRequest>();
  readonly #connections = new Chronicle<LoggedConnection>();

  constructor(options: PolicyHostOptions) {
    this.#ca = options.ca;
    this.address = options.address;
    this.#port = options.port;
    this.#http.on('clientError', (_error, socket) => socket.destroy());
  }

  get port(): number {
    return this.#port;
  }
  get requests(): readonly LoggedRequest[] {
    return this.#requests.entries;
  }
  get connections(): readonly LoggedConnection[] {
    return this.#connections.entries;
  }
  requestsFor(host: string): readonly LoggedRequest[] {
    return this.requests.filter((request) => request.host === host.toLowerCase());
  }

  /** Wait until `host` was asked `count` times. */
  async waitForRequests(host: string, count = 1, timeoutMs?: number) {
    return this.#requests.until(
      `${count} requests to ${host}`,
      () => (this.requestsFor(host).length >= count ? this.requestsFor(host) : undefined),
      timeoutMs,
    );
  }

  /** Play `host` from now on; replaces what it answered before. */
  async serve(host: string, answer: PolicyAnswer): Promise<void> {
    const asked = answer.certificate ?? 'good';
    const certificate =
      typeof asked === 'string' ? await this.#ca.issueKind(asked, host, this.address) : asked;
    const context = createSecureContext({
      cert: certificate.certPem,
      key: certificate.keyPem,
      minVersion: answer.minTls ?? 'TLSv1',
      maxVersion: answer.maxTls ?? 'TLSv1.3',
      ciphers: 'DEFAULT@SECLEVEL=0',
    });
    this.#hosts.set(host.toLowerCase(), { answer, context });
  }

  /** Stop playing `host`: its handshakes are refused. */
  forget(host: string): void {
    this.#hosts.delete(host.toLowerCase());
  }

  /** Open the listener, on the same port as before if there was one. */
  async start(): Promise<void> {
    if (this.#listener !== undefined) return;
    const listener = createServer((socket) => void this.#onConnection(socket));
    await new Promise<void>((resolve, reject) => {
      listener.once('error', reject);
      listener.listen({ host: this.address, port: this.#port, exclusive: true }, resolve);
    });
    const bound = listener.address();
    if (bound !== null && typeof bound === 'object') this.#port = bound.port;
    this.#listener = listener;
  }

  /** Connections are refused until the next start; open ones are cut. */
  async stop(): Promise<void> {
    const listener = this.#listener;
    this.#listener = undefined;
    for (const socket of this.#sockets) socket.destroy();
    if (listener !== undefined)
      await new Promise<void>((resolve) => listener.close(() => resolve()));
  }

  async close(): Promise<void> {
    await this.stop();
  }
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #onConnection(socket: Socket): Promise<void> {
    this.#sockets.add(socket);
    socket.on('close', () => this.#sockets.delete(socket));
    socket.on('error', () => {});
    const host = await peekServerName(socket);
    if (host === undefined) {
      socket.destroy();
      return;
    }
    const served = this.#hosts.get(host);
    const connection: LoggedConnection = { host, error: undefined };
    this.#connections.push(connection);
    if (served?.answer.hang === 'handshake') return;
    if (served === undefined || served.answer.reset === 'handshake') {
      connection.error = served === undefined ? 'no such host here' : 'reset as told';
      socket.resetAndDestroy();
      return;
    }
    const secure = new TLSSocket(socket, {
      isServer: true,
      secureContext: served.context,
      ALPNProtocols: ['http/1.1'],
    });
    secure.on('error', (error) => {
      connection.error ??= error.message;
      this.#connections.changed();
    });
    secure.once('secure', () => {
      lowerSocketOf.set(secure, socket);
      hostOf.set(secure, host);
      this.#http.emit('connection', secure);
    });
  }

  async #onRequest(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const socket = request.socket as TLSSocket;
    const host = hostOf.get(socket) ?? '';
    const parts: Buffer[] = [];
    let size = 0;
    try {
      for await (const part of request as AsyncIterable<Buffer>) {
        size += part.length;
        if (size > LARGEST_REQUEST) throw new Error('request too large');
        parts.push(part);
      }
    } catch {
      socket.destroy();
      return;
    }
    this.#requests.push({
      host,
      hostHeader: request.headers.host,
      method: request.method ?? '',
      path: request.url ?? '',
      headers: request.headers,
      body: Buffer.concat(parts),
      tlsVersion: socket.getProtocol(),
      atMs: Date.now(),
    });
    const answer = this.#hosts.get(host)?.answer;
    if (answer === undefined) socket.destroy();
    else await respond(answer, response, socket).catch(() => socket.destroy());
  }
}

const hostOf = new WeakMap<TLSSocket, string>();
const lowerSocketOf = new WeakMap<TLSSocket, Socket>();

async function respond(
  answer: PolicyAnswer,
  response: ServerResponse,
  socket: TLSSocket,
): Promise<void> {
  const reset = () => lowerSocketOf.get(socket)?.resetAndDestroy();
  if (answer.delayMs !== undefined) await sleep(answer.delayMs);
  if (answer.hang === 'response') return;
  if (answer.reset === 'response') {
    reset();
    return;
  }
  if (answer.raw !== undefined) {
    socket.end(answer.raw);
    return;
  }
  response.statusCode = answer.status ?? (answer.redirect === undefined ? 200 : 301);
  response.setHeader('content-type', 'text/plain');
  for (const [name, value] of Object.entries(answer.headers ?? {})) {
    if (value === null) response.removeHeader(name);
    else response.setHeader(name, value);
  }
  if (answer.redirect !== undefined) response.setHeader('location', answer.redirect);
  if (answer.hang === 'body' || answer.reset === 'body') {
    const half = Buffer.from(answer.body ?? 'version: STSv1\r\n');
    response.setHeader('content-length', half.length + 100);
    response.write(half, answer.reset === 'body' ? () => setImmediate(reset) : undefined);
    return;
  }
  if (answer.chunks === undefined) response.end(answer.body ?? '');
  else await writeChunks(answer, response);
}

async function writeChunks(answer: PolicyAnswer, response: ServerResponse): Promise<void> {
  let first = true;
  for (const chunk of answer.chunks ?? []) {
    if (!first && answer.drip !== undefined) await sleep(answer.drip.everyMs);
    first = false;
    if (response.destroyed || response.socket?.destroyed !== false) return;
    if (response.write(chunk)) continue;
    await Promise.race([
      new Promise((resolve) => response.once('drain', resolve)),
      new Promise((resolve) => response.once('close', resolve)),
    ]);
  }
  response.end();
}

/** Start a policy host listener; `serve` then names the hosts it plays. */
export async function startPolicyHost(options: PolicyHostOptions): Promise<PolicyHost> {
  const host = new PolicyHost(options);
  await host.start();
  return host;
}
