/**
 * REQUIRETLS and `TLS-Required: No` (RFC 8689) through the whole program: from a client over TLS to MX hosts
 * that do and do not offer it, over restarts, back to the sender in a report, past administrators' exceptions.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { runStsrelay } from '../support/cli.ts';
import type { MxHost, ReceivedMessage } from '../support/mx-host.ts';
import { DEFAULT_KEYWORDS } from '../support/mx-script.ts';
import type { MxDescription } from '../support/pretend-internet.ts';
import { openSecureSession } from '../support/relay-mail.ts';
import {
  assertSameContent,
  assertToldNothing,
  plainMessage,
  type RelayWorld,
  type Sent,
  startWorld,
} from '../support/relay-world.ts';
import { parseReport } from '../unit/report-parser.ts';

const OVERRIDES = ['none', 'opportunistic', 'encrypt'] as const;
const SETTINGS = {
  retry: {
    schedule: ['1h'],
    classes: { tlsPolicy: { schedule: ['1h'] } },
    domains: [{ domain: 'again.test', schedule: ['1s'] }],
  },
  overrides: OVERRIDES.flatMap((tls) => [
    { domain: `${tls}.over.test`, tls },
    { domain: `${tls}.bare.test`, tls },
  ]),
  routes: ['good', 'plain', 'false'].map((name) => ({
    ...{ domain: `${name}.branch.test`, nextHop: `${name}.hub.test`, tls: 'opportunistic' },
  })),
};

/** A host that offers it over TLS. */
function willing(host: string, more: Partial<MxDescription> = {}): MxDescription {
  return { host, keywordsOverTls: [...DEFAULT_KEYWORDS, 'REQUIRETLS'], ...more };
}

interface Mail {
  readonly to: string;
  readonly from?: string;
  readonly mailParams?: string;
  /** Fields, each with its line end. */
  readonly header?: string;
}

let messages = 0;

/** Hand a message over, over TLS. */
async function send({ relay }: RelayWorld, { to, from, mailParams, header = '' }: Mail) {
  const data = `${header}${plainMessage(++messages)}`;
  using client = await openSecureSession({ port: relay.smtpPort });
  const message = { from: from ?? 'ann@home.test', to, mailParams: mailParams ?? '', data };
  const { accepted, id, reply } = await client.deliver(message);
  assert.ok(accepted && id !== undefined, reply.raw);
  return { id, to: [to], data: Buffer.from(data) } satisfies Sent;
}

function tagOf(message: ReceivedMessage | undefined): boolean {
  assert.ok(message, 'no message');
  return message.mailFrom.params.includes('REQUIRETLS');
}

