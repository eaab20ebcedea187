/**
 * The stub resolver against scripted servers on loopback: each says exactly what a test wants,
 * over UDP and TCP of one port.
 */
import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { createServer } from 'node:net';
import { describe, type TestContext, test } from 'node:test';
import * as codec from 'dns-packet';
import type { QueryFacts } from '../../src/platform/dns/ask-servers.ts';
import { createResolver, type ResolverOptions } from '../../src/platform/dns/stub-resolver.ts';
import { type Resolver, securityOf } from '../../src/platform/resolver.ts';
import { formatTlsa } from '../../src/protocol/dane/tlsa.ts';
import { type DomainName, parseDomain } from '../../src/protocol/domain.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { randomPort } from '../support/free-port.ts';
import { Chronicle } from '../support/wait-for.ts';

interface Asked {
  readonly transport: 'udp' | 'tcp';
  readonly name: string;
  readonly type: string;
  readonly edns: boolean;
  readonly id: number;
  readonly sourcePort: number;
  /** A response to it: NOERROR unless `rcode` says otherwise. */
  respond(packet?: codec.Packet & { rcode?: number }): Buffer;
}
/** What to send back, in order; nothing for an empty list. */
type Script = (asked: Asked) => readonly Buffer[] | Promise<readonly Buffer[]>;

class ScriptedServer {
  readonly port: number;
  readonly asked = new Chronicle<Asked>();
  script: Script = () => [];
  constructor(port: number) {
    this.port = port;
  }
  get transports(): string {
    return this.asked.entries.map(({ transport }) => transport).join(' ');
  }
  play(message: Buffer, transport: 'udp' | 'tcp', sourcePort: number): ReturnType<Script> {
    const query = codec.decode(message);
    const question = query.questions?.[0];
    const asked: Asked = {
      transport,
      sourcePort,
      name: question?.name ?? '',
      type: question?.type ?? '',
      id: query.id ?? 0,
      edns: (query.additionals ?? []).some((record) => record.type === 'OPT'),
      respond: ({ rcode = 0, flags = 0, ...packet } = {}) =>
        codec.encode({
          type: 'response',
          id: query.id,
          questions: query.questions,
          ...packet,
          flags: codec.RECURSION_AVAILABLE | flags | rcode,
        }),
    };
    this.asked.push(asked);
    return this.script(asked);
  }
}

/** A server that plays `script`, gone when the test is over. */
async function scripted(t: TestContext, script: Script, address = '127.0.0.1') {
  for (;;) {
    const port = randomPort();
    const udp = createSocket('udp4');
    const tcp = createServer();
    const opened = await Promise.allSettled([
      new Promise((resolve, reject) =>
        udp.once('error', reject).bind(port, address, () => resolve(0)),
      ),
      new Promise((resolve, reject) =>
        tcp.once('error', reject).listen(port, address, () => resolve(0)),
      ),
    ]);
    if (opened.some(({ status }) => status === 'rejected')) {
      udp.close();
      tcp.close();
      continue;
    }
    const server = new ScriptedServer(port);
    server.script = script;
    udp.on('message', async (message, from) => {
      for (const reply of await server.play(message, 'udp', from.port)) {
        udp.send(reply, from.port, from.address);
      }
    });
    tcp.on('connection', (socket) => {
      t.after(() => socket.destroy());
      socket.on('error', () => {});
      socket.once('data', async (framed: Buffer) => {
        const sourcePort = socket.remotePort ?? 0;
        for (const reply of await server.play(framed.subarray(2), 'tcp', sourcePort)) {
          // Cut in the middle: the client has to put it together.
          const length = Buffer.from([reply.length >> 8, reply.length & 0xff]);
          socket.write(length.subarray(0, 1));
          setImmediate(() => socket.write(Buffer.concat([length.subarray(1), reply])));
        }
      });
    });
    t.after(() => {
      udp.close();
      tcp.close();
    });
    return server;
  }
}

