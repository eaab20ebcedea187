/** What an envelope says about TLS (RFC 8689 §4.1, §5). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Envelope } from '../../src/mail/envelope.ts';
import { type TlsWish, tlsWishOf } from '../../src/mail/tls-wish.ts';
import { sampleEnvelope } from './sample-mail.ts';

const rows: readonly (readonly [Partial<Envelope>, TlsWish | undefined])[] = [
  [{}, undefined],
  [{ reversePath: '' }, undefined],
  [{ requireTls: true }, 'required'],
  [{ requireTls: true, reversePath: '' }, 'preferred'],
  [{ tlsRequiredNo: true }, 'waived'],
  [{ tlsRequiredNo: true, reversePath: '' }, 'waived'],
  [{ requireTls: true, tlsRequiredNo: true }, 'required'],
  [{ requireTls: true, tlsRequiredNo: true, reversePath: '' }, 'preferred'],
  [{ tlsReport: true, tlsRequiredNo: true }, 'report'],
];

for (const [envelope, wish] of rows) {
  test(`${JSON.stringify(envelope)}: ${wish ?? 'nothing'}`, () => {
    assert.equal(tlsWishOf(sampleEnvelope(envelope)), wish);
  });
}
