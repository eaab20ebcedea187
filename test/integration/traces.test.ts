/**
 * Traces as an SRE has them: a collector, the standard environment variables, a message for several
 * destinations, one of which takes it after a restart alone.
 */
import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { ATTRIBUTES, SPANS } from '../../src/telemetry/traces/vocabulary.ts';
import { runStsrelay } from '../support/cli.ts';
import { type CollectedSpan, OtlpCollector } from '../support/otlp-collector.ts';
import { type PretendInternet, startPretendInternet } from '../support/pretend-internet.ts';
import { type RelayOptions, startRelay } from '../support/relay-process.ts';
import { RelayWorld, type Sent } from '../support/relay-world.ts';

/** Says which modules of the SDK a process loads, on stdout; the API, which does nothing by itself, comes with prom-client. */
const TELL_LOADS = `data:text/javascript,${encodeURIComponent(`
  import { registerHooks } from 'node:module';
  registerHooks({
    load(url, context, next) {
      const isSdk = url.includes('@opentelemetry/') && !url.includes('@opentelemetry/api/');
      if (isSdk) console.log(JSON.stringify({ event: 'test.loaded', url }));
      return next(url, context);
    },
  });
`)}`;

let internet: PretendInternet;
let isHeld = true;
before(async () => {
  internet = await startPretendInternet();
  await internet.domain('good.test', { sts: {} });
  await internet.domain('held.test', {
    mx: [
      { host: 'mx0.held.test', down: true },
      {
        host: 'mx1.held.test',
        script: (_, { verb }) =>
          isHeld && verb === 'RCPT' ? '451 4.7.1 <a@held.test> is greylisted' : undefined,
      },
    ],
  });
  await internet.domain('strict.test', {
    sts: { mx: ['mx.strict.test'] },
    mx: [{ host: 'other.strict.test' }, { host: 'mx.strict.test', certificate: 'expired' }],
  });
  await internet.domain('gone.test', { nullMx: true });
});
after(() => internet?.close());

const FAST = { OTEL_BSP_SCHEDULE_DELAY: '50' };

async function startWorld(options: RelayOptions): Promise<RelayWorld> {
  const relay = await startRelay({
    ...options,
    settings: [internet.relaySettings(), { retry: { schedule: ['1h'] } }],
  });
  return new RelayWorld(internet, relay);
}

const traceIdOf = ({ id }: Pick<Sent, 'id'>) => hash('sha256', id).slice(0, 32);

