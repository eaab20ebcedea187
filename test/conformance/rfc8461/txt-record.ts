/**
 * RFC 8461 §3.1: the TXT record, read from octets (R007, R009 to R017) and asked for in DNS.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { discoverRecord } from '../../../src/protocol/mta-sts/record.ts';
import type { Behaviour } from '../../support/dns-server.ts';
import type { SenderWorld } from '../../support/sender.ts';
import { assertDeferred, assertDelivered } from './outcomes.ts';

const ID = '20160831085700Z';

/** What is found in TXT RRs, each of one character-string or several: the id, or why there is none. */
function found(...rrs: readonly (string | readonly string[])[]): string {
  const strings = rrs.map((rr) => (typeof rr === 'string' ? [rr] : rr));
  const records = strings.map((parts) => parts.map((part) => Buffer.from(part, 'latin1')));
  const discovery = discoverRecord(records);
  return discovery.kind === 'record' ? discovery.id : discovery.reason;
}

/** The record that is read. */
export function txtRecordSyntax(): void {
  test('R007 the character-strings of one record are joined with nothing in between', () => {
    assert.equal(found(['v=STSv1; id=2016', '0831085700Z;']), ID);
    assert.equal(found(['v=ST', 'Sv1;', ` id=${ID};`]), ID);
    assert.equal(found(['v=STSv1; id=a b', 'c;']), 'syntax');
  });

  test('R009 more than one TXT record: those not beginning with v=STSv1; are dropped before counting', () => {
    assert.equal(found('v=spf1 -all', `v=STSv1; id=${ID};`, 'verification=1'), ID);
    assert.equal(found(`v=STSv1; id=${ID};`, 'v=STSv2; id=2;'), ID);
    assert.equal(found(`v=STSv1; id=${ID};`, ' v=STSv1; id=2;', 'V=STSv1; id=3;'), ID);
    // A blank before the delimiter is grammatical, but these octets do not begin with `v=STSv1;`.
    assert.equal(found(`v=STSv1; id=${ID};`, 'v=STSv1 ; id=2;'), ID);
  });

  test('R010 none or more than one is left: there is no record', () => {
    assert.equal(found(), 'no-record');
    assert.equal(found('v=spf1 -all', 'verification=1'), 'no-record');
    assert.equal(found('v=STSv1; id=1;', 'v=STSv1; id=2;'), 'multiple');
    assert.equal(found('v=STSv1; id=1;', 'v=STSv1; id=1;'), 'multiple');
    assert.equal(found('v=STSv1; id=1;', 'v=STSv1;'), 'multiple');
  });

  test('R011 the one that is left breaks the grammar: there is no record', () => {
    for (const text of ['v=STSv1;', 'v=STSv1; id;', 'v=STSv1; id=1; x', 'v=STSv1; id=1; =2']) {
      assert.equal(found(text), 'syntax', text);
      assert.equal(found('v=spf1 -all', text), 'syntax', text);
    }
  });

  test('R012 the version comes first, in this case', () => {
    for (const text of ['v=STSv2; id=1;', 'V=STSv1; id=1;', 'v=stsv1; id=1;', ' v=STSv1; id=1;']) {
      assert.equal(found(text), 'no-record', text);
    }
    for (const text of [
      'id=1; v=STSv1;',
      'v = STSv1; id=1;',
      '"v=STSv1; id=1;"',
      'v=STSv10; id=1;',
    ]) {
      assert.equal(found(text), 'no-record', text);
    }
  });

  test('R013 the id has 1 to 32 letters and digits', () => {
    const longest = 'aZ09'.repeat(8);
    assert.equal(found('v=STSv1; id=0;'), '0');
    assert.equal(found(`v=STSv1; id=${longest};`), longest);
    for (const id of ['', `${longest}a`, '2016-08-31', '2016_08', '1.0', '"1"', 'é', '1=2']) {
      assert.equal(found(`v=STSv1; id=${id};`), 'syntax', id);
    }
    assert.equal(found('v=STSv1; ID=1;'), 'syntax');
  });

  test('R014 fields are apart by a semicolon with blanks around it; one may end the record', () => {
    const good = ['v=STSv1;id=1', 'v=STSv1;id=1;', 'v=STSv1 ;\tid=1 \t; x=y', 'v=STSv1; id=1; '];
    for (const text of good) assert.equal(found(text), '1', text);
    const bad = [
      'v=STSv1; id=1;;',
      'v=STSv1;; id=1;',
      'v=STSv1; id=1; ;',
      'v=STSv1; id=1 ',
      'v=STSv1; id =1;',
    ];
    for (const text of bad) assert.equal(found(text), 'syntax', text);
    for (const text of ['v=STSv1, id=1', 'v=STSv1 id=1;'])
      assert.equal(found(text), 'no-record', text);
  });

  test('R015 unknown fields are ignored when they are well-formed, and break the record when not', () => {
    const good = ['x=y', 'a_b-c.d=!"#$%', `${'n'.repeat(32)}=v`, '9=9', 'mode=enforce', 'Id=z'];
    for (const field of good) {
      assert.equal(found(`v=STSv1; ${field}; id=1;`), '1', field);
      assert.equal(found(`v=STSv1; id=1; ${field}`), '1', field);
    }
    const bad = [
      'x',
      'x=',
      '=y',
      '_x=y',
      '-x=y',
      `${'n'.repeat(33)}=v`,
      'x=a b',
      'x=a=b',
      'x=\x7f',
      'é=y',
    ];
    for (const field of bad) assert.equal(found(`v=STSv1; id=1; ${field};`), 'syntax', field);
  });

  test('R016 of two ids the first counts', () => {
    assert.equal(found('v=STSv1; id=1; id=2;'), '1');
    assert.equal(found('v=STSv1; id=1; id=not/an/id;'), '1');
    assert.equal(found('v=STSv1; id=not/an/id; id=1;'), 'syntax');
  });

  test('R017 a record is US-ASCII', () => {
    for (const text of ['v=STSv1; id=1\xe9;', 'v=STSv1; id=1; x=\x80;', 'v=STSv1; id=1;\xa0']) {
      assert.equal(found(text), 'syntax', text);
    }
    assert.equal(found('\xef\xbb\xbfv=STSv1; id=1;'), 'no-record');
  });
}

