import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { needsSmtpUtf8, parseMailbox, toAsciiDomain } from '../../src/protocol/mailbox.ts';

/** address, local part, domain or literal, why. */
const good: readonly (readonly [string, string, string, string])[] = [
  ['user@example.com', 'user', 'example.com', 'plain'],
  ['User@EXAMPLE.com', 'User', 'example.com', 'case of the local part is kept'],
  ["!#$%&'*+-/=?^_`{|}~@example.com", "!#$%&'*+-/=?^_`{|}~", 'example.com', 'all of atext'],
  ['a..b.@example.com', 'a..b.', 'example.com', 'dots out of place, as some providers hand out'],
  ['"a b@c"@example.com', '"a b@c"', 'example.com', 'quoted, with blank and @'],
  ['"a\\"b"@example.com', '"a\\"b"', 'example.com', 'quoted pair'],
  ['"a>b<"@example.com', '"a>b<"', 'example.com', 'brackets in quotes'],
  ['""@example.com', '""', 'example.com', 'empty quoted string'],
  ['jürgen@example.com', 'jürgen', 'example.com', 'non-ASCII local part'],
  ['"jü r"@example.com', '"jü r"', 'example.com', 'non-ASCII in quotes'],
  ['u@bücher.example', 'u', 'xn--bcher-kva.example', 'U-label'],
  ['u@localhost', 'u', 'localhost', 'single label'],
  ['u@[192.0.2.1]', 'u', '192.0.2.1', 'IPv4 literal'],
  ['u@[IPv6:2001:DB8::1]', 'u', '2001:db8::1', 'IPv6 literal'],
  ['u@[ipv6:::1]', 'u', '::1', 'the tag has no case'],
  [`${'x'.repeat(100)}@example.com`, 'x'.repeat(100), 'example.com', 'local part over 64 octets'],
  [`${'x'.repeat(242)}@example.com`, 'x'.repeat(242), 'example.com', 'path of 256 octets'],
];

/** address, why. */
const bad: readonly (readonly [string, string])[] = [
  ['', 'the null reverse-path'],
  ['postmaster', 'no domain'],
  ['@example.com', 'no local part'],
  ['user@', 'empty domain'],
  ['<user@example.com>', 'angle brackets'],
  ['@relay.example:user@example.com', 'source route'],
  ['a b@example.com', 'blank outside quotes'],
  ['a>b@example.com', 'bracket outside quotes'],
  ['a"b@example.com', 'quote in the middle'],
  ['"a@example.com', 'quote without end'],
  ['"a"b@example.com', 'text after the quote'],
  ['"a"', 'no domain after the quote'],
  ['"a\\"@example.com', 'closing quote escaped'],
  ['a@b@example.com', '@ outside quotes'],
  ['a,b@example.com', 'comma outside quotes'],
  ['a\r\nRCPT TO:<b@example.com', 'line end'],
  ['"a\r\nb"@example.com', 'line end in quotes'],
  ['"a\nb"@example.com', 'LF in quotes'],
  ['"a\0b"@example.com', 'NUL in quotes'],
  ['"a\\\nb"@example.com', 'LF as a quoted pair'],
  ['a\tb@example.com', 'tab'],
  ['a\x7fb@example.com', 'DEL'],
  ['a\u0085b@example.com', 'C1 control'],
  ['a\u2028b@example.com', 'line separator'],
  ['a\ud800@example.com', 'half a surrogate pair'],
  ['u@exa_mple.com', 'no domain'],
  ['u@192.0.2.1', 'address without brackets'],
  ['u@[192.0.2.1', 'no closing bracket'],
  ['u@[192.0.2.1]x', 'text after the bracket'],
  ['u@[192.0.2.256]', 'octet out of range'],
  ['u@[192.0.2.01]', 'leading zero'],
  ['u@[192.0.2]', 'three octets'],
  ['u@[2001:db8::1]', 'IPv6 without its tag'],
  ['u@[IPv6:192.0.2.1]', 'IPv4 with the IPv6 tag'],
  ['u@[IPv6:fe80::1%eth0]', 'zone'],
  ['u@[IPv6:IPv6:::1]', 'tag twice'],
  ['u@[x400:c=us]', 'general literal'],
  ['u@[]', 'empty literal'],
  [`${'x'.repeat(243)}@example.com`, 'path of 257 octets'],
  [`${'ü'.repeat(122)}@example.com`, 'path over 256 octets, not characters'],
];

