/**
 * What of a decoded DNS message is believed (RFC 1034 §3.6.2, RFC 2308). Pure.
 *
 * Only records owned by the asked name, or by a name its CNAME chain leads to, count; the
 * rest of the message is not looked at, whatever it claims. An empty answer counts as one
 * only when it is neither a referral nor a chain that stopped half-way.
 */
import { isIPv4, isIPv6 } from 'node:net';
import type { DecodedPacket, Answer as ResourceRecord, StringAnswer } from 'dns-packet';
import { parseTlsa, type TlsaRecord } from '../../protocol/dane/tlsa.ts';
import type { MxRecord } from '../resolver.ts';

/** The types this resolver asks for, each with what one record of it is decoded to. */
export interface RecordData {
  readonly A: string;
  readonly AAAA: string;
  readonly MX: MxRecord;
  readonly TXT: readonly Buffer[];
  readonly TLSA: TlsaRecord;
  readonly CNAME: string;
}
export type RecordKind = keyof RecordData;

export interface Question<K extends RecordKind = RecordKind> {
  /** Lower case, no final dot. */
  readonly name: string;
  readonly type: K;
}

/** The server did not answer the question: nothing was learned. */
export interface Unanswered {
  readonly kind: 'failed';
  readonly reason: string;
  /** The server says that DNSSEC is the reason. */
  readonly bogus?: true;
}

export interface Answer<K extends RecordKind = RecordKind> {
  readonly kind: 'answer';
  readonly records: readonly RecordData[K][];
  /** False for NXDOMAIN, which is said about `canonicalName`. */
  readonly nameExists: boolean;
  /** The names the CNAME chain led through: the asked one first, `canonicalName` last. */
  readonly chain: readonly string[];
  readonly canonicalName: string;
  /** The chain ended at a name about which the message says nothing: ask for that one. */
  readonly unresolved: boolean;
  /** Seconds: of the records and CNAMEs, or of the negative answer (RFC 2308 §5). */
  readonly ttlSeconds: number;
  readonly authenticData: boolean;
}

/** Chains and loops must end somewhere (RFC 1034 §3.6.2); eight is what others follow. */
export const MAX_CNAMES = 8;

/** Read what `packet` says about `question`. */
export function readAnswer<K extends RecordKind>(
  packet: DecodedPacket,
  question: Question<K>,
  rcode: 'NOERROR' | 'NXDOMAIN',
): Answer<K> | Unanswered {
  const walked = walkChain(packet, question);
  if (walked === undefined) return unanswered('CNAME loop or chain too long');
  const records: RecordData[K][] = [];
  for (const record of walked.owned) {
    const data = readers[question.type](record);
    if (data === undefined) return unanswered(`malformed ${question.type} record`);
    records.push(data);
  }
  const { chain, canonicalName, ttlSeconds } = walked;
  const common = { kind: 'answer', records, chain, canonicalName } as const;
  const authenticData = packet.flag_ad;
  if (records.length > 0) {
    if (rcode === 'NXDOMAIN') return unanswered('NXDOMAIN with records');
    return { ...common, nameExists: true, unresolved: false, ttlSeconds, authenticData };
  }
  const nameExists = rcode === 'NOERROR';
  const negativeTtl = readNegativeTtl(packet, canonicalName);
  if (nameExists && negativeTtl === undefined) {
    if (chain.length > 1) {
      return { ...common, nameExists, unresolved: true, ttlSeconds, authenticData };
    }
    if (isReferral(packet)) return unanswered('referral, it does not recurse');
  }
  // RFC 2308 §2.1: NXDOMAIN is said about the last name of the chain.
  const shortest = Math.min(ttlSeconds, negativeTtl ?? 0);
  return { ...common, nameExists, unresolved: false, ttlSeconds: shortest, authenticData };
}

interface Walked {
  readonly chain: readonly string[];
  readonly canonicalName: string;
  readonly owned: readonly ResourceRecord[];
  /** Infinity when there was neither a CNAME nor a record. */
  readonly ttlSeconds: number;
}

/** Follow the CNAMEs of the answer section; undefined when they loop or are too many. */
function walkChain(packet: DecodedPacket, question: Question): Walked | undefined {
  const records = (packet.answers ?? []).filter(isInternet);
  let canonicalName = question.name;
  let ttlSeconds = Number.POSITIVE_INFINITY;
  const chain = [canonicalName];
  for (;;) {
    const here = records.filter((record) => record.name.toLowerCase() === canonicalName);
    const owned = here.filter((record) => record.type === question.type);
    const alias = here.find(isAlias);
    if (owned.length > 0 || alias === undefined) {
      const shortest = Math.min(ttlSeconds, ...owned.map(ttlOf));
      return { chain, canonicalName, owned, ttlSeconds: shortest };
    }
    canonicalName = alias.data.toLowerCase();
    if (chain.includes(canonicalName) || chain.length > MAX_CNAMES) return undefined;
    chain.push(canonicalName);
    ttlSeconds = Math.min(ttlSeconds, ttlOf(alias));
  }
}

function isAlias(record: ResourceRecord): record is StringAnswer {
  return record.type === 'CNAME';
}

function isInternet(record: ResourceRecord): boolean {
  return record.type !== 'OPT' && record.class === 'IN';
}

/** RFC 2181 §8: a TTL with the top bit set counts as zero. */
function ttlOf(record: ResourceRecord): number {
  const ttl = record.type === 'OPT' ? 0 : (record.ttl ?? 0);
  return ttl > 0x7fffffff ? 0 : ttl;
}

/** The smaller of the SOA's TTL and its MINIMUM (RFC 2308 §5); undefined without a SOA at or above `name`. */
function readNegativeTtl(packet: DecodedPacket, name: string): number | undefined {
  for (const record of packet.authorities ?? []) {
    if (record.type !== 'SOA' || !isInternet(record)) continue;
    const zone = record.name.toLowerCase();
    if (zone !== '.' && zone !== name && !name.endsWith(`.${zone}`)) continue;
    return Math.min(ttlOf(record), record.data.minimum ?? 0);
  }
  return undefined;
}

/** NOERROR with name servers and nothing else says "ask them", not "there is none" (RFC 2308 §2.2). */
function isReferral(packet: DecodedPacket): boolean {
  return (packet.authorities ?? []).some((record) => record.type === 'NS');
}

/** Each gives undefined for data that is not of the form its type asks for. */
const readers: {
  readonly [K in RecordKind]: (record: ResourceRecord) => RecordData[K] | undefined;
} = {
  A: (record) => (record.type === 'A' && isIPv4(record.data) ? record.data : undefined),
  AAAA: (record) => (record.type === 'AAAA' && isIPv6(record.data) ? record.data : undefined),
  MX(record) {
    if (record.type !== 'MX' || record.data.preference === undefined) return undefined;
    const { preference, exchange } = record.data;
    return { preference, exchange: exchange === '.' ? '' : exchange.replace(/\.$/, '') };
  },
  TXT(record) {
    if (record.type !== 'TXT' || !Array.isArray(record.data)) return undefined;
    // Copied, so that a cached record does not keep its whole message alive.
    return record.data.map((part) => Buffer.from(part));
  },
  TLSA(record) {
    if (record.type !== 'TLSA') return undefined;
    const { usage, selector, matchingType, certificate } = record.data;
    return parseTlsa(Buffer.concat([Buffer.of(usage, selector, matchingType), certificate]));
  },
  CNAME: (record) =>
    record.type === 'CNAME' ? record.data.toLowerCase().replace(/\.$/, '') : undefined,
};

function unanswered(reason: string): Unanswered {
  return { kind: 'failed', reason };
}
