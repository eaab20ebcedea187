/**
 * The DNS message judge: what is an answer to our query, what of it is believed, and that no
 * octets whatever make it throw or hang.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as codec from 'dns-packet';
import fc from 'fast-check';
import type { Answer, Question } from '../../src/platform/dns/answer.ts';
import {
  encodeQuery,
  isAskable,
  judgeResponse,
  MAX_MESSAGE_BYTES,
} from '../../src/platform/dns/message.ts';

const MX: Question<'MX'> = { name: 'example.test', type: 'MX' };
const query = encodeQuery(MX, { id: 0x1234, edns: true });

function mx(exchange: string, options: { name?: string; ttl?: number } = {}): codec.Answer {
  const { name = 'example.test', ttl = 300 } = options;
  return { type: 'MX', name, ttl, class: 'IN', data: { preference: 10, exchange } };
}
function cname(name: string, data: string, ttl = 300): codec.Answer {
  return { type: 'CNAME', name, ttl, class: 'IN', data };
}
function soa(name: string, { ttl, minimum }: { ttl: number; minimum: number }): codec.Answer {
  return { type: 'SOA', name, ttl, class: 'IN', data: { mname: 'ns', rname: 'root', minimum } };
}

/** A response to `query`; `flags` on top of RD and RA. */
function respond(packet: codec.Packet & { rcode?: number } = {}): Buffer {
  const { rcode = 0, flags = 0, ...rest } = packet;
  return codec.encode({
    type: 'response',
    id: 0x1234,
    questions: [{ ...MX, class: 'IN' }],
    ...rest,
    flags: codec.RECURSION_DESIRED | codec.RECURSION_AVAILABLE | flags | rcode,
  });
}
const judge = (response: Buffer) => judgeResponse(response, query, MX);

function answered(response: Buffer): Answer<'MX'> {
  const judgement = judge(response);
  assert.equal(judgement.kind, 'answer', JSON.stringify(judgement));
  return judgement as Answer<'MX'>;
}

describe('the query', () => {
  test('asks for recursion and AD, announces 1232 octets and DO', () => {
    const packet = codec.decode(query);
    assert.equal(packet.flag_rd, true);
    assert.equal(packet.flag_ad, true);
    assert.equal(packet.flag_cd, false);
    const opt = packet.additionals?.[0] as codec.OptAnswer;
    assert.equal(opt.udpPayloadSize, 1232);
    assert.equal(opt.flag_do, true);
  });

  test('without EDNS there is no OPT record', () => {
    const plain = codec.decode(encodeQuery(MX, { id: 1, edns: false }));
    assert.deepEqual(plain.additionals, []);
    assert.equal(plain.flag_ad, true);
  });

  const names: readonly [string, boolean][] = [
    ['example.test', true],
    ['_mta-sts.example.test', true],
    [`${'a'.repeat(63)}.test`, true],
    [`${'a'.repeat(64)}.test`, false],
    [`${'abcdefghi.'.repeat(25)}abc`, true],
    [`${'abcdefghi.'.repeat(25)}abcd`, false],
    ['', false],
    ['a..b', false],
    ['example.test.', false],
    ['b\u00fccher.test', false],
    ['a b.test', false],
    ['a\0.test', false],
  ];
  for (const [name, expected] of names) {
    test(`${JSON.stringify(name.slice(0, 30))} (${name.length}) askable: ${expected}`, () => {
      assert.equal(isAskable(name), expected);
    });
  }
});