describe('a message with a trace', () => {
  let collector: OtlpCollector;
  let world: RelayWorld;
  let sent: Sent;
  let spans: readonly CollectedSpan[] = [];

  before(async () => {
    collector = await OtlpCollector.start();
    world = await startWorld({
      env: {
        ...FAST,
        OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
        OTEL_EXPORTER_OTLP_HEADERS: 'x-team=mail',
        OTEL_SERVICE_NAME: 'mail-out',
        OTEL_RESOURCE_ATTRIBUTES: 'deployment.environment.name=test',
      },
      nodeArgs: ['--import', TELL_LOADS],
    });
    sent = await world.send({ to: ['a@good.test', 'a@held.test', 'b@held.test'] });
    assert.equal((await world.answer(sent)).event, 'delivery.delivered');
    const recipient = 'a@held.test';
    assert.equal((await world.answer(sent, { recipient })).event, 'delivery.deferred');
    await world.relay.restart();
    isHeld = false;
    const { code, stderr } = await runStsrelay([
      ...['--config', world.relay.configFile],
      ...['queue', 'retry', sent.id],
    ]);
    assert.equal(code, 0, stderr);
    assert.equal((await world.answer(sent, { recipient })).event, 'delivery.delivered');
    await world.relay.stop();
    spans = collector.trace(traceIdOf(sent));
  });
  after(async () => {
    await world?.relay.close();
    await collector?.[Symbol.asyncDispose]();
  });

  const named = (name: string) => spans.filter((span) => span.name === name);
  const only = (name: string, destination?: string) => {
    const found = named(name).filter(
      ({ attributes }) =>
        destination === undefined || attributes['messaging.destination.name'] === destination,
    );
    assert.equal(found.length, 1, `${found.length} x ${name}`);
    return found[0] as CollectedSpan;
  };
  const below = (parent: CollectedSpan) =>
    spans.filter(({ parentSpanId }) => parentSpanId === parent.spanId).map(({ name }) => name);

  test('has one, whose id is computed from its own, and which holds together', () => {
    const { length } = collector.spans.filter(
      ({ attributes }) => attributes['messaging.message.id'] === sent.id,
    );
    assert.ok(length >= 5);
    assert.equal(
      spans.filter(({ attributes }) => attributes['messaging.message.id'] === sent.id).length,
      length,
    );
    const ids = new Set(spans.map(({ spanId }) => spanId));
    assert.equal(ids.size, spans.length, 'a span came twice');
    const roots = spans.filter(({ parentSpanId }) => !ids.has(parentSpanId));
    assert.deepEqual(
      roots.map(({ name, parentSpanId }) => [name, parentSpanId]),
      [['receive', '']],
    );
    for (const { name, startNs, endNs } of spans) assert.ok(endNs >= startNs, name);
    for (const span of spans.filter(({ parentSpanId }) => parentSpanId !== roots[0]?.spanId)) {
      const parent = spans.find(({ spanId }) => spanId === span.parentSpanId);
      if (!parent) continue;
      assert.ok(span.startNs >= parent.startNs && span.endNs <= parent.endNs, span.name);
    }
  });

  test('tells its intake, every attempt and its end', () => {
    const root = only('receive');
    assert.deepEqual(below(root).sort(), [
      'attempt',
      'attempt',
      'attempt',
      'commit',
      'content',
      'settled',
    ]);
    assert.deepEqual([root.kind, root.isError], [2, false]);
    assert.equal(root.attributes['client.address'], '127.0.0.1');
    assert.equal(root.attributes['stsrelay.recipients'], 3);
    assert.equal(root.attributes['server.port'], world.relay.smtpPort);
    const good = only('attempt', 'good.test');
    assert.equal(good.isError, false);
    assert.deepEqual(below(good), ['route', 'policy', 'addresses', 'session', 'settle']);
    const [first, second] = named('attempt').filter(
      ({ attributes }) => attributes['messaging.destination.name'] === 'held.test',
    );
    assert.ok(first && second);
    assert.deepEqual(
      [first, second].map(({ attributes: of, isError }) => [
        of['stsrelay.attempt'],
        of['stsrelay.recipients.delivered'],
        of['stsrelay.recipients.deferred'],
        isError,
      ]),
      [
        [1, 0, 2, true],
        [2, 2, 0, false],
      ],
    );
    assert.equal(first.attributes['error.type'], '451');
    assert.match(String(first.attributes['stsrelay.next_attempt']), /^20.*Z$/);
    assert.equal(first.statusText, '451 4.7.1 <(mailbox)> is greylisted');
    const end = only('settled');
    assert.deepEqual([end.isError, end.attributes['stsrelay.recipients.delivered']], [false, 3]);
    assert.ok(end.endNs >= second.startNs && end.startNs <= first.startNs);
  });

  test('says how each session went', () => {
    const sessions = named('session');
    assert.deepEqual(
      sessions.map(({ attributes, isError }) => [attributes['server.address'], isError]).sort(),
      [
        ['mx.good.test', false],
        ['mx0.held.test', true],
        ['mx0.held.test', true],
        ['mx1.held.test', false],
        ['mx1.held.test', true],
      ],
    );
    const good = sessions.find((span) => span.attributes['server.address'] === 'mx.good.test');
    assert.ok(good);
    assert.equal(good.kind, 3);
    assert.deepEqual(below(good), ['connect', 'greeting', 'tls', 'login', 'transaction']);
    const { attributes } = good;
    assert.equal(attributes['tls.protocol.version'], '1.3');
    assert.equal(attributes['stsrelay.tls'], 'verify:verified');
    assert.equal(attributes['stsrelay.policy.type'], 'sts');
    assert.equal(attributes['stsrelay.policy.mode'], 'enforce');
    assert.match(String(attributes['tls.server.hash.sha256']), /^[0-9A-F]{64}$/);
    assert.match(String(attributes['stsrelay.smtp.reply']), /^250 /);
    const refused = sessions.find((span) => span.attributes['server.address'] === 'mx0.held.test');
    assert.ok(refused);
    assert.deepEqual(below(refused), ['connect']);
    assert.equal(refused.attributes['error.type'], 'connect-refused');
  });

  test('has its trace_id on every line of the log about it', () => {
    const lines = world.relay.wholeLog.filter(({ id }) => id === sent.id);
    assert.ok(lines.some(({ event }) => event === 'intake.accepted'));
    assert.ok(lines.some(({ event }) => event === 'outcome.finished'));
    for (const line of lines) assert.equal(line['trace_id'], traceIdOf(sent), line.event);
    const others = world.relay.wholeLog.filter(({ id }) => id === undefined);
    assert.ok(others.every((line) => line['trace_id'] === undefined));
  });

  test('has the SDK loaded, which the tests for off would have seen', () => {
    assert.ok(world.relay.events('test.loaded').length > 10);
  });

  test('says which relay it was, as the environment has it', () => {
    const roles = new Set(spans.map(({ resource }) => resource['stsrelay.role']));
    assert.deepEqual(roles, new Set(['receive', 'deliver']));
    for (const { resource } of spans) {
      assert.equal(resource['service.name'], 'mail-out');
      assert.equal(resource['deployment.environment.name'], 'test');
    }
    assert.equal(collector.headers['x-team'], 'mail');
  });

  test('names no mailbox, and has what is documented alone', () => {
    for (const { name, attributes, statusText, resource } of collector.spans) {
      const said = JSON.stringify([attributes, statusText, resource]);
      assert.ok(!said.includes('@'), said);
      const entry = SPANS[name as keyof typeof SPANS];
      assert.ok(entry, name);
      for (const attribute of Object.keys(attributes)) {
        assert.ok(Object.hasOwn(ATTRIBUTES, attribute), attribute);
        const all: readonly string[] = entry.attributes;
        assert.ok(all.includes(attribute), `${attribute} of ${name}`);
      }
    }
  });
});

