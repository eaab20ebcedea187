/**
 * The DNS of the pretend internet: one server on UDP and TCP of the same random port of
 * 127.0.0.1, answering like a recursive resolver from zone data that tests change while it
 * runs. For each name and type it can be told to fail in every way resolvers fail.
 */
import { createSocket, type RemoteInfo, type Socket as UdpSocket } from 'node:dgram';
import { createServer, type Server, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import * as dns from 'dns-packet';
import {
  canonical,
  DnsZone,
  type RecordData,
  type RecordType,
  type SetOptions,
  type ZoneAnswer,
} from './dns-zone.ts';
import { randomPort } from './free-port.ts';
import { Chronicle } from './wait-for.ts';

const RCODES = { NOERROR: 0, FORMERR: 1, SERVFAIL: 2, NXDOMAIN: 3, NOTIMP: 4, REFUSED: 5 } as const;
type Rcode = keyof typeof RCODES;
const TCP_IDLE_MS = 10_000;
const PLAIN_UDP_SIZE = 512;

/** How to answer instead of answering well. */
export interface Behaviour {
  readonly kind:
    | 'answer'
    | 'servfail'
    | 'refused'
    | 'formerr'
    | 'notimp'
    | 'nxdomain'
    | 'nodata'
    /** No answer at all. */
    | 'timeout'
    /** TC over UDP; TCP answers in full. */
    | 'truncate'
    /** Octets that are no DNS message. */
    | 'garbage'
    | 'wrong-id'
    | 'wrong-question'
    /** TCP: the connection is closed without an answer; over UDP like `timeout`. */
    | 'close';
  /** Wait before answering. */
  readonly delayMs?: number;
  /** Only over this transport; the other one answers well. */
  readonly transport?: 'udp' | 'tcp';
  /** Only so many times, then well again. */
  readonly times?: number;
  /** AD bit on `nxdomain` and `nodata`. */
  readonly ad?: boolean;
  /** SOA minimum of `nxdomain` and `nodata`; null leaves the SOA out. */
  readonly negativeTtl?: number | null;
}

export interface LoggedQuery {
  /** Lower case, without the final dot. */
  readonly name: string;
  /** As it came. */
  readonly nameAsSent: string;
  readonly type: string;
  readonly transport: 'udp' | 'tcp';
  readonly id: number;
  readonly rd: boolean;
  readonly ad: boolean;
  readonly cd: boolean;
  /** From the OPT record; undefined without one. */
  readonly edns: { readonly udpSize: number; readonly dnssecOk: boolean } | undefined;
  readonly sourcePort: number;
  readonly atMs: number;
}

interface Rule {
  readonly behaviour: Behaviour;
  left: number;
}

export class DnsServer implements AsyncDisposable {
  readonly address = '127.0.0.1';
  readonly port: number;
  /** SOA minimum of negative answers, in seconds. */
  negativeTtl = 60;
  readonly #zone = new DnsZone();
  readonly #rules = new Map<string, Rule>();
  readonly #log = new Chronicle<LoggedQuery>();
  readonly #udp: UdpSocket;
  readonly #tcp: Server;
  readonly #sockets = new Set<Socket>();
  readonly #closing = new AbortController();

  /** @NOTE call startDnsServer instead. */
  constructor(udp: UdpSocket, tcp: Server, port: number) {
    this.#udp = udp;
    this.#tcp = tcp;
    this.port = port;
    udp.on('error', () => {});
    udp.on('message', (message, from) => void this.#onDatagram(message, from));
    tcp.on('connection', (socket) => this.#onConnection(socket));
  }

  /** `127.0.0.1:port`, as in the relay's `dns.servers`. */
  get endpoint(): string {
    return `${this.address}:${this.port}`;
  }

  set<T extends RecordType>(
    name: string,
    type: T,
    records: readonly RecordData[T][],
    options?: SetOptions,
  ): void {
    this.#zone.set(name, type, records, options);
  }

  remove(name: string, type?: RecordType): void {
    this.#zone.remove(name, type);
  }

  /**
   * From now on answer queries for `name` and `type` this way; `'*'` stands for any. The most
   * specific rule counts: name and type, name, type, all. Undefined takes the rule away.
   */
  behave(name: string, type: string, behaviour: Behaviour | Behaviour['kind'] | undefined): void {
    const key = `${canonical(name)} ${type}`;
    if (behaviour === undefined) {
      this.#rules.delete(key);
      return;
    }
    const whole = typeof behaviour === 'string' ? { kind: behaviour } : behaviour;
    this.#rules.set(key, { behaviour: whole, left: whole.times ?? Number.POSITIVE_INFINITY });
  }

  get queries(): readonly LoggedQuery[] {
    return this.#log.entries;
  }

  queriesFor(name: string, type?: string): readonly LoggedQuery[] {
    const wanted = canonical(name);
    return this.queries.filter((q) => q.name === wanted && (type === undefined || q.type === type));
  }

  /** Wait until there were `count` queries for a name and type. */
  waitForQueries(name: string, type: string, count = 1, timeoutMs?: number): Promise<void> {
    return this.#log
      .until(
        `${count} ${type} queries for ${name}`,
        () => (this.queriesFor(name, type).length >= count ? this.#log.entries : undefined),
        timeoutMs,
      )
      .then(() => {});
  }

  async close(): Promise<void> {
    if (this.#closing.signal.aborted) return;
    this.#closing.abort();
    for (const socket of this.#sockets) socket.destroy();
    await Promise.all([
      new Promise<void>((resolve) => this.#udp.close(() => resolve())),
      new Promise<void>((resolve) => this.#tcp.close(() => resolve())),
    ]);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #onDatagram(message: Buffer, from: RemoteInfo): Promise<void> {
    const answer = await this.#answer(message, 'udp', from.port);
    if (answer === undefined || answer === 'close' || this.#closing.signal.aborted) return;
    this.#udp.send(answer, from.port, from.address, () => {});
  }

  #onConnection(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on('error', () => {});
    socket.on('close', () => this.#sockets.delete(socket));
    socket.setTimeout(TCP_IDLE_MS, () => socket.destroy());
    let pending: Buffer = Buffer.alloc(0);
    socket.on('data', (chunk: Buffer) => {
      pending = Buffer.concat([pending, chunk]);
      while (pending.length >= 2 && pending.length >= 2 + pending.readUInt16BE(0)) {
        const end = 2 + pending.readUInt16BE(0);
        const message = pending.subarray(2, end);
        pending = pending.subarray(end);
        void this.#onStreamMessage(socket, message);
      }
    });
  }

  async #onStreamMessage(socket: Socket, message: Buffer): Promise<void> {
    const answer = await this.#answer(message, 'tcp', socket.remotePort ?? 0);
    if (answer === 'close') socket.destroy();
    if (answer === undefined || answer === 'close' || socket.destroyed) return;
    const length = Buffer.alloc(2);
    length.writeUInt16BE(answer.length);
    socket.write(Buffer.concat([length, answer]));
  }

  /** Undefined: say nothing. */
  async #answer(
    message: Buffer,
    transport: 'udp' | 'tcp',
    sourcePort: number,
  ): Promise<Buffer | 'close' | undefined> {
    const query = decodeQuery(message);
    if (query === undefined) return undefined;
    const logged = describeQuery(query, { transport, sourcePort });
    this.#log.push(logged);
    const behaviour = this.#behaviourFor(logged);
    if (behaviour.delayMs !== undefined) {
      try {
        await sleep(behaviour.delayMs, undefined, { signal: this.#closing.signal });
      } catch {
        return undefined;
      }
    }
    if (behaviour.kind === 'timeout') return undefined;
    if (behaviour.kind === 'close') return transport === 'tcp' ? 'close' : undefined;
    if (behaviour.kind === 'garbage')
      return Buffer.from([...message.subarray(0, 2), 0xff, 0xff, 7]);
    return this.#respond(logged, behaviour);
  }

  #behaviourFor(query: LoggedQuery): Behaviour {
    const keys = [`${query.name} ${query.type}`, `${query.name} *`, `* ${query.type}`, '* *'];
    for (const key of keys) {
      const rule = this.#rules.get(key);
      if (rule === undefined || rule.left <= 0) continue;
      if (rule.behaviour.transport !== undefined && rule.behaviour.transport !== query.transport) {
        continue;
      }
      rule.left -= 1;
      return rule.behaviour;
    }
    return { kind: 'answer' };
  }

  #respond(query: LoggedQuery, behaviour: Behaviour): Buffer {
    const { rcode, answers, ad } = this.#decide(query, behaviour);
    const negative = answers.every((answer) => answer.type === 'CNAME') && query.type !== 'CNAME';
    const withSoa = negative && (rcode === 'NOERROR' || rcode === 'NXDOMAIN');
    const wrongQuestion = behaviour.kind === 'wrong-question';
    const packet: dns.Packet = {
      type: 'response',
      id: behaviour.kind === 'wrong-id' ? (query.id + 1) & 0xffff : query.id,
      flags:
        dns.RECURSION_DESIRED |
        dns.RECURSION_AVAILABLE |
        (ad ? dns.AUTHENTIC_DATA : 0) |
        RCODES[rcode],
      questions: [
        {
          name: wrongQuestion ? 'another.question.test' : query.nameAsSent,
          type: query.type as dns.RecordType,
        },
      ],
      answers: [...answers],
      authorities: withSoa ? this.#soa(query.name, behaviour.negativeTtl) : [],
      additionals: query.edns === undefined ? [] : [opt(query.edns.dnssecOk)],
    };
    const whole = dns.encode(packet);
    const limit = Math.max(query.edns?.udpSize ?? PLAIN_UDP_SIZE, PLAIN_UDP_SIZE);
    const cut = behaviour.kind === 'truncate' || whole.length > limit;
    if (query.transport === 'tcp' || !cut) return whole;
    return dns.encode({
      ...packet,
      flags: (packet.flags ?? 0) | dns.TRUNCATED_RESPONSE,
      answers: [],
      authorities: [],
    });
  }

  #decide(
    query: LoggedQuery,
    behaviour: Behaviour,
  ): { rcode: Rcode; answers: ZoneAnswer['answers']; ad: boolean } {
    const ad = behaviour.ad ?? false;
    switch (behaviour.kind) {
      case 'servfail':
        return { rcode: 'SERVFAIL', answers: [], ad: false };
      case 'refused':
        return { rcode: 'REFUSED', answers: [], ad: false };
      case 'formerr':
        return { rcode: 'FORMERR', answers: [], ad: false };
      case 'notimp':
        return { rcode: 'NOTIMP', answers: [], ad: false };
      case 'nxdomain':
        return { rcode: 'NXDOMAIN', answers: [], ad };
      case 'nodata':
        return { rcode: 'NOERROR', answers: [], ad };
      default:
        return this.#zone.resolve(query.name, query.type);
    }
  }

  #soa(name: string, override: number | null | undefined): dns.Answer[] {
    if (override === null) return [];
    const minimum = override ?? this.negativeTtl;
    const zone = name.split('.').at(-1) ?? '';
    const data = { mname: `ns.${zone}`, rname: `root.${zone}`, serial: 1, minimum };
    return [{ type: 'SOA', name: zone, ttl: minimum, data }];
  }
}

function opt(dnssecOk: boolean): dns.OptAnswer {
  return {
    type: 'OPT',
    name: '.',
    udpPayloadSize: 1232,
    extendedRcode: 0,
    ednsVersion: 0,
    flags: dnssecOk ? dns.DNSSEC_OK : 0,
    flag_do: dnssecOk,
    options: [],
  };
}

function decodeQuery(message: Buffer): dns.DecodedPacket | undefined {
  try {
    const packet = dns.decode(message);
    return packet.flag_qr || packet.questions?.length !== 1 ? undefined : packet;
  } catch {
    return undefined;
  }
}

function describeQuery(
  packet: dns.DecodedPacket,
  from: { readonly transport: 'udp' | 'tcp'; readonly sourcePort: number },
): LoggedQuery {
  const question = packet.questions?.[0] ?? { name: '', type: 'A' };
  const edns = packet.additionals?.find((answer) => answer.type === 'OPT');
  return {
    name: canonical(question.name),
    nameAsSent: question.name,
    type: question.type,
    id: packet.id ?? 0,
    rd: packet.flag_rd,
    ad: packet.flag_ad,
    cd: packet.flag_cd,
    edns: edns && { udpSize: edns.udpPayloadSize, dnssecOk: edns.flag_do },
    atMs: Date.now(),
    ...from,
  };
}

/** Start one; its port is free on both transports. */
export async function startDnsServer(): Promise<DnsServer> {
  for (let i = 0; i < 50; i += 1) {
    const port = randomPort();
    const tcp = createServer();
    if (!(await listens(tcp, (done) => tcp.listen(port, '127.0.0.1', done)))) continue;
    const udp = createSocket('udp4');
    if (
      await listens(udp, (done) => udp.bind({ port, address: '127.0.0.1', exclusive: true }, done))
    ) {
      return new DnsServer(udp, tcp, port);
    }
    await new Promise<void>((resolve) => tcp.close(() => resolve()));
  }
  throw new Error('no port free on both UDP and TCP of 127.0.0.1');
}

function listens(socket: Server | UdpSocket, open: (done: () => void) => void): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const failed = (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRINUSE') resolve(false);
      else reject(error);
    };
    socket.once('error', failed);
    open(() => {
      socket.off('error', failed);
      resolve(true);
    });
  });
}
