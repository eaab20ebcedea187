/**
 * What a DKIM signer reads of a message: the header as it streams by, whose message it is, who signed it
 * before; and which files hold a key.
 */
import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { authorOf } from '../../src/dkim/author.ts';
import {
  HeaderGatherer,
  MOST_HEADER_OCTETS,
  signingDomainOf,
} from '../../src/protocol/dkim/header.ts';
import { parseSigningKey } from '../../src/protocol/dkim/signing-key.ts';

/** All of a message, cut into pieces at `cuts`. */
function gather(message: Buffer, cuts: readonly number[] = []) {
  const gatherer = new HeaderGatherer();
  const body: Buffer[] = [];
  let isBody = false;
  const places = [0, ...[...cuts].sort((a, b) => a - b), message.length];
  for (const [i, from] of places.slice(0, -1).entries()) {
    const chunk = message.subarray(from, places[i + 1]);
    const rest: Buffer | undefined = isBody ? chunk : gatherer.push(chunk);
    isBody ||= rest !== undefined;
    if (rest) body.push(rest);
  }
  return { ...gatherer.header(), body: Buffer.concat(body), isBody };
}

describe('the header of a message', () => {
  const good: readonly (readonly [string, readonly string[], string, string])[] = [
    ['A: 1\r\nB: 2\r\n\r\nbody\r\n', ['a|A: 1', 'b|B: 2'], 'body\r\n', 'fields and body'],
    ['A: 1\r\n 2\r\n\t3\r\n\r\n', ['a|A: 1\r\n 2\r\n\t3'], '', 'folds belong to their field'],
    ['From a@b.test Mon Jan  1 00:00:00 2026\r\nA: 1\r\n\r\n', ['a|A: 1'], '', 'an mbox line'],
    ['A b: 1\r\n\xe4: 2\r\nA: 1\r\n\r\n', ['a|A: 1'], '', 'names that are none'],
    ['A \t: 1\r\n\r\n', ['a|A \t: 1'], '', 'blanks before the colon'],
    ['\r\nA: no field\r\n\r\n', [], 'A: no field\r\n\r\n', 'a message that begins with its body'],
    ['no colon\r\n: no name\r\nA: 1\r\n\r\n', ['a|A: 1'], '', 'lines that are no fields'],
    [' blank first\r\nA: 1\r\n\r\n', ['a|A: 1'], '', 'a fold of nothing'],
    ['A: \xff\x80\r\n\r\n\xff', ['a|A: \xff\x80'], '\xff', 'octets stay octets'],
    ['A: x\r\n\r\n\r\nb', ['a|A: x'], '\r\nb', 'the first empty line ends it'],
  ];
  for (const [message, fields, body, why] of good) {
    test(why, () => {
      const found = gather(Buffer.from(message, 'latin1'));
      assert.deepEqual(
        found.fields.map(({ key, line }) => `${key}|${line}`),
        fields,
      );
      assert.equal(found.body.toString('latin1'), body);
      assert.equal(found.isBody, true);
    });
  }

  test('without an empty line it is all header', () => {
    const found = gather(Buffer.from('A: 1\r\nB: 2\r\n'));
    assert.equal(found.isBody, false);
    assert.deepEqual(
      found.fields.map(({ key }) => key),
      ['a', 'b'],
    );
  });

  test('is the same however it comes', () => {
    const part = fc.constantFrom('\r\n', 'A: ', 'b', ' ', '\r', '\n', ':', '\r\n\r\n');
    fc.assert(
      fc.property(fc.array(part, { maxLength: 12 }), fc.array(fc.nat(40)), (parts, cuts) => {
        const message = Buffer.from(parts.join(''));
        const whole = gather(message);
        const cut = gather(
          message,
          cuts.map((place) => Math.min(place, message.length)),
        );
        assert.deepEqual(cut.fields, whole.fields);
        assert.deepEqual([cut.body, cut.isBody], [whole.body, whole.isBody]);
      }),
    );
  });

  test('is given up where it is too large, with what was complete until then', () => {
    const gatherer = new HeaderGatherer();
    gatherer.push(Buffer.from('From: a@example.net\r\n'));
    const piece = Buffer.from(`X: ${'x'.repeat(1000)}\r\n`);
    for (let octets = 0; octets <= MOST_HEADER_OCTETS; octets += piece.length) {
      assert.equal(gatherer.push(piece), undefined);
    }
    assert.equal(gatherer.isTooLarge, true);
    assert.equal(gatherer.push(Buffer.from('\r\n\r\n')), undefined);
    const { fields } = gatherer.header();
    assert.deepEqual(fields.length, 1 + Math.floor((MOST_HEADER_OCTETS - 21) / piece.length));
    assert.deepEqual(fields.at(-1), { key: 'x', line: piece.toString().trim() });
  });

  test('octets that come one by one cost no more than time', () => {
    const gatherer = new HeaderGatherer();
    const octet = Buffer.from('x');
    const beganMs = performance.now();
    for (let i = 0; i < MOST_HEADER_OCTETS; i++) gatherer.push(octet);
    assert.ok(performance.now() - beganMs < 5000, 'a hundred thousand octets');
  });
});