test('a policy that is not met, a bounce and its DSN', async () => {
  await using collector = await OtlpCollector.start();
  await using world = await ownWorld({
    env: { ...FAST, OTEL_TRACES_EXPORTER: 'otlp', OTEL_EXPORTER_OTLP_ENDPOINT: collector.url },
  });
  const sent = await world.send({ to: ['a@strict.test', 'a@gone.test'], from: 'me@good.test' });
  const refused = await world.answer(sent);
  assert.equal(refused.event, 'delivery.deferred');
  const bounced = await world.answer(sent, { recipient: 'a@gone.test' });
  assert.equal(bounced.event, 'outcome.bounced');
  const dsn = await world.relay.waitForEvent('outcome.dsn_queued');
  await world.relay.waitForEvent('outcome.finished', ({ id }) => id === dsn.id);
  const dropped = await runStsrelay([
    ...['--config', world.relay.configFile],
    ...['queue', 'drop', sent.id, '--reason', 'test'],
  ]);
  assert.equal(dropped.code, 0, dropped.stderr);
  await world.relay.waitForEvent('outcome.finished', ({ id }) => id === sent.id);
  await world.relay.stop();
  const spans = collector.trace(traceIdOf(sent));
  const skip = spans.find(({ name }) => name === 'skip');
  assert.equal(skip?.attributes['server.address'], 'other.strict.test');
  assert.equal(skip?.attributes['error.type'], 'mx-outside-policy');
  const session = spans.find(({ name }) => name === 'session');
  assert.equal(session?.attributes['error.type'], 'certificate-expired');
  assert.equal(session?.attributes['stsrelay.tls'], 'verify:encrypted');
  assert.match(String(session?.attributes['stsrelay.tls.verdict']), /expired/);
  const route = spans.find(({ name, isError }) => name === 'route' && isError);
  assert.equal(route?.attributes['error.type'], 'null-mx');
  const givenUp = spans.find(({ name }) => name === 'give up');
  assert.equal(givenUp?.attributes['error.type'], 'dropped-by-administrator');
  const end = spans.find(({ name }) => name === 'settled');
  assert.deepEqual([end?.isError, end?.attributes['stsrelay.recipients.bounced']], [true, 2]);
  const about = collector.trace(traceIdOf({ id: String(dsn.id) }));
  assert.deepEqual(
    about.filter(({ parentSpanId }) => parentSpanId === '').map(({ name, links }) => [name, links]),
    [['compose dsn', [traceIdOf(sent)]]],
  );
  assert.ok(about.some(({ name }) => name === 'settled'));
});

test('some of the messages: each whole or not at all', async () => {
  await using collector = await OtlpCollector.start();
  await using world = await ownWorld({
    // What waits is sent at the stop.
    env: {
      OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
      OTEL_TRACES_SAMPLER: 'parentbased_traceidratio',
      OTEL_TRACES_SAMPLER_ARG: '0.5',
    },
  });
  const all: Sent[] = [];
  for (let i = 0; i < 24; i += 1) all.push(await world.send({ to: `r${i}@good.test` }));
  for (const sent of all) {
    await world.relay.waitForEvent('outcome.finished', ({ id }) => id === sent.id);
  }
  await world.relay.stop();
  const traces = all.map((sent) => collector.trace(traceIdOf(sent)).map(({ name }) => name));
  const traced = traces.filter(({ length }) => length > 0);
  assert.ok(traced.length > 0 && traced.length < all.length, `${traced.length} are traced`);
  for (const names of traced) {
    for (const one of ['receive', 'commit', 'attempt', 'session', 'settled']) {
      assert.ok(names.includes(one), `no ${one}`);
    }
  }
  for (const [i, sent] of all.entries()) {
    const lines = world.relay.log.filter(({ id }) => id === sent.id);
    const wanted = (traces[i]?.length ?? 0) > 0 ? traceIdOf(sent) : undefined;
    for (const line of lines) assert.equal(line['trace_id'], wanted);
  }
});

