/**
 * DNS messages: answers as servers, and forgers, send them.
 */
import assert from 'node:assert/strict';
import { isIPv4, isIPv6 } from 'node:net';
import * as codec from 'dns-packet';
import type { Answer, Question, RecordKind } from '../../../src/platform/dns/answer.ts';
import { MAX_CNAMES } from '../../../src/platform/dns/answer.ts';
import {
  encodeQuery,
  type Judgement,
  judgeResponse,
  MAX_MESSAGE_BYTES,
} from '../../../src/platform/dns/message.ts';
import type { TlsaRecord } from '../../../src/protocol/dane/tlsa.ts';
import type { FuzzTarget } from '../engine/target.ts';

const KINDS: readonly RecordKind[] = ['A', 'AAAA', 'MX', 'TXT', 'TLSA', 'CNAME'];
const ID = 0x1234;
const NAME = 'example.test';
const HEADER = 12;
/** In the selector: the message gets the id, the flags of an answer and the question of the query. */
const GRAFTED = 8;

function questionFor(selector: number): Question {
  return { name: NAME, type: KINDS[(selector % GRAFTED) % KINDS.length] ?? 'MX' };
}

/** An octet that says what was asked, then the message. */
function seed(kind: RecordKind, packet: Partial<codec.Packet>): Buffer {
  const message = codec.encode({
    type: 'response',
    id: ID,
    flags: codec.RECURSION_DESIRED | codec.RECURSION_AVAILABLE | codec.AUTHENTIC_DATA,
    questions: [{ name: NAME, type: kind, class: 'IN' }],
    ...packet,
  });
  return Buffer.concat([Buffer.of(KINDS.indexOf(kind) + GRAFTED), message]);
}

const common = { name: NAME, class: 'IN', ttl: 300 } as const;
const soa = { mname: 'ns', rname: 'root', serial: 1, refresh: 1, retry: 1, expire: 1, minimum: 60 };
const SEEDS = [
  seed('A', { answers: [{ ...common, type: 'A', data: '192.0.2.1' }] }),
  seed('AAAA', { answers: [{ ...common, type: 'AAAA', data: '2001:db8::1' }] }),
  seed('MX', {
    answers: [
      { ...common, type: 'CNAME', data: 'other.test' },
      {
        ...common,
        name: 'other.test',
        type: 'MX',
        data: { preference: 10, exchange: 'mx.example.test' },
      },
      { ...common, name: 'other.test', type: 'MX', data: { preference: 0, exchange: '.' } },
    ],
    additionals: [
      {
        type: 'OPT',
        name: '.',
        udpPayloadSize: 1232,
        extendedRcode: 0,
        ednsVersion: 0,
        flags: 0,
        flag_do: true,
        options: [],
      },
    ],
  }),
  seed('TXT', {
    answers: [{ ...common, type: 'TXT', data: [Buffer.from('v=STSv1;'), Buffer.from('id=1')] }],
  }),
  seed('TLSA', {
    answers: [
      { ...common, type: 'CNAME', data: 'other.test' },
      {
        ...{ ...common, name: 'other.test', type: 'TLSA' },
        data: { usage: 3, selector: 1, matchingType: 1, certificate: Buffer.alloc(32, 7) },
      },
    ],
  }),
  seed('CNAME', { answers: [{ ...common, type: 'CNAME', data: 'other.test' }] }),
  seed('MX', { authorities: [{ ...common, name: 'test', type: 'SOA', data: soa }] }),
  seed('MX', { authorities: [{ ...common, name: 'test', type: 'NS', data: 'ns.test' }] }),
  seed('MX', { answers: [{ ...common, type: 'CNAME', data: 'far.test' }] }),
];

