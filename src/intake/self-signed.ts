/**
 * Makes a certificate that signs itself, for listeners that were given none: EC P-256, CN and
 * SAN the host name, for ten years. Clients that check certificates refuse it, as they should;
 * the others get encryption.
 */
import 'reflect-metadata';
import { randomBytes, webcrypto } from 'node:crypto';
import { isIP } from 'node:net';
import * as x509 from '@peculiar/x509';

const MS_PER_DAY = 86_400_000;
const VALID_DAYS = 3652;

/** A new pair for `hostname` (a name or an IP address), valid from a day before `nowMs`. */
export async function makeSelfSigned(
  hostname: string,
  nowMs: number,
): Promise<{ cert: string; key: string }> {
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
  const cert = await x509.X509CertificateGenerator.createSelfSigned(
    {
      // Positive and 16 octets: RFC 5280 §4.1.2.2
      serialNumber: `00${randomBytes(15).toString('hex')}`,
      name: [{ CN: [hostname] }],
      notBefore: new Date(nowMs - MS_PER_DAY),
      notAfter: new Date(nowMs + VALID_DAYS * MS_PER_DAY),
      signingAlgorithm: algorithm,
      keys,
      extensions: [
        new x509.SubjectAlternativeNameExtension([
          { type: isIP(hostname) ? 'ip' : 'dns', value: hostname },
        ]),
      ],
    },
    webcrypto,
  );
  const pkcs8 = await webcrypto.subtle.exportKey('pkcs8', keys.privateKey);
  const key = x509.PemConverter.encode(pkcs8, 'PRIVATE KEY');
  return { cert: `${cert.toString('pem')}\n`, key: `${key}\n` };
}
