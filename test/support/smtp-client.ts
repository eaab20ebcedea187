/**
 * A scripted SMTP client for tests: sends exactly what it is told and gives back the replies.
 * Nothing is negotiated by itself.
 */
import { connect as netConnect, type Socket } from 'node:net';
import { type ConnectionOptions, type TLSSocket, connect as tlsConnect } from 'node:tls';
import { Chronicle, DEFAULT_TIMEOUT_MS } from './wait-for.ts';

export interface SmtpReply {
  readonly code: number;
  /** Texts of the lines, without codes. */
  readonly lines: readonly string[];
  /** As it came, CRLFs included. */
  readonly raw: string;
}

export interface ConnectOptions {
  readonly port: number;
  readonly host?: string;
  /** TLS from the first octet. */
  readonly tls?: ConnectionOptions;
  /** Source address, e.g. `127.0.0.9`. */
  readonly localAddress?: string;
  /** For each reply; default DEFAULT_TIMEOUT_MS. */
  readonly timeoutMs?: number;
  /** Sent before anything else, e.g. a PROXY header. */
  readonly preamble?: string | Buffer;
}

export interface Delivery {
  readonly from: string;
  readonly to: string | readonly string[];
  /** Sent with dots stuffed; a last CRLF is added where it lacks one. */
  readonly data: string | Buffer;
  /** E.g. `SIZE=100 RET=HDRS`. */
  readonly mailParams?: string;
  /** For each recipient. */
  readonly rcptParams?: string;
}

export interface DeliveryResult {
  /** The reply that decided: to the content, or the refusal before it. */
  readonly reply: SmtpReply;
  readonly rcptReplies: readonly SmtpReply[];
  readonly accepted: boolean;
  /** From `queued as ID`. */
  readonly id: string | undefined;
}

/** The connection ended, or was silent for too long, while a reply was due. */
export class ConnectionLost extends Error {}

export class SmtpClient implements Disposable {
  /** The first reply; set by `connect`. */
  banner: SmtpReply = { code: 0, lines: [], raw: '' };
  #socket: Socket;
  readonly #raw: Socket;
  readonly #timeoutMs: number;
  #text = '';
  #received = new Chronicle<string>();
  #closed = false;
  #closeReason = 'the connection was closed';

  constructor(socket: Socket, timeoutMs: number, raw: Socket = socket) {
    this.#raw = raw;
    this.#socket = socket;
    this.#timeoutMs = timeoutMs;
    this.#listen(socket);
  }

  get isClosed(): boolean {
    return this.#closed;
  }
  get socket(): Socket {
    return this.#socket;
  }

  /** Send a line (CRLF is added) and read the reply. */
  async send(line: string): Promise<SmtpReply> {
    this.write(`${line}\r\n`);
    return this.read();
  }

