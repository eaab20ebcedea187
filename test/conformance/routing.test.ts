/**
 * Where mail goes (RFC 5321 §5, RFC 7505), with real DNS answers and real MX hosts: what MTA-STS
 * leans on. The pure decisions are tested by routing-vectors.test.ts, too.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { SessionResult } from '../../src/mail/session-result.ts';
import { type Sent, senderWorld } from '../support/sender.ts';

const world = senderWorld();

function failureOf({ outcome }: Sent): readonly [kind: string, status: string, cause: string] {
  assert.ok(outcome.kind !== 'delivered', 'it was delivered');
  const { status, failure } = outcome.diagnosis;
  return [outcome.kind, status, failure.kind === 'local' ? failure.cause : failure.stage];
}

function hostsOf(sessions: readonly SessionResult[]): readonly (string | undefined)[] {
  return sessions.map(({ facts }) => facts.candidate.host);
}

describe('RFC 5321 §5.1 Locating the Target Host', () => {
  test('R186 the MX hosts of the domain are asked for; a CNAME is followed', async () => {
    await using sender = await world.sender();
    const target = await world.domain('r186-target.test');
    world.internet.dns.set('r186.test', 'CNAME', ['r186-target.test'], { ttl: 0 });
    const sent = await sender.send('bob@r186.test');
    assert.deepEqual(hostsOf(sent.sessions), ['mx.r186-target.test']);
    assert.equal(sent.messages[0]?.recipients[0]?.address, 'bob@r186.test');
    assert.equal(target.mx[0]?.messages.length, 1);
  });

  test('R187 a domain that does not exist is a permanent error', async () => {
    await using sender = await world.sender();
    const sent = await sender.send('bob@r187.test');
    assert.deepEqual(failureOf(sent), ['bounced', '5.1.2', 'domain-not-found']);
  });

  for (const behaviour of ['servfail', 'refused', 'garbage'] as const) {
    test(`R188 an MX lookup that fails (${behaviour}) queues the message, addresses or not`, async () => {
      await using sender = await world.sender();
      const name = `r188-${behaviour}.test`;
      const { mx } = await world.domain(name, { mx: [{ host: name }] });
      world.internet.dns.behave(name, 'MX', behaviour);
      const sent = await sender.outlast(name, sender.send(`bob@${name}`));
      assert.deepEqual(failureOf(sent), ['deferred', '4.4.3', 'dns-failed']);
      assert.ok((sent.record.nextAttemptMs ?? 0) > sender.clock.now());
      assert.equal(mx[0]?.sessions.length, 0);
    });
  }

  test('R189 without MX records the domain itself is the host', async () => {
    await using sender = await world.sender();
    await world.domain('r189.test', { mx: [{ host: 'r189.test' }] });
    world.internet.dns.set('r189.test', 'MX', [], { ttl: 0 });
    const sent = await sender.send('bob@r189.test');
    assert.deepEqual(hostsOf(sent.sessions), ['r189.test']);
    assert.equal(sent.messages.length, 1);
  });

  test('R190 with an MX record the addresses of the domain are not used', async () => {
    await using sender = await world.sender();
    const own = await world.internet.mxHost({ host: 'r190.test' });
    await world.domain('r190.test', { mx: [{ host: 'mx.r190.test', down: true }] });
    const sent = await sender.send('bob@r190.test');
    assert.deepEqual(failureOf(sent), ['deferred', '4.4.1', 'connect-refused']);
    assert.equal(own.sessions.length, 0);
  });

  test('R191 MX records that lead nowhere are an error', async () => {
    await using sender = await world.sender();
    await world.domain('r191.test', { mx: [{ host: 'mx.r191.test', noAddress: true }] });
    await world.domain('r191-implicit.test', {
      mx: [{ host: 'r191-implicit.test', noAddress: true }],
    });
    world.internet.dns.set('r191-implicit.test', 'MX', [], { ttl: 0 });
    for (const name of ['r191.test', 'r191-implicit.test']) {
      const sent = await sender.send(`bob@${name}`);
      assert.deepEqual(failureOf(sent), ['bounced', '5.4.4', 'no-usable-mx']);
    }
  });

  test('R192 the lower preference comes first, whatever the order of the answer', async () => {
    await using sender = await world.sender();
    const host = (label: string, preference: number) => {
      return { host: `${label}.r192.test`, preference, down: true };
    };
    await world.domain('r192.test', { mx: [host('c', 30), host('a', 5), host('b', 20)] });
    const sent = await sender.send('bob@r192.test');
    assert.deepEqual(hostsOf(sent.sessions), ['a.r192.test', 'b.r192.test', 'c.r192.test']);
  });

  test('R193 equal preferences are shuffled, anew for each attempt', async () => {
    await using sender = await world.sender();
    const hosts = ['a', 'b', 'c'].map((label) => `${label}.r193.test`);
    const mx = hosts.map((host) => ({ host, preference: 10, down: true }));
    await world.domain('r193.test', { mx });
    const first = new Set<string | undefined>();
    let { id, sessions } = await sender.send('bob@r193.test');
    // Each of three hosts stays away from the first place of 60 attempts once in 10^10 runs.
    for (let n = 1; n < 60; n++) {
      first.add(hostsOf(sessions)[0]);
      ({ sessions } = await sender.attempt(id));
    }
    assert.deepEqual([...first].sort(), hosts);
  });

  test('R194 address after address is tried until one works', async () => {
    await using sender = await world.sender();
    const { mx } = await world.domain('r194.test');
    const { dns, deadAddress } = world.internet;
    const working = mx[0]?.address ?? '';
    dns.set('mx.r194.test', 'A', [deadAddress, working], { ttl: 0 });
    const sent = await sender.send('bob@r194.test');
    assert.deepEqual(
      sent.sessions.map(({ facts }) => facts.address),
      [deadAddress, working],
    );
    assert.equal(sent.messages.length, 1);
  });

  test('R195 the addresses of a host are tried in the order of the answer', async () => {
    await using sender = await world.sender();
    const { network, dns } = world.internet;
    const addresses = ['7', '5', '6', '4'].map((last) => `${network}.${last}`);
    await world.domain('r195.test', { mx: [{ host: 'mx.r195.test', down: true }] });
    dns.set('mx.r195.test', 'A', addresses, { ttl: 0 });
    const sent = await sender.send('bob@r195.test');
    assert.deepEqual(
      sent.sessions.map(({ facts }) => facts.address),
      addresses,
    );
  });

  test('R196 where we stand in the list ourselves, we and all behind us are left out', async () => {
    await using sender = await world.sender({ settings: { hostname: 'own.r196.test' } });
    const host = (label: string, preference: number) => {
      return { host: `${label}.r196.test`, preference, down: true };
    };
    const mx = [host('before', 10), host('own', 20), host('beside', 20), host('behind', 30)];
    await world.domain('r196.test', { mx });
    const sent = await sender.send('bob@r196.test');
    assert.deepEqual(hostsOf(sent.sessions), ['before.r196.test']);
    await world.domain('r196-alone.test', { mx: mx.slice(1) });
    const alone = await sender.send('bob@r196-alone.test');
    assert.deepEqual(failureOf(alone), ['bounced', '5.4.6', 'mail-loops-back']);
  });

  test('R197 a CNAME as MX target is followed, and keeps the name of the record', async () => {
    await using sender = await world.sender();
    await world.domain('r197.test', { mx: [{ host: 'real.r197.test' }] });
    const { dns } = world.internet;
    dns.set('r197.test', 'MX', [{ preference: 10, exchange: 'alias.r197.test' }], { ttl: 0 });
    dns.set('alias.r197.test', 'CNAME', ['real.r197.test'], { ttl: 0 });
    const sent = await sender.send('bob@r197.test');
    assert.deepEqual(hostsOf(sent.sessions), ['alias.r197.test']);
    assert.equal(sent.messages[0]?.tls?.serverName, 'alias.r197.test');
  });

  test('R198 a domain of one label is asked for as it is, and nothing is put behind it', async () => {
    await using sender = await world.sender();
    const before = world.internet.dns.queries.length;
    const sent = await sender.send('bob@r198');
    assert.deepEqual(failureOf(sent), ['bounced', '5.1.2', 'domain-not-found']);
    const asked = world.internet.dns.queries.slice(before).map(({ name }) => name);
    assert.deepEqual(
      asked.filter((name) => name.includes('r198.')),
      [],
    );
    assert.ok(asked.includes('r198'));
  });
});

describe('RFC 5321 §4.1.3 Address Literals', () => {
  test('R199 an address literal is connected to, and no MX is asked for', async () => {
    await using sender = await world.sender();
    const { mx } = await world.domain('r199.test');
    const before = world.internet.dns.queries.length;
    const sent = await sender.send(`bob@[${mx[0]?.address}]`);
    assert.equal(sent.messages.length, 1);
    assert.equal(world.internet.dns.queries.length, before);
  });
});

describe('RFC 7505 null MX', () => {
  test('R237 a null MX is a permanent failure at once, and addresses are not looked at', async () => {
    await using sender = await world.sender();
    const own = await world.internet.mxHost({ host: 'r237.test' });
    await world.domain('r237.test', { mx: [], nullMx: true });
    const sent = await sender.send('bob@r237.test');
    assert.deepEqual(failureOf(sent), ['bounced', '5.1.10', 'null-mx']);
    assert.equal(sent.record.nextAttemptMs, undefined);
    assert.equal(own.sessions.length, 0);
    assert.deepEqual(world.internet.dns.queriesFor('r237.test', 'A'), []);
  });

  test('R238 the bounce about a null MX says 5.1.10', async () => {
    await using sender = await world.sender();
    await world.domain('r238.test', { mx: [], nullMx: true });
    const { record } = await sender.send('bob@r238.test');
    assert.equal(record.bounced[0]?.failure.status, '5.1.10');
  });

  test('R239 a "." beside real hosts is passed over', async () => {
    await using sender = await world.sender();
    await world.domain('r239.test');
    const records = [
      { preference: 0, exchange: '.' },
      { preference: 10, exchange: 'mx.r239.test' },
    ];
    world.internet.dns.set('r239.test', 'MX', records, { ttl: 0 });
    const sent = await sender.send('bob@r239.test');
    assert.deepEqual(hostsOf(sent.sessions), ['mx.r239.test']);
    assert.equal(sent.messages.length, 1);
  });

  test('R240 a lone "." is no host at any preference', async () => {
    await using sender = await world.sender();
    world.internet.dns.set('r240.test', 'MX', [{ preference: 10, exchange: '.' }], { ttl: 0 });
    const sent = await sender.send('bob@r240.test');
    assert.deepEqual(failureOf(sent), ['bounced', '5.1.10', 'null-mx']);
  });
});
