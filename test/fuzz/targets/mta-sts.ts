/**
 * What a domain publishes for MTA-STS, and what of it is kept: record, policy, mx patterns, the
 * entry in Redis and on disk.
 */
import assert from 'node:assert/strict';
import { isUtf8 } from 'node:buffer';
import { formatEntry, parseEntry } from '../../../src/policy/sts-entry.ts';
import { parseDomain } from '../../../src/protocol/domain.ts';
import { matchesMxPattern } from '../../../src/protocol/mta-sts/match.ts';
import {
  isMxPattern,
  judgeFetchResponse,
  MAX_POLICY_OCTETS,
  parsePolicy,
} from '../../../src/protocol/mta-sts/policy.ts';
import { discoverRecord } from '../../../src/protocol/mta-sts/record.ts';
import { referenceMatch, referencePolicy, referenceRecordId } from '../../support/sts-grammar.ts';
import { type FuzzTarget, joined, partsOf } from '../engine/target.ts';

/** A sentence about what strangers published: one printable line. */
const ONE_LINE = /^[\x20-\x7e]{1,1000}$/;

/** TXT records, each of character-strings: between parts the one, between TABs at line starts the other. */
const record: FuzzTarget = {
  name: 'mta-sts-record',
  seeds: [
    joined('v=STSv1; id=20160831085700Z;'),
    joined('v=STSv1;id=1'),
    joined('v=STSv1 ; x=y ; id=abc ; id=def'),
    joined('v=spf1 -all', 'v=STSv1; id=1', ''),
    joined('v=STSv1;\x1fid=1\x1f2;', 'v=STSv2;id=2'),
    joined('v=STSv1; id=1;', 'v=STSv1; id=1;'),
  ],
  tokens: ['v=STSv1', ';', 'id=', 'x=', '=', '\t', ' ', '\x1e', '\x1f', '\xa0', '\u2028', '"'],
  maxOctets: 16_384,
  run(input) {
    const text = input.toString('latin1');
    const rrs = text === '' ? [] : text.split('\x1e').map((rr) => rr.split('\x1f'));
    const found = discoverRecord(
      rrs.map((strings) => strings.map((s) => Buffer.from(s, 'latin1'))),
    );
    const id = referenceRecordId(rrs.map((strings) => strings.join('')));
    assert.equal(found.kind === 'record' ? found.id : undefined, id);
    if (found.kind === 'record') return 'record';
    assert.match(found.detail, ONE_LINE);
    return `none ${found.reason} ${found.detail.replace(/".*|\d+/g, '')}`;
  },
};

const POLICY =
  'version: STSv1\r\nmode: enforce\r\nmx: mx1.example\r\nmx: *.mx.example\r\nmax_age: 604800\r\n';

const MAX_COMPARED = 4000;

/** `status media-type`, then the body. */
const policy: FuzzTarget = {
  name: 'mta-sts-policy',
  seeds: [
    joined('200 text/plain', POLICY),
    joined('200 text/plain; charset=utf-8', POLICY.replaceAll('\r\n', '\n').trimEnd()),
    joined('200 Text/Plain', 'version: STSv1\nmode: none\nmax_age: 0'),
    joined(
      '200 text/plain',
      'version:STSv1\nmode:testing\nmx:a.example\nmax_age:9999999999\nx-y: ü z\n',
    ),
    joined('404 text/plain', POLICY),
    joined('200 text/html', '<html>'),
  ],
  tokens: [
    ...['version: STSv1', 'mode: ', 'enforce', 'testing', 'none', 'mx: ', '*.', 'max_age: ', '\n'],
    ...[
      '\r\n',
      '\r',
      ':',
      ' ',
      '\t',
      '\ufeff',
      '\u2028',
      '\u212a',
      '\x85',
      '.',
      'x: y\n',
      '٦',
      '+',
    ],
  ],
  maxOctets: MAX_POLICY_OCTETS + 100,
  run(input) {
    const split = input.indexOf('\x1e');
    const [head, body] = [input.subarray(0, Math.max(0, split)), input.subarray(split + 1)];
    const [, status = '', contentType] = /^(\d{1,4}) ?(.*)$/s.exec(head.toString()) ?? [];
    const verdict = judgeFetchResponse({ status: Number(status), contentType, body });
    const isText =
      Number(status) === 200 && /^[ \t]*text\/plain[ \t]*(?:;|$)/i.test(contentType ?? '');
    // The reference takes quadratic time: what is long is held to the rest alone.
    const isCompared = body.length <= MAX_COMPARED;
    const said =
      isText && isCompared && isUtf8(body) ? referencePolicy(body.toString()) : undefined;
    if (!verdict.ok) {
      assert.equal(said, undefined);
      assert.match(verdict.detail, ONE_LINE);
      return `${verdict.reason} ${verdict.detail.replace(/".*|\d+/g, '')}`;
    }
    const { mode, mx, maxAgeSeconds, text, lines } = verdict.policy;
    assert.ok(isText && body.length <= MAX_POLICY_OCTETS);
    if (isCompared) assert.deepEqual({ mode, mx, maxAgeSeconds }, said);
    else assert.ok(mx.length > 0 || mode === 'none');
    assert.ok(mx.every(isMxPattern));
    assert.ok(Buffer.from(text).equals(body));
    assert.deepEqual(parsePolicy(Buffer.from(text)), verdict);
    assert.ok(lines.every((line) => !/[\r\n]/.test(line)));
    return `policy ${mode} ${Math.min(mx.length, 3)}`;
  },
};

