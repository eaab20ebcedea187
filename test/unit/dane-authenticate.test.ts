/** Certificate chains against TLSA records, beyond what the vectors have. */
import 'reflect-metadata';
import assert from 'node:assert/strict';
import { hash, webcrypto } from 'node:crypto';
import { describe, test } from 'node:test';
import * as x509 from '@peculiar/x509';
import fc from 'fast-check';
import { authenticateDane } from '../../src/protocol/dane/authenticate.ts';
import { isSignedWeakly } from '../../src/protocol/dane/strength.ts';
import { parseTlsaText, type TlsaRecord } from '../../src/protocol/dane/tlsa.ts';
import { readCertificateParts } from '../../src/protocol/tls/certificate-der.ts';
import {
  DANE_CERTIFICATE_NAMES,
  DANE_NOW_MS,
  daneCertificate,
} from '../support/dane-certificates.ts';

const DAY_MS = 86_400_000;
const HOST = 'mx.dane.test';
const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;
x509.cryptoProvider.set(webcrypto);

interface Made {
  readonly subject: string;
  readonly keys: webcrypto.CryptoKeyPair;
  readonly der: Buffer;
  readonly spki: Buffer;
}

interface Wanted {
  readonly subject?: string;
  readonly issuer?: Made;
  readonly extensions?: readonly x509.Extension[];
  readonly days?: readonly [from: number, to: number];
  readonly algorithm?: typeof ALGORITHM | Rsa;
  /** Of the signature. */
  readonly digest?: string;
}

interface Rsa {
  readonly name: 'RSASSA-PKCS1-v1_5' | 'RSA-PSS';
  readonly modulusLength: number;
}

async function make(wanted: Wanted): Promise<Made> {
  const { subject = `CN=${HOST}`, issuer, extensions, days, algorithm = ALGORITHM } = wanted;
  const keys = (await webcrypto.subtle.generateKey(
    { hash: 'SHA-256', publicExponent: Uint8Array.of(1, 0, 1), ...algorithm },
    true,
    ['sign', 'verify'],
  )) as webcrypto.CryptoKeyPair;
  const [from, to] = days ?? [-1, 30];
  const signer = issuer ?? { subject, keys };
  const certificate = await x509.X509CertificateGenerator.create({
    subject,
    issuer: signer.subject,
    notBefore: new Date(Date.now() + from * DAY_MS),
    notAfter: new Date(Date.now() + to * DAY_MS),
    publicKey: keys.publicKey,
    signingKey: signer.keys.privateKey,
    signingAlgorithm: {
      ...ALGORITHM,
      hash: wanted.digest ?? 'SHA-256',
      name: signer.keys.privateKey.algorithm.name,
    },
    extensions: [...(extensions ?? [named(HOST)])],
  });
  const spki = Buffer.from(await webcrypto.subtle.exportKey('spki', keys.publicKey));
  return { subject, keys, der: Buffer.from(certificate.rawData), spki };
}

function named(...names: string[]): x509.Extension {
  return new x509.SubjectAlternativeNameExtension(names.map((value) => ({ type: 'dns', value })));
}

function authority(pathLength?: number): x509.Extension {
  return new x509.BasicConstraintsExtension(true, pathLength, true);
}

function ca(subject: string, change: Wanted = {}): Promise<Made> {
  return make({ subject: `CN=${subject}`, extensions: [authority()], ...change });
}

const digest = (usage: number, selector: number, data: Buffer): TlsaRecord => ({
  ...{ usage, selector, matchingType: 1 },
  data: hash('sha256', data, 'buffer'),
});

/** `yes`, or why not. */
function judge(chain: readonly Made[], records: readonly TlsaRecord[], names = [HOST]): string {
  const peer = { chain: chain.map(({ der }) => der), nowMs: Date.now() };
  const verdict = authenticateDane(peer, { records, names });
  return verdict.authenticated ? 'yes' : verdict.cause;
}

