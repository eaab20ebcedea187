/**
 * What holds of every mx pattern (RFC 8461 §4.1): a star is one whole label, the first; nothing
 * but case and a final dot of the host may differ.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { domainToASCII } from 'node:url';
import fc from 'fast-check';
import { isListedMx, matchesMxPattern } from '../../src/protocol/mta-sts/match.ts';
import { referenceMatch } from '../support/sts-grammar.ts';

/** No A-labels: beside a U-label those must be real ones. */
const label = fc
  .stringMatching(/^[a-z](?:[a-z0-9-]{0,6}[a-z0-9])?$/)
  .filter((text) => !text.startsWith('xn--'));
const name = fc.array(label, { minLength: 1, maxLength: 4 }).map((labels) => labels.join('.'));
/** Few labels, so that names meet. */
const few = fc.constantFrom('a', 'b', 'A', 'mx', '*', 'xn--a', 'a_', '', '-a', '1', '*a', '0x1');
const fewLabels = fc.array(few, { maxLength: 4 }).map((labels) => labels.join('.'));

/** `text` with some letters in the other case. */
function recased(text: string, flips: readonly boolean[]): string {
  return [...text]
    .map((letter, at) => (flips[at % flips.length] ? letter.toUpperCase() : letter))
    .join('');
}
const flips = fc.array(fc.boolean(), { minLength: 1, maxLength: 8 });

describe('a star', () => {
  test('is exactly one label more', () => {
    fc.assert(
      fc.property(name, fc.array(label, { maxLength: 4 }), (domain, more) => {
        const host = [...more, domain].join('.');
        assert.equal(matchesMxPattern(`*.${domain}`, host), more.length === 1);
      }),
    );
  });

  test('is no part of a label, nor any label but the first', () => {
    const partial = fc.tuple(name, fc.nat(30)).map(([domain, at]) => {
      const pattern = `x.${domain}`;
      const place = 1 + (at % (pattern.length - 1));
      return `${pattern.slice(0, place)}*${pattern.slice(place)}`;
    });
    fc.assert(
      fc.property(partial, label, (pattern, one) => {
        for (const by of [one, '', 'a']) {
          assert.ok(!matchesMxPattern(pattern, pattern.replace('*', by)), pattern);
          assert.ok(!matchesMxPattern(pattern, pattern.replace('.*', '')), pattern);
        }
      }),
    );
  });

  test('is no host', () => {
    fc.assert(
      fc.property(name, (domain) => {
        assert.ok(!matchesMxPattern(`*.${domain}`, `*.${domain}`));
        assert.ok(!matchesMxPattern(`*.${domain}`, `.${domain}`));
        assert.ok(!matchesMxPattern(`*.*.${domain}`, `a.b.${domain}`));
      }),
    );
  });
});

describe('a pattern', () => {
  test('answers alike whatever the case of either, and the final dot of the host', () => {
    fc.assert(
      fc.property(fewLabels, fewLabels, flips, (pattern, host, by) => {
        const answer = matchesMxPattern(pattern, host);
        assert.equal(matchesMxPattern(recased(pattern, by), host), answer);
        assert.equal(matchesMxPattern(pattern, recased(host, by)), answer);
        if (host !== '' && !host.endsWith('.'))
          assert.equal(matchesMxPattern(pattern, `${host}.`), answer);
        assert.ok(!matchesMxPattern(`${pattern}.`, host));
      }),
    );
  });

  test('allows a host in U-labels when it allows its A-labels', () => {
    const uLabel = fc.constantFrom('bücher', 'почта', '例え', 'faß', 'é');
    fc.assert(
      fc.property(uLabel, name, (first, domain) => {
        const ascii = domainToASCII(first);
        assert.ok(matchesMxPattern(`${ascii}.${domain}`, `${first}.${domain}`));
        assert.ok(matchesMxPattern(`*.${domain}`, `${first}.${domain}`));
        assert.ok(!matchesMxPattern(`${first}.${domain}`, `${first}.${domain}`));
      }),
    );
  });

  test('allows what a second reading of the rule allows', () => {
    const changed = fc.tuple(
      name,
      fc.nat(20),
      fc.string({ unit: fc.constantFrom(...'*.a-_ \0'), maxLength: 2 }),
    );
    const near = changed.map(([text, at, by]) => text.slice(0, at) + by + text.slice(at + 1));
    const text = fc.oneof(fewLabels, near);
    fc.assert(
      fc.property(text, text, (pattern, host) => {
        const answer = matchesMxPattern(pattern, host);
        assert.equal(answer, referenceMatch(pattern, host), `${pattern} ${host}`);
      }),
      { numRuns: 3000 },
    );
  });
});

test('a list allows what any of its patterns allows, in any order', () => {
  fc.assert(
    fc.property(fc.array(fewLabels, { maxLength: 5 }), fewLabels, (mx, host) => {
      const expected = mx.some((pattern) => matchesMxPattern(pattern, host));
      assert.equal(isListedMx({ mx }, host), expected);
      assert.equal(isListedMx({ mx: mx.toReversed() }, host), expected);
    }),
  );
});
