import 'reflect-metadata';
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { describe, test } from 'node:test';
import {
  type JsonGeneralName,
  SubjectAlternativeNameExtension,
  X509CertificateGenerator,
} from '@peculiar/x509';
import fc from 'fast-check';
import {
  daneTaNames,
  dnsNamesFromSubjectAltName,
  matchDnsId,
} from '../../src/protocol/tls/dns-id.ts';

/** The subjectAltName text Node makes of a certificate with these names. */
async function subjectAltName(names: readonly JsonGeneralName[]): Promise<string | undefined> {
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
  const keys = await crypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
  const certificate = await X509CertificateGenerator.createSelfSigned({
    name: 'CN=test',
    keys,
    signingAlgorithm: algorithm,
    extensions: [new SubjectAlternativeNameExtension([...names])],
  });
  return new X509Certificate(Buffer.from(certificate.rawData)).subjectAltName;
}

/** Short enough to take more labels within 253 octets. */
const domainArbitrary = fc.domain().filter((domain) => domain.length <= 200);

describe('matchDnsId', () => {
  test('gives the name that matched, as presented', () => {
    assert.equal(matchDnsId(['mx.a.example'], ['b.example', '*.A.example']), '*.A.example');
    assert.equal(matchDnsId(['a.example', 'b.example'], ['b.example']), 'b.example');
  });

  /** reference, presented, why not. */
  const never: readonly (readonly [string, string, string])[] = [
    ['mx.example', 'mx.example.', 'final dot in the certificate'],
    ['mx.example', 'mx.example\0.evil.test', 'NUL'],
    ['mx.example', 'mx.example ', 'blank'],
    ['mx.example', '', 'empty name'],
    ['mx.example', 'm*.example', 'partial wildcard'],
    ['xn--a.example', 'xn--*.example', 'wildcard inside an A-label'],
    ['a.mx.example', 'a.*.example', 'wildcard in second place'],
    ['k.example', '\u212A.example', 'the Kelvin sign is no k'],
    ['bücher.example', 'bücher.example', 'raw non-ASCII in the certificate'],
    ['mx_1.example', 'mx_1.example', 'underscore'],
    ['mx_1.example', '*.example', 'underscore under a wildcard'],
    ['192.0.2.25', '192.0.2.25', 'address as dNSName'],
    ['', '', 'nothing'],
  ];
  for (const [reference, presented, why] of never) {
    test(`refuses ${why}`, () => assert.equal(matchDnsId([reference], [presented]), undefined));
  }

  test('a wildcard stands for exactly one label', () => {
    const label = fc.stringMatching(/^[a-z][a-z0-9]{0,8}$/);
    fc.assert(
      fc.property(label, label, domainArbitrary, (first, second, domain) => {
        const wildcard = `*.${domain}`;
        assert.equal(matchDnsId([`${first}.${domain}`], [wildcard]), wildcard);
        assert.equal(matchDnsId([domain], [wildcard]), undefined);
        assert.equal(matchDnsId([`${second}.${first}.${domain}`], [wildcard]), undefined);
      }),
    );
  });
});

test('DANE-TA looks at the CN only where there is no dNSName', () => {
  assert.deepEqual(daneTaNames([], 'mx.example'), ['mx.example']);
  assert.deepEqual(daneTaNames(['a.example'], 'mx.example'), ['a.example']);
  assert.deepEqual(daneTaNames([], undefined), []);
});

describe('dnsNamesFromSubjectAltName', () => {
  const good: readonly (readonly [string, readonly string[]])[] = [
    ['', []],
    ['DNS:a.example', ['a.example']],
    ['DNS:a.example, DNS:*.b.example', ['a.example', '*.b.example']],
    ['IP Address:192.0.2.1, DNS:a.example, email:x@y.test', ['a.example']],
    ['URI:"https://x.test/?a=b, DNS:mx.example", DNS:a.example', ['a.example']],
    ['DNS:"evil.test, DNS:mx.example"', ['evil.test, DNS:mx.example']],
    ['DNS:"a\\", DNS:mx.example, DNS:\\"b"', ['a", DNS:mx.example, DNS:"b']],
    ['othername:"UPN:x, DNS:mx.example", DNS:a.example', ['a.example']],
    ['othername:UPN:"x, DNS:mx.example", DNS:a.example', ['a.example']],
    ['othername:<unsupported>, DNS:a.example', ['a.example']],
  ];
  for (const [text, names] of good) {
    test(text, () => assert.deepEqual(dnsNamesFromSubjectAltName(text), names));
  }

  const bad: readonly (readonly [string, string])[] = [
    ['DNS:"mx.example', 'string without end'],
    ['DNS:"mx.example" x', 'text after the string'],
    ['DNS:"mx\\x.example"', 'no JSON string'],
    ['DNS:a.example,DNS:mx.example', 'separator without its blank'],
    ['DNS:a.example, ', 'nothing after a separator'],
    ['a.example', 'no type'],
    ['DNS:a.example, mx.example', 'entry without type'],
    [', DNS:mx.example', 'nothing before a separator'],
  ];
  for (const [text, why] of bad) {
    test(`no names from a text with ${why}`, () =>
      assert.deepEqual(dnsNamesFromSubjectAltName(text), []));
  }

  test('no extension, no names', () => assert.deepEqual(dnsNamesFromSubjectAltName(undefined), []));

  test('reads what Node writes for hostile certificates', async () => {
    const dnsNames = [
      'a.example',
      'evil.test, DNS:mx.example',
      '"quoted"',
      "'single'",
      'back\\slash',
      'line\nfeed',
      'nul\0.example',
      'DNS:mx.example',
      ' , ',
    ];
    const others: readonly JsonGeneralName[] = [
      { type: 'email', value: 'x@y.test, DNS:mx.example' },
      { type: 'url', value: 'https://x.test/", DNS:mx.example' },
      { type: 'ip', value: '192.0.2.1' },
      { type: 'dn', value: 'CN=DNS:mx.example, O=x' },
      { type: 'upn', value: 'x, DNS:mx.example' },
      { type: 'id', value: '1.2.3.4' },
    ];
    const text = await subjectAltName([
      ...others,
      ...dnsNames.map((value): JsonGeneralName => ({ type: 'dns', value })),
      ...others,
    ]);
    assert.deepEqual(dnsNamesFromSubjectAltName(text), dnsNames);
    assert.equal(matchDnsId(['mx.example'], dnsNamesFromSubjectAltName(text)), undefined);
    assert.equal(matchDnsId(['a.example'], dnsNamesFromSubjectAltName(text)), 'a.example');
  });

  test('never throws, and gives back what JSON quoting protects', () => {
    const piece = fc.constantFrom('DNS:', 'URI:', '"', '\\', ', ', 'a.example', ':');
    fc.assert(
      fc.property(fc.string({ unit: piece }), (text) => void dnsNamesFromSubjectAltName(text)),
    );
    fc.assert(
      fc.property(fc.array(fc.string({ unit: 'binary' }), { minLength: 1 }), (names) => {
        const text = names.map((name) => `DNS:${JSON.stringify(name)}`).join(', ');
        assert.deepEqual(dnsNamesFromSubjectAltName(text), names);
      }),
    );
  });
});
