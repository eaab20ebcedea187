/**
 * Names in certificates: the text Node makes of a subjectAltName, and whole certificates.
 */
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { judgePeer } from '../../../src/delivery/peer-verdict.ts';
import { parseDomain } from '../../../src/protocol/domain.ts';
import { dnsNamesFromSubjectAltName, matchDnsId } from '../../../src/protocol/tls/dns-id.ts';
import { referenceMatch } from '../../support/sts-grammar.ts';
import { type FuzzTarget, joined, partsOf } from '../engine/target.ts';

/** The host asked for, then the text of the extension. */
const sanText: FuzzTarget = {
  name: 'san-text',
  seeds: [
    joined('mx.example', 'DNS:mx.example, DNS:*.b.example'),
    joined('a.b.example', 'IP Address:192.0.2.1, DNS:*.b.example, email:x@y.test'),
    joined('mx.example', 'URI:"https://x.test/?a=b, DNS:mx.example", DNS:a.example'),
    joined('mx.example', 'DNS:"evil.test, DNS:mx.example"'),
    joined('mx.example', 'othername:UPN:"x, DNS:mx.example", DNS:a.example'),
    joined('mx.example', 'DNS:"a\\", DNS:mx.example, DNS:\\"b"'),
    joined('mx.example', 'othername:<unsupported>, Registered ID:1.2.3.4, DirName:CN = x'),
  ],
  tokens: [
    'DNS:',
    'URI:',
    'othername:',
    '"',
    '\\"',
    '\\',
    ', ',
    ',',
    ':',
    '\\u0000',
    '\0',
    'mx.example',
    '*.',
    '*',
    '.',
    '\n',
    ' ',
  ],
  maxOctets: 65_536,
  run(input) {
    const [host = '', text = ''] = partsOf(input, 2);
    const names = dnsNamesFromSubjectAltName(text);
    assert.deepEqual(names, referenceNames(text) ?? []);
    const matched = matchDnsId([host], names);
    const domain = parseDomain(host);
    assert.equal(
      matched,
      names.find((name) => domain !== undefined && referenceMatch(name, domain)),
    );
    return `${names.length === 0 ? 'no names' : 'names'}, ${matched === undefined ? 'no match' : 'match'}`;
  },
};

/** The dNSNames in the text, read octet by octet; undefined where it has another form. */
function referenceNames(text: string): string[] | undefined {
  const names: string[] = [];
  for (let at = 0; at < text.length; ) {
    const colon = text.indexOf(':', at);
    const type = text.slice(at, colon);
    if (colon < 0 || !/^[A-Za-z0-9 ]+$/.test(type)) return undefined;
    const end = endOfValue(text, colon + 1);
    if (end === undefined) return undefined;
    if (type === 'DNS') {
      const name = unquoted(text.slice(colon + 1, end));
      if (name === undefined) return undefined;
      names.push(name);
    }
    if (end < text.length && (text.slice(end, end + 2) !== ', ' || end + 2 === text.length)) {
      return undefined;
    }
    at = end + 2;
  }
  return names;
}

/** Bare text, then at most one string in quotes. */
function endOfValue(text: string, start: number): number | undefined {
  let at = start;
  while (at < text.length && text[at] !== '"' && text[at] !== ',') at++;
  if (text[at] !== '"') return at;
  for (at++; at < text.length && text[at] !== '"'; at++) {
    // No line end is escaped by a backslash alone.
    if (text[at] === '\\' && /[\r\n\u2028\u2029]/.test(text[++at] ?? '')) return undefined;
  }
  return at < text.length ? at + 1 : undefined;
}

function unquoted(value: string): string | undefined {
  if (!value.startsWith('"')) return value;
  try {
    return String(JSON.parse(value));
  } catch {
    return undefined;
  }
}

/** The host of most of the fixtures. */
const HOST = 'mx1.dane.example';

/** A certificate in DER; the host asked for is in it, or looks as if it were. */
const certificate: FuzzTarget = {
  name: 'certificate',
  seeds: certificateSeeds(),
  tokens: [
    Buffer.of(0x82),
    Buffer.of(0x82, 2, 0x61, 0),
    Buffer.of(0x80),
    HOST,
    '*',
    `, DNS:${HOST}`,
    '"',
    '\\',
    '\0',
    Buffer.from('0603551d11', 'hex'),
    Buffer.of(0x30, 0x80),
  ],
  run(input) {
    let text: string | undefined;
    try {
      text = new X509Certificate(input).subjectAltName;
    } catch {
      return 'no certificate';
    }
    const names = dnsNamesFromSubjectAltName(text);
    const present = dnsNamesInDer(input);
    for (const name of names)
      assert.ok(present.includes(name), `${name} is not in the certificate`);
    const evidence = { chainVerified: true, chainError: undefined, subjectAltName: text };
    const facts = {
      ...evidence,
      certificatePresent: true,
      expiresAt: undefined,
      issuer: undefined,
    };
    const verdict = judgePeer(facts, HOST);
    if (verdict.verified) assert.ok(present.some((name) => referenceMatch(name, HOST)));
    return text === undefined ? 'no names' : `names, ${verdict.verified ? 'match' : 'no match'}`;
  },
};

function certificateSeeds(): Buffer[] {
  const file = new URL('../../fixtures/certs/dane-certs.json', import.meta.url);
  const fixtures = JSON.parse(readFileSync(file, 'utf8')) as Record<string, { der_b64?: string }>;
  return Object.values(fixtures).flatMap(({ der_b64: der }) =>
    der ? [Buffer.from(der, 'base64')] : [],
  );
}

/** What stands as dNSName in any place that could be a SubjectAltName, found by looking for its tags. */
function dnsNamesInDer(der: Buffer): string[] {
  const names: string[] = [];
  for (let at = der.indexOf(0x82); at >= 0; at = der.indexOf(0x82, at + 1)) {
    const first = der[at + 1] ?? 0;
    const extra = first < 0x80 ? 0 : first & 0x7f;
    if (extra > 4) continue;
    const length =
      extra === 0
        ? first
        : der.subarray(at + 2, at + 2 + extra).reduce((sum, octet) => sum * 256 + octet, 0);
    const start = at + 2 + extra;
    names.push(der.toString('latin1', start, start + length));
  }
  return names;
}

export const certificateTargets: readonly FuzzTarget[] = [sanText, certificate];
