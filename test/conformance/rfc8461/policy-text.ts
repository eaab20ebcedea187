/**
 * RFC 8461 §3.2: the text of a policy (R022 to R036), read from octets.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  judgeFetchResponse,
  MAX_MAX_AGE_SECONDS,
  parsePolicy,
  type StsPolicy,
} from '../../../src/protocol/mta-sts/policy.ts';

const VERSION = 'version: STSv1';
const ENFORCE = 'mode: enforce';
const MX = 'mx: mx.example.com';
const MAX_AGE = 'max_age: 604800';

/** The policy in a text, or the reason why there is none. */
function read(text: string | Buffer): StsPolicy | string {
  const verdict = parsePolicy(Buffer.from(text as string));
  return verdict.ok ? verdict.policy : verdict.detail;
}

function policy(...lines: readonly string[]): StsPolicy {
  const result = read(`${lines.join('\r\n')}\r\n`);
  assert.ok(typeof result !== 'string', `${result}: ${JSON.stringify(lines)}`);
  return result;
}

function assertInvalid(...lines: readonly string[]): void {
  const result = read(`${lines.join('\r\n')}\r\n`);
  assert.ok(typeof result === 'string', JSON.stringify(lines));
}

/** Lines and their ends. */
export function policyLines(): void {
  test('R022 lines end in LF or CRLF, mixed, the last one in either or in neither', () => {
    const lines = [VERSION, ENFORCE, MX, MAX_AGE];
    for (const end of ['\n', '\r\n']) {
      assert.ok(typeof read(lines.join(end)) !== 'string');
      assert.ok(typeof read(lines.join(end) + end) !== 'string');
    }
    const mixed = `${VERSION}\r\n${ENFORCE}\n${MX}\r\n${MAX_AGE}\n`;
    assert.ok(typeof read(mixed) !== 'string');
  });

  test('R022 a lone CR, and what else Unicode calls the end of a line, ends nothing', () => {
    assert.equal(typeof read([VERSION, ENFORCE, MX, MAX_AGE].join('\r')), 'string');
    assert.equal(typeof read(`${VERSION}\r\n${ENFORCE}\r\n${MX}\r\n${MAX_AGE}\r`), 'string');
    const others = ['\u2028', '\u2029', '\u0085', '\v', '\f'];
    for (const end of others) {
      assert.equal(typeof read([VERSION, ENFORCE, MX, MAX_AGE].join(end)), 'string');
    }
  });

  test('R023 a line is a name, a colon, blanks and a value', () => {
    assert.equal(
      policy(VERSION, 'mode:enforce', 'mx:\t mx.example.com \t', MAX_AGE).mode,
      'enforce',
    );
    const bad = [
      ' mode: enforce',
      'mode : enforce',
      'mode enforce',
      'mode=enforce',
      'mode:',
      ': enforce',
    ];
    for (const line of bad) assertInvalid(VERSION, line, MX, MAX_AGE);
  });

  test('R024 an empty line is no line of a policy', () => {
    assertInvalid(VERSION, '', ENFORCE, MX, MAX_AGE);
    assertInvalid(VERSION, ENFORCE, MX, MAX_AGE, '');
    assertInvalid('', VERSION, ENFORCE, MX, MAX_AGE);
    assertInvalid(VERSION, ENFORCE, MX, MAX_AGE, ' ');
    assert.equal(typeof read(''), 'string');
  });

  test('R031 unknown fields are ignored when they are well-formed, and break the policy when not', () => {
    const good = [
      'x: y',
      'a_b-c.d: two words',
      'note: große Straße',
      `${'n'.repeat(32)}: v`,
      '1: :',
    ];
    for (const line of good)
      assert.equal(policy(VERSION, ENFORCE, MX, MAX_AGE, line).mode, 'enforce');
    const bad = [
      'x:',
      '_x: y',
      `${'n'.repeat(33)}: v`,
      'x: a\0b',
      'x: a\x1bb',
      'ö: y',
      'x: a\tb',
      'x y: z',
    ];
    for (const line of bad) assertInvalid(VERSION, ENFORCE, MX, MAX_AGE, line);
  });

  test('R032 of a repeated field the first counts, and the others are not even read; but for mx', () => {
    const { mode, maxAgeSeconds, mx } = policy(
      ...[VERSION, 'version: STSv2', ENFORCE, 'mode: none', 'mode: nonsense'],
      ...[MAX_AGE, 'max_age: 1', 'max_age: nonsense', MX, 'mx: mx2.example.com'],
    );
    assert.deepEqual(
      { mode, maxAgeSeconds, mx },
      {
        mode: 'enforce',
        maxAgeSeconds: 604_800,
        mx: ['mx.example.com', 'mx2.example.com'],
      },
    );
    assertInvalid(VERSION, 'mode: nonsense', ENFORCE, MX, MAX_AGE);
  });

  test('R033 names of fields are in lower case', () => {
    assertInvalid('Version: STSv1', ENFORCE, MX, MAX_AGE);
    assertInvalid(VERSION, 'Mode: enforce', MX, MAX_AGE);
    assertInvalid(VERSION, ENFORCE, MX, 'Max_Age: 604800');
    assertInvalid(VERSION, ENFORCE, 'MX: mx.example.com', MAX_AGE);
    assert.equal(policy(VERSION, ENFORCE, 'Mode: none', MX, MAX_AGE).mode, 'enforce');
  });

  test('R034 fields come in any order', () => {
    assert.deepEqual(policy(MAX_AGE, MX, ENFORCE, VERSION).mx, ['mx.example.com']);
    assert.equal(policy(MX, VERSION, MAX_AGE, 'mx: b.example', ENFORCE).mx.length, 2);
  });

  test('R036 the text is UTF-8, whatever charset is claimed; octets that are not break it', () => {
    const text = Buffer.from(`${VERSION}\n${ENFORCE}\n${MX}\n${MAX_AGE}\nnote: gr\u00fcn\n`);
    for (const charset of ['us-ascii', 'iso-8859-1', 'utf-16']) {
      const contentType = `text/plain; charset=${charset}`;
      assert.equal(judgeFetchResponse({ status: 200, contentType, body: text }).ok, true);
      const body = Buffer.from(text.toString(), 'latin1');
      assert.equal(judgeFetchResponse({ status: 200, contentType, body }).ok, false);
    }
    const bom = Buffer.concat([Buffer.from([0xef, 0xbb, 0xbf]), text]);
    assert.equal(typeof read(bom), 'string');
  });
}