describe('strength of a DANE-TA(2) chain, as OpenSSL has it at level 1', () => {
  test('a signature over SHA-1 is none, but that of the anchor', async () => {
    const root = await ca('root', { digest: 'SHA-1' });
    const middle = await ca('middle', { issuer: root });
    const leaf = await make({ issuer: middle });
    assert.equal(judge([leaf, middle, root], [digest(2, 0, root.der)]), 'yes');
    const weakLeaf = await make({ issuer: middle, digest: 'SHA-1' });
    const records = [digest(2, 0, root.der), digest(2, 1, middle.spki)];
    assert.equal(judge([weakLeaf, middle, root], records), 'certificate-invalid');
    const weakMiddle = await ca('weak middle', { issuer: root, digest: 'SHA-1' });
    const under = await make({ issuer: weakMiddle });
    assert.equal(judge([under, weakMiddle, root], [digest(2, 0, root.der)]), 'certificate-invalid');
    assert.equal(judge([under, weakMiddle], [digest(2, 0, weakMiddle.der)]), 'yes');
    const bare = { ...digest(2, 1, middle.spki), matchingType: 0, data: middle.spki };
    assert.equal(judge([weakLeaf], [bare]), 'certificate-invalid');
    assert.equal(judge([weakLeaf], [digest(3, 1, weakLeaf.spki)]), 'yes');
  });

  test('a short key is none; the leaf that stands in DNS itself may have one', async () => {
    const rsa = (modulusLength: number) => ({ name: 'RSASSA-PKCS1-v1_5', modulusLength }) as const;
    const root = await ca('root');
    for (const [bits, said] of [
      [512, 'certificate-invalid'],
      [1024, 'yes'],
    ] as const) {
      const middle = await ca('middle', { issuer: root, algorithm: rsa(bits) });
      const leaf = await make({ issuer: middle });
      assert.equal(judge([leaf, middle, root], [digest(2, 0, root.der)]), said);
      const end = await make({ issuer: root, algorithm: rsa(bits) });
      assert.equal(judge([end, root], [digest(2, 0, root.der)]), said);
      assert.equal(judge([end, root], [digest(3, 0, end.der)]), 'yes');
    }
  });

  test('the digest of RSASSA-PSS counts', () => {
    const weakly = (parameters: string) =>
      isSignedWeakly({
        signature: { id: '2a864886f70d01010a', parameters: Buffer.from(parameters, 'hex') },
      });
    assert.equal(weakly(''), true);
    assert.equal(weakly('a203020120'), true);
    assert.equal(weakly('a00b300906052b0e03021a0500'), true);
    // SHA-256, and SHA-1 in the mask generation alone.
    assert.equal(weakly('a00f300d06096086480165030402010500a11806052b0e03021a'), false);
  });
});

describe('DANE-TA(2)', () => {
  test('R162 the issuers may come in any order, with strangers among them', async () => {
    const root = await ca('root');
    const middle = await ca('middle', { issuer: root });
    const leaf = await make({ issuer: middle });
    const stranger = await ca('stranger');
    assert.equal(judge([leaf, stranger, root, middle], [digest(2, 0, root.der)]), 'yes');
    assert.equal(
      judge([leaf, stranger, root, middle], [digest(2, 0, stranger.der)]),
      'tlsa-mismatch',
    );
  });

  test('of the same name is not the same issuer', async () => {
    const real = await ca('root');
    const lookalike = await ca('root');
    const leaf = await make({ issuer: lookalike });
    assert.equal(judge([leaf, real], [digest(2, 1, real.spki)]), 'tlsa-mismatch');
    assert.equal(judge([leaf, real, lookalike], [digest(2, 1, lookalike.spki)]), 'yes');
  });

  test('a certificate that is no CA issues nothing', async () => {
    const root = await ca('root');
    const host = await make({ issuer: root, subject: 'CN=other' });
    const leaf = await make({ issuer: host });
    assert.equal(judge([leaf, host, root], [digest(2, 1, root.spki)]), 'certificate-invalid');
  });

  test('a path length is kept to', async () => {
    const root = await ca('root', { extensions: [authority(0)] });
    const middle = await ca('middle', { issuer: root });
    const below = await make({ issuer: middle });
    assert.equal(judge([below, middle, root], [digest(2, 1, root.spki)]), 'certificate-invalid');
    const direct = await make({ issuer: root });
    assert.equal(judge([direct, root], [digest(2, 1, root.spki)]), 'yes');
  });

  test('name constraints are not understood, so nothing is believed under them', async () => {
    const critical = new x509.Extension('2.5.29.30', true, new Uint8Array([0x30, 0x00]));
    const root = await ca('root', { extensions: [authority(), critical] });
    const leaf = await make({ issuer: root });
    assert.equal(judge([leaf, root], [digest(2, 1, root.spki)]), 'certificate-invalid');
  });

  test('R163 a digest counts where the anchor is sent; R164 a whole certificate in any case', async () => {
    const root = await ca('root');
    const leaf = await make({ issuer: root });
    assert.equal(judge([leaf, root], [digest(2, 0, root.der)]), 'yes');
    assert.equal(judge([leaf], [digest(2, 0, root.der)]), 'tlsa-mismatch');
    const whole = { usage: 2, selector: 0, matchingType: 0, data: root.der };
    assert.equal(judge([leaf], [whole]), 'yes');
    const stranger = await ca('root');
    assert.equal(judge([leaf], [{ ...whole, data: stranger.der }]), 'tlsa-mismatch');
  });

  test('R166 R168 a name or a whole left-most label, of any of the reference names', async () => {
    const root = await ca('root');
    const records = [digest(2, 1, root.spki)];
    const wild = await make({ issuer: root, extensions: [named('*.dane.test')] });
    assert.equal(judge([wild, root], records), 'yes');
    const noMatch = 'certificate-host-mismatch';
    assert.equal(judge([wild, root], records, ['a.mx.dane.test', 'dane.test']), noMatch);
    assert.equal(judge([wild, root], records, ['other.test', HOST]), 'yes');
  });

  test('an issuer that has expired is none', async () => {
    const root = await ca('root', { days: [-30, -1] });
    const leaf = await make({ issuer: root });
    assert.equal(judge([leaf, root], [digest(2, 1, root.spki)]), 'certificate-expired');
  });

  test('a certificate for clients is none for a host', async () => {
    const root = await ca('root');
    const forClients = new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.clientAuth]);
    const leaf = await make({ issuer: root, extensions: [named(HOST), forClients] });
    assert.equal(judge([leaf, root], [digest(2, 1, root.spki)]), 'certificate-invalid');
  });

  test('a leaf is no issuer of itself', async () => {
    const leaf = await make({ extensions: [named(HOST), authority()] });
    assert.equal(judge([leaf], [digest(2, 0, leaf.der)]), 'tlsa-mismatch');
    assert.equal(judge([leaf, leaf], [digest(2, 0, leaf.der)]), 'tlsa-mismatch');
  });

  test('R165 a whole key in DNS counts where no certificate carries it', async () => {
    const root = await ca('root');
    const leaf = await make({ issuer: root });
    const record = { usage: 2, selector: 1, matchingType: 0, data: root.spki };
    assert.equal(judge([leaf], [record]), 'yes');
    const old = await ca('root', { days: [-30, -1] });
    const other = { ...record, data: old.spki };
    assert.equal(judge([leaf], [other]), 'tlsa-mismatch');
    assert.equal(judge([await make({ issuer: old }), old], [other]), 'certificate-expired');
  });

  test('R167 a common name counts beside no DNS name only', async () => {
    const root = await ca('root');
    const bare = await make({ issuer: root, extensions: [] });
    assert.equal(judge([bare, root], [digest(2, 1, root.spki)]), 'yes');
    const strange = await make({ issuer: root, extensions: [named('a b,c')] });
    assert.equal(judge([strange, root], [digest(2, 1, root.spki)]), 'certificate-host-mismatch');
  });

  test('two that issued each other lead nowhere, and end', async () => {
    const one = await ca('one');
    const other = await ca('other', { issuer: one });
    const back = { ...(await ca('one', { issuer: other })), keys: one.keys };
    const leaf = await make({ issuer: other });
    assert.equal(judge([leaf, other, one, back], [digest(2, 1, leaf.spki)]), 'tlsa-mismatch');
  });
});

