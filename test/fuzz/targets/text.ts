/**
 * Foreign text in what we write: sentences, terminals, the parts of a DSN; and the TLSRPT record,
 * whose URIs we send to.
 */
import assert from 'node:assert/strict';
import { printable } from '../../../src/cli/terminal.ts';
import { formatDeliveryStatus } from '../../../src/protocol/dsn/delivery-status.ts';
import { explain } from '../../../src/protocol/dsn/explanation.ts';
import { quoted } from '../../../src/protocol/quote.ts';
import { discoverTlsRptRecord, MAX_URIS } from '../../../src/protocol/tlsrpt/record.ts';
import { type FuzzTarget, joined, partsOf } from '../engine/target.ts';

/** ENVID, ORCPT, recipient, host, what it said, what the policy asks. */
const status: FuzzTarget = {
  name: 'delivery-status',
  seeds: [
    joined(
      'env-1',
      'rfc822;b@example.org',
      'b@example.org',
      'mx.example',
      '550 5.1.1 no such user',
      '',
    ),
    joined(
      '',
      'utf-8;\\x{FC}@bücher.example',
      'ü@bücher.example',
      '192.0.2.1',
      'certificate has expired',
      'The policy asks.',
    ),
    joined('x', 'nosemicolon', 'b@[IPv6:::1]', '2001:db8::1', 'word '.repeat(100), ''),
  ],
  tokens: [
    '\r\n',
    '\n',
    '\r',
    '\u2028',
    '\x85',
    '\0',
    '\x1e',
    ': ',
    '; ',
    'Status: 2.0.0',
    '𐀀',
    'ü',
    '\ud800',
    ' ',
    'x'.repeat(1000),
  ],
  maxOctets: 16_384,
  run(input) {
    const [envelopeId, originalRecipient, finalRecipient = '', host = '', said = '', demand] =
      partsOf(input, 6);
    const recipient = {
      originalRecipient,
      finalRecipient,
      action: 'failed',
      status: '5.7.1',
      remoteMta: host,
      diagnostic: { type: 'smtp', text: said },
      lastAttemptMs: 0,
      retryUntilMs: 1,
      logId: '01ARZ3NDEKTSV4RR',
    } as const;
    for (const international of [false, true]) {
      const text = formatDeliveryStatus({
        international,
        reportingMta: 'relay.example.net',
        envelopeId,
        receivedFrom: host,
        arrivalDateMs: 0,
        recipients: [recipient, recipient],
      });
      if (!international) assert.match(text, /^[\r\n -~]*$/);
      checkFields(text);
    }
    const undelivered = (source: 'remote' | 'local') => ({
      recipient: finalRecipient,
      attempts: 3,
      reason: { host, address: host, text: said, source, demand },
    });
    const failed = [undelivered('remote'), undelivered('local')];
    const delayed = [{ ...undelivered('remote'), retryUntilMs: 1 }];
    const relayed = [{ recipient: finalRecipient, host }];
    const told = { failed, delayed, relayed };
    const words = explain({ reportingMta: 'relay.example.net', receivedAtMs: 0, ...told });
    assert.match(words, /^(?:[^\p{Cc}\u2028\u2029]*\r\n)+$/u);
    assert.ok(words.split('\r\n').length < 220);
    return /[^ -~]/.test(finalRecipient) ? 'not ASCII' : 'ASCII';
  },
};

/** Three blocks, each of the fields it is to have and no other, one a line. */
function checkFields(text: string): void {
  const blocks = text.split('\r\n\r\n').map((block) => block.trimEnd().split('\r\n'));
  assert.equal(blocks.length, 3);
  for (const [index, lines] of blocks.entries()) {
    const names = lines.map((line) => /^([A-Z][A-Za-z-]+): [^\r\n]/.exec(`${line} `)?.[1]);
    const expected =
      index === 0
        ? /^Reporting-MTA Original-Envelope-Id (?:Received-From-MTA )?Arrival-Date$/
        : RECIPIENT_FIELDS;
    assert.match(names.join(' '), expected);
    for (const line of lines) {
      assert.ok(Buffer.byteLength(line) <= 998);
      assert.doesNotMatch(line, /[\p{Cc}\u2028\u2029]/u);
    }
  }
}

