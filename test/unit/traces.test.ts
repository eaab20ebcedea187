/** What the environment says of traces, and the ids and spans that come of a message. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { newMessageId } from '../../src/mail/message-id.ts';
import type { SessionResult } from '../../src/mail/session-result.ts';
import { wallMs } from '../../src/platform/wall-time.ts';
import { createLog } from '../../src/telemetry/log.ts';
import { traceEvents } from '../../src/telemetry/trace-events.ts';
import { openTraces } from '../../src/telemetry/traces/open-traces.ts';
import { sessionSpan } from '../../src/telemetry/traces/session-spans.ts';
import { spanText } from '../../src/telemetry/traces/span-tree.ts';
import { traceIdsOf } from '../../src/telemetry/traces/trace-ids.ts';
import { readTraceWish } from '../../src/telemetry/traces/trace-settings.ts';
import type { LogLine } from '../support/relay-process.ts';

const ENDPOINT = { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:4318' };

/** A log whose lines are kept. */
function keptLog() {
  const lines: LogLine[] = [];
  const destination = { write: (text: string) => void lines.push(JSON.parse(text) as LogLine) };
  return { lines, log: createLog({ level: 'debug', format: 'json', destination }) };
}

describe('whether messages are traced', () => {
  const table: readonly (readonly [Readonly<Record<string, string>>, string])[] = [
    [{}, 'off'],
    [{ OTEL_SERVICE_NAME: 'x', OTEL_TRACES_SAMPLER: 'always_on' }, 'off'],
    [{ OTEL_TRACES_EXPORTER: '' }, 'off'],
    [{ OTEL_TRACES_EXPORTER: 'none', ...ENDPOINT }, 'off'],
    [{ OTEL_SDK_DISABLED: 'TRUE', ...ENDPOINT }, 'off'],
    [{ OTEL_SDK_DISABLED: 'yes', ...ENDPOINT }, 'on'],
    [{ OTEL_TRACES_EXPORTER: 'otlp' }, 'on'],
    [{ OTEL_TRACES_EXPORTER: ' OTLP ' }, 'on'],
    [ENDPOINT, 'on'],
    [{ OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: 'http://127.0.0.1:4318/v1/traces' }, 'on'],
    // Of other signals.
    [{ OTEL_EXPORTER_OTLP_METRICS_ENDPOINT: 'http://127.0.0.1:4318/v1/metrics' }, 'off'],
    [{ OTEL_TRACES_EXPORTER: 'console' }, 'impossible'],
    [{ OTEL_TRACES_EXPORTER: 'zipkin,otlp' }, 'impossible'],
    [{ ...ENDPOINT, OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc' }, 'impossible'],
    [{ ...ENDPOINT, OTEL_EXPORTER_OTLP_PROTOCOL: 'http/protobuf' }, 'on'],
    [
      {
        ...ENDPOINT,
        OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc',
        OTEL_EXPORTER_OTLP_TRACES_PROTOCOL: 'http/protobuf',
      },
      'on',
    ],
  ];
  for (const [environment, kind] of table) {
    test(`${JSON.stringify(environment)}: ${kind}`, () => {
      assert.equal(readTraceWish(environment).kind, kind);
    });
  }
});

describe('which messages, and how they are sent', () => {
  const read = (environment: Readonly<Record<string, string>>) => {
    const wish = readTraceWish({ ...ENDPOINT, ...environment });
    assert.ok(wish.kind === 'on');
    return wish.settings;
  };

  const ratios: readonly (readonly [string, string | undefined, number, number])[] = [
    ['', undefined, 1, 0],
    ['always_on', undefined, 1, 0],
    ['parentbased_always_off', undefined, 0, 0],
    ['traceidratio', '0.25', 0.25, 0],
    ['parentbased_traceidratio', '0', 0, 0],
    ['parentbased_traceidratio', undefined, 1, 0],
    ['traceidratio', '2', 1, 1],
    ['traceidratio', 'half', 1, 1],
    ['jaeger_remote', undefined, 1, 1],
  ];
  for (const [sampler, argument, ratio, warnings] of ratios) {
    test(`${sampler || 'no sampler'} ${argument ?? ''}`, () => {
      const settings = read({
        OTEL_TRACES_SAMPLER: sampler,
        ...(argument === undefined ? {} : { OTEL_TRACES_SAMPLER_ARG: argument }),
      });
      assert.deepEqual([settings.ratio, settings.warnings.length], [ratio, warnings]);
    });
  }

  test('sizes and times that make no sense are told and not used', () => {
    const { batch, warnings } = read({
      OTEL_BSP_SCHEDULE_DELAY: '100',
      OTEL_BSP_MAX_QUEUE_SIZE: '1e12',
      OTEL_BSP_EXPORT_TIMEOUT: '-1',
      OTEL_BSP_MAX_EXPORT_BATCH_SIZE: 'many',
    });
    assert.deepEqual(batch, { scheduledDelayMillis: 100 });
    assert.equal(warnings.length, 3);
  });
});

test('the ids of a trace can be had with sha256sum', () => {
  // printf %s 1KF0RBWX7Q2M4T9A | sha256sum
  const { traceId, rootSpanId } = traceIdsOf('1KF0RBWX7Q2M4T9A');
  assert.equal(`${traceId}${rootSpanId}`, SHA256.slice(0, 48));
});
const SHA256 = '7408a436a7bb9ffbaf7e9b4b0af07f19d5bee08580272e03e71e599ca2519f68';

test('a text for a span names no mailbox, however it stands there', () => {
  const local = fc.stringMatching(/^[a-z0-9.!#$%&'*+/=?^_{|}~-]{1,20}$/);
  const around = fc.constantFrom('', ' ', '<', '>', ',', '"', ':', '\t');
  fc.assert(
    fc.property(fc.array(fc.tuple(around, local, around), { maxLength: 5 }), (mailboxes) => {
      const text = mailboxes.map(([a, name, b]) => `${a}${name}@example.org${b}`).join(' and ');
      assert.doesNotMatch(spanText(`550 ${text} no`), /[^\s<>@]@/);
    }),
  );
  assert.equal(spanText('x'.repeat(5000)).length, 300);
  assert.equal(spanText('250 2.0.0 Ok: queued as 4bXw'), '250 2.0.0 Ok: queued as 4bXw');
});

test('the time of day has fractions and does not leave the clock', () => {
  let hasFractions = false;
  for (let i = 0; i < 1000; i += 1) {
    const earliest = Date.now();
    const ms = wallMs();
    assert.ok(ms > earliest - 3 && ms < Date.now() + 3);
    hasFractions ||= ms % 1 !== 0;
  }
  assert.ok(hasFractions);
});

describe('the parts of a session', () => {
  const requirement = {
    level: 'opportunistic',
    minVersion: 'TLSv1.2',
    source: { kind: 'default' },
  } as const;
  const ended = (times: SessionResult['facts']['times']): SessionResult => ({
    kind: 'ended-early',
    failure: { kind: 'local', cause: 'timeout', detail: 'late' },
    facts: {
      candidate: { host: undefined, address: '192.0.2.1', preference: 0, port: 25 },
      address: '192.0.2.1',
      localAddress: undefined,
      requirement,
      tls: undefined,
      ...(times ? { times } : {}),
    },
  });
  const names = (times: SessionResult['facts']['times']) =>
    sessionSpan(ended(times), { startMs: 0, endMs: 9 }).children?.map(
      ({ name, startMs, endMs }) => `${name} ${startMs}-${endMs}`,
    );

  test('are those it came to, the last one until its end', () => {
    assert.deepEqual(names({ started: 0, ended: 9 }), ['connect 0-9']);
    assert.deepEqual(names({ started: 0, connected: 1, ended: 9 }), [
      'connect 0-1',
      'greeting 1-9',
    ]);
    assert.deepEqual(names({ started: 0, connected: 1, securing: 2, ended: 9 }), [
      'connect 0-1',
      'greeting 1-2',
      'tls 2-9',
    ]);
    assert.deepEqual(names({ started: 0, connected: 1, opened: 3, transaction: 4, ended: 9 }), [
      'connect 0-1',
      'greeting 1-3',
      'transaction 4-9',
    ]);
    const whole = { started: 0, connected: 1, securing: 2, secured: 3, opened: 4 };
    assert.deepEqual(names({ ...whole, transaction: 5, ended: 9 }), [
      'connect 0-1',
      'greeting 1-2',
      'tls 2-3',
      'login 3-4',
      'transaction 5-9',
    ]);
  });

  test('of one that was open is the transaction alone', () => {
    assert.deepEqual(names({ started: 0, transaction: 1, ended: 9 }), ['transaction 1-9']);
  });

  test('are none where nobody asked for the times', () => {
    assert.deepEqual(names(undefined), []);
  });
});

describe('lines of the log', () => {
  const id = newMessageId(Date.now());

  test('carry the id of the trace where they are about a message', () => {
    const { log, lines } = keptLog();
    log.nameTraces?.((of) => (of === id ? 'trace' : undefined));
    log.write('info', 'intake.accepted', { id });
    log.write('info', 'intake.accepted', { id: newMessageId(0) });
    log.write('info', 'policy.fetched', { id });
    log.write('info', 'relay.started');
    assert.deepEqual(
      lines.map((line) => line['trace_id']),
      ['trace', undefined, undefined, undefined],
    );
  });

  test('tell of a collector that is away once, and of its return', () => {
    const { log, lines } = keptLog();
    const events = traceEvents(log);
    for (let i = 0; i < 5; i += 1) events.lost(10, 'refused');
    events.sent();
    assert.deepEqual(
      lines.map(({ event, spans }) => [event, spans]),
      [['traces.lost', 10]],
    );
  });
});

test('a sampler of nothing traces nothing, and closes at once', async () => {
  const { log, lines } = keptLog();
  const traces = await openTraces({
    environment: { ...ENDPOINT, OTEL_TRACES_SAMPLER: 'always_off' },
    version: '0',
    role: 'deliver',
    events: traceEvents(log),
  });
  assert.ok(traces);
  assert.equal(traces.of(newMessageId(Date.now())), undefined);
  await traces.close();
  assert.deepEqual(
    lines.map(({ event, ratio }) => [event, ratio]),
    [['traces.on', 0]],
  );
});