describe('whose answer it is', () => {
  const strangers: readonly [string, Buffer][] = [
    ['another id', respond({ id: 0x1235 })],
    ['a query, not a response', encodeQuery(MX, { id: 0x1234, edns: true })],
    ['another name', respond({ questions: [{ name: 'other.test', type: 'MX' }] })],
    ['another type', respond({ questions: [{ name: 'example.test', type: 'TXT' }] })],
    ['another class', respond({ questions: [{ ...MX, class: 'CH' }] })],
    ['two questions', respond({ questions: [MX, MX] })],
    ['no question in a NOERROR', respond({ questions: [] })],
    ['no question in an NXDOMAIN', respond({ questions: [], rcode: 3 })],
    ['another opcode', respond({ flags: 4 << 11 })],
    ['a name that goes on', respond({ questions: [{ name: 'example.test.evil', type: 'MX' }] })],
    ['eleven octets', respond().subarray(0, 11)],
    ['nothing', Buffer.alloc(0)],
  ];
  for (const [what, response] of strangers) {
    test(`not ours: ${what}`, () => {
      assert.deepEqual(judge(response), { kind: 'not-ours' });
    });
  }

  test('the question compares without case', () => {
    const response = respond({ questions: [{ name: 'EXAMPLE.test', type: 'MX' }] });
    assert.equal(judge(response).kind, 'answer');
  });

  test('a refusal may leave the question out', () => {
    const response = respond({ questions: [], rcode: 1 });
    assert.deepEqual(judge(response), { kind: 'failed', reason: 'FORMERR' });
  });

  test('a truncated answer says so, however it was cut', () => {
    const whole = respond({ answers: [mx('mx.example.test')], flags: codec.TRUNCATED_RESPONSE });
    assert.deepEqual(judge(whole.subarray(0, whole.length - 3)), { kind: 'truncated' });
  });
});

describe('failures are not empty answers', () => {
  const rcodes: readonly [number, string][] = [
    [1, 'FORMERR'],
    [2, 'SERVFAIL'],
    [4, 'NOTIMP'],
    [5, 'REFUSED'],
    [9, 'RCODE 9'],
  ];
  for (const [rcode, reason] of rcodes) {
    test(reason, () => assert.deepEqual(judge(respond({ rcode })), { kind: 'failed', reason }));
  }

  test('an extended rcode counts: BADVERS is not NOERROR', () => {
    const opt = {
      type: 'OPT',
      name: '.',
      udpPayloadSize: 1232,
      extendedRcode: 1,
    } as codec.OptAnswer;
    const response = respond({ additionals: [{ ...opt, ednsVersion: 0, flags: 0, options: [] }] });
    assert.deepEqual(judge(response), { kind: 'failed', reason: 'RCODE 16' });
  });

  test('a referral is no answer', () => {
    const ns = { type: 'NS', name: 'test', ttl: 9, class: 'IN', data: 'ns.test' } as const;
    assert.equal(judge(respond({ authorities: [ns] })).kind, 'failed');
  });

  test('NXDOMAIN with records contradicts itself', () => {
    assert.equal(judge(respond({ rcode: 3, answers: [mx('mx.example.test')] })).kind, 'failed');
  });

  test('a message cut within its records', () => {
    const whole = respond({ answers: [mx('mx.example.test')] });
    for (let end = 12; end < whole.length; end++) {
      assert.notEqual(judge(whole.subarray(0, end)).kind, 'answer', `cut at ${end}`);
    }
  });

  test('an address record cut within its address', () => {
    const question: Question<'A'> = { name: 'example.test', type: 'A' };
    const asked = encodeQuery(question, { id: 0x1234, edns: true });
    const a = { type: 'A', name: 'example.test', ttl: 9, class: 'IN', data: '192.0.2.1' } as const;
    const whole = respond({ questions: [question], answers: [a] });
    assert.equal(judgeResponse(whole, asked, question).kind, 'answer');
    for (let cut = 1; cut <= 4; cut++) {
      const response = whole.subarray(0, whole.length - cut);
      assert.equal(judgeResponse(response, asked, question).kind, 'failed', `${cut} octets short`);
    }
  });

  test('a TXT record cut within its text', () => {
    const question: Question<'TXT'> = { name: 'example.test', type: 'TXT' };
    const asked = encodeQuery(question, { id: 0x1234, edns: true });
    const data = [Buffer.from('v=STSv1; id=20260101;')];
    const txt = { type: 'TXT', name: 'example.test', ttl: 9, class: 'IN', data } as const;
    const whole = respond({ questions: [question], answers: [txt] });
    assert.equal(judgeResponse(whole, asked, question).kind, 'answer');
    const cut = whole.subarray(0, whole.length - 1);
    assert.equal(judgeResponse(cut, asked, question).kind, 'failed');
  });

  test('more records than anybody needs', () => {
    const answers = Array.from({ length: 257 }, (_, i) => mx(`m${i}.test`));
    assert.equal(judge(respond({ answers })).kind, 'failed');
    assert.equal(answered(respond({ answers: answers.slice(1) })).records.length, 256);
  });

  test('header counts with no records behind them', () => {
    const response = respond();
    response.writeUInt16BE(0xffff, 6);
    assert.deepEqual(judge(response), { kind: 'failed', reason: 'malformed answer' });
  });
});

