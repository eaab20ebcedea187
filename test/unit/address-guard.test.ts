/** The address guard: a table of every kind of address, and that exceptions except no more than they say. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { createAddressGuard } from '../../src/platform/address-guard.ts';

const strict = createAddressGuard(false);

describe('let through', () => {
  const good = [
    '8.8.8.8',
    '1.0.0.1',
    '100.63.255.255',
    '100.128.0.1',
    '172.15.0.1',
    '172.32.0.1',
    '192.167.1.1',
    '223.255.255.254',
    '2606:4700:4700::1111',
    '2A00:1450:4001:0:0:0:0:1',
    '64:ff9b::8.8.8.8',
    '2002:808:808::1',
  ];
  for (const address of good) {
    test(address, () => assert.deepEqual(strict.check(address), { ok: true }));
  }
});

describe('refused', () => {
  const bad: readonly [string, RegExp][] = [
    ['127.0.0.1', /loopback/],
    ['127.255.255.255', /loopback/],
    ['10.0.0.1', /private/],
    ['172.16.0.1', /private/],
    ['172.31.255.255', /private/],
    ['192.168.1.1', /private/],
    ['169.254.169.254', /link-local/],
    ['100.64.0.1', /carrier-grade/],
    ['100.127.255.255', /carrier-grade/],
    ['0.0.0.0', /unspecified/],
    ['0.1.2.3', /unspecified/],
    ['224.0.0.1', /multicast/],
    ['239.255.255.255', /multicast/],
    ['255.255.255.255', /broadcast/],
    ['240.0.0.1', /reserved/],
    ['192.0.0.1', /reserved/],
    ['192.0.2.1', /reserved/],
    ['198.18.0.1', /reserved/],
    ['198.51.100.1', /reserved/],
    ['203.0.113.1', /reserved/],
    ['::', /unspecified/],
    ['::1', /loopback/],
    ['0:0:0:0:0:0:0:1', /loopback/],
    // ipaddr.js takes this old spelling (IPv4-compatible) for IPv4-mapped; refused either way.
    ['::127.0.0.1', /mapped/],
    ['::8.8.8.8', /mapped/],
    ['::808:808', /global/],
    ['::ffff:127.0.0.1', /mapped/],
    ['::ffff:8.8.8.8', /mapped/],
    ['::ffff:7f00:1', /mapped/],
    ['::ffff:0:8.8.8.8', /translated/],
    ['fe80::1', /link-local/],
    ['febf::1', /link-local/],
    ['fec0::1', /site-local/],
    ['fc00::1', /unique local/],
    ['fd12:3456::1', /unique local/],
    ['ff02::1', /multicast/],
    ['100::1', /discard/],
    ['2001:db8::1', /reserved/],
    ['2001:2::1', /benchmarking/],
    ['5f00::1', /segmentRouting|global/],
    ['4000::1', /global/],
    ['64:ff9b::10.0.0.1', /private address inside/],
    ['64:ff9b::7f00:1', /loopback address inside/],
    ['64:ff9b::a9fe:a9fe', /link-local address inside/],
    ['64:ff9b:1::8.8.8.8', /local-use/],
    ['2002:7f00:1::1', /loopback address inside/],
    ['2002:c0a8:101::', /private address inside/],
    // Teredo: server 8.8.8.8, client 10.0.0.1, and the other way round.
    ['2001:0:808:808::f5ff:fffe', /private address inside/],
    ['2001:0:a00:1::f7f7:f7f7', /private address inside/],
    ['fe80::1%eth0', /usual form/],
    ['2606:4700::1%eth0', /usual form/],
    ['0177.0.0.1', /usual form/],
    ['010.8.8.8', /usual form/],
    ['0x8.8.8.8', /usual form/],
    ['8.8.8', /usual form/],
    ['134744072', /usual form/],
    ['8.8.8.8 ', /usual form/],
    ['8.8.8.8/32', /usual form/],
    ['[::1]', /usual form/],
    ['localhost', /usual form/],
    ['', /usual form/],
  ];
  for (const [address, reason] of bad) {
    test(JSON.stringify(address), () => {
      const verdict = strict.check(address);
      assert.equal(verdict.ok, false);
      assert.match(verdict.ok ? '' : verdict.reason, reason);
    });
  }
});

describe('exceptions', () => {
  test('all of them, but for addresses written strangely', () => {
    const open = createAddressGuard(true);
    for (const address of ['127.0.0.1', '10.0.0.1', '::1', 'fe80::1']) {
      assert.equal(open.check(address).ok, true, address);
    }
    for (const address of ['fe80::1%eth0', '0177.0.0.1', '127.1']) {
      assert.equal(open.check(address).ok, false, address);
    }
  });

  test('by network and by address', () => {
    const guard = createAddressGuard(['10.1.0.0/16', '127.0.0.2', 'fd00:1::/32', '::1']);
    for (const address of ['10.1.255.1', '127.0.0.2', 'fd00:1:2::3', '::1', '8.8.8.8']) {
      assert.equal(guard.check(address, 'any.test').ok, true, address);
    }
    for (const address of ['10.2.0.1', '127.0.0.1', 'fd00:2::1', '::ffff:10.1.0.1', '::']) {
      assert.equal(guard.check(address, 'any.test').ok, false, address);
    }
  });

  test('by domain, subdomains included', () => {
    const guard = createAddressGuard(['Partner.test.']);
    const ok = (domain?: string) => guard.check('10.0.0.1', domain).ok;
    assert.equal(ok('partner.test'), true);
    assert.equal(ok('mx.PARTNER.test'), true);
    assert.equal(ok('notpartner.test'), false);
    assert.equal(ok('partner.test.evil'), false);
    assert.equal(ok('test'), false);
    assert.equal(ok(), false);
  });

  for (const entry of ['10.0.0.0/33', '10.0.0/8', '010.0.0.0/8', '10.0.0.0/', '*.test', '']) {
    test(`not an exception: ${JSON.stringify(entry)}`, () => {
      assert.throws(() => createAddressGuard(['10.0.0.0/8', entry]), /neither/);
    });
  }
});

describe('properties', () => {
  test('any text gets a verdict', () => {
    const text = fc.oneof(fc.string(), fc.ipV4Extended(), fc.ipV6(), fc.ipV4());
    fc.assert(
      fc.property(text, (address) => {
        assert.equal(typeof strict.check(address).ok, 'boolean');
      }),
    );
  });

  test('an IPv4 address is no better inside IPv6 than by itself', () => {
    const octet = fc.nat(255);
    fc.assert(
      fc.property(fc.tuple(octet, octet, octet, octet), (octets) => {
        const plain = strict.check(octets.join('.')).ok;
        const hex = Buffer.from(octets).toString('hex');
        const flipped = Buffer.from(octets.map((value) => value ^ 0xff)).toString('hex');
        const [high, low] = [hex.slice(0, 4), hex.slice(4)];
        assert.equal(strict.check(`64:ff9b::${high}:${low}`).ok, plain);
        assert.equal(strict.check(`2002:${high}:${low}::1`).ok, plain);
        const teredo = `2001:0:808:808::${flipped.slice(0, 4)}:${flipped.slice(4)}`;
        assert.equal(strict.check(teredo).ok, plain);
        assert.equal(strict.check(`::ffff:${high}:${low}`).ok, false);
        assert.equal(strict.check(`::${high}:${low}`).ok, false);
      }),
      { numRuns: 500 },
    );
  });

  test('nothing inside the private networks passes', () => {
    const inside = fc.tuple(
      fc.constantFrom([10, 8], [127, 8], [0, 8]).map(([first = 0]) => first),
      fc.nat(255),
      fc.nat(255),
      fc.nat(255),
    );
    fc.assert(fc.property(inside, (octets) => !strict.check(octets.join('.')).ok));
  });
});