function resolverFor(
  servers: readonly (ScriptedServer | { address: string; port: number })[],
  options: Partial<ResolverOptions> = {},
): Resolver {
  return createResolver({
    servers: servers.map((server) => ({
      address: '127.0.0.1',
      port: server.port,
      ...addressOf(server),
    })),
    trustAd: 'auto',
    totalMs: 120_000,
    tryMs: [60_000],
    ...options,
  });
}
function addressOf(server: object): object {
  return 'address' in server ? { address: server.address } : {};
}

function domain(text: string): DomainName {
  const parsed = parseDomain(text);
  assert.ok(parsed !== undefined);
  return parsed;
}
const EXAMPLE = domain('example.test');
const never = () => new AbortController().signal;

function mx(name: string, exchange: string, ttl = 300): codec.Answer {
  return { type: 'MX', name, ttl, class: 'IN', data: { preference: 10, exchange } };
}
function cname(name: string, data: string, ttl = 300): codec.Answer {
  return { type: 'CNAME', name, ttl, class: 'IN', data };
}
function soa(minimum: number): codec.Answer {
  const data = { mname: 'ns.test', rname: 'root.test', minimum };
  return { type: 'SOA', name: 'test', ttl: 900, class: 'IN', data };
}
const goodAnswer: Script = ({ name, respond }) => [respond({ answers: [mx(name, 'mx.test')] })];

async function assertFound(resolver: Resolver, exchange = 'mx.test') {
  const result = await resolver.lookupMx(EXAMPLE, never());
  assert.equal(result.kind, 'found', JSON.stringify(result));
  assert.ok(result.kind === 'found');
  assert.deepEqual(result.records, [{ preference: 10, exchange }]);
  return result;
}

test('found: over UDP, once', async (t) => {
  const server = await scripted(t, goodAnswer);
  const result = await assertFound(resolverFor([server]));
  assert.equal(result.ttlSeconds, 300);
  assert.equal(result.authenticated, false);
  assert.equal(result.canonicalName, 'example.test');
  assert.equal(server.transports, 'udp');
});

test('addresses of both families and TXT', async (t) => {
  const server = await scripted(t, ({ name, type, respond }) => {
    const common = { name, ttl: 60, class: 'IN' } as const;
    if (type === 'A') return [respond({ answers: [{ ...common, type, data: '192.0.2.7' }] })];
    if (type === 'AAAA') return [respond({ answers: [{ ...common, type, data: '2001:db8::7' }] })];
    const data = [Buffer.from('v=STSv1;'), Buffer.from(' id=1;')];
    return [respond({ answers: [{ ...common, type: 'TXT', data }] })];
  });
  const resolver = resolverFor([server]);
  const a = await resolver.lookupAddress(EXAMPLE, 4, never());
  const aaaa = await resolver.lookupAddress(EXAMPLE, 6, never());
  const txt = await resolver.lookupTxt('_mta-sts.Example.test', never());
  assert.deepEqual(a.kind === 'found' && a.records, ['192.0.2.7']);
  assert.deepEqual(aaaa.kind === 'found' && aaaa.records, ['2001:db8::7']);
  assert.deepEqual(txt.kind === 'found' && txt.records.map((record) => record.map(String)), [
    ['v=STSv1;', ' id=1;'],
  ]);
  assert.equal(server.asked.entries[2]?.name, '_mta-sts.example.test');
});

test('absent: NXDOMAIN, and no such type', async (t) => {
  const server = await scripted(t, ({ name, respond }) => [
    respond({ rcode: name === 'gone.test' ? 3 : 0, authorities: [soa(70)] }),
  ]);
  const resolver = resolverFor([server]);
  const common = { kind: 'absent', ttlSeconds: 70, authenticated: false } as const;
  assert.deepEqual(await resolver.lookupMx(domain('gone.test'), never()), {
    ...common,
    nameExists: false,
  });
  assert.deepEqual(await resolver.lookupMx(EXAMPLE, never()), { ...common, nameExists: true });
});

test('each query has a port and an id of its own', async (t) => {
  const server = await scripted(t, goodAnswer);
  const resolver = resolverFor([server]);
  const names = Array.from({ length: 20 }, (_, i) => domain(`n${i}.test`));
  await Promise.all(names.map((name) => resolver.lookupMx(name, never())));
  const { entries } = server.asked;
  assert.ok(new Set(entries.map(({ sourcePort }) => sourcePort)).size > 15);
  assert.ok(new Set(entries.map(({ id }) => id)).size > 15);
});