describe('a message with its own word on TLS', () => {
  let world: RelayWorld;
  let home: MxHost;
  before(async () => {
    world = await startWorld(SETTINGS);
    const { internet } = world;
    home = (await internet.domain('home.test', { sts: {}, mx: [willing('mx.home.test')] }))
      .mx[0] as MxHost;
  });
  after(() => world.close());

  const tagged = (to: string, more: Partial<Mail> = {}) =>
    send(world, { to, mailParams: 'REQUIRETLS', ...more });

  /** The report about a message's recipient, and how it came. */
  async function reportAt(host: MxHost, recipient: string) {
    const message = await host.waitUntil(`a report about ${recipient}`, (sessions) =>
      sessions
        .flatMap((session) => session.messages)
        .find(({ data }) => data.includes(`Final-Recipient: rfc822; ${recipient}\r\n`)),
    );
    return { message, report: parseReport(message.data) };
  }

  test('REQUIRETLS is offered after STARTTLS, and goes on to a host that a policy in enforce lists', async () => {
    const { mx } = await world.internet.domain('good.test', {
      sts: {},
      mx: [willing('mx.good.test')],
    });
    using client = await openSecureSession({ port: world.relay.smtpPort });
    assert.match((await client.send('EHLO client.test')).raw, /^250[- ]REQUIRETLS\r$/m);
    const sent = await tagged('bob@good.test');
    const answer = await world.answer(sent);
    assert.equal(answer.event, 'delivery.delivered', JSON.stringify(answer));
    assert.deepEqual([answer['requireTls'], answer['verified']], ['required', true]);
    const [message] = mx[0]?.messages ?? [];
    assert.ok(tagOf(message));
    assert.match(String(message?.tls?.version), /^TLSv1\.[23]$/);
    assertSameContent(message, sent.data);
    const [accepted] = world.relay.events('intake.accepted').filter(({ id }) => id === sent.id);
    assert.equal(accepted?.['requireTls'], true);
  });

  test('with REQUIRETLS passes over hosts that do not offer it', async () => {
    const { mx } = await world.internet.domain('two.test', {
      sts: {},
      mx: [{ host: 'mx1.two.test' }, willing('mx2.two.test')],
    });
    const answer = await world.answer(await tagged('bob@two.test'));
    assert.deepEqual([answer.event, answer['mx']], ['delivery.delivered', 'mx2.two.test']);
    assertToldNothing(mx[0] as MxHost);
    assert.ok(tagOf(mx[1]?.messages[0]));
  });

  test('with REQUIRETLS goes back with 5.7.30 where nobody offers it, in a report that is tagged and has no content', async () => {
    const { mx } = await world.internet.domain('bare.test', {
      sts: {},
      mx: [{ host: 'mx1.bare.test' }, { host: 'mx2.bare.test' }],
    });
    const sent = await tagged('bob@bare.test', { mailParams: 'REQUIRETLS RET=FULL' });
    const answer = await world.answer(sent);
    assert.deepEqual([answer.event, answer['status']], ['outcome.bounced', '5.7.30']);
    assert.equal(answer['cause'], 'requiretls-unsupported');
    for (const host of mx) assertToldNothing(host);
    const { message, report } = await reportAt(home, 'bob@bare.test');
    assert.ok(tagOf(message));
    assert.equal(message.mailFrom.address, '');
    assert.equal(report.recipients[0]?.get('status'), '5.7.30');
    assert.equal(report.parts[2]?.type, 'text/rfc822-headers');
    assert.doesNotMatch(message.data.toString(), /This is message/);
    assert.match(report.parts[0]?.content.toString() ?? '', /REQUIRETLS/);
  });

  test('with REQUIRETLS its report is not lost where the sender’s host does not offer it', async () => {
    const { mx } = await world.internet.domain('plainhome.test');
    await tagged('bob@bare.test', { from: 'ann@plainhome.test' });
    const { message } = await reportAt(mx[0] as MxHost, 'bob@bare.test');
    assert.equal(tagOf(message), false);
    assert.ok(message.tls);
  });

  for (const mode of ['testing', 'none'] as const) {
    test(`with REQUIRETLS goes back where the policy is in mode ${mode}`, async () => {
      const name = `${mode}.test`;
      const { mx } = await world.internet.domain(name, {
        sts: { mode },
        mx: [willing(`mx.${name}`)],
      });
      const answer = await world.answer(await tagged(`bob@${name}`));
      assert.deepEqual([answer.event, answer['status']], ['outcome.bounced', '5.7.30']);
      assert.equal(mx[0]?.sessions.length, 0);
      const ordinary = await world.answer(await send(world, { to: `bob@${name}` }));
      assert.equal(ordinary.event, 'delivery.delivered');
    });
  }

  test('with REQUIRETLS waits for a certificate that is bad, as under the policy', async () => {
    const { mx } = await world.internet.domain('expired.test', {
      sts: {},
      mx: [willing('mx.expired.test', { certificate: 'expired' })],
    });
    const sent = await tagged('bob@expired.test');
    const answer = await world.answer(sent);
    assert.deepEqual([answer.event, answer['cause']], ['delivery.deferred', 'certificate-expired']);
    assertToldNothing(mx[0] as MxHost);
    const { stdout } = await runStsrelay([
      ...['queue', 'show', sent.id, '--config', world.relay.configFile],
    ]);
    assert.match(stdout, /^parameters +REQUIRETLS$/m);
    assert.match(stdout, /^TLS +REQUIRETLS: only to hosts that are known securely/m);
  });

  for (const tls of OVERRIDES) {
    test(`with REQUIRETLS is not weakened by an override (${tls})`, async () => {
      const [listed, bare] = [`${tls}.over.test`, `${tls}.bare.test`];
      const good = await world.internet.domain(listed, { sts: {}, mx: [willing(`mx.${listed}`)] });
      const answer = await world.answer(await tagged(`bob@${listed}`));
      assert.deepEqual([answer.event, answer['verified']], ['delivery.delivered', true]);
      assert.ok(tagOf(good.mx[0]?.messages[0]));
      const { mx } = await world.internet.domain(bare, { mx: [willing(`mx.${bare}`)] });
      const refused = await world.answer(await tagged(`bob@${bare}`));
      assert.deepEqual([refused.event, refused['status']], ['outcome.bounced', '5.7.30']);
      assertToldNothing(mx[0] as MxHost);
    });
  }

  test('with REQUIRETLS shares no connection with other mail', async () => {
    const { mx } = await world.internet.domain('shared.test', {
      sts: {},
      mx: [willing('mx.shared.test')],
    });
    for (const mailParams of ['', 'REQUIRETLS', '', 'REQUIRETLS']) {
      const sent = await send(world, { to: 'bob@shared.test', mailParams });
      assert.equal((await world.answer(sent)).event, 'delivery.delivered');
    }
    for (const session of mx[0]?.sessions ?? []) {
      const tags = new Set(session.messages.map(tagOf));
      assert.equal(tags.size, 1, 'both over one connection');
    }
    assert.equal(mx[0]?.messages.filter(tagOf).length, 2);
  });

  test('with REQUIRETLS stays one over a restart', async () => {
    let isBusy = true;
    const { mx } = await world.internet.domain('again.test', {
      sts: {},
      mx: [
        willing('mx.again.test', {
          script: (_session, { verb }) =>
            verb === 'MAIL' && isBusy ? '451 4.3.0 later' : undefined,
        }),
      ],
    });
    const sent = await tagged('bob@again.test');
    assert.equal((await world.answer(sent)).event, 'delivery.deferred');
    await world.relay.kill();
    isBusy = false;
    await world.relay.start();
    const [host] = mx as [MxHost];
    const message = await host.waitUntil('the message', (sessions) =>
      sessions.flatMap((session) => session.messages).at(0),
    );
    assert.ok(tagOf(message));
  });

  test('with REQUIRETLS goes to the smart host of a route, if that offers it and is who it is', async () => {
    const good = await world.internet.mxHost(willing('good.hub.test'));
    const plain = await world.internet.mxHost({ host: 'plain.hub.test' });
    const selfSigned = willing('false.hub.test', { certificate: 'self-signed' });
    const impostor = await world.internet.mxHost(selfSigned);
    const expected = [
      ['good', 'delivery.delivered', undefined],
      ['plain', 'outcome.bounced', '5.7.30'],
      ['false', 'delivery.deferred', '4.7.5'],
    ] as const;
    for (const [name, event, status] of expected) {
      const answer = await world.answer(await tagged(`bob@${name}.branch.test`));
      assert.deepEqual([answer.event, answer['status']], [event, status], JSON.stringify(answer));
    }
    assert.ok(tagOf(good.messages[0]));
    for (const host of [plain, impostor]) assertToldNothing(host);
  });

  const NO = 'TLS-Required: No\r\n';
  test('with TLS-Required: No goes past a policy, is logged and counted', async () => {
    const mx = [{ host: 'mx.lax.test', certificate: 'expired' }] as const;
    const domain = await world.internet.domain('lax.test', { sts: {}, mx });
    const ordinary = await world.answer(await send(world, { to: 'bob@lax.test' }));
    assert.equal(ordinary.event, 'delivery.deferred');
    const sent = await send(world, { to: 'bob@lax.test', header: NO });
    const answer = await world.answer(sent);
    assert.equal(answer.event, 'delivery.delivered', JSON.stringify(answer));
    assert.deepEqual([answer['policy'], answer['verified']], ['tls-required-no', false]);
    assertSameContent(domain.messages[0], sent.data);
    const [line] = world.relay.events('intake.accepted').filter(({ id }) => id === sent.id);
    assert.equal(line?.['tlsRequiredNo'], true);
    const labels = { mode: 'tls-required-no' };
    await world.relay.waitForMetric('stsrelay_tls_sessions_total', 1, labels);
  });

  const says: readonly (readonly [string, Partial<Mail>])[] = [
    ['beside REQUIRETLS', { header: NO, mailParams: 'REQUIRETLS' }],
    ['twice', { header: NO + NO }],
  ];
  for (const [how, mail] of says) {
    test(`with TLS-Required: No ${how} waits for what the policy asks for`, async () => {
      const answer = await world.answer(await send(world, { to: 'bob@lax.test', ...mail }));
      assert.deepEqual(
        [answer.event, answer['cause']],
        ['delivery.deferred', 'certificate-expired'],
      );
    });
  }

  test('with TLS-Required: No is as any other where that is not honored', async () => {
    world.relay.changeSettings({ security: { honorTlsRequiredNo: false } });
    world.relay.reload();
    await world.relay.waitForEvent('config.reloaded');
    const sent = await send(world, { to: 'bob@lax.test', header: NO });
    assert.equal((await world.answer(sent)).event, 'delivery.deferred');
  });
});
