import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { discoverTlsRptRecord, MAX_URIS } from '../../src/protocol/tlsrpt/record.ts';

const rr = (...strings: readonly string[]) => strings.map((text) => Buffer.from(text, 'latin1'));
const ruaOf = (...texts: readonly string[]) => {
  const found = discoverTlsRptRecord(texts.map((text) => rr(text)));
  return found.kind === 'record' ? found.rua : found.reason;
};

describe('discoverTlsRptRecord', () => {
  test('says which of the ways there is no record', () => {
    const bad: readonly (readonly [readonly string[], string])[] = [
      [[], 'no-record'],
      [['v=STSv1; id=1'], 'no-record'],
      [['v=TLSRPTv1'], 'no-record'],
      [['v=TLSRPTv10; rua=mailto:a@b.example'], 'no-record'],
      [['v=TLSRPTv1;rua=mailto:a@b.example', 'v=TLSRPTv1;'], 'multiple'],
      [['v=TLSRPTv1;'], 'syntax'],
      [['v=TLSRPTv1; ; rua=mailto:a@b.example'], 'syntax'],
      [['v=TLSRPTv1; rua=mailto:a@b.example '], 'syntax'],
      [['v=TLSRPTv1; RUA=mailto:a@b.example'], 'syntax'],
      [['v=TLSRPTv1; rua=mailto:a@b.example; rua='], 'syntax'],
      [['v=TLSRPTv1; rua=mailto:a@b.example,,mailto:c@b.example'], 'syntax'],
      [['v=TLSRPTv1; rua=mailto:\xe4@b.example'], 'syntax'],
    ];
    for (const [texts, reason] of bad) assert.equal(ruaOf(...texts), reason, texts.join(' | '));
  });

  test('takes URIs of RFC 3986 and no others', () => {
    const good = [
      'mailto:a@b.example?subject=tls',
      'mailto:%22a%20b%22@b.example',
      'https://user@b.example:8443/a//b/?q=1/2?3#f/?',
      'https://[2001:db8::1]/in',
    ];
    for (const uri of good) assert.deepEqual(ruaOf(`v=TLSRPTv1;rua=${uri}`), [uri]);
    const bad = [
      'a@b.example',
      '1mailto:a@b.example',
      'https://b.example/[x]',
      'https://b.example/#a#b',
      'https://b.example/%zz',
      'https://b.example/%4',
      'mailto:a@b.example!10m',
      'mailto:"a"@b.example',
      '//b.example/in',
    ];
    for (const uri of bad) assert.equal(ruaOf(`v=TLSRPTv1;rua=${uri}`), 'syntax', uri);
  });

  test('passes over URIs that no report can go to', () => {
    const useless = [
      'mailto:',
      'mailto:postmaster',
      'mailto:@b.example',
      'mailto:?to=a@b.example',
      'https:',
      'https://',
      'https:///in',
      'https:b.example/in',
      'https://b.example:99999/in',
      'http://b.example/in',
    ];
    for (const uri of useless) {
      assert.equal(ruaOf(`v=TLSRPTv1;rua=${uri}`), 'syntax', uri);
      const used = 'mailto:a@b.example';
      assert.deepEqual(ruaOf(`v=TLSRPTv1;rua=${uri},${used}`), [used], uri);
    }
  });

  test('uses a bounded number of URIs, of a bounded record', () => {
    const uris = (count: number) =>
      Array.from({ length: count }, (_, n) => `mailto:${n}@b.example`).join();
    assert.deepEqual(ruaOf(`v=TLSRPTv1;rua=${uris(100)}`), uris(MAX_URIS).split(','));
    assert.equal(ruaOf(`v=TLSRPTv1;rua=${uris(1000)}`), 'syntax');
  });

  test('shows foreign text in one printable line of bounded length', () => {
    const hostile = `\x1b[2J\n"${'x'.repeat(4000)}`;
    for (const text of [hostile, `v=TLSRPTv1;${hostile}`, `v=TLSRPTv1;rua=${hostile}`]) {
      const found = discoverTlsRptRecord([rr(text)]);
      assert.ok(found.kind === 'none');
      assert.match(found.detail, /^[\x20-\x7e]{1,200}$/);
      assert.ok(found.detail.includes('\\u{1b}[2J\\u{a}\\"'));
    }
  });

  test('takes linear time on long runs', () => {
    const runs = ['a', '/', ' ', '%41', '//', 'a:', '?', ',', '='];
    const startedAt = process.hrtime.bigint();
    for (const run of runs) {
      for (const start of ['', 'x:', 'https://', 'mailto:', 'x:?', 'x:#']) {
        discoverTlsRptRecord([rr(`v=TLSRPTv1;rua=${start}${run.repeat(2600)}"`)]);
      }
      discoverTlsRptRecord([rr(`v=TLSRPTv1;rua=x:${run.repeat(21_000)}"`)]);
    }
    assert.ok(process.hrtime.bigint() - startedAt < 1_000_000_000n);
  });

  test('never throws, and what it finds is mailto or https', () => {
    const piece = fc.constantFrom(
      ...['v=TLSRPTv1', ';', ' ', '\t', 'rua=', 'mailto:a@b.example', 'https://c.example'],
      ...[',', '=', 'x=y', 'x:', '!', '%', '\n', '\xff'],
    );
    const text = fc.oneof(fc.string({ unit: piece, maxLength: 12 }), fc.string({ unit: 'binary' }));
    fc.assert(
      fc.property(fc.array(fc.array(text, { maxLength: 3 }), { maxLength: 3 }), (rrs) => {
        const found = discoverTlsRptRecord(rrs.map((strings) => rr(...strings)));
        if (found.kind === 'none') return;
        assert.ok(found.rua.length > 0);
        for (const uri of found.rua) assert.match(uri, /^(mailto:|https:\/\/)[!-~]+$/i);
      }),
      { numRuns: 2000 },
    );
  });

  test('finds the URIs of any well-formed record, wherever its strings are cut', () => {
    const uri = fc.oneof(
      fc.stringMatching(/^mailto:[a-z0-9]([a-z0-9.+=-]|%2[0-9A-F]){0,20}@[a-z]{1,9}\.example$/),
      fc.stringMatching(/^(https|HTTPS):\/\/[a-z]{1,9}\.example(\/[\w.~$&'()*+=:@-]{0,9}){0,3}$/),
    );
    const rua = fc.array(uri, { minLength: 1, maxLength: 4 });
    const extension = fc
      .tuple(fc.stringMatching(/^x[A-Za-z0-9_.-]{0,31}$/), fc.stringMatching(/^[!-:<>-~]{1,20}$/))
      .map(([name, value]) => `${name}=${value}`);
    const blanks = fc.stringMatching(/^[ \t]{0,3}$/);
    const input = fc.record({ rua, again: rua, extension, left: blanks, right: blanks });
    fc.assert(
      fc.property(input, fc.nat(), ({ rua, again, extension, left, right }, cut) => {
        const list = (uris: readonly string[]) => `rua=${uris.join(`${left},${right}`)}`;
        const by = `${left};${right}`;
        const text = ['v=TLSRPTv1', list(rua), extension, list(again)].join(by);
        const at = cut % text.length;
        const wanted = { kind: 'record', rua: [...rua, ...again] };
        assert.deepEqual(discoverTlsRptRecord([rr(text)]), wanted);
        assert.deepEqual(discoverTlsRptRecord([rr(text.slice(0, at), text.slice(at), by)]), wanted);
      }),
    );
  });
});