const RECIPIENT_FIELDS =
  /^Original-Recipient Final-Recipient Action Status (?:Remote-MTA )?Diagnostic-Code Last-Attempt-Date Final-Log-ID Will-Retry-Until$/;

const foreign: FuzzTarget = {
  name: 'foreign-text',
  seeds: ['plain', 'es"c\\ape', '\x1b[2J\x07', 'ü 𐀀 \u202e', '\ud800'].map((text) =>
    Buffer.from(text),
  ),
  tokens: ['"', '\\', '\x1b[', '\x9b', '\r', '\u202e', '\u2028', '𐀀', '\0', 'x'.repeat(80)],
  run(input) {
    for (const text of [input.toString(), input.toString('utf16le'), input.toString('latin1')]) {
      assert.match(quoted(text), /^"(?:[ !#-[\]-~]|\\["\\]|\\u\{[0-9a-f]{1,6}\}){0,83}"$/);
      assert.doesNotMatch(printable(text), /[\p{Cc}\p{Cf}]/u);
    }
    return input.length > 80 ? 'long' : 'short';
  },
};

/** TXT records, each of character-strings. */
const tlsRpt: FuzzTarget = {
  name: 'tlsrpt-record',
  seeds: [
    'v=TLSRPTv1; rua=mailto:reports@example.com',
    'v=TLSRPTv1;rua=https://r.example/v1?a=b,mailto:a@b.example;',
    'v=TLSRPTv1 ; x=y ; rua=mailto:a@b.example , mailto:c@d.example%2C',
    'v=TLSRPTv1; rua=http://r.example/\x1ev=spf1',
    'v=TLSRPTv1; rua=mailto:a@b.example!10m',
    'v=TLSRPTv1; r\x1fua=https://[::1]:8443/%41#f',
  ].map((text) => Buffer.from(text)),
  tokens: [
    ...[
      'v=TLSRPTv1',
      ';',
      'rua=',
      'mailto:',
      'https://',
      ',',
      '!',
      ' ',
      '\t',
      '%',
      '%2C',
      '@',
      '?',
      '#',
      '/',
    ],
    ...[
      '//',
      '[',
      ']',
      ':',
      'x=',
      '\x1e',
      '\x1f',
      'file:///etc/passwd',
      'javascript:',
      '\n',
      '\xff',
      '\\',
    ],
  ],
  maxOctets: 16_384,
  run(input) {
    const rrs = input.toString('latin1').split('\x1e');
    const records = rrs.map((rr) => rr.split('\x1f').map((text) => Buffer.from(text, 'latin1')));
    const found = discoverTlsRptRecord(records);
    // Where the character-strings end says nothing.
    const inOne = records.map((strings) => [Buffer.concat(strings)]);
    assert.deepEqual(discoverTlsRptRecord(inOne), found);
    if (found.kind === 'none') {
      assert.match(found.detail, /^[\x20-\x7e]{1,1000}$/);
      return `none ${found.reason} ${found.detail.replace(/".*|\d+/g, '')}`;
    }
    assert.ok(found.rua.length >= 1 && found.rua.length <= MAX_URIS);
    const text = rrs.join('\x1e').replaceAll('\x1f', '');
    for (const uri of found.rua) {
      assert.match(uri, /^(?:mailto:[^@]+@.+|https:\/\/[^/].*)$/is);
      assert.match(uri, /^[!-~]+$/);
      assert.doesNotMatch(uri, /[,!;\\"<>^`{|}]/);
      assert.ok(text.includes(uri) && (URL.canParse(uri) || /^mailto:/i.test(uri)));
    }
    return `record of ${Math.min(found.rua.length, 3)}`;
  },
};

export const textTargets: readonly FuzzTarget[] = [tlsRpt, status, foreign];