describe('what is believed', () => {
  test('records of the asked name, the smallest TTL, AD', () => {
    const answers = [mx('A.example.test', { ttl: 60 }), mx('b.test', { ttl: 30 })];
    const answer = answered(respond({ answers, flags: codec.AUTHENTIC_DATA }));
    assert.deepEqual(answer.records, [
      { preference: 10, exchange: 'A.example.test' },
      { preference: 10, exchange: 'b.test' },
    ]);
    assert.equal(answer.ttlSeconds, 30);
    assert.equal(answer.authenticData, true);
    assert.equal(answer.canonicalName, 'example.test');
  });

  test('the root as exchange is the empty text', () => {
    assert.deepEqual(answered(respond({ answers: [mx('.')] })).records, [
      { preference: 10, exchange: '' },
    ]);
  });

  test('records of other names, classes and types are passed over', () => {
    const chaos = { ...mx('evil.test'), class: 'CH' } as codec.Answer;
    const answers = [mx('evil.test', { name: 'other.test' }), chaos, mx('good.test')];
    assert.deepEqual(
      answered(respond({ answers })).records.map((record) => record.exchange),
      ['good.test'],
    );
  });

  test('records in the other sections are passed over', () => {
    const response = respond({
      authorities: [mx('evil.test'), soa('test', { ttl: 5, minimum: 5 })],
      additionals: [mx('evil.test')],
    });
    assert.deepEqual(answered(response).records, []);
  });

  test('a CNAME chain is followed in any order; records beside it do not count', () => {
    const answers = [
      mx('mx.test', { name: 'c.test', ttl: 90 }),
      cname('b.test', 'C.test', 20),
      mx('evil.test', { name: 'd.test' }),
      cname('example.test', 'b.test', 50),
    ];
    const answer = answered(respond({ answers }));
    assert.deepEqual(answer.records, [{ preference: 10, exchange: 'mx.test' }]);
    assert.deepEqual(answer.chain, ['example.test', 'b.test', 'c.test']);
    assert.equal(answer.canonicalName, 'c.test');
    assert.equal(answer.ttlSeconds, 20);
  });

  test('a chain of eight is followed, one of nine and a loop are not', () => {
    const links = (count: number) =>
      Array.from({ length: count }, (_, i) =>
        cname(i === 0 ? 'example.test' : `n${i}.test`, `n${i + 1}.test`),
      );
    const eight = [...links(8), mx('mx.test', { name: 'n8.test' })];
    assert.equal(answered(respond({ answers: eight })).records.length, 1);
    const nine = [...links(9), mx('mx.test', { name: 'n9.test' })];
    assert.equal(judge(respond({ answers: nine })).kind, 'failed');
    const loop = [cname('example.test', 'b.test'), cname('b.test', 'example.test')];
    assert.equal(judge(respond({ answers: loop })).kind, 'failed');
  });

  test('a chain without its end has to be asked further', () => {
    const answer = answered(respond({ answers: [cname('example.test', 'b.test', 40)] }));
    assert.equal(answer.unresolved, true);
    assert.equal(answer.canonicalName, 'b.test');
    assert.equal(answer.ttlSeconds, 40);
  });

  test('NXDOMAIN at the end of a chain is said about its end', () => {
    const answers = [cname('example.test', 'b.test', 40)];
    const authorities = [soa('test', { ttl: 900, minimum: 300 })];
    const answer = answered(respond({ rcode: 3, answers, authorities }));
    assert.equal(answer.nameExists, false);
    assert.equal(answer.unresolved, false);
    assert.equal(answer.ttlSeconds, 40);
  });

  const negatives: readonly [string, codec.Answer[], number][] = [
    ['SOA minimum', [soa('test', { ttl: 900, minimum: 300 })], 300],
    ['SOA TTL', [soa('example.test', { ttl: 100, minimum: 300 })], 100],
    ['SOA of the root', [soa('.', { ttl: 70, minimum: 300 })], 70],
    ['SOA of a stranger', [soa('other', { ttl: 70, minimum: 300 })], 0],
    ['SOA of a name that only ends alike', [soa('ple.test', { ttl: 70, minimum: 300 })], 0],
    ['no SOA', [], 0],
  ];
  for (const [what, authorities, ttl] of negatives) {
    test(`negative TTL: ${what}`, () => {
      assert.equal(answered(respond({ authorities })).ttlSeconds, ttl);
      const nxdomain = answered(respond({ authorities, rcode: 3 }));
      assert.equal(nxdomain.ttlSeconds, ttl);
      assert.equal(nxdomain.nameExists, false);
    });
  }

  test('a TTL with its top bit set is zero', () => {
    assert.equal(answered(respond({ answers: [mx('a.test', { ttl: 0x80000000 })] })).ttlSeconds, 0);
  });

  test('TXT records keep their character-strings and their octets', () => {
    const question: Question<'TXT'> = { name: 'example.test', type: 'TXT' };
    const asked = encodeQuery(question, { id: 0x1234, edns: true });
    const data = [Buffer.from('v=STSv1; '), Buffer.from([0, 0xff, 0xc0])];
    const txt = { type: 'TXT', name: 'example.test', ttl: 9, class: 'IN', data } as const;
    const response = respond({ questions: [question], answers: [txt] });
    const judgement = judgeResponse(response, asked, question);
    response.fill(0);
    assert.deepEqual((judgement as Answer<'TXT'>).records, [data]);
  });
});