test('forged answers are passed over, the real one is waited for', async (t) => {
  const server = await scripted(t, ({ id, name, respond }) => [
    respond({ id: (id + 1) & 0xffff, answers: [mx(name, 'evil.test')] }),
    respond({ questions: [{ name: 'other.test', type: 'MX' }], answers: [mx(name, 'evil.test')] }),
    Buffer.from('garbage'),
    respond({ answers: [mx(name, 'mx.test')] }),
  ]);
  await assertFound(resolverFor([server]));
});

test('an answer from another address never gets in', async (t) => {
  const stranger = createSocket('udp4');
  t.after(() => stranger.close());
  await new Promise<void>((resolve) => stranger.bind(0, '127.0.0.2', resolve));
  const server = await scripted(t, async ({ name, sourcePort, respond }) => {
    const forged = respond({ answers: [mx(name, 'evil.test')] });
    await new Promise((resolve) => stranger.send(forged, sourcePort, '127.0.0.1', resolve));
    return [respond({ answers: [mx(name, 'mx.test')] })];
  });
  await assertFound(resolverFor([server]));
});

test('somebody guessing ids drives the question to TCP', async (t) => {
  const server = await scripted(t, ({ transport, id, name, respond }) => {
    const answers = [mx(name, transport === 'tcp' ? 'mx.test' : 'evil.test')];
    if (transport === 'tcp') return [respond({ answers })];
    return Array.from({ length: 40 }, (_, i) => respond({ id: (id + i + 1) & 0xffff, answers }));
  });
  await assertFound(resolverFor([server]));
  assert.equal(server.transports, 'udp tcp');
});

test('a truncated answer is asked for again over TCP', async (t) => {
  const many = Array.from({ length: 100 }, (_, i) => mx('example.test', `mx${i}.example.test`));
  const server = await scripted(t, ({ transport, respond }) => [
    transport === 'udp' ? respond({ flags: codec.TRUNCATED_RESPONSE }) : respond({ answers: many }),
  ]);
  const result = await resolverFor([server]).lookupMx(EXAMPLE, never());
  assert.equal(result.kind === 'found' && result.records.length, 100);
  assert.equal(server.transports, 'udp tcp');
});

const badTcp: readonly [string, Script][] = [
  ['still truncated', ({ respond }) => [respond({ flags: codec.TRUNCATED_RESPONSE })]],
  [
    'another id',
    ({ id, name, respond }) => [respond({ id: id ^ 1, answers: [mx(name, 'evil.test')] })],
  ],
  ['larger than any answer', () => [Buffer.alloc(20_000)]],
  ['an empty message', () => [Buffer.alloc(0)]],
];
for (const [what, overTcp] of badTcp) {
  test(`failed: over TCP comes ${what}`, async (t) => {
    const server = await scripted(t, (asked) =>
      asked.transport === 'tcp'
        ? overTcp(asked)
        : [asked.respond({ flags: codec.TRUNCATED_RESPONSE })],
    );
    const result = await resolverFor([server]).lookupMx(EXAMPLE, never());
    assert.equal(result.kind, 'failed', JSON.stringify(result));
  });
}

for (const [rcode, word] of [
  [2, 'SERVFAIL'],
  [4, 'NOTIMP'],
  [5, 'REFUSED'],
] as const) {
  test(`failed: ${word} from every server, each asked once`, async (t) => {
    const script: Script = ({ respond }) => [respond({ rcode })];
    const [one, two] = [await scripted(t, script), await scripted(t, script)];
    const result = await resolverFor([one, two]).lookupMx(EXAMPLE, never());
    const reason = `${word} from 127.0.0.1:${one.port}, ${word} from 127.0.0.1:${two.port}`;
    assert.deepEqual(result, { kind: 'failed', reason });
    assert.equal(one.transports + two.transports, 'udpudp');
  });
}

