import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { TlsFailureCause } from '../../src/mail/failure.ts';
import { tlsResultType } from '../../src/mail/tls-result-type.ts';
import { RESULT_TYPES, type ResultType } from '../../src/protocol/tlsrpt/result-type.ts';

const TABLE: Readonly<Record<TlsFailureCause, ResultType>> = {
  'starttls-not-offered': 'starttls-not-supported',
  'starttls-refused': 'starttls-not-supported',
  'certificate-host-mismatch': 'certificate-host-mismatch',
  'certificate-expired': 'certificate-expired',
  'certificate-not-yet-valid': 'certificate-expired',
  'certificate-self-signed': 'certificate-not-trusted',
  'certificate-untrusted': 'certificate-not-trusted',
  'certificate-invalid': 'certificate-not-trusted',
  'certificate-missing': 'validation-failure',
  'tls-handshake-failed': 'validation-failure',
  'tls-version-too-low': 'validation-failure',
  'clear-text-after-starttls': 'validation-failure',
  'mx-outside-policy': 'validation-failure',
  'tlsa-mismatch': 'tlsa-invalid',
  'dnssec-failed': 'dnssec-invalid',
  'dane-required': 'dane-required',
};

test('R098 R099 R100 R101 R102 every TLS failure is reported under its RFC 8460 §4.3 type', () => {
  for (const [cause, type] of Object.entries(TABLE)) {
    assert.equal(tlsResultType(cause as TlsFailureCause), type, cause);
    assert.ok(RESULT_TYPES.includes(type));
  }
});

test('a cause that does not exist is a bug, not a result', () => {
  assert.throws(() => tlsResultType('no-such-cause' as TlsFailureCause), /no-such-cause/);
});
