/**
 * Peers whose replies don't fit the conversation, or come from somebody who proved nothing: no
 * message counts as delivered that was not taken, none bounces on a stranger's word.
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { Script } from '../support/mx-script.ts';
import type { DomainDescription, PretendDomain } from '../support/pretend-internet.ts';
import { assertToldNothing, type RelayWorld, startWorld } from '../support/relay-world.ts';

let world: RelayWorld;
before(async () => {
  world = await startWorld({
    retry: { schedule: ['1h'], classes: { tlsPolicy: { schedule: ['1h'] } } },
  });
});
after(() => world.close());

let domains = 0;
/** A domain of its own with one MX host that follows `script`. */
async function domainWith(script: Script, more: DomainDescription = {}): Promise<PretendDomain> {
  domains += 1;
  const name = `peer${domains}.test`;
  const [host = { host: `mx.${name}` }] = more.mx ?? [];
  return world.internet.domain(name, { ...more, mx: [{ ...host, host: `mx.${name}`, script }] });
}

const onVerb =
  (verb: string, reply: string): Script =>
  (_session, command) =>
    command.verb === verb ? reply : undefined;

/** Larger than all buffers on the way. */
const LARGE = `Subject: large\r\n\r\n${`${'x'.repeat(70)}\r\n`.repeat(60_000)}`;

describe('replies that fit no command', () => {
  const cases: [string, Script, string][] = [
    ['250 along with 354', onVerb('DATA', '354 go\r\n250 2.0.0 queued'), LARGE],
    ['250 to DATA', onVerb('DATA', '250 2.0.0 queued'), 'Subject: x\r\n\r\nx\r\n'],
    ['two replies to MAIL', onVerb('MAIL', '250 ok\r\n250 ok'), LARGE],
    ['two replies to RCPT', onVerb('RCPT', '250 ok\r\n250 ok'), LARGE],
  ];
  for (const [what, script, data] of cases) {
    test(`${what}: deferred, not delivered`, async () => {
      const domain = await domainWith(script);
      const sent = await world.send({ to: `a@${domain.name}`, data });
      const answer = await world.answer(sent);
      assert.equal(answer.event, 'delivery.deferred');
      assert.equal(domain.messages.length, 0);
    });
  }

  test('a refusal before the end of the message is one', async () => {
    const domain = await domainWith(onVerb('DATA', '354 go\r\n552 5.3.4 too much'));
    const sent = await world.send({ to: `a@${domain.name}`, data: LARGE });
    const answer = await world.answer(sent);
    assert.equal(answer.event, 'outcome.bounced');
    assert.equal(answer['status'], '5.3.4');
  });

  for (const reply of ['250\tok', '250-ok\r\n251 fine', '250']) {
    test(`${JSON.stringify(reply)} to the end of the message: delivered once`, async () => {
      const domain = await domainWith(onVerb('.', reply));
      const sent = await world.send({ to: `a@${domain.name}` });
      assert.equal((await world.answer(sent)).event, 'delivery.delivered');
      assert.equal(domain.messages.length, 1);
    });
  }
});

describe('under enforce, what a peer says before it proved who it is does not bounce mail', () => {
  const cases: [string, Script, 'good' | 'self-signed', string][] = [
    ['554 greeting', onVerb('CONNECT', '554 5.7.1 go away'), 'good', 'refused-before-tls'],
    ['502 to EHLO', onVerb('EHLO', '502 5.5.1 what?'), 'good', 'starttls-not-offered'],
    [
      '550 to EHLO over TLS with a self-signed certificate',
      (_session, { verb, overTls }) =>
        verb === 'EHLO' && overTls ? '550 5.7.1 go away' : undefined,
      'self-signed',
      'certificate-self-signed',
    ],
  ];
  for (const [what, script, certificate, cause] of cases) {
    test(what, async () => {
      const mx = [{ host: '', certificate }];
      const domain = await domainWith(script, { sts: {}, mx });
      const sent = await world.send({ to: `a@${domain.name}` });
      const answer = await world.answer(sent);
      assert.equal(answer.event, 'delivery.deferred');
      assert.equal(answer['cause'], cause);
      assert.equal(answer['causeClass'], 'tlsPolicy');
      for (const host of domain.mx) assertToldNothing(host);
    });
  }

  test('a verified host may refuse for good', async () => {
    const script: Script = (_session, { verb, overTls }) =>
      verb === 'EHLO' && overTls ? '550 5.7.1 not you' : undefined;
    const domain = await domainWith(script, { sts: {} });
    const sent = await world.send({ to: `a@${domain.name}` });
    assert.equal((await world.answer(sent)).event, 'outcome.bounced');
  });
});

describe('recipients', () => {
  test('those too many for one transaction go in the next one, at once', async () => {
    let taken = 0;
    const domain = await domainWith((_session, { verb }) => {
      if (verb === 'MAIL') taken = 0;
      if (verb !== 'RCPT') return undefined;
      taken += 1;
      return taken > 3 ? '452 4.5.3 too many recipients' : undefined;
    });
    const to = Array.from({ length: 10 }, (_, n) => `r${n}@${domain.name}`);
    const sent = await world.send({ to });
    await world.relay.waitForLog('all delivered', () =>
      to.every((recipient) => world.answers(sent, recipient).at(-1)?.event === 'delivery.delivered')
        ? true
        : undefined,
    );
    const arrived = domain.messages.flatMap(({ recipients }) =>
      recipients.map(({ address }) => address),
    );
    assert.deepEqual(arrived.sort(), [...to].sort());
  });

  test('a quoted local part goes out as it came in, and keeps nobody from his mail', async () => {
    const domain = await domainWith(() => undefined);
    const to = [`good@${domain.name}`, `"a>b <c"@${domain.name}`];
    const sent = await world.send({ to, from: '"x>y"@client.test' });
    for (const recipient of to) {
      const answer = await world.answer(sent, { recipient });
      assert.equal(answer.event, 'delivery.delivered', JSON.stringify(answer));
    }
    const [message] = domain.messages;
    assert.deepEqual(message?.recipients.map(({ address }) => address).sort(), [...to].sort());
    assert.equal(message?.mailFrom.address, '"x>y"@client.test');
  });
});

test('a body that is shorter on disk than it was is not delivered', async () => {
  let isBusy = true;
  const domain = await domainWith((_session, { verb }) =>
    verb === 'MAIL' && isBusy ? '451 4.3.0 later' : undefined,
  );
  const sent = await world.send({ to: `a@${domain.name}`, data: LARGE });
  assert.equal((await world.answer(sent)).event, 'delivery.deferred');
  const spool = join(world.relay.dataDir, 'spool');
  truncateSync(join(spool, 'large', `${sent.id}.eml`), 4096);
  isBusy = false;
  await world.relay.stop();
  // Its next attempt is an hour away: as if that had passed, without the records of this one.
  for (const name of readdirSync(spool).filter((one) => one.includes('.segment'))) {
    const path = join(spool, name);
    const octets = readFileSync(path);
    for (let at = octets.indexOf('[{"kind":"attempt"'); at >= 0; ) {
      octets[at] = 0;
      at = octets.indexOf('[{"kind":"attempt"', at + 1);
    }
    writeFileSync(path, octets);
  }
  await world.relay.start();
  const answer = await world.answer(sent);
  assert.equal(answer.event, 'delivery.deferred');
  assert.equal(answer['cause'], 'spool-unreadable');
  assert.equal(domain.messages.length, 0);
});
