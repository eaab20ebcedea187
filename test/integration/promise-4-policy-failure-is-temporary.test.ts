/**
 * Promise 4, a policy failure is temporary until the message's lifetime ends (RFC 8461 §5);
 * then the sender gets a DSN that names the host, what its certificate said and what the policy
 * wants (RFC 3464). Beside it the failures it must not be confused with: greylisting, and a
 * recipient that is refused for good.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { MxHost, ReceivedMessage } from '../support/mx-host.ts';
import type { Script } from '../support/mx-script.ts';
import type { MxDescription, PretendDomain } from '../support/pretend-internet.ts';
import {
  type Answer,
  assertSameContent,
  assertToldNothing,
  type RelayWorld,
  type Sent,
  startWorld,
} from '../support/relay-world.ts';

const LIFETIME_MS = 2500;
const GREYLISTED_MS = 1500;
const SETTINGS = {
  retry: {
    schedule: ['1h'],
    lifetime: '1h',
    bounceLifetime: '1h',
    classes: {
      tlsPolicy: { schedule: ['500ms'] },
      greylisted: { schedule: [`${GREYLISTED_MS}ms`] },
    },
  },
};

/** The fields of a message/delivery-status part, one map a block (RFC 3464 §2.1). */
interface Dsn {
  readonly top: ReadonlyMap<string, string>;
  readonly recipients: readonly ReadonlyMap<string, string>[];
  /** The part for people, unwrapped. */
  readonly explanation: string;
  readonly header: string;
  /** The last part: what the report is about. */
  readonly original: string;
}

function parseDsn({ data }: ReceivedMessage): Dsn {
  const text = data.toString('utf8');
  const boundary = /boundary="([^"]+)"/.exec(text)?.[1];
  assert.ok(boundary !== undefined, 'no multipart');
  const [header = '', explanation = '', status = '', original = ''] = text.split(`--${boundary}`);
  assert.match(header, /^Content-Type: multipart\/report;\s+report-type=delivery-status;/m);
  assert.match(explanation, /^\r\nContent-Type: text\/plain/);
  assert.match(status, /^\r\nContent-Type: message\/delivery-status\r\n/);
  const blocks = bodyOf(status).trim().split('\r\n\r\n').map(fieldsOf);
  return {
    header,
    explanation: bodyOf(explanation).replace(/\s+/g, ' '),
    top: blocks[0] ?? new Map(),
    recipients: blocks.slice(1),
    original,
  };
}

function bodyOf(part: string): string {
  return part.slice(part.indexOf('\r\n\r\n', 2) + 4);
}

function fieldsOf(block: string): Map<string, string> {
  const lines = block.replace(/\r\n[ \t]+/g, ' ').split('\r\n');
  return new Map(
    lines.map((line) => {
      const colon = line.indexOf(':');
      return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
    }),
  );
}