const OFF: readonly (readonly [string, Readonly<Record<string, string>>])[] = [
  ['nothing is set', {}],
  ['the SDK is disabled', { OTEL_SDK_DISABLED: 'true', OTEL_TRACES_EXPORTER: 'otlp' }],
];
for (const [name, env] of OFF) {
  test(`off: ${name}`, async () => {
    await using collector = await OtlpCollector.start();
    const endpoint =
      name === 'nothing is set' ? {} : { OTEL_EXPORTER_OTLP_ENDPOINT: collector.url };
    await using world = await ownWorld({
      env: { ...endpoint, ...env },
      nodeArgs: ['--import', TELL_LOADS],
    });
    const sent = await world.send({ to: 'a@good.test' });
    await world.relay.waitForEvent('outcome.finished', ({ id }) => id === sent.id);
    await world.relay.stop();
    assert.deepEqual(world.relay.events('test.loaded'), []);
    assert.equal(collector.connections, 0);
    const names = world.relay.log.filter((line) => line.event.startsWith('traces.'));
    assert.deepEqual(names, []);
    assert.ok(world.relay.log.every((line) => line['trace_id'] === undefined));
  });
}

test('what cannot be had is told, and mail goes on', async () => {
  await using world = await ownWorld({
    env: { OTEL_TRACES_EXPORTER: 'otlp', OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc' },
  });
  const sent = await world.send({ to: 'a@good.test' });
  assert.equal((await world.answer(sent)).event, 'delivery.delivered');
  const [owner, receiver] = await world.relay.waitForEvents('traces.off', 2);
  assert.match(String(owner?.['reason']), /grpc/);
  assert.match(String(receiver?.['reason']), /grpc/);
});

/** As where somebody took the SDK out of an installation. */
const WITHOUT_SDK = `data:text/javascript,${encodeURIComponent(`
  import { registerHooks } from 'node:module';
  registerHooks({
    resolve(name, context, next) {
      if (name !== '@opentelemetry/sdk-trace') return next(name, context);
      const error = new Error("Cannot find package '@opentelemetry/sdk-trace' imported from here");
      throw Object.assign(error, { code: 'ERR_MODULE_NOT_FOUND' });
    },
  });
`)}`;

test('a package that is not installed is named, and mail goes on', async () => {
  await using world = await ownWorld({
    env: { OTEL_TRACES_EXPORTER: 'otlp' },
    nodeArgs: ['--import', WITHOUT_SDK],
  });
  const sent = await world.send({ to: 'a@good.test' });
  assert.equal((await world.answer(sent)).event, 'delivery.delivered');
  for (const { reason } of await world.relay.waitForEvents('traces.off', 2)) {
    assert.equal(reason, 'the package @opentelemetry/sdk-trace is not installed');
  }
});

for (const answer of [503, 'silence'] as const) {
  test(`a collector that answers with ${answer} holds up nothing`, async () => {
    await using collector = await OtlpCollector.start();
    collector.answer = answer;
    await using world = await ownWorld({
      env: {
        ...FAST,
        OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
        OTEL_EXPORTER_OTLP_TIMEOUT: '500',
        OTEL_BSP_MAX_QUEUE_SIZE: '10',
        OTEL_BSP_MAX_EXPORT_BATCH_SIZE: '5',
      },
    });
    const all: Sent[] = [];
    for (let i = 0; i < 20; i += 1) all.push(await world.send({ to: `r${i}@good.test` }));
    for (const sent of all) {
      assert.equal((await world.answer(sent)).event, 'delivery.delivered');
    }
    await world.relay.waitForEvent('traces.lost');
    assert.ok(collector.requests > 0);
    assert.ok(world.relay.events('traces.lost').length <= 2, 'one line of each process');
    const stopped = performance.now();
    assert.equal(await world.relay.stop(), 0);
    assert.ok(performance.now() - stopped < 30_000, 'the stop waits for the collector');
    assert.deepEqual(world.relay.strayOutput, []);
  });
}

/** A relay of its own in the shared internet, which it leaves standing. */
async function ownWorld(options: RelayOptions) {
  const world = await startWorld(options);
  return Object.assign(world, { [Symbol.asyncDispose]: () => world.relay.close() });
}
