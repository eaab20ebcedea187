/**
 * Promise 8, every message has an answer: a mix of destinations that take mail, refuse it, put it
 * off, do not exist or say nothing. For every recipient the log says delivered, bounced or
 * deferred with reason and next attempt; the MX hosts have what was delivered and nothing
 * else; senders have the DSNs they are owed; the metrics count the same.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { MxHost } from '../support/mx-host.ts';
import type { Ending, Script } from '../support/mx-script.ts';
import type { DomainDescription, MxDescription } from '../support/pretend-internet.ts';
import { type Settings, sumSamples } from '../support/relay-process.ts';
import { type Answer, type RelayWorld, type Sent, startWorld } from '../support/relay-world.ts';
import { waitFor } from '../support/wait-for.ts';

const RETRY_MS = 3_600_000;
const SETTINGS = {
  destinations: { default: { idle: '100ms' } },
  retry: {
    schedule: ['1h'],
    classes: { tlsPolicy: { schedule: ['1h'] }, greylisted: { schedule: ['1h'] } },
  },
};
/** Hosts that say nothing: all others must have been heard when they are given up. */
const SILENT: readonly string[] = ['mute.test', 'undecided.test'];
const HASTY = { outbound: { timeouts: { greeting: '1500ms', dataDone: '1500ms' } } };
const PATIENT = { outbound: { timeouts: { greeting: '5m', dataDone: '10m' } } };

interface Expected {
  readonly event: Answer['event'];
  /** Of the diagnosis; the SMTP stage where it was a reply. */
  readonly cause?: string;
  readonly status?: string;
}
const DELIVERED: Expected = { event: 'delivery.delivered' };
const bounced = (cause: string, status: string): Expected => ({
  event: 'outcome.bounced',
  cause,
  status,
});
const deferred = (cause: string, status: string): Expected => ({
  event: 'delivery.deferred',
  cause,
  status,
});

const says = (where: string, reply: string): Script => {
  return (_session, { verb }) => (verb === where ? reply : undefined);
};
const endingAt = (where: string, ending: Ending): Script => {
  return (_session, { verb }) => (verb === where ? { ending } : undefined);
};
const oneMx = (domain: string, mx: Omit<MxDescription, 'host'>): DomainDescription => ({
  mx: [{ host: `mx.${domain}`, ...mx }],
});

/** Destinations of one recipient each, and the answer that is due. Null: no such domain. */
const DESTINATIONS: readonly [string, DomainDescription | null, Expected][] = [
  ['enforced.test', { sts: {} }, DELIVERED],
  ['plain.test', oneMx('plain.test', { certificate: null }), DELIVERED],
  [
    'second.test',
    { mx: [{ host: 'mx1.second.test', down: true }, { host: 'mx2.second.test' }] },
    DELIVERED,
  ],
  [
    'unknown-user.test',
    oneMx('unknown-user.test', { script: says('RCPT', '550 5.1.1 No such user') }),
    bounced('rcpt', '5.1.1'),
  ],
  [
    'unwanted.test',
    oneMx('unwanted.test', { script: says('.', '554 5.6.0 We do not like it') }),
    bounced('end-of-data', '5.6.0'),
  ],
  [
    'banned.test',
    oneMx('banned.test', { script: says('MAIL', '550 5.7.1 Go away') }),
    bounced('mail', '5.7.1'),
  ],
  ['null-mx.test', { nullMx: true, mx: [] }, bounced('null-mx', '5.1.10')],
  ['nowhere.test', null, bounced('domain-not-found', '5.1.2')],
  [
    'no-address.test',
    oneMx('no-address.test', { noAddress: true, down: true }),
    bounced('no-usable-mx', '5.4.4'),
  ],
  [
    'circle.test',
    { mx: [{ host: 'relay.example.net', down: true }] },
    bounced('mail-loops-back', '5.4.6'),
  ],
  [
    'busy.test',
    oneMx('busy.test', { script: says('RCPT', '450 4.2.1 Mailbox busy') }),
    deferred('rcpt', '4.2.1'),
  ],
  [
    'full.test',
    oneMx('full.test', { script: says('RCPT', '452 4.2.2 Mailbox full') }),
    deferred('rcpt', '4.2.2'),
  ],
  [
    'no-disk.test',
    oneMx('no-disk.test', { script: says('.', '452 4.3.1 No space left') }),
    deferred('end-of-data', '4.3.1'),
  ],
  [
    'closing.test',
    oneMx('closing.test', { script: says('CONNECT', '421 4.3.2 Not now') }),
    deferred('greeting', '4.3.2'),
  ],
  ['down.test', oneMx('down.test', { down: true }), deferred('connect-refused', '4.4.1')],
  [
    'mute.test',
    oneMx('mute.test', { script: endingAt('CONNECT', 'hang') }),
    deferred('timeout', '4.4.2'),
  ],
  [
    'undecided.test',
    oneMx('undecided.test', { script: endingAt('.', 'hang') }),
    deferred('connection-lost-after-data', '4.4.2'),
  ],
  [
    'cutting.test',
    oneMx('cutting.test', { script: endingAt('DATA', 'reset') }),
    deferred('connection-lost', '4.4.2'),
  ],
  ['dark.test', {}, deferred('dns-failed', '4.4.3')],
  [
    'insecure.test',
    { sts: {}, ...oneMx('insecure.test', { certificate: 'expired' }) },
    deferred('certificate-expired', '4.7.5'),
  ],
];

