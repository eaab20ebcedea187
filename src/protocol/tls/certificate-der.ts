/**
 * What Node's X509Certificate does not tell of a certificate (RFC 5280 §4.1): its
 * SubjectPublicKeyInfo octet for octet, its path length, the critical extensions it has, and how it is signed.
 * Pure; a reader of DER that knows these few places and nothing else.
 *
 * Node would encode the key anew, which need not give the octets that a digest was made of, and cannot do it at all for a
 * kind of key it does not know.
 */

export interface CertificateParts {
  /** DER of the whole SubjectPublicKeyInfo: what TLSA selector 1 is about (RFC 6698 §2.1.2). */
  readonly publicKeyInfo: Buffer;
  /** pathLenConstraint of basicConstraints (RFC 5280 §4.2.1.9); undefined: no limit. */
  readonly pathLength: number | undefined;
  /** OIDs of the extensions marked critical, as lower-case hex of their content octets. */
  readonly criticalExtensions: readonly string[];
  /** Its signatureAlgorithm: OID in the same form, and what its parameters, if it has any, contain. */
  readonly signature: { readonly id: string; readonly parameters: Buffer };
}

interface Element {
  readonly tag: number;
  readonly content: Buffer;
  /** Tag and length included. */
  readonly whole: Buffer;
}

const SEQUENCE = 0x30;
const INTEGER = 0x02;
const BOOLEAN = 0x01;
const OCTET_STRING = 0x04;
const VERSION = 0xa0;
const EXTENSIONS = 0xa3;
const BASIC_CONSTRAINTS = '551d13';
/** Extensions, names and the like: no list in a certificate is longer. */
const MOST_ELEMENTS = 1000;

/** Read a certificate; undefined when it is not of the form of one. Never throws. */
export function readCertificateParts(der: Buffer): CertificateParts | undefined {
  const certificate = firstOf(der, SEQUENCE);
  const [signed, algorithm] = (certificate && elementsOf(certificate.content)) ?? [];
  const fields = signed?.tag === SEQUENCE ? elementsOf(signed.content) : undefined;
  const signature = algorithm && signatureOf(algorithm);
  if (fields === undefined || signature === undefined) return undefined;
  const start = fields[0]?.tag === VERSION ? 1 : 0;
  // serialNumber, signature, issuer, validity, subject, subjectPublicKeyInfo
  const key = fields[start + 5];
  if (fields[start]?.tag !== INTEGER || key?.tag !== SEQUENCE) return undefined;
  const wrapped = fields.find(({ tag }) => tag === EXTENSIONS);
  const list = wrapped ? firstOf(wrapped.content, SEQUENCE) : undefined;
  if (wrapped && !list) return undefined;
  const extensions = (list ? elementsOf(list.content) : [])?.map(readExtension);
  if (extensions === undefined) return undefined;
  const known = extensions.filter((one) => one !== undefined);
  if (known.length < extensions.length) return undefined;
  const basic = known.find(({ id }) => id === BASIC_CONSTRAINTS);
  return {
    publicKeyInfo: key.whole,
    pathLength: basic && pathLengthOf(basic.value),
    criticalExtensions: known.filter(({ critical }) => critical).map(({ id }) => id),
    signature,
  };
}

/** RFC 5280 §4.1.1.2: an OID, perhaps parameters. */
function signatureOf({ tag, content }: Element): CertificateParts['signature'] | undefined {
  const [id, parameters] = (tag === SEQUENCE && elementsOf(content)) || [];
  return (
    id && { id: id.content.toString('hex'), parameters: parameters?.content ?? Buffer.alloc(0) }
  );
}

/** RFC 5280 §4.1: an OID, perhaps `critical`, and the value in an OCTET STRING. */
function readExtension({ tag, content }: Element) {
  const parts = tag === SEQUENCE ? elementsOf(content) : undefined;
  const id = parts?.[0];
  const value = parts?.at(-1);
  if (!id || value?.tag !== OCTET_STRING) return undefined;
  const critical = parts?.[1]?.tag === BOOLEAN && parts[1].content[0] !== 0;
  return { id: id.content.toString('hex'), critical, value: value.content };
}

function pathLengthOf(value: Buffer): number | undefined {
  const constraints = firstOf(value, SEQUENCE);
  const number = constraints && elementsOf(constraints.content)?.find(({ tag }) => tag === INTEGER);
  if (!number || number.content.length === 0) return undefined;
  // More than four octets are more certificates than there are.
  return number.content.length > 4
    ? undefined
    : number.content.readUIntBE(0, number.content.length);
}

function firstOf(der: Buffer, tag: number): Element | undefined {
  const element = readElement(der, 0);
  return element?.tag === tag ? element : undefined;
}

/** All elements of a constructed one; undefined when they do not fill it exactly. */
function elementsOf(content: Buffer): readonly Element[] | undefined {
  const elements: Element[] = [];
  for (let at = 0; at < content.length; ) {
    const element = readElement(content, at);
    if (element === undefined || elements.length >= MOST_ELEMENTS) return undefined;
    elements.push(element);
    at += element.whole.length;
  }
  return elements;
}

/** One element with a definite length (X.690 allows DER no other); tags of one octet are all there are here. */
function readElement(der: Buffer, at: number): Element | undefined {
  const tag = der[at];
  const first = der[at + 1];
  if (tag === undefined || first === undefined) return undefined;
  const lengthOctets = first < 0x80 ? 0 : first & 0x7f;
  if (first === 0x80 || lengthOctets > 4 || at + 2 + lengthOctets > der.length) return undefined;
  const length = lengthOctets === 0 ? first : der.readUIntBE(at + 2, lengthOctets);
  const start = at + 2 + lengthOctets;
  const end = start + length;
  if (end > der.length) return undefined;
  return { tag, content: der.subarray(start, end), whole: der.subarray(at, end) };
}