describe('hostile octets', () => {
  const valid = respond({
    answers: [cname('example.test', 'b.test'), mx('mx.b.test', { name: 'b.test' })],
    authorities: [soa('test', { ttl: 9, minimum: 9 })],
  });
  const header = valid.subarray(0, 12 + 'example.test'.length + 2 + 4);
  const kinds = ['not-ours', 'truncated', 'failed', 'answer'];

  test('anything', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 600 }), (octets) => {
        assert.ok(kinds.includes(judge(Buffer.from(octets)).kind));
      }),
    );
  });

  test('our header and anything', () => {
    const counts = fc.array(fc.nat(300), { minLength: 3, maxLength: 3 });
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 600 }), counts, (octets, [an = 0, ns = 0, ar = 0]) => {
        const response = Buffer.concat([header, octets]);
        response.writeUInt16BE(0x8180, 2);
        [an, ns, ar].forEach((count, i) => {
          response.writeUInt16BE(count, 6 + 2 * i);
        });
        assert.ok(['failed', 'answer'].includes(judge(response).kind));
      }),
    );
  });

  test('a valid response with octets changed', () => {
    const change = fc.tuple(fc.nat(valid.length - 1), fc.nat(255));
    fc.assert(
      fc.property(fc.array(change, { maxLength: 8 }), fc.nat(valid.length), (changes, end) => {
        const response = Buffer.from(valid.subarray(0, end));
        for (const [at, octet] of changes) if (at < end) response[at] = octet;
        assert.ok(kinds.includes(judge(response).kind));
      }),
      { numRuns: 2000 },
    );
  });

  test('a compression pointer to itself', () => {
    const at = header.length;
    const record = Buffer.from([0xc0, at, 0, 15, 0, 1, 0, 0, 0, 9, 0, 4, 0, 10, 0xc0, 12]);
    const response = Buffer.concat([header, record]);
    response.writeUInt16BE(1, 6);
    response.writeUInt16BE(0, 8);
    assert.deepEqual(judge(response), { kind: 'failed', reason: 'malformed answer' });
  });

  test('as many pointers to pointers as fit are done with quickly', () => {
    // A chain of pointers as long as the message allows, then records that all start at its end.
    const records = 256;
    const recordBytes = 16;
    const room = MAX_MESSAGE_BYTES - header.length - records * recordBytes;
    const junk = Buffer.alloc(room - (room % 2));
    junk.writeUInt16BE(0xc000 | 12, 12);
    for (let at = 14; at < junk.length; at += 2) {
      junk.writeUInt16BE(0xc000 | (header.length + at - 2), at);
    }
    // The first record is an unknown type whose data is the junk.
    junk.set([0, 0xff, 0x00, 0, 1, 0, 0, 0, 9, (junk.length - 11) >> 8, (junk.length - 11) & 0xff]);
    const last = 0xc000 | (header.length + junk.length - 2);
    const record = Buffer.from([0, 0, 0, 15, 0, 1, 0, 0, 0, 9, 0, 4, 0, 10, 0, 0]);
    record.writeUInt16BE(last, 0);
    record.writeUInt16BE(last, 14);
    const response = Buffer.concat([header, junk, ...Array(records - 1).fill(record)]);
    response.writeUInt16BE(records, 6);
    response.writeUInt16BE(0, 8);
    const before = process.cpuUsage();
    const judgement = judge(response);
    assert.equal(judgement.kind, 'answer', JSON.stringify(judgement).slice(0, 200));
    const { user } = process.cpuUsage(before);
    assert.ok(user < 2_000_000, `${user} µs of CPU`);
  });

  test('a message larger than the limit is not decoded', () => {
    const response = Buffer.concat([valid, Buffer.alloc(MAX_MESSAGE_BYTES)]);
    assert.deepEqual(judge(response), { kind: 'failed', reason: 'malformed answer' });
  });
});

