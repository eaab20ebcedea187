/**
 * The bench's DNS: UDP only, answers made once a question and kept, so that it takes as little
 * of the machine from the relays as a caching resolver would.
 */
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import * as dns from 'dns-packet';
import { DnsZone } from '../../support/dns-zone.ts';

const KEPT_ANSWERS = 20_000;
const NEGATIVE_TTL_SECONDS = 300;

export interface DnsResponder {
  /** Change it before the first question: answers are kept. */
  readonly zone: DnsZone;
  readonly port: number;
}

/** Listen on `address`; port 0 for any. Throws when it is taken. */
export async function startDnsResponder(address: string, port: number): Promise<DnsResponder> {
  const zone = new DnsZone();
  const socket = createSocket({ type: 'udp4', recvBufferSize: 1 << 20 });
  socket.bind({ address, port, exclusive: true });
  await once(socket, 'listening');
  answerFrom(zone, socket);
  return { zone, port: socket.address().port };
}

function answerFrom(zone: DnsZone, socket: Socket): void {
  const kept = new Map<string, Buffer>();
  socket.on('message', (query, from) => {
    // All but the id: a question asked again has the same octets there.
    const key = query.toString('latin1', 2);
    let answer = kept.get(key);
    if (answer === undefined) {
      answer = makeAnswer(zone, query);
      if (answer === undefined) return;
      if (kept.size < KEPT_ANSWERS) kept.set(key, answer);
    }
    const own = Buffer.from(answer);
    query.copy(own, 0, 0, 2);
    socket.send(own, from.port, from.address);
  });
}

function makeAnswer(zone: DnsZone, query: Buffer): Buffer | undefined {
  const packet = dns.decode(query);
  const [question] = packet.questions ?? [];
  if (question === undefined) return undefined;
  const { rcode, answers } = zone.resolve(question.name, question.type);
  const isEdns = packet.additionals?.some(({ type }) => type === 'OPT') === true;
  return dns.encode({
    type: 'response',
    id: 0,
    flags: dns.RECURSION_DESIRED | dns.RECURSION_AVAILABLE | (rcode === 'NXDOMAIN' ? 3 : 0),
    questions: [question],
    answers: [...answers],
    authorities: answers.length > 0 ? [] : [soa()],
    additionals: isEdns ? [OPT] : [],
  });
}

const OPT: dns.OptAnswer = {
  type: 'OPT',
  name: '.',
  udpPayloadSize: 1232,
  extendedRcode: 0,
  ednsVersion: 0,
  flags: 0,
  flag_do: false,
  options: [],
};

function soa(): dns.Answer {
  const data = { mname: 'ns.test', rname: 'root.test', serial: 1, minimum: NEGATIVE_TTL_SECONDS };
  return { type: 'SOA', name: 'test', ttl: NEGATIVE_TTL_SECONDS, data };
}
