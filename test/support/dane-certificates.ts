/** The public certificates of test/fixtures/certs/dane-certs.json, good on 2026-03-14, by name. */
import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';

export interface DaneCertificate {
  readonly der: Buffer;
  /** Of its SubjectPublicKeyInfo. */
  readonly spki: Buffer;
}

interface Fixture {
  readonly der_b64: string;
  readonly spki_b64: string;
}

const file = new URL('../fixtures/certs/dane-certs.json', import.meta.url);
const fixtures = JSON.parse(readFileSync(file, 'utf8')) as Record<string, Fixture>;

/** When all of them are good but those that say otherwise. */
export const DANE_NOW_MS = Date.parse('2026-03-14T12:00:00Z');

export const DANE_CERTIFICATE_NAMES: readonly string[] = Object.keys(fixtures);

export function daneCertificate(name: string): DaneCertificate {
  const fixture = fixtures[name];
  if (!fixture) throw new Error(`no certificate ${name}`);
  const der = Buffer.from(fixture.der_b64, 'base64');
  // Fails here rather than somewhere in a test.
  new X509Certificate(der);
  return { der, spki: Buffer.from(fixture.spki_b64, 'base64') };
}