  /** Write these octets and nothing else. */
  write(octets: string | Buffer): void {
    if (!this.#closed) this.#socket.write(octets);
  }

  /** The next reply. Throws ConnectionLost when the connection ends or the time is up. */
  async read(): Promise<SmtpReply> {
    let reply: SmtpReply | undefined;
    try {
      reply = await this.#received
        .until(
          'a reply',
          () => this.#takeReply() ?? (this.#closed ? null : undefined),
          this.#timeoutMs,
        )
        .then((taken) => taken ?? undefined);
    } catch (error) {
      throw new ConnectionLost(error instanceof Error ? error.message : String(error));
    }
    if (reply === undefined) throw new ConnectionLost(this.#closeReason);
    return reply;
  }

  /** STARTTLS and the handshake; certificates are not checked unless `options` say so. */
  async starttls(options: ConnectionOptions = {}): Promise<SmtpReply> {
    const reply = await this.send('STARTTLS');
    if (reply.code !== 220) return reply;
    this.#socket.removeAllListeners('data').removeAllListeners('close');
    const secure = tlsConnect({ socket: this.#socket, rejectUnauthorized: false, ...options });
    await secured(secure);
    this.#socket = secure;
    this.#listen(secure);
    return reply;
  }

  /** One transaction, command by command; stops at the first refusal that leaves no recipient. */
  async deliver(delivery: Delivery): Promise<DeliveryResult> {
    const param = (text: string | undefined) => (text === undefined ? '' : ` ${text}`);
    const rcptReplies: SmtpReply[] = [];
    const refused = (reply: SmtpReply) => ({ reply, rcptReplies, accepted: false, id: undefined });
    const mail = await this.send(`MAIL FROM:<${delivery.from}>${param(delivery.mailParams)}`);
    if (mail.code !== 250) return refused(mail);
    for (const to of typeof delivery.to === 'string' ? [delivery.to] : delivery.to) {
      rcptReplies.push(await this.send(`RCPT TO:<${to}>${param(delivery.rcptParams)}`));
    }
    const last = rcptReplies.at(-1);
    if (last === undefined || !rcptReplies.some(({ code }) => code === 250 || code === 251)) {
      return refused(last ?? mail);
    }
    const go = await this.send('DATA');
    if (go.code !== 354) return refused(go);
    this.write(stuff(delivery.data));
    const reply = await this.read();
    return {
      reply,
      rcptReplies,
      accepted: reply.code === 250,
      id: /queued as (\S+)/.exec(reply.lines.join(' '))?.[1],
    };
  }

  /** QUIT, and wait for the end. */
  async quit(): Promise<SmtpReply> {
    const reply = await this.send('QUIT');
    this.close();
    return reply;
  }

  /** Wait until the other side has closed the connection. */
  async waitForClose(timeoutMs = this.#timeoutMs): Promise<void> {
    await this.#received.until('the end', () => this.#closed || undefined, timeoutMs);
  }

  close(): void {
    this.#socket.destroy();
    this.#raw.destroy();
  }
  /** Close with a TCP reset. */
  reset(): void {
    this.#raw.resetAndDestroy();
  }
  [Symbol.dispose](): void {
    this.close();
  }

  #listen(socket: Socket): void {
    socket.setNoDelay(true);
    socket.on('data', (chunk: Buffer) => {
      this.#text += chunk.toString('utf8');
      this.#received.changed();
    });
    socket.on('error', (error) => {
      this.#closeReason = error.message;
    });
    socket.on('close', () => {
      this.#closed = true;
      this.#received.changed();
    });
  }

  #takeReply(): SmtpReply | undefined {
    const match = /^(?:\d{3}-[^\n]*\n)*\d{3}(?: [^\n]*)?\r?\n/.exec(this.#text);
    if (match === null) return undefined;
    const raw = match[0];
    this.#text = this.#text.slice(raw.length);
    const lines = raw.split(/\r?\n/).slice(0, -1);
    return { code: Number(raw.slice(0, 3)), lines: lines.map((line) => line.slice(4)), raw };
  }
}

/** Connect and read the banner. */
export async function connect(options: ConnectOptions): Promise<SmtpClient> {
  const { port, host = '127.0.0.1', localAddress, timeoutMs = DEFAULT_TIMEOUT_MS } = options;
  const raw = netConnect({ port, host, ...(localAddress === undefined ? {} : { localAddress }) });
  await new Promise<void>((resolve, reject) => {
    raw.once('connect', resolve);
    raw.once('error', (error) => reject(new ConnectionLost(error.message, { cause: error })));
  });
  if (options.preamble !== undefined) raw.write(options.preamble);
  let socket: Socket = raw;
  if (options.tls !== undefined) {
    const secure = tlsConnect({ socket: raw, rejectUnauthorized: false, ...options.tls });
    raw.on('error', () => {});
    await secured(secure);
    socket = secure;
  }
  const client = new SmtpClient(socket, timeoutMs, raw);
  client.banner = await client.read();
  return client;
}

/** The content as it goes over the wire: dots stuffed, ended by a lone dot (RFC 5321 §4.5.2). */
export function stuff(data: string | Buffer): Buffer {
  const text = Buffer.from(data)
    .toString('latin1')
    .replace(/(^|\r\n)\./g, '$1..');
  const end = text === '' || text.endsWith('\r\n') ? '.\r\n' : '\r\n.\r\n';
  return Buffer.from(text + end, 'latin1');
}

function secured(socket: TLSSocket): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.once('secureConnect', resolve);
    socket.once('error', reject);
    socket.once('close', () => reject(new ConnectionLost('closed during the handshake')));
  });
}