describe('DANE-EE(3)', () => {
  test('R159 one record that fits is enough', async () => {
    const leaf = await make({});
    const others = [digest(3, 1, Buffer.from('old')), digest(2, 0, Buffer.from('gone'))];
    assert.equal(judge([leaf], [...others, digest(3, 1, leaf.spki)]), 'yes');
    assert.equal(judge([leaf], others), 'tlsa-mismatch');
  });

  test('R160 dates, names and purpose have no say', async () => {
    const forClients = new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.clientAuth]);
    const extensions = [named('other.test'), forClients];
    const leaf = await make({ extensions, days: [-30, -1] });
    assert.equal(judge([leaf], [digest(3, 0, leaf.der)]), 'yes');
  });

  test('R161 the certificate of an issuer is no leaf', async () => {
    const root = await ca('root');
    const leaf = await make({ issuer: root });
    assert.equal(judge([leaf, root], [digest(3, 0, root.der)]), 'tlsa-mismatch');
  });
});

describe('whatever comes', () => {
  const record = (text: string) => parseTlsaText(text) ?? assert.fail(text);

  test('no certificate, or none that can be read, is a no', () => {
    const peer = (chain: readonly Buffer[]) =>
      authenticateDane(
        { chain, nowMs: DANE_NOW_MS },
        { records: [record(`3 1 1 ${'00'.repeat(32)}`)], names: [HOST] },
      );
    for (const chain of [[], [Buffer.alloc(0)], [Buffer.from('no certificate')]]) {
      assert.equal(peer(chain).authenticated, false);
    }
  });

  test('no record is a no', () => {
    const { der } = daneCertificate('leafA');
    const verdict = authenticateDane(
      { chain: [der], nowMs: DANE_NOW_MS },
      { records: [], names: ['mx1.dane.example'] },
    );
    assert.equal(verdict.authenticated, false);
  });

  test('the key in a certificate is the one OpenSSL finds', () => {
    for (const name of DANE_CERTIFICATE_NAMES) {
      const { der, spki } = daneCertificate(name);
      assert.deepEqual(readCertificateParts(der)?.publicKeyInfo, spki, name);
    }
  });

  test('octets changed anywhere never make DANE-EE fit, nor anything throw', () => {
    const { der } = daneCertificate('leafA');
    const records = [digest(3, 0, der)];
    fc.assert(
      fc.property(fc.nat(der.length - 1), fc.integer({ min: 1, max: 255 }), (at, flip) => {
        const changed = Buffer.from(der);
        changed[at] = (changed[at] ?? 0) ^ flip;
        const peer = { chain: [changed], nowMs: DANE_NOW_MS };
        assert.equal(authenticateDane(peer, { records, names: [] }).authenticated, false);
      }),
    );
  });
});
