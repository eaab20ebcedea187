/**
 * What a TLS client offers, read from its ClientHello (RFC 8446 §4.1.2), and a host that takes
 * mail just far enough to get one: banner, EHLO, STARTTLS, then it hangs up.
 */
import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { createInterface } from 'node:readline';

export interface ClientHelloFacts {
  /** Of the supported_versions extension, else the one of the record: 0x0304 is TLS 1.3. */
  readonly versions: readonly number[];
  /** As numbered by IANA, in the client's order. */
  readonly suites: readonly number[];
  readonly compressionMethods: readonly number[];
  readonly extensions: readonly number[];
}

const SUPPORTED_VERSIONS = 43;
const RECORD_HEADER = 5;

/** Read a whole ClientHello record. Throws when it is none. */
export function readClientHello(record: Buffer): ClientHelloFacts {
  if (record[0] !== 22 || record[RECORD_HEADER] !== 1) throw new Error('no ClientHello');
  let at = RECORD_HEADER + 4;
  const legacyVersion = record.readUInt16BE(at);
  at += 2 + 32;
  at += 1 + record.readUInt8(at); // session id
  const suites = numbers(record.subarray(at + 2, at + 2 + record.readUInt16BE(at)));
  at += 2 + record.readUInt16BE(at);
  const compressionMethods = [...record.subarray(at + 1, at + 1 + record.readUInt8(at))];
  at += 1 + record.readUInt8(at);
  const end = at + 2 + record.readUInt16BE(at);
  at += 2;
  const extensions: number[] = [];
  let versions: readonly number[] = [legacyVersion];
  while (at < end) {
    const type = record.readUInt16BE(at);
    const body = record.subarray(at + 4, at + 4 + record.readUInt16BE(at + 2));
    extensions.push(type);
    if (type === SUPPORTED_VERSIONS) versions = numbers(body.subarray(1));
    at += 4 + body.length;
  }
  return { versions, suites, compressionMethods, extensions };
}

function numbers(octets: Buffer): number[] {
  return Array.from({ length: octets.length / 2 }, (_, i) => octets.readUInt16BE(2 * i));
}

export interface HelloHost extends AsyncDisposable {
  readonly address: string;
  /** Of every connection so far that came to TLS. */
  readonly hellos: readonly Buffer[];
}

/** Listen at `address` and `port` as a host that offers STARTTLS. */
export async function startHelloHost(address: string, port: number): Promise<HelloHost> {
  const hellos: Buffer[] = [];
  const server = createServer((socket) => void listenTo(socket, hellos));
  server.listen({ host: address, port, exclusive: true });
  await once(server, 'listening');
  return {
    address,
    hellos,
    async [Symbol.asyncDispose]() {
      server.close();
      await once(server, 'close');
    },
  };
}

async function listenTo(socket: Socket, hellos: Buffer[]): Promise<void> {
  socket.on('error', () => {});
  socket.write('220 hello ESMTP\r\n');
  const lines = createInterface({ input: socket });
  for await (const line of lines) {
    if (line === 'STARTTLS') break;
    socket.write('250-hello\r\n250 STARTTLS\r\n');
  }
  const parts: Buffer[] = [];
  socket.on('data', (part: Buffer) => {
    parts.push(part);
    const record = Buffer.concat(parts);
    if (record.length < RECORD_HEADER || record.length < RECORD_HEADER + record.readUInt16BE(3))
      return;
    hellos.push(record);
    socket.destroy();
  });
  socket.resume();
  socket.write('220 go ahead\r\n');
}