describe('a TLSA record', () => {
  const answer = (certificate: Buffer): Buffer =>
    codec.encode({
      ...{ type: 'response', id: 1, flags: codec.AUTHENTIC_DATA },
      questions: [{ name: 'mx.test', type: 'TLSA', class: 'IN' }],
      answers: [
        {
          ...{ type: 'TLSA', name: 'mx.test', class: 'IN', ttl: 60 },
          data: { usage: 3, selector: 1, matchingType: 1, certificate },
        },
      ],
    });
  const question = { name: 'mx.test', type: 'TLSA' } as const;
  const query = encodeQuery(question, { id: 1, edns: false });

  test('that is cut short is none', () => {
    const whole = answer(Buffer.alloc(32, 7));
    assert.equal(judgeResponse(whole, query, question).kind, 'answer');
    for (let length = 12; length < whole.length; length++) {
      const judgement = judgeResponse(whole.subarray(0, length), query, question);
      assert.notEqual(judgement.kind, 'answer', `${length} of ${whole.length} octets`);
    }
  });

  test('too short to be one makes the answer malformed', () => {
    const whole = answer(Buffer.alloc(0));
    const short = Buffer.from(whole.subarray(0, whole.length - 1));
    short.writeUInt16BE(2, whole.length - 5);
    const reason = 'malformed answer';
    assert.deepEqual(judgeResponse(short, query, question), { kind: 'failed', reason });
  });
});