describe('the author', () => {
  const header = (...lines: readonly string[]) =>
    gather(Buffer.from(`${lines.join('\r\n')}\r\n\r\n`)).fields;
  const good: readonly (readonly [string, string, string])[] = [
    ['From: a@example.net', 'example.net', 'bare'],
    ['FROM : A Name <a@Example.NET>', 'example.net', 'with a name, in any case'],
    ['From: "x@other.test" <a@example.net>', 'example.net', 'a name that looks like an address'],
    ['From: a@example.net (b@other.test)', 'example.net', 'a comment'],
    ['From: =?utf-8?q?a=40other.test?=\r\n <a@example.net>', 'example.net', 'folded, encoded name'],
    ['From: jörg@bücher.test', 'xn--bcher-kva.test', 'an international address'],
    ['From: "a b"@example.net', 'example.net', 'a quoted local part'],
    ['From: J. R. ö "x, y" <a@example.net>', 'example.net', 'dots, UTF-8 and quotes in a name'],
    ['From:\r\n\t<a@example.net>\r\n ', 'example.net', 'folds around it'],
  ];
  for (const [from, domain, why] of good) {
    test(why, () => assert.equal(authorOf(header('To: b@x.test', from))?.domain, domain));
  }
  const none: readonly (readonly [readonly string[], string])[] = [
    [['To: b@x.test'], 'no From'],
    [['From: a@example.net', 'From: b@example.net'], 'two From fields'],
    [['From: a@example.net, b@example.net'], 'two authors'],
    [['From: x: a@example.net, b@other.test;'], 'a group of two'],
    [['From: undisclosed:;'], 'an empty group'],
    [['From: a'], 'no domain'],
    [['From: a@[192.0.2.1]'], 'an address literal'],
    [['From: '], 'nothing'],
    [[`From: ${'x'.repeat(3000)} <a@example.net>`], 'more than anybody reads'],
    [['From: a@sen\x01der.test'], 'a control character'],
    [['From: a@example.net.'], 'a dot behind the domain'],
  ];
  for (const [lines, why] of none) {
    test(`${why}: nobody`, () => assert.equal(authorOf(header(...lines)), undefined));
  }
});

test('an author in eight bits that are not UTF-8: nobody', () => {
  const from = (octets: string) => gather(Buffer.from(`From: ${octets}\r\n\r\n`, 'latin1')).fields;
  assert.equal(authorOf(from('J\xc3\xb6rg <a@example.net>'))?.address, 'a@example.net');
  assert.equal(authorOf(from('J\xf6rg <a@example.net>')), undefined);
});

describe('who signed before', () => {
  const cases: readonly (readonly [string, string | undefined])[] = [
    ['v=1; d=example.net; s=x', 'example.net'],
    ['v=1;d=Example.NET;s=x', 'example.net'],
    ['v=1; s=d; bh=d=no; d\r\n =\r\n\texample.net.', 'example.net'],
    ['v=1; s=x; dd=example.net', undefined],
    ['', undefined],
  ];
  for (const [value, domain] of cases) {
    test(JSON.stringify(value), () => {
      const key = 'dkim-signature';
      assert.equal(signingDomainOf({ key, line: `DKIM-Signature: ${value}` }), domain);
    });
  }
});

describe('a key in a file', () => {
  const rsa = generateKeyPairSync('rsa', { modulusLength: 1024 });
  const pem = (type: 'pkcs1' | 'pkcs8') =>
    rsa.privateKey.export({ type, format: 'pem' }).toString();
  const passphrase = { cipher: 'aes-128-cbc', passphrase: 'x', format: 'pem' } as const;
  const ed25519 = generateKeyPairSync('ed25519').privateKey;
  const short = generateKeyPairSync('rsa', { modulusLength: 512 }).privateKey;
  const bad: readonly (readonly [string, RegExp])[] = [
    ['\n', /is empty/],
    ['not a key', /no private key in PEM/],
    [pem('pkcs8').slice(0, 300), /no private key in PEM/],
    [rsa.publicKey.export({ type: 'spki', format: 'pem' }).toString(), /a public key/],
    [rsa.publicKey.export({ type: 'pkcs1', format: 'pem' }).toString(), /a public key/],
    [rsa.privateKey.export({ type: 'pkcs8', ...passphrase }).toString(), /a passphrase/],
    [rsa.privateKey.export({ type: 'pkcs1', ...passphrase }).toString(), /a passphrase/],
    [ed25519.export({ type: 'pkcs8', format: 'pem' }).toString(), /type ed25519; only RSA/],
    [short.export({ type: 'pkcs8', format: 'pem' }).toString(), /of 512 bits/],
  ];
  for (const type of ['pkcs1', 'pkcs8'] as const) {
    test(`RSA, ${type}`, () => assert.equal(parseSigningKey(pem(type)).ok, true));
  }
  for (const [text, why] of bad) {
    test(`${why.source}: ${JSON.stringify(text.slice(0, 40))}`, () => {
      const parsed = parseSigningKey(text);
      assert.match(parsed.ok ? '' : parsed.why, why);
    });
  }
});