const match: FuzzTarget = {
  name: 'mx-match',
  seeds: [
    joined('*.example.com', 'mx.example.com'),
    joined('*.example.com', 'a.mx.example.com'),
    joined('MX.example.com', 'mx.EXAMPLE.com.'),
    joined('xn--bcher-kva.example', 'xn--bcher-kva.example'),
    joined('*.b.example', 'b.example'),
  ],
  tokens: [
    '*',
    '*.',
    '.',
    '-',
    '_',
    '\x1e',
    'a',
    'xn--',
    '\u212a',
    'ü',
    '\u3002',
    '127.0.0.1',
    '0x1',
  ],
  maxOctets: 1024,
  run(input) {
    const [pattern = '', host = ''] = partsOf(input, 2);
    const answer = matchesMxPattern(pattern, host);
    // A name in U-labels is the same name as in A-labels.
    const name = /^[\0-\x7f]*$/.test(host) ? host : (parseDomain(host) ?? '');
    assert.equal(answer, referenceMatch(pattern, name));
    for (const spelling of [host.toLowerCase(), swapped(host)]) {
      if (/^[\0-\x7f]*$/.test(host)) assert.equal(matchesMxPattern(pattern, spelling), answer);
    }
    assert.equal(answer && matchesMxPattern(pattern, `a.${host}`), false);
    return `${isMxPattern(pattern) ? 'a pattern' : 'no pattern'} ${answer}`;
  },
};

function swapped(text: string): string {
  return text.replace(/[a-z]/gi, (letter) => String.fromCharCode(letter.charCodeAt(0) ^ 0x20));
}

const KEPT = { id: 'abc1', text: POLICY, fetchedAtMs: 1_700_000_000_000, source: 'fetch' };
const FAILED = {
  id: 'x',
  atMs: 5,
  reason: 'HTTP status 404',
  resultType: 'sts-policy-fetch-error',
};
const entryJson = (facts: Readonly<Record<string, unknown>>) =>
  joined(
    'example.com',
    JSON.stringify({ version: 1, domain: 'example.com', changedAtMs: 1, ...facts }),
  );

/** The asked domain, then what stands in its file or in Redis. */
const entry: FuzzTarget = {
  name: 'sts-entry',
  seeds: [
    entryJson({}),
    entryJson({ policy: KEPT }),
    entryJson({ policy: KEPT, failedFetch: FAILED, dnsFailing: { sinceMs: 1, lastMs: 2 } }),
    entryJson({
      policy: KEPT,
      failedRefresh: {
        sinceMs: 1,
        lastMs: 2,
        failures: 3,
        reason: 'x',
        resultType: 'sts-webpki-invalid',
      },
    }),
    entryJson({
      lastUsedMs: 9,
      suspicions: { 'txt-vanished': { firstMs: 1, lastMs: 2, count: 3, detail: 'x' } },
    }),
  ],
  tokens: [
    ...['"version":1', '"policy":', 'null', '{}', '[]', '""', '-1', '1e999', '\\n', '\\u0000', ','],
    ...[
      '"mode: none"',
      'enforce',
      '"__proto__":',
      '"domain":',
      '"text":',
      '"id":',
      '"source":',
      '"refresh"',
    ],
  ],
  run(input) {
    const [asked = '', json = ''] = partsOf(input, 2);
    const domain = parseDomain(asked);
    if (domain === undefined) return 'no domain';
    const read = parseEntry(domain, json);
    if (read === undefined) return 'unreadable';
    assert.equal(read.domain, domain);
    assert.ok(Number.isFinite(read.changedAtMs) && read.changedAtMs >= 0);
    const raw = JSON.parse(json) as { readonly policy?: { readonly text: string } };
    // An entry with a policy that cannot be read is not an entry without one.
    assert.equal(read.kept === undefined, raw.policy === undefined);
    if (read.kept) {
      assert.deepEqual(parsePolicy(Buffer.from(raw.policy?.text ?? '')), {
        ok: true,
        policy: read.kept.policy,
      });
      assert.ok(Number.isFinite(read.kept.fetchedAtMs));
    }
    // Compared as JSON: 0 and -0 are the same time.
    const again = parseEntry(domain, formatEntry(read));
    assert.equal(again && formatEntry(again), formatEntry(read));
    return `entry with ${Object.keys(read).sort().join(' ')}`;
  },
};

export const mtaStsTargets: readonly FuzzTarget[] = [record, policy, match, entry];
