/**
 * What holds of every certificate (RFC 9525 §6.3): only a whole dNSName of its own proves a name,
 * whatever else stands in it; no text inside one name makes another.
 */
import 'reflect-metadata';
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { before, describe, test } from 'node:test';
import {
  type JsonGeneralName,
  SubjectAlternativeNameExtension,
  X509CertificateGenerator,
} from '@peculiar/x509';
import fc from 'fast-check';
import { judgePeer } from '../../src/delivery/peer-verdict.ts';
import { dnsNamesFromSubjectAltName, matchDnsId } from '../../src/protocol/tls/dns-id.ts';
import { referenceMatch } from '../support/sts-grammar.ts';

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
let keys: Awaited<ReturnType<typeof makeKeys>>;
const makeKeys = () => crypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);

/** What Node makes of a certificate with this CN and these names; no extension when there are none. */
async function issue(cn: string, names: readonly JsonGeneralName[]): Promise<string | undefined> {
  const certificate = await X509CertificateGenerator.createSelfSigned({
    name: [{ CN: [cn] }],
    keys,
    signingAlgorithm: ALGORITHM,
    extensions: names.length > 0 ? [new SubjectAlternativeNameExtension([...names])] : [],
  });
  return new X509Certificate(Buffer.from(certificate.rawData)).subjectAltName;
}

function isVerified(host: string, subjectAltName: string | undefined): boolean {
  const chain = { chainVerified: true, chainError: undefined, certificatePresent: true };
  return judgePeer({ ...chain, subjectAltName, expiresAt: undefined, issuer: undefined }, host)
    .verified;
}

const HOST = 'mx.example';
const label = fc.stringMatching(/^[a-z](?:[a-z0-9-]{0,6}[a-z0-9])?$/);
const name = fc.array(label, { minLength: 2, maxLength: 4 }).map((labels) => labels.join('.'));
const fewLabels = fc
  .array(fc.constantFrom('a', 'b', 'A', '*', '*a', 'a*', 'xn--*', 'a_', '', '1', 'a\0'), {
    maxLength: 4,
  })
  .map((labels) => labels.join('.'));

/** Text that would like to be two entries. */
const hostile = fc.string({
  unit: fc.constantFrom(
    HOST,
    'DNS:',
    `, DNS:${HOST}`,
    ', ',
    ',',
    '"',
    '\\',
    "'",
    '\0',
    '\n',
    ':',
    ' ',
    'x',
    '\\u0022',
    '*.',
  ),
  maxLength: 6,
});
const entry: fc.Arbitrary<JsonGeneralName> = fc.oneof(
  hostile.map((value) => ({ type: 'dns' as const, value })),
  hostile.map((value) => ({ type: 'email' as const, value })),
  hostile.map((value) => ({ type: 'url' as const, value })),
  hostile.map((value) => ({ type: 'upn' as const, value })),
  fc.constantFrom('192.0.2.1', '2001:db8::1').map((value) => ({ type: 'ip' as const, value })),
  fc.constant({ type: 'id' as const, value: '1.2.3.4' }),
  fc.constantFrom(`CN=DNS:${HOST}`, `CN=${HOST}`).map((value) => ({ type: 'dn' as const, value })),
);

describe('a name', () => {
  test('is matched as a second reading of the rule matches it', () => {
    fc.assert(
      fc.property(fewLabels, fewLabels, (reference, presented) => {
        const matched = matchDnsId([reference], [presented]) !== undefined;
        assert.equal(matched, referenceMatch(presented, reference), `${presented} ${reference}`);
      }),
      { numRuns: 3000 },
    );
  });

  test('asked for in another case or with a final dot is the same', () => {
    fc.assert(
      fc.property(name, (host) => {
        for (const spelling of [host, host.toUpperCase(), `${host}.`]) {
          assert.equal(matchDnsId([spelling], [host]), host);
          assert.equal(matchDnsId([spelling], [`x${host}`, `${host}.`, `x.${host}`]), undefined);
        }
      }),
    );
  });

  test('with a star anywhere but for its whole first label proves nothing', () => {
    fc.assert(
      fc.property(name, fc.nat(30), label, (host, at, by) => {
        const place = 1 + (at % (host.length - 1));
        const presented = `${host.slice(0, place)}*${host.slice(place)}`;
        for (const text of [by, '', 'a']) {
          assert.equal(matchDnsId([presented.replace('*', text)], [presented]), undefined);
        }
        assert.equal(matchDnsId([host], [`*${host}`]), undefined);
        assert.equal(matchDnsId([`${by}.${presented.slice(2)}`], [presented]), undefined);
      }),
    );
  });

  test('with two labels more than a wildcard proves nothing', () => {
    fc.assert(
      fc.property(name, label, label, (domain, one, two) => {
        assert.equal(matchDnsId([`${one}.${two}.${domain}`], [`*.${domain}`]), undefined);
      }),
    );
  });
});

describe('a certificate', () => {
  before(async () => {
    keys = await makeKeys();
  });

  test('with the host as its CN alone proves nothing', async () => {
    const others = fc.array(
      entry.filter(({ type }) => type !== 'dns'),
      { maxLength: 2 },
    );
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(HOST, '*.example'), others, async (cn, names) => {
        assert.ok(!isVerified(HOST, await issue(cn, names)));
      }),
      { numRuns: 50 },
    );
  });

  test('presents the dNSNames it was made with, one by one', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(entry, { minLength: 1, maxLength: 4 }), async (names) => {
        const dnsNames = names.flatMap(({ type, value }) => (type === 'dns' ? [value] : []));
        const text = await issue(HOST, names);
        assert.deepEqual(dnsNamesFromSubjectAltName(text), dnsNames, text);
        const expected = dnsNames.some((presented) => referenceMatch(presented as string, HOST));
        assert.equal(isVerified(HOST, text), expected, text);
      }),
      { numRuns: 300 },
    );
  });

  test('proves its name beside whatever else it holds', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(entry, { maxLength: 3 }), fc.nat(3), async (others, at) => {
        const own: JsonGeneralName = { type: 'dns', value: HOST };
        const text = await issue('x', [...others.slice(0, at), own, ...others.slice(at)]);
        assert.ok(isVerified(HOST, text), text);
      }),
      { numRuns: 100 },
    );
  });
});
