import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { formatRfc5322Date } from '../../src/protocol/smtp/date.ts';
import { formatReceived, type TraceFacts } from '../../src/protocol/smtp/trace.ts';

const FACTS: TraceFacts = {
  heloName: 'app.example.net',
  clientAddress: '192.0.2.7',
  byHost: 'relay.example.net',
  protocol: { esmtp: true, tls: false, auth: false, utf8: false },
  id: '01HZX3K9Q2ABCDEF',
  dateMs: Date.UTC(2026, 0, 5, 3, 4, 9),
};
const TLS = { version: 'TLSv1.3', cipher: 'TLS_AES_256_GCM_SHA384' };

describe('formatReceived', () => {
  test('the least there is to say', () => {
    assert.equal(
      formatReceived(FACTS),
      'Received: from app.example.net ([192.0.2.7])\r\n' +
        '\tby relay.example.net with ESMTP id 01HZX3K9Q2ABCDEF;\r\n' +
        '\tMon, 05 Jan 2026 03:04:09 +0000\r\n',
    );
  });

  test('the most', () => {
    const facts: TraceFacts = {
      ...FACTS,
      clientAddress: '2001:db8::7',
      clientHostname: 'app.example.net',
      protocol: { esmtp: true, tls: true, auth: true, utf8: false },
      tls: TLS,
      forRecipient: 'u.ser@bücher.example',
    };
    assert.equal(
      formatReceived(facts),
      'Received: from app.example.net (app.example.net [IPv6:2001:db8::7])\r\n' +
        '\tby relay.example.net with ESMTPSA id 01HZX3K9Q2ABCDEF\r\n' +
        '\tfor <u.ser@xn--bcher-kva.example>\r\n' +
        '\ttls TLS_AES_256_GCM_SHA384 (TLSv1.3);\r\n' +
        '\tMon, 05 Jan 2026 03:04:09 +0000\r\n',
    );
  });

  test('names the protocol', () => {
    const named = (esmtp: boolean, tls: boolean, auth: boolean, utf8: boolean) =>
      / with (\S+) /.exec(formatReceived({ ...FACTS, protocol: { esmtp, tls, auth, utf8 } }))?.[1];
    assert.equal(named(false, false, false, false), 'SMTP');
    assert.equal(named(true, false, false, false), 'ESMTP');
    assert.equal(named(true, true, false, false), 'ESMTPS');
    assert.equal(named(true, false, true, false), 'ESMTPA');
    assert.equal(named(true, true, true, false), 'ESMTPSA');
    assert.equal(named(true, false, false, true), 'UTF8SMTP');
    assert.equal(named(true, true, false, true), 'UTF8SMTPS');
    assert.equal(named(true, false, true, true), 'UTF8SMTPA');
    assert.equal(named(true, true, true, true), 'UTF8SMTPSA');
  });

  /** HELO as given, as written, why. */
  const helos: readonly (readonly [string, string, string])[] = [
    ['HOST_1.example', 'HOST_1.example', 'underscore'],
    ['[192.0.2.9]', '[192.0.2.9]', 'address literal'],
    ['bücher.example', 'xn--bcher-kva.example', 'U-label'],
    ['', 'unknown', 'nothing'],
    ['a\r\nX-Evil: b', 'a??X-Evil:?b', 'line end'],
    ['a) by evil (b; x', 'a??by?evil??b??x', 'clauses'],
    ['ü*"\0\u2028<>', '???????', 'anything else'],
  ];
  for (const [helo, written, why] of helos) {
    test(`HELO with ${why}`, () => {
      const field = formatReceived({ ...FACTS, heloName: helo });
      assert.ok(field.startsWith(`Received: from ${written} ([192.0.2.7])\r\n\tby `), field);
    });
  }

  test('leaves out what it cannot say safely', () => {
    for (const forRecipient of ['', 'postmaster', 'ü@example.com', 'a@b>\r\nX: y@example.com']) {
      assert.equal(formatReceived({ ...FACTS, forRecipient }), formatReceived(FACTS));
    }
    assert.equal(formatReceived({ ...FACTS, clientHostname: 'a (b' }), formatReceived(FACTS));
    assert.match(formatReceived({ ...FACTS, clientAddress: 'x\r\ny' }), / \(unknown\)\r\n/);
    assert.match(
      formatReceived({ ...FACTS, clientAddress: 'fe80::1%eth0' }),
      /\(\[IPv6:fe80::1\]\)/,
    );
  });

  test('a cipher without its IANA name is a comment', () => {
    const field = formatReceived({ ...FACTS, tls: { version: 'TLSv1.2', cipher: 'AES128-SHA' } });
    assert.ok(field.includes('\r\n\t(TLSv1.2 AES128-SHA);\r\n'), field);
  });

  test('is one well-formed field for any facts', () => {
    const text = fc.oneof(
      fc.string({ unit: 'binary', maxLength: 1500 }),
      fc.string({ unit: fc.constantFrom(...'\r\n() ;<>@a.ü"\\') }),
    );
    const facts = fc.record({
      heloName: text,
      clientAddress: text,
      clientHostname: text,
      byHost: text,
      protocol: fc.constant(FACTS.protocol),
      id: text,
      tls: fc.record({ version: text, cipher: text }),
      forRecipient: text,
      dateMs: fc.integer({ min: 0, max: 4e12 }),
    });
    fc.assert(
      fc.property(facts, (any) => {
        const field = formatReceived(any);
        assert.match(
          field,
          /^Received: [\x21-\x7e][\x20-\x7e]*(?:\r\n\t[\x21-\x7e][\x20-\x7e]*)+\r\n$/,
        );
        for (const line of field.split('\r\n')) assert.ok(line.length <= 998);
      }),
      { numRuns: 1000 },
    );
  });
});

test('dates are RFC 5322 in UTC', () => {
  assert.equal(formatRfc5322Date(0), 'Thu, 01 Jan 1970 00:00:00 +0000');
  assert.equal(
    formatRfc5322Date(Date.UTC(2028, 1, 29, 23, 59, 59)),
    'Tue, 29 Feb 2028 23:59:59 +0000',
  );
  assert.throws(() => formatRfc5322Date(Number.NaN), RangeError);
});