test('failed: malformed answers', async (t) => {
  const server = await scripted(t, ({ respond }) => {
    const cut = respond({ answers: [mx('example.test', 'mx.test')] });
    return [cut.subarray(0, cut.length - 4)];
  });
  const result = await resolverFor([server]).lookupMx(EXAMPLE, never());
  assert.deepEqual(result, {
    kind: 'failed',
    reason: `malformed answer from 127.0.0.1:${server.port}`,
  });
});

test('the next server is asked when one says no, is silent, or is not there', async (t) => {
  const refusing = await scripted(t, ({ respond }) => [respond({ rcode: 5 })]);
  const silent = await scripted(t, () => []);
  const gone = { address: '127.0.0.1', port: 9 };
  const good = await scripted(t, goodAnswer);
  const facts: QueryFacts[] = [];
  const clock = new FakeClock();
  const resolver = resolverFor([refusing, silent, gone, good], {
    tryMs: [100],
    onQuery: (fact) => facts.push(fact),
    clock,
  });
  const found = assertFound(resolver);
  await silent.asked.untilCount('query', 1);
  clock.advance(100);
  await found;
  assert.deepEqual(
    facts.map(({ outcome }) => outcome),
    ['REFUSED', 'no answer in 0.1 s', 'connection refused', 'answer'],
  );
  assert.deepEqual(facts[3]?.server, `127.0.0.1:${good.port}`);
});

test('a silent server is asked again', async (t) => {
  const server = await scripted(t, () => []);
  const clock = new FakeClock();
  const resolver = resolverFor([server], { tryMs: [100, 2000], clock });
  const result = assertFound(resolver);
  await server.asked.untilCount('queries', 1);
  server.script = goodAnswer;
  clock.advance(100);
  await result;
  assert.equal(server.transports, 'udp udp');
});

test('failed: silence until the deadline', async (t) => {
  const server = await scripted(t, () => []);
  const clock = new FakeClock();
  const resolver = resolverFor([server], { tryMs: [80, 100], totalMs: 250, clock });
  const asking = resolver.lookupMx(EXAMPLE, never());
  await server.asked.untilCount('queries', 1);
  clock.advance(80);
  await server.asked.untilCount('queries', 2);
  clock.advance(170);
  const result = await asking;
  assert.equal(result.kind, 'failed');
  const reason = result.kind === 'failed' ? result.reason : '';
  assert.match(reason, new RegExp(`^no answer in 0\\.\\d+ s from 127\\.0\\.0\\.1:${server.port}$`));
});

test('the default patience is 2 s, 3 s and 5 s, ten in all', async (t) => {
  const clock = new FakeClock();
  const server = await scripted(t, () => []);
  const resolver = createResolver({
    servers: [{ address: '127.0.0.1', port: server.port }],
    trustAd: 'auto',
    clock,
  });
  const result = resolver.lookupMx(EXAMPLE, never());
  for (const [count, waitMs] of [
    [1, 2000],
    [2, 3000],
    [3, 5000],
  ] as const) {
    await server.asked.untilCount('queries', count);
    await clock.advanceAsync(waitMs);
  }
  assert.equal((await result).kind, 'failed');
  assert.equal(server.asked.entries.length, 3);
});

test('FORMERR to EDNS: once more without it', async (t) => {
  const server = await scripted(t, (asked) =>
    asked.edns ? [asked.respond({ rcode: 1, questions: [] })] : goodAnswer(asked),
  );
  await assertFound(resolverFor([server]));
  assert.deepEqual(
    server.asked.entries.map(({ edns }) => edns),
    [true, false],
  );
});

test('failed: FORMERR without EDNS, too', async (t) => {
  const server = await scripted(t, ({ respond }) => [respond({ rcode: 1 })]);
  const result = await resolverFor([server]).lookupMx(EXAMPLE, never());
  assert.equal(result.kind, 'failed');
  assert.equal(server.asked.entries.length, 2);
});

