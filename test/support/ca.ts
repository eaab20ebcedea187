/**
 * A certificate authority for tests. It makes every certificate an MX or policy host might
 * show: good ones, and each kind of bad one the relay has to tell apart. Keys are EC P-256
 * unless RSA is asked for (one RSA key per process: making them is slow).
 */
import 'reflect-metadata';
import { createHash, KeyObject, X509Certificate as NodeCertificate, webcrypto } from 'node:crypto';
import * as x509 from '@peculiar/x509';

x509.cryptoProvider.set(webcrypto);

const DAY_MS = 86_400_000;
const ECDSA = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;
const RSA = {
  name: 'RSASSA-PKCS1-v1_5',
  hash: 'SHA-256',
  publicExponent: new Uint8Array([1, 0, 1]),
  modulusLength: 2048,
} as const;

export interface IssueRequest {
  /** SAN dNSNames, wildcards as they are. */
  readonly names?: readonly string[];
  /** SAN iPAddresses. */
  readonly ips?: readonly string[];
  /** Subject CN; the first name when absent. */
  readonly cn?: string;
  /** Default: an hour ago. */
  readonly notBefore?: Date;
  /** Default: in 30 days. */
  readonly notAfter?: Date;
  readonly key?: 'ec' | 'rsa';
  /** Signed by its own key instead of the CA's. */
  readonly selfSigned?: boolean;
  /** Issued by an intermediate CA, which is sent with the leaf or forgotten. */
  readonly intermediate?: 'sent' | 'withheld';
  /** Extended key usage; `client` makes it unfit for servers. */
  readonly usage?: 'server' | 'client';
}

export interface IssuedCertificate {
  /** What the host sends: the leaf, then the intermediate if there is one to send. */
  readonly certPem: string;
  readonly keyPem: string;
  readonly leafPem: string;
  /** DER of the leaf, for TLSA `x 0 x`. */
  readonly der: Buffer;
  /** DER of the leaf's SubjectPublicKeyInfo, for TLSA `x 1 x`. */
  readonly spki: Buffer;
  /** SHA-256 of the leaf, lower-case hex. */
  readonly sha256: string;
}

/** Every certificate a test asks for by name; `issueKind` says what each one is. */
export type CertificateKind =
  | 'good'
  | 'good-rsa'
  | 'with-intermediate'
  | 'wildcard'
  | 'expired'
  | 'not-yet-valid'
  | 'self-signed'
  | 'untrusted'
  | 'wrong-host'
  | 'cn-only'
  | 'partial-wildcard'
  | 'ip-only'
  | 'missing-intermediate'
  | 'client-only';

export interface TestCa {
  readonly name: string;
  readonly certPem: string;
  issue(request: IssueRequest): Promise<IssuedCertificate>;
  /** A certificate of the given kind for `host`; `ip` is for `ip-only`. */
  issueKind(kind: CertificateKind, host: string, ip?: string): Promise<IssuedCertificate>;
}

interface Signer {
  readonly subject: string;
  readonly keys: webcrypto.CryptoKeyPair;
  readonly certificate: x509.X509Certificate;
}

let rsaKeys: Promise<webcrypto.CryptoKeyPair> | undefined;

function makeKeys(key: 'ec' | 'rsa'): Promise<webcrypto.CryptoKeyPair> {
  if (key === 'ec') return generate(ECDSA);
  rsaKeys ??= generate(RSA);
  return rsaKeys;
}

function generate(algorithm: typeof ECDSA | typeof RSA): Promise<webcrypto.CryptoKeyPair> {
  return webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
}

async function makeAuthority(subject: string, parent: Signer | undefined): Promise<Signer> {
  const keys = await makeKeys('ec');
  const issuer = parent ?? { subject, keys };
  const certificate = await x509.X509CertificateGenerator.create({
    subject,
    issuer: issuer.subject,
    notBefore: new Date(Date.now() - 365 * DAY_MS),
    notAfter: new Date(Date.now() + 3650 * DAY_MS),
    publicKey: keys.publicKey,
    signingKey: issuer.keys.privateKey,
    signingAlgorithm: ECDSA,
    extensions: [
      new x509.BasicConstraintsExtension(true, undefined, true),
      new x509.KeyUsagesExtension(
        x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign,
        true,
      ),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
      await x509.AuthorityKeyIdentifierExtension.create(issuer.keys.publicKey),
    ],
  });
  return { subject, keys, certificate };
}