/** Short enough to take more labels within 253 octets. */
const domainArbitrary = fc.domain().filter((domain) => domain.length <= 200);

describe('parseMailbox', () => {
  for (const [address, localPart, domain, why] of good) {
    test(`takes ${why}`, () => {
      const mailbox = parseMailbox(address);
      assert.ok(mailbox);
      assert.equal(mailbox.localPart, localPart);
      assert.equal(
        mailbox.domain.kind === 'domain' ? mailbox.domain.name : mailbox.domain.address,
        domain,
      );
    });
  }
  for (const [address, why] of bad) {
    test(`refuses ${why}`, () => assert.equal(parseMailbox(address), undefined));
  }

  test('tells the family of a literal', () => {
    const domains = ['u@[192.0.2.1]', 'u@[IPv6:::1]'].map((text) => parseMailbox(text)?.domain);
    assert.deepEqual(domains, [
      { kind: 'literal', address: '192.0.2.1', family: 4 },
      { kind: 'literal', address: '::1', family: 6 },
    ]);
  });

  test('nothing that parses can leave its angle brackets or its line', () => {
    const piece = fc.constantFrom(...'ab."\\@<> \r\n\0ü[]:,(;', 'example.com', '"@', '\u0085');
    const text = fc.oneof(fc.string({ unit: 'binary' }), fc.string({ unit: piece }));
    fc.assert(
      fc.property(text, (address) => {
        const mailbox = parseMailbox(address);
        if (!mailbox) return;
        const { localPart } = mailbox;
        assert.ok(address.startsWith(`${localPart}@`));
        // biome-ignore lint/suspicious/noControlCharactersInRegex: none may survive
        assert.doesNotMatch(address, /[\0-\x1f\x7f]/);
        const outsideQuotes = address.replace(/^"(?:[^"\\]|\\.)*"/, '');
        assert.doesNotMatch(outsideQuotes, /[<> "\\]/);
      }),
      { numRuns: 2000 },
    );
  });

  test('takes apart what was put together', () => {
    const local = fc.stringMatching(/^[a-z0-9.!+=-]{1,40}$/);
    fc.assert(
      fc.property(local, domainArbitrary, (localPart, domain) => {
        const mailbox = parseMailbox(`${localPart}@${domain}`);
        assert.deepEqual(mailbox, {
          localPart,
          domain: { kind: 'domain', name: domain.toLowerCase() },
        });
      }),
    );
  });
});

test('SMTPUTF8 is needed for the local part alone', () => {
  for (const address of ['', 'postmaster', 'u@example.com', 'u@bücher.example', 'u@[192.0.2.1]']) {
    assert.equal(needsSmtpUtf8(address), false, address);
  }
  for (const address of ['ü@example.com', '"ü"@bücher.example', 'ü', 'u@bü_cher.example']) {
    assert.equal(needsSmtpUtf8(address), true, address);
  }
});

test('only a U-label domain is rewritten', () => {
  assert.equal(toAsciiDomain('U.ser@bücher.Example'), 'U.ser@xn--bcher-kva.example');
  assert.equal(toAsciiDomain('ü@bücher.example'), 'ü@xn--bcher-kva.example');
  assert.equal(toAsciiDomain('"a@b"@bücher.example'), '"a@b"@xn--bcher-kva.example');
  for (const address of ['', 'u@EXAMPLE.com', 'u@[192.0.2.1]', 'ü@[192.0.2.1]', 'no mailbox ü']) {
    assert.equal(toAsciiDomain(address), address);
  }
});