test('a chain the server did not follow is followed by asking on', async (t) => {
  const server = await scripted(t, ({ name, respond }) => {
    const next = { 'example.test': 'b.test', 'b.test': 'c.test' }[name];
    const ad = codec.AUTHENTIC_DATA;
    if (next !== undefined) return [respond({ flags: ad, answers: [cname(name, next, 50)] })];
    return [respond({ answers: [mx(name, 'mx.test', 90)] })];
  });
  const result = await assertFound(resolverFor([server]));
  assert.equal(result.canonicalName, 'c.test');
  assert.equal(result.ttlSeconds, 50);
  assert.equal(result.authenticated, false, 'the last part of the chain was not secure');
  assert.deepEqual(
    server.asked.entries.map(({ name }) => name),
    ['example.test', 'b.test', 'c.test'],
  );
});

test('a secure end does not make an insecure chain secure', async (t) => {
  const server = await scripted(t, ({ name, respond }) =>
    name === 'example.test'
      ? [respond({ answers: [cname(name, 'b.test')] })]
      : [respond({ flags: codec.AUTHENTIC_DATA, answers: [mx(name, 'mx.test')] })],
  );
  assert.equal((await assertFound(resolverFor([server]))).authenticated, false);
});

test('a chain that ends in NXDOMAIN is absent', async (t) => {
  const server = await scripted(t, ({ name, respond }) =>
    name === 'example.test'
      ? [respond({ answers: [cname(name, 'b.test')] })]
      : [respond({ rcode: 3, authorities: [soa(60)] })],
  );
  const result = await resolverFor([server]).lookupMx(EXAMPLE, never());
  assert.deepEqual(result, {
    kind: 'absent',
    nameExists: false,
    ttlSeconds: 60,
    authenticated: false,
  });
});

test('failed: a chain whose end cannot be asked for', async (t) => {
  const server = await scripted(t, ({ name, respond }) =>
    name === 'example.test'
      ? [respond({ answers: [cname(name, 'b.test')] })]
      : [respond({ rcode: 2 })],
  );
  const resolver = resolverFor([server]);
  assert.equal((await resolver.lookupMx(EXAMPLE, never())).kind, 'failed');
  server.script = ({ name, respond }) => [
    respond({ answers: [cname(name, 'impossible name.test')] }),
  ];
  assert.equal((await resolver.lookupMx(EXAMPLE, never())).kind, 'failed');
});

test('failed: loops and endless chains over several answers', async (t) => {
  const server = await scripted(t, ({ name, respond }) => [
    respond({ answers: [cname(name, name === 'example.test' ? 'b.test' : 'example.test')] }),
  ]);
  const resolver = resolverFor([server]);
  assert.equal((await resolver.lookupMx(EXAMPLE, never())).kind, 'failed');
  assert.equal(server.asked.entries.length, 2);
  let link = 0;
  server.script = ({ name, respond }) => [respond({ answers: [cname(name, `n${link++}.test`)] })];
  assert.equal((await resolver.lookupMx(domain('endless.test'), never())).kind, 'failed');
  assert.ok(link <= 10, `${link} links`);
});

test('AD is believed from loopback, and as configured', async (t) => {
  const ad: Script = ({ name, respond }) => [
    respond({ flags: codec.AUTHENTIC_DATA, answers: [mx(name, 'mx.test')] }),
  ];
  const local = await scripted(t, ad);
  const forwarder = await scripted(t, ad, '127.0.0.11');
  const container = { address: '127.0.0.11', port: forwarder.port };
  const cases = [
    [local, 'auto', true],
    [container, 'auto', false],
    [local, 'never', false],
    [container, 'always', true],
  ] as const;
  for (const [server, trustAd, expected] of cases) {
    const result = await assertFound(resolverFor([server], { trustAd }));
    assert.equal(result.authenticated, expected, `${server.port} ${trustAd}`);
  }
});

test('a cached answer is used for its TTL and says what is left of it', async (t) => {
  const clock = new FakeClock();
  const server = await scripted(t, ({ name, respond }) => [
    respond({ answers: [mx(name, 'mx.test', 100)] }),
  ]);
  const resolver = resolverFor([server], { clock });
  assert.equal((await assertFound(resolver)).ttlSeconds, 100);
  clock.advance(30_500);
  assert.equal((await assertFound(resolver)).ttlSeconds, 69);
  assert.equal(server.asked.entries.length, 1);
  clock.advance(69_500);
  server.script = ({ name, respond }) => [respond({ answers: [mx(name, 'new.test', 100)] })];
  await assertFound(resolver, 'new.test');
  assert.equal(server.asked.entries.length, 2);
});

