/** Which plans may share a session under TLSA records. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { sessionKey } from '../../src/delivery/session-key.ts';
import type { DaneSource, TlsRequirement } from '../../src/mail/tls-requirement.ts';
import { domain } from './policy-parts.ts';

const [EE, EE_NEXT, TA] = ['3 1 1 aa', '3 1 1 bb', '2 1 1 cc'];

function keyUnder(source: TlsRequirement['source'], level: TlsRequirement['level'] = 'verify') {
  return sessionKey(
    {
      destination: 'w.example',
      candidate: { host: domain('mx.w.example'), preference: 10, port: 25 },
      address: '192.0.2.1',
      requirement: { level, minVersion: 'TLSv1.2', source },
      mode: 'full',
    },
    { heloName: 'relay.example', localAddress: undefined },
  );
}

function dane(usable: readonly string[], change: Partial<DaneSource> = {}): DaneSource {
  const names = ['mx.w.example', 'w.example'];
  return { kind: 'dane', baseDomain: 'mx.w.example', records: usable, usable, names, ...change };
}

describe('a session under DANE', () => {
  const key = keyUnder(dane([EE, EE_NEXT]));

  test('is for the same records, in any order', () => {
    assert.equal(keyUnder(dane([EE_NEXT, EE])), key);
  });

  test('is for no others', () => {
    assert.notEqual(keyUnder(dane([EE])), key);
    assert.notEqual(keyUnder(dane([EE, TA])), key);
    assert.notEqual(keyUnder(dane([EE, EE_NEXT], { usable: [EE] })), key);
    assert.notEqual(keyUnder(dane([EE, EE_NEXT], { baseDomain: 'other.example' })), key);
  });

  test('is for nobody who asks for something else', () => {
    assert.notEqual(keyUnder({ kind: 'default' }), key);
    assert.notEqual(keyUnder({ kind: 'default' }, 'opportunistic'), key);
    assert.notEqual(keyUnder(dane([EE, EE_NEXT]), 'encrypt'), key);
  });

  test('of a leaf serves every domain; of a trust anchor those with the same names alone', () => {
    const other = { names: ['mx.w.example', 'v.example'] };
    assert.equal(keyUnder(dane([EE, EE_NEXT], other)), key);
    assert.notEqual(keyUnder(dane([EE, TA], other)), keyUnder(dane([EE, TA])));
  });
});
