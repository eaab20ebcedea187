/**
 * DNS messages: the query that is sent, and whether and how a message answers it
 * (RFC 1035 §4.1, RFC 6891). Pure: bytes in, values out; dns-packet is the codec.
 *
 * Promises: `judgeResponse` never throws, and its work is bounded whatever the bytes are:
 * at most MAX_MESSAGE_BYTES and MAX_RECORDS are decoded, and compression pointers only lead
 * backwards in dns-packet, so that a name costs at most one step an octet.
 */
import {
  AUTHENTIC_DATA,
  type DecodedPacket,
  DNSSEC_OK,
  decode,
  encode,
  type OptAnswer,
  RECURSION_DESIRED,
} from 'dns-packet';
import {
  type Answer,
  type Question,
  type RecordKind,
  readAnswer,
  type Unanswered,
} from './answer.ts';
import { isWellFramed } from './framing.ts';

/** What a message is to a query. */
export type Judgement<K extends RecordKind = RecordKind> =
  /** No answer to it: somebody else's, or forged. Go on waiting. */
  | { readonly kind: 'not-ours' }
  /** TC is set: ask again over TCP (RFC 7766 §5). */
  | { readonly kind: 'truncated' }
  | Unanswered
  | Answer<K>;

/** The largest message that is decoded, over UDP or TCP. */
export const MAX_MESSAGE_BYTES = 16 * 1024;
const MAX_RECORDS = 256;
/** The UDP payload we announce: passes every path without fragments. */
const UDP_PAYLOAD_BYTES = 1232;
const HEADER_BYTES = 12;

const OPT: OptAnswer = {
  type: 'OPT',
  name: '.',
  udpPayloadSize: UDP_PAYLOAD_BYTES,
  extendedRcode: 0,
  ednsVersion: 0,
  flags: DNSSEC_OK,
  flag_do: true,
  options: [],
};

/**
 * A query for `question`: recursion desired, AD set to be told about it in the answer
 * (RFC 6840 §5.7), and with `edns` an OPT record that announces 1232 octets and sets DO.
 */
export function encodeQuery(
  question: Question,
  { id, edns }: { readonly id: number; readonly edns: boolean },
): Buffer {
  return encode({
    type: 'query',
    id,
    flags: RECURSION_DESIRED | AUTHENTIC_DATA,
    questions: [{ ...question, class: 'IN' }],
    additionals: edns ? [OPT] : [],
  });
}

/** Whether `name` can be asked for: labels of 1-63 letters, digits, `-` and `_`, 253 octets in all (RFC 1035 §2.3.4). */
export function isAskable(name: string): boolean {
  return name.length <= 253 && name.split('.').every((label) => /^[a-z0-9_-]{1,63}$/i.test(label));
}

/** Judge `response` as an answer to `query`, the octets that were sent for `question`. */
export function judgeResponse<K extends RecordKind>(
  response: Buffer,
  query: Buffer,
  question: Question<K>,
): Judgement<K> {
  if (!answersQuery(response, query)) return { kind: 'not-ours' };
  if ((flagsOf(response) & 0x0200) !== 0) return { kind: 'truncated' };
  const packet = decodeBounded(response);
  if (packet === undefined) return { kind: 'failed', reason: 'malformed answer' };
  const rcode = rcodeOf(packet, response);
  if (rcode !== 'NOERROR' && rcode !== 'NXDOMAIN') return refusal(rcode, packet);
  return readAnswer(packet, question, rcode);
}

/**
 * Whether `response` is to `query` at all, decoding nothing.
 * Id, QR, opcode and question must come back as they were sent, the name compared without
 * case (RFC 5452 §9.1). A first name cannot be compressed, so octets are compared. A server
 * that refuses may leave the question out: all it can do that way is to say no.
 */
export function answersQuery(response: Buffer, query: Buffer): boolean {
  if (response.length < HEADER_BYTES) return false;
  if (response.readUInt16BE(0) !== query.readUInt16BE(0)) return false;
  const flags = flagsOf(response);
  const isResponse = flags >> 15 === 1;
  const opcode = (flags >> 11) & 0xf;
  if (!isResponse || opcode !== 0) return false;
  const questions = response.readUInt16BE(4);
  if (questions === 0) return !['NOERROR', 'NXDOMAIN'].includes(rcodeName(flags & 0xf));
  const end = endOfQuestion(query);
  return questions === 1 && foldCase(response, end) === foldCase(query, end);
}

function flagsOf(message: Buffer): number {
  return message.readUInt16BE(2);
}

/** Where the question of one of our own queries ends. */
function endOfQuestion(query: Buffer): number {
  let offset = HEADER_BYTES;
  for (let length = query[offset]; length; length = query[offset]) offset += 1 + length;
  return offset + 1 + 4;
}

function foldCase(message: Buffer, end: number): string {
  return message.toString('latin1', HEADER_BYTES, end).toLowerCase();
}

function decodeBounded(response: Buffer): DecodedPacket | undefined {
  const records = response.readUInt16BE(6) + response.readUInt16BE(8) + response.readUInt16BE(10);
  if (records > MAX_RECORDS || response.length > MAX_MESSAGE_BYTES) return undefined;
  if (!isWellFramed(response)) return undefined;
  try {
    const packet = decode(response);
    // dns-packet does not notice when it reads past the end of a message that was cut.
    return decode.bytes <= response.length ? packet : undefined;
  } catch {
    return undefined;
  }
}

/** Extended DNS errors that are about DNSSEC (RFC 8914 §4), and what they say. */
const DNSSEC_ERRORS: Readonly<Record<number, string>> = {
  6: 'bogus',
  7: 'a signature has expired',
  8: 'a signature is not valid yet',
  9: 'the DNSKEY is missing',
  10: 'signatures are missing',
  11: 'no key is a zone key',
  12: 'the proof of absence is missing',
};
const EXTENDED_ERROR = 15;

/** RFC 8914 §2: why there is no answer, where the server says so in an option. Its free text is left alone. */
function refusal(rcode: string, { additionals = [] }: DecodedPacket): Unanswered {
  for (const record of additionals) {
    if (record.type !== 'OPT') continue;
    for (const option of record.options) {
      const { code, data } = option as { readonly code?: unknown; readonly data?: unknown };
      if (code !== EXTENDED_ERROR || !Buffer.isBuffer(data) || data.length < 2) continue;
      const what = DNSSEC_ERRORS[data.readUInt16BE(0)];
      if (what) return { kind: 'failed', reason: `${rcode} (DNSSEC: ${what})`, bogus: true };
    }
  }
  return { kind: 'failed', reason: rcode };
}

const RCODES = ['NOERROR', 'FORMERR', 'SERVFAIL', 'NXDOMAIN', 'NOTIMP', 'REFUSED'];

function rcodeName(rcode: number): string {
  return RCODES[rcode] ?? `RCODE ${rcode}`;
}

/** The rcode, with the upper bits that an OPT record carries (RFC 6891 §6.1.3). */
function rcodeOf(packet: DecodedPacket, response: Buffer): string {
  const opt = packet.additionals?.find((record) => record.type === 'OPT');
  return rcodeName(((opt?.extendedRcode ?? 0) << 4) | (flagsOf(response) & 0xf));
}