test('negative answers are cached by the SOA, types apart', async (t) => {
  const clock = new FakeClock();
  const server = await scripted(t, ({ respond }) => [respond({ authorities: [soa(60)] })]);
  const resolver = resolverFor([server], { clock });
  const ttl = async () => {
    const result = await resolver.lookupMx(EXAMPLE, never());
    return result.kind === 'absent' && result.nameExists && result.ttlSeconds;
  };
  assert.equal(await ttl(), 60);
  clock.advance(59_000);
  assert.equal(await ttl(), 1);
  await resolver.lookupTxt('example.test', never());
  assert.equal(server.asked.entries.length, 2);
  clock.advance(1000);
  assert.equal(await ttl(), 60);
  assert.equal(server.asked.entries.length, 3);
});

test('nothing is kept without a TTL, and nothing for more than an hour', async (t) => {
  const clock = new FakeClock();
  const server = await scripted(t, ({ respond }) => [respond()]);
  const resolver = resolverFor([server], { clock });
  await resolver.lookupMx(EXAMPLE, never());
  await resolver.lookupMx(EXAMPLE, never());
  assert.equal(server.asked.entries.length, 2);
  server.script = ({ name, respond }) => [respond({ answers: [mx(name, 'mx.test', 86_400)] })];
  assert.equal((await assertFound(resolver)).ttlSeconds, 3600);
  clock.advance(3_599_000);
  assert.equal((await assertFound(resolver)).ttlSeconds, 1);
  assert.equal(server.asked.entries.length, 3);
  clock.advance(1000);
  await assertFound(resolver);
  assert.equal(server.asked.entries.length, 4);
});

test('failures are not cached', async (t) => {
  const server = await scripted(t, ({ respond }) => [respond({ rcode: 2 })]);
  const resolver = resolverFor([server]);
  assert.equal((await resolver.lookupMx(EXAMPLE, never())).kind, 'failed');
  server.script = goodAnswer;
  await assertFound(resolver);
});

test('equal questions at the same time are asked once', async (t) => {
  const server = await scripted(t, goodAnswer);
  const resolver = resolverFor([server]);
  await Promise.all([assertFound(resolver), assertFound(resolver), assertFound(resolver)]);
  assert.equal(server.asked.entries.length, 1);
});

test('a caller who gives up fails alone', async (t) => {
  const server = await scripted(t, () => []);
  const clock = new FakeClock();
  const resolver = resolverFor([server], { tryMs: [100, 2000], clock });
  const impatient = new AbortController();
  const first = resolver.lookupMx(EXAMPLE, impatient.signal);
  const second = assertFound(resolver);
  await server.asked.untilCount('queries', 1);
  impatient.abort(new Error('no time'));
  assert.deepEqual(await first, {
    kind: 'failed',
    reason: 'lookup of example.test ended: no time',
  });
  server.script = goodAnswer;
  clock.advance(100);
  await second;
});

test('when everybody gave up, a new caller starts afresh', async (t) => {
  const server = await scripted(t, () => []);
  const resolver = resolverFor([server]);
  const impatient = new AbortController();
  const first = resolver.lookupMx(EXAMPLE, impatient.signal);
  await server.asked.untilCount('queries', 1);
  impatient.abort();
  assert.equal((await first).kind, 'failed');
  server.script = goodAnswer;
  await assertFound(resolver);
  assert.equal((await resolver.lookupTxt('x.test', AbortSignal.abort())).kind, 'failed');
});

test('a name too long for DNS does not exist; an impossible one is not asked for', async (t) => {
  const server = await scripted(t, goodAnswer);
  const resolver = resolverFor([server]);
  const long = `_mta-sts.${'abcdefghi.'.repeat(25)}abc`;
  const absent = await resolver.lookupTxt(long, never());
  assert.equal(absent.kind === 'absent' && !absent.nameExists, true);
  for (const name of ['', 'a..b', 'a b', `${'a'.repeat(64)}.test`, `${'a.'.repeat(130)}b\0`]) {
    assert.equal((await resolver.lookupTxt(name, never())).kind, 'failed', name);
  }
  assert.equal(server.asked.entries.length, 0);
});