/** The record that is asked for. */
export function txtRecordDiscovery(world: SenderWorld): void {
  test('R006 the record is asked for at _mta-sts.<policy domain>, as TXT', async () => {
    await using sender = await world.sender();
    await world.domain('r006.test', { sts: {} });
    await sender.send('bob@r006.test');
    const { dns } = world.internet;
    assert.equal(dns.queriesFor('_mta-sts.r006.test').length, 1);
    assert.equal(dns.queriesFor('_mta-sts.r006.test', 'TXT').length, 1);
  });

  test('R008 a chain of CNAMEs leads to the record of a provider', async () => {
    await using sender = await world.sender();
    const certificate = 'self-signed' as const;
    await world.domain('r008.test', { mx: [{ host: 'mx.r008.test', certificate }], sts: {} });
    const { dns } = world.internet;
    dns.remove('_mta-sts.r008.test');
    dns.set('_mta-sts.r008.test', 'CNAME', ['_mta-sts.r008-middle.test'], { ttl: 0 });
    dns.set('_mta-sts.r008-middle.test', 'CNAME', ['r008.provider.test'], { ttl: 0 });
    dns.set('r008.provider.test', 'TXT', ['v=STSv1; id=delegated;'], { ttl: 0 });
    const sent = await sender.send('bob@r008.test');
    assertDeferred(sent, 'certificate-self-signed');
    const { source } = sent.sessions[0]?.facts.requirement ?? {};
    assert.equal(source?.kind === 'mta-sts' && source.policyId, 'delegated');
  });

  const unusable = [
    ['R010 two records', ['v=STSv1; id=1;', 'v=STSv1; id=2;']],
    ['R011 a malformed record', ['v=STSv1; id=not/an/id;']],
  ] as const;
  for (const [n, [title, stsTxt]] of unusable.entries()) {
    test(`${title}: no policy is fetched, and mail goes as without one`, async () => {
      await using sender = await world.sender();
      const name = `unusable-${n}.test`;
      const mx = [{ host: `mx.${name}`, certificate: 'self-signed' as const }];
      const { policyHostName } = await world.domain(name, { mx, sts: {}, stsTxt });
      assertDelivered(await sender.send(`bob@${name}`), 'unauthenticated');
      assert.equal(world.internet.policyHost.requestsFor(policyHostName).length, 0);
    });
  }

  const brokenRecords = [
    ['vanishes', []],
    ['breaks', ['v=STSv1; id=;']],
    ['is there twice', ['v=STSv1; id=1;', 'v=STSv1; id=2;']],
    ['turns into another version', ['v=STSv2; id=1;']],
  ] as const;
  for (const [n, [what, records]] of brokenRecords.entries()) {
    test(`R018 the record ${what}: the policy in force stays`, async () => {
      await using sender = await world.sender();
      const name = `r018-${n}.test`;
      const { mx } = await world.domain(name, { sts: {} });
      assertDelivered(await sender.send(`bob@${name}`), 'verified');
      mx[0]?.change({ startTls: 'off' });
      world.internet.dns.set(`_mta-sts.${name}`, 'TXT', records, { ttl: 0 });
      assertDeferred(await sender.send(`bob@${name}`), 'starttls-not-offered');
      assert.equal(mx[0]?.messages.length, 1);
    });
  }

  const failures: readonly Behaviour['kind'][] = ['servfail', 'refused', 'timeout', 'garbage'];
  for (const kind of failures) {
    test(`R019 the look-up fails (${kind}): the policy in force stays`, async () => {
      await using sender = await world.sender();
      const name = `r019-${kind}.test`;
      const { mx } = await world.domain(name, { sts: {} });
      assertDelivered(await sender.send(`bob@${name}`), 'verified');
      mx[0]?.change({ startTls: 'off' });
      world.internet.dns.behave(`_mta-sts.${name}`, 'TXT', kind);
      const sent = await sender.outlast(`_mta-sts.${name}`, sender.send(`bob@${name}`));
      assertDeferred(sent, 'starttls-not-offered');
    });
  }

  test('R019 the look-up fails and nothing is in force: the mail waits, and it is looked up again', async () => {
    await using sender = await world.sender();
    const { mx } = await world.domain('r019.test', { sts: {} });
    const { dns } = world.internet;
    dns.behave('_mta-sts.r019.test', 'TXT', 'servfail');
    const sent = await sender.send('bob@r019.test');
    assertDeferred(sent, 'policy-unknown');
    assert.equal(mx[0]?.sessions.length, 0);
    dns.behave('_mta-sts.r019.test', 'TXT', undefined);
    const again = await sender.attempt(sent.id);
    assertDelivered(again, 'verified');
  });

  test('R020 the same id: nothing is fetched; another one, higher or lower: the policy is fetched', async () => {
    await using sender = await world.sender();
    const domain = await world.domain('r020.test', { sts: { id: '20200202' } });
    const fetches = () => world.internet.policyHost.requestsFor(domain.policyHostName).length;
    await sender.send('bob@r020.test');
    await sender.send('bob@r020.test');
    assert.equal(fetches(), 1);
    for (const id of ['20190101', '20210101', 'again']) {
      const before = fetches();
      await domain.publishSts({ id });
      const sent = await sender.send('bob@r020.test');
      assert.equal(fetches(), before + 1, id);
      const { source } = sent.sessions[0]?.facts.requirement ?? {};
      assert.equal(source?.kind === 'mta-sts' && source.policyId, id);
    }
  });
}
