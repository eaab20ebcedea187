/**
 * DANE: TLSA records as DNS gives them, and the chains that hosts send.
 */
import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { authenticateDane } from '../../../src/protocol/dane/authenticate.ts';
import { formatTlsa, parseTlsa, parseTlsaText } from '../../../src/protocol/dane/tlsa.ts';
import { isUsable, strongestOnly, usableRecords } from '../../../src/protocol/dane/usable.ts';
import { readCertificateParts } from '../../../src/protocol/tls/certificate-der.ts';
import { DANE_NOW_MS, daneCertificate } from '../../support/dane-certificates.ts';
import type { FuzzTarget } from '../engine/target.ts';

const leaf = daneCertificate('leafA');
const root = daneCertificate('rootA');
const issuer = daneCertificate('intA');

/** RDATA. */
const rdata: FuzzTarget = {
  name: 'tlsa-rdata',
  seeds: [
    Buffer.concat([Buffer.of(3, 1, 1), hash('sha256', leaf.spki, 'buffer')]),
    Buffer.concat([Buffer.of(3, 0, 2), hash('sha512', leaf.der, 'buffer')]),
    Buffer.concat([Buffer.of(2, 0, 0), root.der]),
    Buffer.concat([Buffer.of(2, 1, 0), issuer.spki]),
    Buffer.of(3, 1, 1),
    Buffer.of(0),
  ],
  tokens: [
    Buffer.of(3, 1, 1),
    Buffer.of(2, 0, 0),
    Buffer.of(0x30, 0x82),
    Buffer.of(0xff),
    leaf.spki,
  ],
  run(input) {
    const record = parseTlsa(input);
    if (record === undefined) {
      assert.ok(input.length < 3);
      return 'none';
    }
    assert.deepEqual(parseTlsaText(formatTlsa(record)), record);
    const usable = isUsable(record);
    assert.deepEqual(usableRecords([record]), usable ? [record] : []);
    assert.deepEqual(strongestOnly([record]), [record]);
    if (usable) assert.ok(record.usage === 2 || record.usage === 3);
    const peer = { chain: [leaf.der, issuer.der, root.der], nowMs: DANE_NOW_MS };
    const names = ['mx1.dane.example'];
    const verdict = authenticateDane(peer, { records: usableRecords([record]), names });
    if (!usable) assert.ok(!verdict.authenticated);
    return `${usable ? 'usable' : 'unusable'} ${verdict.authenticated ? 'fits' : verdict.cause}`;
  },
};

/** A certificate. */
const certificate: FuzzTarget = {
  name: 'certificate-der',
  seeds: [leaf.der, issuer.der, daneCertificate('leafA_cnonly').der, Buffer.of(0x30, 0x80)],
  tokens: [
    Buffer.of(0x30, 0x84, 0xff, 0xff, 0xff, 0xff),
    Buffer.of(0x30, 0x80),
    Buffer.of(0x30, 0x00),
    Buffer.of(0xa3, 0x82),
    Buffer.from('551d13', 'hex'),
    Buffer.of(0x02, 0x01, 0xff),
  ],
  run(input) {
    const parts = readCertificateParts(input);
    if (parts) {
      assert.ok(input.includes(parts.publicKeyInfo));
      assert.ok(parts.pathLength === undefined || parts.pathLength >= 0);
    }
    // As the leaf, and as the issuer of a good one.
    const records = [{ usage: 2, selector: 1, matchingType: 0, data: issuer.spki }];
    const names = ['mx1.dane.example'];
    const verdicts = [[input], [leaf.der, input]].map((chain) =>
      authenticateDane({ chain, nowMs: DANE_NOW_MS }, { records, names }),
    );
    const words = verdicts.map((one) => (one.authenticated ? 'fits' : one.cause));
    return `${parts ? 'certificate' : 'none'} ${words.join(' ')}`;
  },
};

export const daneTargets: readonly FuzzTarget[] = [rdata, certificate];
