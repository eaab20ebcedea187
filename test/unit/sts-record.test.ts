import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { discoverRecord } from '../../src/protocol/mta-sts/record.ts';

const rr = (...strings: readonly string[]) => strings.map((text) => Buffer.from(text, 'latin1'));

describe('discoverRecord', () => {
  test('says which of the ways there is no record', () => {
    const reasons = [
      discoverRecord([]),
      discoverRecord([rr('v=spf1 -all')]),
      discoverRecord([rr('v=STSv1')]),
      discoverRecord([rr('v=STSv1;id=1'), rr('v=STSv1;id=1')]),
      discoverRecord([rr('v=STSv1;')]),
      discoverRecord([rr('v=STSv1; ;')]),
      discoverRecord([rr('v=STSv1;;')]),
    ].map((found) => found.kind === 'none' && found.reason);
    assert.deepEqual(reasons, [
      'no-record',
      'no-record',
      'no-record',
      'multiple',
      'syntax',
      'syntax',
      'syntax',
    ]);
  });

  test('joins the strings before it looks at them', () => {
    assert.deepEqual(discoverRecord([rr('v=STS', 'v1; i', 'd=1', '2;')]), {
      kind: 'record',
      id: '12',
    });
  });

  test('shows foreign text in one printable line of bounded length', () => {
    const found = discoverRecord([rr(`v=STSv1; id=\x1b[2J\n"${'x'.repeat(60_000)}`)]);
    assert.equal(found.kind, 'none');
    assert.ok(found.kind === 'none');
    assert.match(found.detail, /^[\x20-\x7e]{1,200}$/);
    assert.ok(found.detail.includes('\\u{1b}[2J\\u{a}\\"'));
  });

  test('takes linear time on runs of blanks', () => {
    const blanks = ' '.repeat(65_000);
    const startedAt = process.hrtime.bigint();
    discoverRecord([rr(`v=STSv1;${blanks}x${blanks}x${blanks}`)]);
    discoverRecord([rr(`v=STSv1${blanks}x;`)]);
    assert.ok(process.hrtime.bigint() - startedAt < 1_000_000_000n);
  });

  test('never throws, and an id is always an id', () => {
    const piece = fc.constantFrom('v=STSv1', ';', ' ', '\t', 'id=', 'a1', 'x=y', '=', '\n', '\xff');
    const text = fc.oneof(fc.string({ unit: piece, maxLength: 12 }), fc.string({ unit: 'binary' }));
    fc.assert(
      fc.property(fc.array(fc.array(text, { maxLength: 3 }), { maxLength: 3 }), (rrs) => {
        const found = discoverRecord(rrs.map((strings) => rr(...strings)));
        if (found.kind === 'record') assert.match(found.id, /^[A-Za-z0-9]{1,32}$/);
      }),
      { numRuns: 2000 },
    );
  });

  test('finds the id of any well-formed record', () => {
    const id = fc.stringMatching(/^[A-Za-z0-9]{1,32}$/);
    const field = fc
      .tuple(fc.stringMatching(/^x[A-Za-z0-9_.-]{0,31}$/), fc.stringMatching(/^[!-:<>-~]{1,20}$/))
      .map(([name, value]) => `${name}=${value}`);
    const delimiter = fc.stringMatching(/^[ \t]{0,3};[ \t]{0,3}$/);
    fc.assert(
      fc.property(id, fc.array(field), fc.array(field), delimiter, (wanted, before, after, by) => {
        const text = ['v=STSv1', ...before, `id=${wanted}`, ...after].join(by);
        assert.deepEqual(discoverRecord([rr(text)]), { kind: 'record', id: wanted });
        assert.deepEqual(discoverRecord([rr(text + by)]), { kind: 'record', id: wanted });
      }),
    );
  });
});