/** The message of an input, and what it is said to answer. */
function readInput(input: Buffer) {
  const selector = input[0] ?? 0;
  const question = questionFor(selector);
  const query = encodeQuery(question, { id: ID, edns: true });
  const message = Buffer.from(input.subarray(1));
  const asked = query.subarray(HEADER, HEADER + NAME.length + 2 + 4);
  if ((selector & GRAFTED) !== 0 && message.length >= HEADER + asked.length) {
    message.writeUInt16BE(ID, 0);
    message.writeUInt16BE((message.readUInt16BE(2) | 0x8000) & ~0x7a00, 2);
    message.writeUInt16BE(1, 4);
    asked.copy(message, HEADER);
  }
  return { question, query, message };
}

function checkRecord(kind: RecordKind, record: unknown): void {
  if (kind === 'A') assert.ok(isIPv4(record as string));
  else if (kind === 'AAAA') assert.ok(isIPv6(record as string));
  else if (kind === 'MX') {
    const { preference, exchange } = record as { preference: number; exchange: string };
    assert.ok(Number.isInteger(preference) && preference >= 0 && preference <= 65_535);
    assert.ok(exchange.length <= 4 * 255 && exchange !== '.');
  } else if (kind === 'TLSA') {
    const { usage, selector, matchingType, data } = record as TlsaRecord;
    for (const octet of [usage, selector, matchingType]) assert.ok(octet >= 0 && octet <= 255);
    assert.ok(Buffer.isBuffer(data));
  } else if (kind === 'CNAME') assert.ok((record as string).length <= 4 * 255);
  else assert.ok((record as Buffer[]).every((part) => Buffer.isBuffer(part) && part.length <= 255));
}

function checkAnswer(answer: Answer, { name, type }: Question): void {
  assert.equal(answer.chain[0], name);
  assert.equal(answer.chain.at(-1), answer.canonicalName);
  assert.ok(answer.chain.length <= MAX_CNAMES + 2);
  assert.equal(new Set(answer.chain).size, answer.chain.length);
  assert.ok(answer.ttlSeconds >= 0 && answer.ttlSeconds <= 0x7fffffff, `ttl ${answer.ttlSeconds}`);
  if (!answer.nameExists || answer.unresolved) assert.equal(answer.records.length, 0);
  for (const record of answer.records) checkRecord(type, record);
}

/** How an answer differs from another, apart from what a shorter message may leave out. */
function kindOf(judgement: Judgement, question: Question): string {
  if (judgement.kind === 'failed') return `failed: ${judgement.reason.replace(/\d+/, 'n')}`;
  if (judgement.kind !== 'answer') return judgement.kind;
  const { records, nameExists, unresolved, chain } = judgement;
  const facts = [records.length > 0, nameExists, unresolved, chain.length > 1].map(Number).join('');
  return `${question.type} answer ${facts}`;
}

const message: FuzzTarget = {
  name: 'dns-message',
  seeds: SEEDS,
  tokens: [
    Buffer.of(0xc0, 12),
    Buffer.of(0xc0, 0),
    Buffer.of(0xff, 0xff),
    Buffer.of(0, 5, 0, 1),
    Buffer.of(0, 41),
    Buffer.of(0, 6, 0, 1),
    Buffer.of(0, 15, 0, 1),
    Buffer.of(0, 16, 0, 1),
    Buffer.of(0),
    Buffer.of(63),
    Buffer.from('\x07example\x04test\0', 'latin1'),
    Buffer.of(0x80, 0, 0, 0),
    Buffer.of(0, 0, 0, 0),
  ],
  maxOctets: MAX_MESSAGE_BYTES + 100,
  run(input) {
    const { question, query, message } = readInput(input);
    const judgement = judgeResponse(message, query, question);
    if (judgement.kind === 'answer') checkAnswer(judgement, question);
    // A message that was cut says nothing, or what the whole one says.
    if (message.length > MAX_MESSAGE_BYTES) return kindOf(judgement, question);
    const cut = message.subarray(0, message.length - 1 - (input.length % 40));
    const ofCut = judgeResponse(cut, query, question);
    if (ofCut.kind === 'answer') assert.deepEqual(ofCut, judgement);
    return kindOf(judgement, question);
  },
};

export const dnsTargets: readonly FuzzTarget[] = [message];