async function leafExtensions(
  request: IssueRequest,
  keys: webcrypto.CryptoKeyPair,
  issuer: webcrypto.CryptoKeyPair,
) {
  const san: x509.JsonGeneralNames = [
    ...(request.names ?? []).map((value) => ({ type: 'dns' as const, value })),
    ...(request.ips ?? []).map((value) => ({ type: 'ip' as const, value })),
  ];
  const usage =
    request.usage === 'client'
      ? x509.ExtendedKeyUsage.clientAuth
      : x509.ExtendedKeyUsage.serverAuth;
  return [
    new x509.BasicConstraintsExtension(false, undefined, true),
    new x509.KeyUsagesExtension(
      x509.KeyUsageFlags.digitalSignature | x509.KeyUsageFlags.keyEncipherment,
      true,
    ),
    new x509.ExtendedKeyUsageExtension([usage]),
    await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    await x509.AuthorityKeyIdentifierExtension.create(issuer.publicKey),
    ...(san.length > 0 ? [new x509.SubjectAlternativeNameExtension(san)] : []),
  ];
}

async function issueLeaf(request: IssueRequest, issuer: Signer): Promise<IssuedCertificate> {
  const rsa = request.key === 'rsa';
  const keys = await makeKeys(rsa ? 'rsa' : 'ec');
  const cn = request.cn ?? request.names?.[0];
  const subject = cn === undefined ? 'O=stsrelay tests' : `CN=${cn}`;
  const signer = request.selfSigned === true ? { subject, keys } : issuer;
  const leaf = await x509.X509CertificateGenerator.create({
    subject,
    issuer: signer.subject,
    notBefore: request.notBefore ?? new Date(Date.now() - 3_600_000),
    notAfter: request.notAfter ?? new Date(Date.now() + 30 * DAY_MS),
    publicKey: keys.publicKey,
    signingKey: signer.keys.privateKey,
    signingAlgorithm: rsa && request.selfSigned === true ? RSA : ECDSA,
    extensions: await leafExtensions(request, keys, signer.keys),
  });
  const leafPem = `${leaf.toString('pem')}\n`;
  const der = Buffer.from(leaf.rawData);
  return {
    certPem:
      request.intermediate === 'sent'
        ? `${leafPem}${issuer.certificate.toString('pem')}\n`
        : leafPem,
    keyPem: KeyObject.from(keys.privateKey).export({ type: 'pkcs8', format: 'pem' }).toString(),
    leafPem,
    der,
    spki: new NodeCertificate(der).publicKey.export({ type: 'spki', format: 'der' }),
    sha256: createHash('sha256').update(der).digest('hex'),
  };
}

/** What to ask the CA for, for each kind; `untrusted` is asked of a CA nobody trusts. */
function requestFor(kind: CertificateKind, host: string, ip: string): IssueRequest {
  const now = Date.now();
  const [label = '', ...rest] = host.split('.');
  const parent = rest.join('.');
  switch (kind) {
    case 'good':
    case 'untrusted':
      return { names: [host] };
    case 'good-rsa':
      return { names: [host], key: 'rsa' };
    case 'with-intermediate':
      return { names: [host], intermediate: 'sent' };
    case 'missing-intermediate':
      return { names: [host], intermediate: 'withheld' };
    case 'wildcard':
      return { names: [`*.${parent}`] };
    case 'partial-wildcard':
      return { names: [`${label.slice(0, -1)}*.${parent}`] };
    case 'expired':
      return {
        names: [host],
        notBefore: new Date(now - 60 * DAY_MS),
        notAfter: new Date(now - DAY_MS),
      };
    case 'not-yet-valid':
      return {
        names: [host],
        notBefore: new Date(now + DAY_MS),
        notAfter: new Date(now + 60 * DAY_MS),
      };
    case 'self-signed':
      return { names: [host], selfSigned: true };
    case 'wrong-host':
      return { names: ['somebody-else.test'] };
    case 'cn-only':
      return { cn: host };
    case 'ip-only':
      return { cn: host, ips: [ip] };
    case 'client-only':
      return { names: [host], usage: 'client' };
  }
}

/** A CA of its own with a self-signed root (and an intermediate, made when first needed). */
export async function createCa(name = 'stsrelay test root'): Promise<TestCa> {
  const root = await makeAuthority(`CN=${name}`, undefined);
  let intermediate: Promise<Signer> | undefined;
  let stranger: Promise<TestCa> | undefined;

  const issue = async (request: IssueRequest): Promise<IssuedCertificate> => {
    if (request.intermediate === undefined) return issueLeaf(request, root);
    intermediate ??= makeAuthority(`CN=${name} intermediate`, root);
    return issueLeaf(request, await intermediate);
  };
  return {
    name,
    certPem: `${root.certificate.toString('pem')}\n`,
    issue,
    async issueKind(kind, host, ip = '127.0.0.1') {
      const request = requestFor(kind, host, ip);
      if (kind !== 'untrusted') return issue(request);
      stranger ??= createCa('nobody trusts this root');
      return (await stranger).issue(request);
    },
  };
}