describe('a mix of destinations', () => {
  let world: RelayWorld;
  let home: MxHost;
  const sinks = new Map<string, readonly MxHost[]>();
  const sentTo = new Map<string, Sent>();
  const all: Sent[] = [];

  before(async () => {
    world = await startWorld(SETTINGS);
    home = (await world.internet.domain('home.test')).mx[0] as MxHost;
    for (const [name, description] of DESTINATIONS) {
      if (description === null) continue;
      sinks.set(name, (await world.internet.domain(name, description)).mx);
    }
    world.internet.dns.behave('dark.test', 'MX', 'servfail');
  });
  after(() => world.close());

  async function send(delivery: Parameters<RelayWorld['send']>[0]): Promise<Sent> {
    const sent = await world.send(delivery);
    all.push(sent);
    return sent;
  }

  /** What the MX hosts of a domain accepted for a mailbox. */
  function arrivals(mailbox: string, id: string): number {
    const hosts = sinks.get(mailbox.slice(mailbox.lastIndexOf('@') + 1)) ?? [];
    return hosts
      .flatMap((host) => host.messages)
      .filter((message) => message.data.includes(` id ${id}`))
      .filter((message) => message.recipients.some(({ address }) => address === mailbox)).length;
  }

  function assertAnswer(answer: Answer, expected: Expected): void {
    const { event, cause, status } = answer;
    assert.deepEqual(
      { event, cause, status },
      { cause: undefined, status: undefined, ...expected },
    );
    assert.equal(answer['attempt'], 1);
    if (event === 'delivery.delivered') {
      assert.match(String(answer['reply']), /^250 /);
      return;
    }
    assert.notEqual(answer['reason'] ?? '', '', 'no reason');
    if (event !== 'delivery.deferred') return;
    const waitMs = Date.parse(String(answer['nextAttempt'])) - Date.parse(String(answer.time));
    // The line may be much later than the choice of the time.
    assert.ok(waitMs > RETRY_MS * 0.9 && waitMs <= RETRY_MS * 1.1, `next in ${waitMs} ms`);
  }

  /** Change settings, and wait until they are in force. */
  async function apply(changes: Settings): Promise<void> {
    const seen = world.relay.events('config.reloaded').length;
    world.relay.changeSettings(changes);
    world.relay.reload();
    await world.relay.waitForEvents('config.reloaded', seen + 1);
  }

  async function assertOneAnswer(name: string, expected: Expected): Promise<void> {
    const mailbox = `a@${name}`;
    const sent = await send({ from: `${name}@home.test`, to: mailbox });
    sentTo.set(name, sent);
    assertAnswer(await world.answer(sent), expected);
    assert.equal(world.answers(sent).length, 1);
    assert.equal(arrivals(mailbox, sent.id), expected === DELIVERED ? 1 : 0);
  }

  describe('one recipient each', { concurrency: true }, () => {
    for (const [name, , expected] of DESTINATIONS) {
      if (SILENT.includes(name)) continue;
      test(`${name}: ${expected.event} ${expected.cause ?? ''}`, () =>
        assertOneAnswer(name, expected));
    }
  });

  test('hosts that say nothing: deferred', async () => {
    await untilFinished(); // a DSN under way is given the time it needs, too
    await apply(HASTY);
    const silent = DESTINATIONS.filter(([name]) => SILENT.includes(name));
    await Promise.all(silent.map(([name, , expected]) => assertOneAnswer(name, expected)));
    await apply(PATIENT);
  });

  test('two domains in one message: each recipient has its own answer', async () => {
    const to = ['b@enforced.test', 'b@unknown-user.test', 'c@enforced.test', 'b@down.test'];
    const sent = await send({ from: 'mixed@home.test', to });
    const answers = await Promise.all(to.map((recipient) => world.answer(sent, { recipient })));
    assert.deepEqual(
      answers.map(({ event }) => event),
      ['delivery.delivered', 'outcome.bounced', 'delivery.delivered', 'delivery.deferred'],
    );
    assert.deepEqual(
      to.map((mailbox) => arrivals(mailbox, sent.id)),
      [1, 0, 1, 0],
    );
  });

  test('an address literal', async () => {
    const host = await world.internet.mxHost({ host: 'literal.test', certificate: null });
    const mailbox = `a@[${host.address}]`;
    const sent = await send({ from: 'literal@home.test', to: mailbox });
    assertAnswer(await world.answer(sent), DELIVERED);
    assert.equal(host.messages.length, 1);
  });

  /** Until every message is finished that is not deferred, and every DSN about one of them. */
  async function untilFinished(): Promise<void> {
    await world.relay.waitForLog('the end of every message', () => {
      const finished = new Set(world.relay.events('outcome.finished').map(({ id }) => id));
      const waits = (sent: Sent) =>
        sent.to.some((to) => world.answers(sent, to).at(-1)?.event === 'delivery.deferred');
      const dsns = world.relay.events('outcome.dsn_queued').map(({ id }) => id);
      const done = all.filter((sent) => !waits(sent)).map(({ id }) => id);
      return [...done, ...dsns].every((id) => finished.has(id)) || undefined;
    });
  }

  /** Ids of the DSNs about a message, once it is finished. */
  async function dsnsAbout(sent: Sent): Promise<readonly string[]> {
    await world.relay.waitForEvent('outcome.finished', ({ id }) => id === sent.id);
    const made = world.relay.events('outcome.dsn_queued').filter((l) => l['about'] === sent.id);
    return made.map(({ id }) => id ?? '');
  }

  test('NOTIFY=NEVER: bounced, and nobody is told', async () => {
    const to = 'never@unknown-user.test';
    const sent = await send({ from: 'never@home.test', to, rcptParams: 'NOTIFY=NEVER' });
    assert.equal((await world.answer(sent)).event, 'outcome.bounced');
    assert.deepEqual(await dsnsAbout(sent), []);
  });

  test('NOTIFY=SUCCESS: passed on to a host that does DSNs', async () => {
    const to = 'success@enforced.test';
    const sent = await send({ from: 'success@home.test', to, rcptParams: 'NOTIFY=SUCCESS' });
    assert.equal((await world.answer(sent)).event, 'delivery.delivered');
    assert.deepEqual(await dsnsAbout(sent), []);
    const paths = sinks.get('enforced.test')?.[0]?.messages.flatMap((m) => m.recipients) ?? [];
    assert.deepEqual(paths.find(({ address }) => address === to)?.params, ['NOTIFY=SUCCESS']);
  });

  test('NOTIFY=SUCCESS: answered by us for a host that does not', async () => {
    const name = 'no-dsn.test';
    const keywords = ['PIPELINING', '8BITMIME'];
    sinks.set(name, (await world.internet.domain(name, oneMx(name, { keywords }))).mx);
    const to = `success@${name}`;
    const sent = await send({ from: 'relayed@home.test', to, rcptParams: 'NOTIFY=SUCCESS' });
    const [dsn] = await dsnsAbout(sent);
    const isAbout = () => home.messages.find(({ data }) => data.includes(`<${dsn}@`));
    const message = await home.waitUntil('the DSN', isAbout);
    assert.match(message.data.toString(), /^Action: relayed\r$/m);
    assert.match(message.data.toString(), /^Final-Recipient: rfc822; success@no-dsn\.test\r$/m);
  });

  test('whoever is owed a DSN gets one: a bounce is told once, all else is not', async () => {
    await untilFinished();
    for (const [name, , expected] of DESTINATIONS) {
      const sent = sentTo.get(name);
      assert.ok(sent !== undefined);
      const mailbox = `${name}@home.test`;
      const told = home.messages.filter(({ recipients }) =>
        recipients.some(({ address }) => address === mailbox),
      );
      assert.equal(told.length, expected.event === 'outcome.bounced' ? 1 : 0, mailbox);
      if (told[0] === undefined) continue;
      const text = told[0].data.toString();
      assert.match(text, new RegExp(`^Final-Recipient: rfc822; a@${name}\\r$`, 'm'));
      assert.match(text, /^Action: failed\r$/m);
      assert.ok(text.includes(`\r\nStatus: ${expected.status}\r\n`), text);
      assert.ok(text.includes(`\r\nFinal-Log-ID: ${sent.id}\r\n`));
    }
  });

  test('the metrics count what the log tells', async () => {
    const { relay } = world;
    await relay.waitForMetric('stsrelay_messages_received_total', all.length);
    const text = await relay.metrics();
    const total = (name: string, labels: Readonly<Record<string, string>> = {}) =>
      sumSamples(text, `stsrelay_${name}`, labels) ?? 0;
    const told = (event: string) => relay.events(event);

    assert.equal(total('messages_received_total'), all.length);
    assert.equal(told('intake.accepted').length, all.length);
    assert.equal(total('recipients_delivered_total'), told('delivery.delivered').length);
    for (const [metric, event] of [
      ['recipients_deferred_total', 'delivery.deferred'],
      ['recipients_bounced_total', 'outcome.bounced'],
    ] as const) {
      assert.equal(total(metric), told(event).length);
      for (const causeClass of new Set(told(event).map((line) => String(line['causeClass'])))) {
        const lines = told(event).filter((line) => line['causeClass'] === causeClass);
        assert.equal(total(metric, { cause: causeClass }), lines.length, `${metric} ${causeClass}`);
      }
    }
    assert.equal(total('dsn_total', { action: 'relayed' }), 1);
    assert.equal(total('dsn_total', { action: 'failed' }), told('outcome.dsn_queued').length - 1);
    assert.equal(total('queue_messages'), told('delivery.deferred').length);
    assert.equal(total('queue_messages', { state: 'delayed' }), told('delivery.deferred').length);

    await waitFor('idle connections to be closed', async () => {
      return sumSamples(await relay.metrics(), 'stsrelay_connections_open', {}) === 0;
    });

    const answered = all.flatMap((sent) => sent.to.flatMap((r) => world.answers(sent, r)));
    assert.equal(answered.length, all.flatMap(({ to }) => to).length, 'one answer a recipient');
  });

  test('stdout carries JSON lines and nothing else, and so does stderr', () => {
    assert.deepEqual(world.relay.strayOutput, []);
    for (const line of world.relay.stderr.split('\n').filter(Boolean)) JSON.parse(line);
  });

  test('after a restart the queue holds the deferred ones, and does not hurry them', async () => {
    const { relay } = world;
    const waiting = new Set(relay.events('delivery.deferred').map(({ id }) => id));
    await relay.restart();
    assert.equal(relay.events('relay.started')[0]?.['recovered'], waiting.size);
    await relay.waitForEvent('queue.entered');
    await relay.waitForMetric('stsrelay_queue_messages', waiting.size, { state: 'delayed' });
    assert.equal(await relay.metric('stsrelay_queue_messages'), waiting.size);
  });
});