/** The fields of a policy. */
export function policyFields(): void {
  test('R025 version is STSv1', () => {
    assertInvalid(ENFORCE, MX, MAX_AGE);
    for (const version of ['STSv2', 'stsv1', 'STSv1.0', '1', 'STSv1;']) {
      assertInvalid(`version: ${version}`, ENFORCE, MX, MAX_AGE);
    }
  });

  test('R026 mode is enforce, testing or none', () => {
    for (const mode of ['enforce', 'testing', 'none']) {
      assert.equal(policy(VERSION, `mode: ${mode}`, MX, MAX_AGE).mode, mode);
    }
    assertInvalid(VERSION, MX, MAX_AGE);
    for (const mode of ['Enforce', 'ENFORCE', 'report', 'enforced', 'enforce testing']) {
      assertInvalid(VERSION, `mode: ${mode}`, MX, MAX_AGE);
    }
  });

  test('R027 max_age is 1 to 10 digits', () => {
    for (const [text, seconds] of [
      ['0', 0],
      ['0000000060', 60],
      ['86400', 86_400],
    ] as const) {
      assert.equal(policy(VERSION, ENFORCE, MX, `max_age: ${text}`).maxAgeSeconds, seconds);
    }
    assertInvalid(VERSION, ENFORCE, MX);
    const bad = ['-1', '+60', '1.5', '1e5', '1d', '0x10', '60 s', '00000000060', '\u0663\u0660'];
    for (const maxAge of bad) assertInvalid(VERSION, ENFORCE, MX, `max_age: ${maxAge}`);
  });

  test('R028 no policy lasts longer than 31557600 seconds: a higher max_age counts as that', () => {
    assert.equal(MAX_MAX_AGE_SECONDS, 31_557_600);
    for (const maxAge of ['31557600', '31557601', '9999999999']) {
      assert.equal(policy(VERSION, ENFORCE, MX, `max_age: ${maxAge}`).maxAgeSeconds, 31_557_600);
    }
  });

  test('R029 each mx line adds a pattern, in order; none is needed in mode none', () => {
    const mx = ['mx: b.example', 'mx: *.a.example', 'mx: c.example'];
    assert.deepEqual(policy(VERSION, ENFORCE, ...mx, MAX_AGE).mx, [
      'b.example',
      '*.a.example',
      'c.example',
    ]);
    assertInvalid(VERSION, ENFORCE, MAX_AGE);
    assertInvalid(VERSION, 'mode: testing', MAX_AGE);
    assert.deepEqual(policy(VERSION, 'mode: none', MAX_AGE).mx, []);
  });

  test('R030 an mx is a domain in A-labels, or *. and one', () => {
    const good = [
      'mx.example.com',
      '*.example.com',
      'xn--bcher-kva.example',
      'MX.Example.COM',
      '*.com',
    ];
    for (const mx of good) {
      assert.deepEqual(policy(VERSION, ENFORCE, `mx: ${mx}`, MAX_AGE).mx, [mx.toLowerCase()]);
    }
    const bad = [
      '*',
      '*.',
      'mx.example.com.',
      '_mx.example.com',
      'b\u00fccher.example',
      '**.example.com',
    ];
    for (const mx of bad) assertInvalid(VERSION, ENFORCE, MX, `mx: ${mx}`, MAX_AGE);
    for (const mx of [
      'mx.*.com',
      'm*.example.com',
      '-a.example',
      'a..example',
      '[192.0.2.1]',
      'a b',
    ]) {
      assertInvalid(VERSION, ENFORCE, MX, `mx: ${mx}`, MAX_AGE);
    }
  });

  test('R035 the media type is text/plain, in any case and with any parameters', () => {
    const body = Buffer.from(`${VERSION}\n${ENFORCE}\n${MX}\n${MAX_AGE}\n`);
    const isTaken = (contentType: string | undefined) =>
      judgeFetchResponse({ status: 200, contentType, body }).ok;
    for (const good of ['text/plain', 'Text/PLAIN', 'text/plain ; charset=utf-8; x=y']) {
      assert.ok(isTaken(good), good);
    }
    for (const bad of ['text/html', 'application/octet-stream', 'text/plainer', '', undefined]) {
      assert.ok(!isTaken(bad), bad);
    }
  });
}