describe('DNSSEC', () => {
  const tlsa = (name: string): codec.Answer => ({
    ...{ type: 'TLSA', name, ttl: 300, class: 'IN' },
    data: { usage: 3, selector: 1, matchingType: 1, certificate: Buffer.alloc(32, 7) },
  });
  const AT = '_25._tcp.mx.test';

  test('a TLSA record is secure where the answer has AD, its CNAME included', async (t) => {
    const server = await scripted(t, ({ name, respond }) => [
      respond({
        flags: codec.AUTHENTIC_DATA,
        answers: [cname(name, 'tlsa.test'), tlsa('tlsa.test')],
      }),
    ]);
    const found = await resolverFor([server]).lookupTlsa(AT, never());
    assert.ok(found.kind === 'found');
    assert.deepEqual(found.records.map(formatTlsa), [`3 1 1 ${'07'.repeat(32)}`]);
    assert.equal(securityOf(found), 'secure');
    const remembered = resolverFor([server], { trustAd: 'never' });
    assert.equal(securityOf(await remembered.lookupTlsa(AT, never())), 'insecure');
  });

  test('what is kept is as sure as it was when it came', async (t) => {
    const server = await scripted(t, ({ name, type, respond }) => [
      type === 'TLSA'
        ? respond({ flags: codec.AUTHENTIC_DATA, answers: [tlsa(name)] })
        : respond({ flags: codec.AUTHENTIC_DATA, rcode: 3, authorities: [soa(60)] }),
    ]);
    const resolver = resolverFor([server]);
    for (const round of ['asked', 'kept']) {
      assert.equal(securityOf(await resolver.lookupTlsa(AT, never())), 'secure', round);
      const denied = await resolver.lookupMx(domain('gone.test'), never());
      assert.deepEqual([denied.kind, securityOf(denied)], ['absent', 'secure'], round);
    }
    assert.equal(server.asked.entries.length, 2);
  });

  test('an alias is told from what it leads to', async (t) => {
    const server = await scripted(t, ({ name, respond }) => [
      respond({ flags: codec.AUTHENTIC_DATA, answers: [cname(name, 'Far.test')] }),
    ]);
    const found = await resolverFor([server]).lookupCname(EXAMPLE, never());
    assert.ok(found.kind === 'found');
    assert.deepEqual(found.records, ['far.test']);
    assert.equal(server.asked.entries[0]?.type, 'CNAME');
  });

  test('the resolver may say that validation is why it fails (RFC 8914)', async (t) => {
    const option = (code: number) => ({
      ...{ type: 'OPT', name: '.', udpPayloadSize: 1232, extendedRcode: 0, ednsVersion: 0 },
      ...{ flags: 0, flag_do: true },
      options: [{ code: 15, data: Buffer.of(0, code) }],
    });
    let code = 7;
    const server = await scripted(t, ({ respond }) => [
      respond({ rcode: 2, additionals: [option(code) as unknown as codec.Answer] }),
    ]);
    const resolver = resolverFor([server]);
    const bogus = await resolver.lookupTlsa(AT, never());
    assert.equal(securityOf(bogus), 'bogus');
    assert.match(bogus.kind === 'failed' ? bogus.reason : '', /a signature has expired/);
    code = 22; // no reachable authority
    assert.equal(securityOf(await resolver.lookupTlsa(AT, never())), 'failed');
  });
});

test('failed: what the believed server cannot say no other one is asked for', async (t) => {
  const validating = await scripted(t, ({ respond }) => [respond({ rcode: 2 })]);
  const asked: string[] = [];
  const resolver = resolverFor([validating, { address: '127.0.0.11', port: validating.port }], {
    onQuery: ({ server }) => asked.push(server),
  });
  const result = await resolver.lookupTlsa('_25._tcp.mx.example.test', never());
  assert.equal(result.kind, 'failed');
  assert.deepEqual(asked, [`127.0.0.1:${validating.port}`]);
});
