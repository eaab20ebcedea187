/**
 * Reports, from a whole relay to the host of the sender: of failure, delay and relaying, each told
 * once, to whom NOTIFY says, over a SIGKILL; read by the parser of the tests, and by nothing
 * that wrote them.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { MxHost, ReceivedMessage } from '../support/mx-host.ts';
import type { Script } from '../support/mx-script.ts';
import { type LogLine, sumSamples } from '../support/relay-process.ts';
import { type RelayWorld, type Sent, startWorld } from '../support/relay-world.ts';
import { parseReport, type Report } from '../unit/report-parser.ts';

const DELAY_MS = 2000;
const SETTINGS = {
  retry: { schedule: ['1h'], delayWarning: `${DELAY_MS}ms` },
  destinations: { default: { idle: '100ms' } },
};

const says = (where: string, reply: string): Script => {
  return (_session, { verb }) => (verb === where ? reply : undefined);
};

describe('reports', () => {
  let world: RelayWorld;
  let home: MxHost;

  before(async () => {
    world = await startWorld(SETTINGS);
    const { internet } = world;
    home = (await internet.domain('home.test')).mx[0] as MxHost;
    await internet.domain('down.test', { mx: [{ host: 'mx.down.test', down: true }] });
    await internet.domain('mute.test', {
      mx: [{ host: 'mx.mute.test', script: (_s, { verb }) => hangs(verb) }],
    });
    await internet.domain('refusing.test', {
      mx: [{ host: 'mx.refusing.test', script: says('RCPT', '550 5.1.1 No such user') }],
    });
    await internet.domain('hostile.test', {
      mx: [
        {
          host: 'mx.hostile.test',
          script: says(
            'RCPT',
            `550-5.7.1 no\r\n550-5.7.1 Action: delivered\r\n550 5.7.1 é${'x'.repeat(400)}`,
          ),
        },
      ],
    });
    await internet.domain('plain.test', {
      mx: [{ host: 'mx.plain.test', keywords: ['PIPELINING', '8BITMIME'] }],
    });
  });
  after(() => world.close());

  const hangs = (verb: string) => (verb === 'CONNECT' ? { ending: 'hang' as const } : undefined);
  const isTo = (mailbox: string) => (message: ReceivedMessage) =>
    message.recipients.some(({ address }) => address === mailbox);
  const reportsTo = (mailbox: string): Report[] =>
    home.messages.filter(isTo(mailbox)).map(({ data }) => parseReport(data));

  /** The reports to a sender, once there are so many. */
  async function told(mailbox: string, many = 1): Promise<Report[]> {
    const enough = () => reportsTo(mailbox).length >= many;
    await home.waitUntil(`${many} reports to ${mailbox}`, () => enough() || undefined);
    return reportsTo(mailbox);
  }

  const facts = ({ recipients }: Report) =>
    recipients.map((block) => [
      block.get('action'),
      block.get('final-recipient'),
      block.get('status'),
    ]);
  const send = (from: string, to: readonly string[], rcptParams?: string): Promise<Sent> =>
    world.send({ from, to, ...(rcptParams ? { rcptParams } : {}) });

  test('a delay is told once, also when the relay is killed', async () => {
    const sent = await send('delay@home.test', ['a@down.test', 'b@down.test']);
    const [first] = await told('delay@home.test');
    assert.ok(first);
    const text = first.parts[0]?.content.toString() ?? '';
    assert.match(text, /has not been delivered yet/);
    assert.match(text, /<a@down\.test>\r\n {4}Mail server: mx\.down\.test \(127\./);
    assert.match(text, /Tried once; the message came at /);
    assert.match(text, /To be tried again until /);
    assert.equal(first.fields.get('subject'), 'Your message is delayed');
    assert.deepEqual(facts(first), [
      ['delayed', 'rfc822; a@down.test', '4.4.1'],
      ['delayed', 'rfc822; b@down.test', '4.4.1'],
    ]);
    const block = first.recipients[0];
    assert.equal(block?.get('final-log-id'), sent.id);
    const arrived = Date.parse(first.perMessage.get('arrival-date') ?? '');
    const until = Date.parse(block?.get('will-retry-until') ?? '');
    assert.equal(Math.round((until - arrived) / 3_600_000), 120, 'five days');
    assert.equal(first.perMessage.get('received-from-mta'), 'dns; client.example.net');

    // Until then it is in flight, and may come twice.
    const isOfSender = (line: LogLine) => line['recipient'] === 'delay@home.test';
    await world.relay.waitForEvent('delivery.delivered', isOfSender);
    await world.relay.kill();
    await world.relay.start();
    const another = await send('after@home.test', ['a@down.test']);
    await told('after@home.test');
    assert.equal(reportsTo('delay@home.test').length, 1);
    const queued = world.relay.events('outcome.dsn_queued');
    assert.deepEqual(
      queued.map((line) => [line['about'], line['delayed'], line['failed'], line['relayed']]),
      [[another.id, 1, 0, 0]],
    );
  });

  test('a delay is told of what was never tried to its end', async () => {
    await send('mute@home.test', ['a@mute.test']);
    const [report] = await told('mute@home.test');
    assert.ok(report);
    assert.deepEqual(facts(report), [['delayed', 'rfc822; a@mute.test', '4.0.0']]);
    assert.match(report.parts[0]?.content.toString() ?? '', /; not tried yet\./);
    assert.equal(report.recipients[0]?.has('last-attempt-date'), false);
  });

  test('a delay is told to nobody who did not ask, and not to the null reverse-path', async () => {
    const quiet = await send('quiet@home.test', ['a@down.test'], 'NOTIFY=FAILURE');
    const bounce = await send('', ['a@down.test'], 'NOTIFY=DELAY');
    await send('asked@home.test', ['a@down.test'], 'NOTIFY=DELAY');
    await told('asked@home.test');
    const about = world.relay.events('outcome.dsn_queued').map((line) => line['about']);
    for (const { id } of [quiet, bounce]) assert.equal(about.includes(id), false);
    assert.deepEqual(reportsTo('quiet@home.test'), []);
  });

  test('one message, several ends: each is told when it comes', async () => {
    const to = ['a@refusing.test', 'b@plain.test', 'c@down.test', 'd@refusing.test'];
    const sent = await send('mixed@home.test', to, 'NOTIFY=SUCCESS,FAILURE,DELAY');
    const reports = await told('mixed@home.test', 3);
    assert.deepEqual(
      reports.map(facts).sort((a, b) => String(a).localeCompare(String(b))),
      [
        [['delayed', 'rfc822; c@down.test', '4.4.1']],
        [
          ['failed', 'rfc822; a@refusing.test', '5.1.1'],
          ['failed', 'rfc822; d@refusing.test', '5.1.1'],
        ],
        [['relayed', 'rfc822; b@plain.test', '2.0.0']],
      ],
    );
    const ids = reports.map(({ fields }) => fields.get('message-id'));
    assert.equal(new Set(ids).size, 3);
    for (const { recipients } of reports) {
      assert.equal(recipients[0]?.get('final-log-id'), sent.id);
    }
  });

  test('hundreds of recipients at one host are one report', async () => {
    const to = Array.from({ length: 300 }, (_, n) => `r${n}@refusing.test`);
    await send('many@home.test', to);
    const [report] = await told('many@home.test');
    assert.deepEqual(
      report?.recipients.map((block) => block.get('final-recipient')),
      to.map((mailbox) => `rfc822; ${mailbox}`),
    );
  });

  test('what a host says adds no field and no line', async () => {
    await send('hostile@home.test', ['a@hostile.test']);
    const [report] = await told('hostile@home.test');
    assert.ok(report);
    assert.deepEqual(facts(report), [['failed', 'rfc822; a@hostile.test', '5.7.1']]);
    const said = report.recipients[0]?.get('diagnostic-code') ?? '';
    assert.match(said, /^smtp; 550 5\.7\.1 no .*Action: delivered.*x{400}$/);
    assert.match(said, /^[ -~]+$/);
  });

  test('one that returns 8-bit mail whole is made anew for a host that takes ASCII alone', async () => {
    const keywords = ['PIPELINING', 'SIZE'];
    const { mx } = await world.internet.domain('old.test', {
      mx: [{ host: 'mx.old.test', keywords }],
    });
    const [host] = mx;
    assert.ok(host);
    const from = 'ann@old.test';
    const data = 'Subject: Lunch\r\n\r\nGrüße\r\n';
    const mail = { from, to: 'a@refusing.test', data, mailParams: 'BODY=8BITMIME RET=FULL' };
    const sent = await world.send(mail);
    const [message] = await host.waitUntil('the report', () =>
      host.messages.length > 0 ? host.messages : undefined,
    );
    assert.ok(message);
    assert.deepEqual(
      [message.mailFrom.address, message.mailFrom.params],
      ['', [`SIZE=${message.data.length}`]],
    );
    assert.ok(message.data.every((octet) => octet < 0x80));
    const report = parseReport(message.data);
    assert.deepEqual(facts(report), [['failed', 'rfc822; a@refusing.test', '5.1.1']]);
    assert.equal(report.recipients[0]?.get('final-log-id'), sent.id);
    const returned = report.parts[2];
    assert.equal(returned?.type, 'text/rfc822-headers');
    assert.match(String(returned?.content), /^Received: .*\r\nSubject: Lunch\r\n$/s);
    const [wide, narrow] = await world.relay.waitForLog('both reports', () => {
      const own = world.relay.events('outcome.dsn_queued').filter((line) => line['to'] === from);
      return own.length === 2 ? own : undefined;
    });
    assert.deepEqual([wide?.['about'], narrow?.['about']], [sent.id, wide?.id]);
    const bounced = world.relay.events('outcome.bounced').find(({ id }) => id === wide?.id);
    assert.equal(bounced?.['status'], '5.6.3');
    assert.equal(host.messages.length, 1);
  });

  test('the metric counts them by action', async () => {
    const text = await world.relay.metrics();
    const lines = world.relay.events('outcome.dsn_queued');
    for (const action of ['failed', 'delayed', 'relayed']) {
      const expected = lines.filter((line) => Number(line[action]) > 0).length;
      assert.ok(expected > 0, action);
      assert.equal(sumSamples(text, 'stsrelay_dsn_total', { action }), expected, action);
    }
  });
});
