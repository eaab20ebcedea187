/**
 * One HTTP/1.1 GET or POST over a connection that was chosen and verified already. The request goes
 * over that socket and no other: no agent, hence no pool, no proxy from the environment, no
 * lookup; redirects are not followed (RFC 8461 §3.3).
 *
 * A body is whole or there is none: one that is cut, too large (as sent or decompressed) or
 * in an unknown coding is a failure. Only the body of a 200 to a GET is read. Never throws.
 */
import { type IncomingMessage, request } from 'node:http';
import type { Duplex } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { TLSSocket } from 'node:tls';
import { createBrotliDecompress, createGunzip, createInflate } from 'node:zlib';

export interface HttpExchange {
  readonly socket: TLSSocket;
  /** Value of the Host field. */
  readonly authority: string;
  readonly path: string;
  /** Of the body, after decompression. */
  readonly maxBytes: number;
  readonly signal: AbortSignal;
  /** Makes it a POST. */
  readonly sent?: { readonly contentType: string; readonly body: Buffer };
}

export type HttpExchangeResult =
  | {
      readonly kind: 'response';
      readonly status: number;
      readonly contentType: string | undefined;
      /** Empty unless the status is 200, and to a POST. */
      readonly body: Buffer;
    }
  | { readonly kind: 'too-large'; readonly detail: string }
  | { readonly kind: 'failed'; readonly detail: string };

const MAX_HEADER_BYTES = 16 * 1024;
/** What a compressed body may be larger than its content: headers and trailers of the coding. */
const CODING_OVERHEAD = 1024;

/** 1xx responses before the real one (RFC 9110 §15.2); a server could go on for ever. */
const MOST_INTERIM = 5;

class BodyTooLarge extends Error {}

/** Ask and read the answer. The caller destroys the socket. */
export async function exchangeHttp(exchange: HttpExchange): Promise<HttpExchangeResult> {
  try {
    const response = await sendRequest(exchange);
    const status = response.statusCode ?? 0;
    const contentType = response.headers['content-type'];
    if (status !== 200 || exchange.sent) {
      response.destroy();
      return { kind: 'response', status, contentType, body: Buffer.alloc(0) };
    }
    const body = await readBody(response, exchange);
    return { kind: 'response', status, contentType, body };
  } catch (error) {
    const detail = error instanceof Error ? error.message : String(error);
    return { kind: error instanceof BodyTooLarge ? 'too-large' : 'failed', detail };
  }
}

function sendRequest(exchange: HttpExchange): Promise<IncomingMessage> {
  const { socket, authority, path, signal, sent } = exchange;
  return new Promise((resolve, reject) => {
    const asked = request({
      createConnection: () => socket,
      method: sent ? 'POST' : 'GET',
      path,
      // RFC 8461 §3.3: there is no HTTP cache here, so nothing conditional is asked.
      headers: {
        host: authority,
        'user-agent': 'stsrelay',
        accept: '*/*',
        'accept-encoding': 'identity',
        ...(sent
          ? { 'content-type': sent.contentType, 'content-length': String(sent.body.length) }
          : {}),
      },
      setHost: false,
      maxHeaderSize: MAX_HEADER_BYTES,
      insecureHTTPParser: false,
      signal,
    });
    asked.on('error', reject);
    let interim = 0;
    asked.on('information', () => {
      if (++interim > MOST_INTERIM) asked.destroy(new Error('too many interim responses'));
    });
    asked.on('upgrade', (_response, upgraded) => {
      upgraded.destroy();
      reject(new Error('the server switched protocols'));
    });
    asked.once('close', () => reject(new Error('connection closed before the response')));
    asked.once('response', (response) => {
      response.on('error', () => {});
      resolve(response);
    });
    asked.end(sent?.body);
  });
}

async function readBody(response: IncomingMessage, exchange: HttpExchange): Promise<Buffer> {
  const { maxBytes, signal } = exchange;
  const parts: Buffer[] = [];
  const collect = async (source: AsyncIterable<Buffer>) => {
    for await (const part of bounded(source, maxBytes)) parts.push(part);
  };
  const decoder = decoderFor(response);
  if (decoder === undefined) {
    await pipeline(response, collect, { signal });
  } else {
    const sent = (source: AsyncIterable<Buffer>) => bounded(source, maxBytes + CODING_OVERHEAD);
    await pipeline(response, sent, decoder, collect, { signal });
  }
  const body = Buffer.concat(parts);
  if (!response.complete) throw new Error('the body was cut');
  if (decoder === undefined && !isFramed(response) && body.at(-1) !== LF) {
    throw new Error('the body ends with the connection, in the middle of a line');
  }
  return body;
}

const LF = 0x0a;

/**
 * Whether the end of the body is marked. Where only the end of the connection marks it, anybody
 * on the path can cut it unseen, as Node does not say whether TLS was closed properly (RFC 9112
 * §8). Cut between lines a text is shorter but says nothing new; cut within one it may:
 * `max_age: 604800` becomes `max_age: 6`.
 */
function isFramed(response: IncomingMessage): boolean {
  const { 'content-length': length, 'transfer-encoding': coding } = response.headers;
  // RFC 9112 §6.3: with any other final coding it is the end of the connection, too.
  return length !== undefined || /(?:^|,)[ \t]*chunked[ \t]*$/i.test(coding ?? '');
}

async function* bounded(source: AsyncIterable<Buffer>, maxBytes: number): AsyncGenerator<Buffer> {
  let octets = 0;
  for await (const part of source) {
    octets += part.length;
    if (octets > maxBytes) throw new BodyTooLarge(`body larger than ${maxBytes} octets`);
    yield part;
  }
}

/** We ask for no coding (RFC 9110 §12.5.3), but some servers compress whatever one asks. */
function decoderFor(response: IncomingMessage): Duplex | undefined {
  const coding = response.headers['content-encoding']?.trim().toLowerCase() ?? '';
  switch (coding) {
    case '':
    case 'identity':
      return undefined;
    case 'gzip':
    case 'x-gzip':
      return createGunzip();
    case 'deflate':
      return createInflate();
    case 'br':
      return createBrotliDecompress();
    default:
      throw new Error('unknown content coding');
  }
}