describe('failures and what becomes of them', { concurrency: true }, () => {
  let world: RelayWorld;
  let home: PretendDomain;
  before(async () => {
    world = await startWorld(SETTINGS);
    home = await world.internet.domain('home.test');
  });
  after(() => world.close());

  /** The DSN that came to `mailbox` of the sender's domain. */
  async function dsnFor(mailbox: string): Promise<Dsn> {
    const [host] = home.mx;
    const toMailbox = () =>
      host?.messages.find((m) => m.recipients.some(({ address }) => address === mailbox));
    const message = await host?.waitUntil(`a DSN for ${mailbox}`, toMailbox);
    assert.ok(message !== undefined);
    assert.equal(message.mailFrom.address, '', 'a DSN has the null reverse-path');
    return parseDsn(message);
  }

  const shortLived: string[] = [];
  /**
   * From now on what is for `domain` lives for LIFETIME_MS alone. Only once a test has seen what it
   * needs of the time before: no machine is too slow for that.
   */
  function shortenLifetime(domain: string): void {
    shortLived.push(domain);
    const domains = shortLived.map((name) => ({ domain: name, lifetime: `${LIFETIME_MS}ms` }));
    world.relay.changeSettings({ retry: { domains } });
    world.relay.reload();
  }

  /** The last answer about a message. */
  async function bounceOf(sent: Sent): Promise<Answer> {
    const isOver = () => world.answers(sent).find(({ event }) => event === 'outcome.bounced');
    return world.relay.waitForLog(`the bounce of ${sent.id}`, isOver);
  }

  async function assertNoDsnAbout(sent: Sent): Promise<void> {
    await world.relay.waitForEvent('outcome.finished', ({ id }) => id === sent.id);
    const made = world.relay.events('outcome.dsn_queued').filter((l) => l['about'] === sent.id);
    assert.deepEqual(made, []);
  }

  const breaches: readonly [string, Omit<MxDescription, 'host'>, told: RegExp, status: string][] = [
    ['expired', { certificate: 'expired' }, /certificate has expired/, '4.7.5'],
    ['cn-only', { certificate: 'cn-only' }, /certificate names no DNS name at all/, '4.7.5'],
    [
      'wrong-host',
      { certificate: 'wrong-host' },
      /certificate names somebody-else\.test, not mx\.wrong-host\.test/,
      '4.7.5',
    ],
    ['untrusted', { certificate: 'untrusted' }, /issued by nobody trusts this root/, '4.7.5'],
    ['no-starttls', { certificate: null }, /STARTTLS is not offered/, '4.7.4'],
  ];
  for (const [name, breach, told, status] of breaches) {
    test(`${name}: deferred until the lifetime ends, then bounced; never sent without`, async () => {
      const domain = `${name}.test`;
      const { mx } = await world.internet.domain(domain, {
        sts: {},
        mx: [{ host: `mx.${domain}`, ...breach }],
      });
      const sentMs = Date.now();
      const sent = await world.send({ from: `${name}@home.test`, to: `a@${domain}` });
      const first = await world.answer(sent);
      assert.equal(first.event, 'delivery.deferred', JSON.stringify(first));
      assert.equal(first['causeClass'], 'tlsPolicy');
      shortenLifetime(domain);
      const dsn = await dsnFor(`${name}@home.test`);

      assert.ok(Date.now() - sentMs >= LIFETIME_MS, 'not before its lifetime is over');
      assert.equal((await bounceOf(sent))['lifetimeOver'], true);
      const answers = world.answers(sent);
      assert.equal(answers.at(-1)?.event, 'outcome.bounced');
      assert.ok(answers.length >= 2, `tried ${answers.length} times`);
      assert.ok(answers.slice(0, -1).every(({ event }) => event === 'delivery.deferred'));

      assert.match(dsn.explanation, told);
      assert.ok(dsn.explanation.includes(`mx.${domain}`), dsn.explanation);
      assert.ok(dsn.explanation.includes(`MTA-STS policy of ${domain} (mode enforce`));
      assert.match(dsn.explanation, new RegExp(`Tried ${answers.length} times since`));
      assert.match(dsn.header, /^Auto-Submitted: auto-replied\r$/m);
      assert.equal(dsn.top.get('reporting-mta'), 'dns; relay.example.net');
      const [recipient] = dsn.recipients;
      assert.equal(recipient?.get('final-recipient'), `rfc822; a@${domain}`);
      assert.equal(recipient?.get('action'), 'failed');
      assert.equal(recipient?.get('status'), status);
      assert.match(recipient?.get('diagnostic-code') ?? '', /^x-stsrelay; /);
      assert.equal(recipient?.get('remote-mta'), undefined, 'what we found is not what it said');
      assert.equal(recipient?.get('final-log-id'), sent.id);
      assert.match(dsn.original, /^Subject: message \d+\r$/m);
      for (const host of mx) assertToldNothing(host);
      await world.relay.waitForEvent('outcome.finished', ({ id }) => id === sent.id);
    });
  }

  test('an MX host that is mended in time gets the message', async () => {
    const { mx } = await world.internet.domain('mended.test', {
      sts: {},
      mx: [{ host: 'mx.mended.test', certificate: 'expired' }],
    });
    const host = mx[0] as MxHost;
    const sent = await world.send({ from: 'mended@home.test', to: 'a@mended.test' });
    assert.equal((await world.answer(sent)).event, 'delivery.deferred');
    host.change({ certificate: await world.internet.ca.issueKind('good', host.name) });
    await host.waitForMessages(1);
    assertSameContent(host.messages[0], sent.data);
    assert.ok(host.messages[0]?.tls !== undefined);
    await assertNoDsnAbout(sent);
  });

  test('a policy that gives up enforce in time lets the message go', async () => {
    const domain = await world.internet.domain('yielding.test', {
      sts: { id: '1' },
      ttl: 0,
      mx: [{ host: 'mx.yielding.test', certificate: 'self-signed' }],
    });
    const sent = await world.send({ from: 'yielding@home.test', to: 'a@yielding.test' });
    assert.equal((await world.answer(sent)).event, 'delivery.deferred');
    await domain.publishSts({ id: '2', mode: 'testing' });
    await (domain.mx[0] as MxHost).waitForMessages(1);
    await assertNoDsnAbout(sent);
  });

  test('greylisting is tried again on its own schedule, and delivered', async () => {
    const seen = new Set<string>();
    const script: Script = (_session, { verb, argument }) => {
      if (verb !== 'RCPT' || seen.has(argument)) return undefined;
      seen.add(argument);
      return '451 4.7.1 Greylisting in action, please come back later';
    };
    const { mx } = await world.internet.domain('grey.test', {
      mx: [{ host: 'mx.grey.test', script }],
    });
    const sentMs = Date.now();
    const sent = await world.send({ from: 'grey@home.test', to: 'a@grey.test' });
    const first = await world.answer(sent);
    assert.equal(first.event, 'delivery.deferred', JSON.stringify(first));
    assert.equal(first['causeClass'], 'greylisted');
    // The time was chosen between these two, on a busy machine well after and well before them.
    const nextMs = Date.parse(String(first['nextAttempt']));
    const [sinceSent, sinceLine] = [nextMs - sentMs, nextMs - Date.parse(String(first.time))];
    assert.ok(sinceSent > GREYLISTED_MS / 2, `${sinceSent} ms`);
    assert.ok(sinceLine <= GREYLISTED_MS * 1.1, `${sinceLine} ms`);
    const second = await world.answer(sent, { nth: 2 });
    assert.equal(second.event, 'delivery.delivered', JSON.stringify(second));
    assert.equal(second['attempt'], 2);
    assertSameContent(mx[0]?.messages[0], sent.data);
    assert.equal(mx[0]?.messages.length, 1);
  });

  test('5xx at RCPT bounces that recipient at once, the others are delivered', async () => {
    const script: Script = (_session, { verb, argument }) =>
      verb === 'RCPT' && argument.includes('nobody') ? '550 5.1.1 No such user here' : undefined;
    const { mx } = await world.internet.domain('picky.test', {
      mx: [{ host: 'mx.picky.test', script }],
    });
    const to = ['a@picky.test', 'nobody@picky.test', 'b@picky.test'];
    const sent = await world.send({ from: 'picky@home.test', to });
    const refused = await world.answer(sent, { recipient: 'nobody@picky.test' });
    assert.equal(refused.event, 'outcome.bounced', JSON.stringify(refused));
    assert.equal(refused['attempt'], 1);
    for (const recipient of ['a@picky.test', 'b@picky.test']) {
      assert.equal((await world.answer(sent, { recipient })).event, 'delivery.delivered');
    }
    const arrived = mx[0]?.messages[0]?.recipients.map(({ address }) => address);
    assert.deepEqual(arrived, ['a@picky.test', 'b@picky.test']);
    const { recipients, explanation } = await dsnFor('picky@home.test');
    assert.equal(recipients.length, 1);
    assert.equal(recipients[0]?.get('final-recipient'), 'rfc822; nobody@picky.test');
    assert.equal(recipients[0]?.get('status'), '5.1.1');
    assert.equal(recipients[0]?.get('remote-mta'), 'dns; mx.picky.test');
    assert.equal(recipients[0]?.get('diagnostic-code'), 'smtp; 550 5.1.1 No such user here');
    assert.match(
      explanation,
      /mx\.picky\.test \(127[\d.]+\) answered: 550 5\.1\.1 No such user here/,
    );
  });

  test('the null reverse-path never gets a DSN, for a refusal or at the end of its lifetime', async () => {
    const script: Script = (_session, { verb }) =>
      verb === 'RCPT' ? '550 5.1.1 No such user here' : undefined;
    await world.internet.domain('refusing.test', { mx: [{ host: 'mx.refusing.test', script }] });
    await world.internet.domain('insecure.test', {
      sts: {},
      mx: [{ host: 'mx.insecure.test', certificate: 'expired' }],
    });
    const [refused, expired] = await Promise.all([
      world.send({ from: '', to: 'a@refusing.test' }),
      world.send({ from: '', to: 'a@insecure.test' }),
    ]);
    assert.equal((await world.answer(refused)).event, 'outcome.bounced');
    assert.equal((await world.answer(expired)).event, 'delivery.deferred');
    shortenLifetime('insecure.test');
    await assertNoDsnAbout(refused);
    await assertNoDsnAbout(expired);
    assert.equal(world.answers(expired).at(-1)?.event, 'outcome.bounced');
  });

  test('a DSN that cannot be delivered begets no DSN', async () => {
    const script: Script = (_session, { verb }) =>
      verb === 'RCPT' ? '550 5.1.1 No such user here' : undefined;
    for (const name of ['away.test', 'sender-gone.test']) {
      await world.internet.domain(name, { mx: [{ host: `mx.${name}`, script }] });
    }
    const sent = await world.send({ from: 'x@sender-gone.test', to: 'a@away.test' });
    const about = (line: { readonly [field: string]: unknown }) => line['about'] === sent.id;
    const { id = '' } = await world.relay.waitForEvent('outcome.dsn_queued', about);
    const dsn = { id, to: ['x@sender-gone.test'], data: Buffer.of() };
    assert.equal((await world.answer(dsn)).event, 'outcome.bounced');
    await assertNoDsnAbout(dsn);
  });
});
