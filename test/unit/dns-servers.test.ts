/** Which DNS servers are asked and whose AD bit counts. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import {
  believesAd,
  chooseServers,
  formatServer,
  parseResolvConf,
  parseServerAddress,
  serversToAsk,
} from '../../src/platform/dns/servers.ts';
import { tempDir } from '../support/temp-dir.ts';

describe('server addresses', () => {
  const good: readonly [string, string][] = [
    ['127.0.0.1', '127.0.0.1:53'],
    ['127.0.0.1:5353', '127.0.0.1:5353'],
    ['::1', '[::1]:53'],
    ['[::1]', '[::1]:53'],
    ['[::1]:5353', '[::1]:5353'],
    ['[fe80::1%eth0]:53', '[fe80::1%eth0]:53'],
    ['2001:db8::1', '[2001:db8::1]:53'],
  ];
  for (const [text, expected] of good) {
    test(text, () => {
      const server = parseServerAddress(text);
      assert.ok(server !== undefined);
      assert.equal(formatServer(server), expected);
    });
  }
  const bad = [
    '',
    'localhost',
    'dns.example:53',
    '127.0.0.1:',
    '127.0.0.1:0',
    '127.0.0.1:65536',
    '127.0.0.1:5x',
    '[127.0.0.1]:53',
    '127.1',
    '[::1',
    '[::1]53',
    ' 127.0.0.1',
  ];
  for (const text of bad) {
    test(`not: ${JSON.stringify(text)}`, () => assert.equal(parseServerAddress(text), undefined));
  }
});

describe('choosing', () => {
  test('the configured ones, in order', () => {
    assert.deepEqual(chooseServers(['192.0.2.1:54', '::1'], '/does/not/exist'), [
      { address: '192.0.2.1', port: 54 },
      { address: '::1', port: 53 },
    ]);
  });

  test('a configured one that cannot be read is an error', () => {
    assert.throws(() => chooseServers(['127.0.0.1', 'dns.example']), /dns\.example/);
  });

  test('else those of resolv.conf', () => {
    using dir = tempDir();
    writeFileSync(dir.file('resolv.conf'), 'search a.test\nnameserver 192.0.2.53\n');
    assert.deepEqual(chooseServers([], dir.file('resolv.conf')), [
      { address: '192.0.2.53', port: 53 },
    ]);
  });

  test('else the one on this machine', () => {
    assert.deepEqual(chooseServers([], '/does/not/exist'), [{ address: '127.0.0.1', port: 53 }]);
  });

  test('resolv.conf as people write it', () => {
    const text = [
      '# nameserver 192.0.2.1',
      '; nameserver 192.0.2.2',
      'nameserver 192.0.2.3   # the good one',
      '\tnameserver\t2001:db8::4\r',
      'nameserver fe80::5%eth0',
      'nameserver dns.example',
      'nameserver',
      'nameservers 192.0.2.6',
      'options edns0 trust-ad',
    ].join('\n');
    assert.deepEqual(
      parseResolvConf(text).map(({ address }) => address),
      ['192.0.2.3', '2001:db8::4', 'fe80::5%eth0'],
    );
    assert.equal(parseResolvConf('nameserver 192.0.2.1\n'.repeat(100)).length, 8);
  });
});

describe('whose AD bit is believed', () => {
  const cases: readonly [string, boolean][] = [
    ['127.0.0.1', true],
    ['127.0.0.53', true],
    ['127.0.0.11', false],
    ['::1', true],
    ['192.0.2.1', false],
    ['10.0.0.1', false],
    ['2001:db8::1', false],
    ['::ffff:127.0.0.1', false],
  ];
  for (const [address, auto] of cases) {
    test(address, () => {
      const server = { address, port: 53 };
      assert.equal(believesAd(server, 'auto'), auto);
      assert.equal(believesAd(server, 'always'), true);
      assert.equal(believesAd(server, 'never'), false);
    });
  }
});

test('beside a server that is believed no other one is asked', () => {
  const [local, other, forwarder] = [
    { address: '127.0.0.1', port: 53 },
    { address: '192.0.2.1', port: 53 },
    { address: '127.0.0.11', port: 53 },
  ];
  assert.deepEqual(serversToAsk([other, local, forwarder], 'auto'), [local]);
  assert.deepEqual(serversToAsk([other, forwarder], 'auto'), [other, forwarder]);
  assert.deepEqual(serversToAsk([local, other], 'always'), [local, other]);
  assert.deepEqual(serversToAsk([local, other], 'never'), [local, other]);
});
