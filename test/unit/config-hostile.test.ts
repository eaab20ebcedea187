/**
 * No text in place of the configuration makes the loader throw, hang or grow without bound.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { stringify } from 'yaml';
import { applyEnvironment } from '../../src/config/environment.ts';
import { formatProblem } from '../../src/config/problems.ts';
import { settingsSchema } from '../../src/config/settings.ts';
import { formatPath, type KeyPath } from '../../src/config/structure.ts';
import { validate } from '../../src/config/validate.ts';
import { readConfigText } from '../../src/config/yaml-file.ts';

function check(text: string): readonly string[] {
  const read = readConfigText('f.yaml', text);
  const placeBy = (lineOf: typeof read.lineOf) => (path: KeyPath) => {
    const line = lineOf(path);
    return { source: 'f.yaml', key: formatPath(path), ...(line === undefined ? {} : { line }) };
  };
  const { problems } = validate(read.values, {
    nowMs: 0,
    placeOf: placeBy(read.lineOf),
    placeOfWarning: placeBy(read.lineWhereSaid),
  });
  return [...read.problems, ...problems].map(formatProblem);
}

describe('arbitrary configuration', () => {
  test('any text', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 300 }), (text) => void check(text)),
    );
  });
  test('text made of what YAML is made of', () => {
    const token = fc.constantFrom(
      ...[
        'a',
        ': ',
        '- ',
        '\n',
        '  ',
        '[',
        ']',
        '{',
        '}',
        ',',
        '"',
        "'",
        '&a ',
        '*a',
        '!!int ',
        '|',
        '>',
        '#',
      ],
      ...[
        '? ',
        '---',
        '...',
        '%YAML 1.2',
        '<<: ',
        '\t',
        '~',
        'limits',
        'listeners',
        '__proto__',
        '0x1',
      ],
    );
    const text = fc.array(token, { maxLength: 60 }).map((tokens) => tokens.join(''));
    fc.assert(
      fc.property(text, (value) => void check(value)),
      { numRuns: 500 },
    );
  });
  test('any values under known keys', () => {
    const key = fc.constantFrom(...Object.keys(settingsSchema.shape), '__proto__', 'constructor');
    const values = fc.dictionary(key, fc.jsonValue({ maxDepth: 3 }));
    fc.assert(fc.property(values, (value) => void check(stringify(value))));
  });
  test('any environment', () => {
    const name = fc.string({ maxLength: 30 }).map((rest) => `STSRELAY_${rest.toUpperCase()}`);
    const environment = fc.dictionary(name, fc.string());
    fc.assert(fc.property(environment, (value) => void applyEnvironment({}, value)));
  });
});

test('a problem is one line of bounded length, without what a terminal would act on', () => {
  const problems = [
    ...check('"\\e[2Jlimits": 1\n"a\\nb": 1\n'),
    ...check(`}${'x: ]\n'.repeat(1000)}`),
    ...check(`${'k'.repeat(5000)}: 1`),
  ];
  assert.ok(problems.length >= 4);
  for (const problem of problems) assert.match(problem, /^[^\p{Cc}]{1,1000}$/u);
  assert.ok(problems.some((problem) => problem.includes('\\u{1b}[2Jlimits')));
});

describe('a configuration made to hurt', () => {
  const bomb = ['a: &a [x,x,x,x,x,x,x,x,x]'];
  for (const [i, name] of [...'bcdefghijkl'].entries()) {
    bomb.push(`${name}: &${name} [${Array(9).fill(`*${'abcdefghijk'[i]}`).join(',')}]`);
  }
  const hostile: readonly (readonly [string, string])[] = [
    ['brackets in brackets', '['.repeat(300_000)],
    ['lists in lists', '- '.repeat(100_000)],
    ['keys in keys', Array.from({ length: 1000 }, (_, i) => `${' '.repeat(i)}a:`).join('\n')],
    ['aliases of aliases', bomb.join('\n')],
    ['more than 1 MiB', `node: ${'a'.repeat(1024 * 1024)}`],
    ['very many unknown keys', Array.from({ length: 20_000 }, (_, i) => `k${i}: 1`).join('\n')],
    ['the same key very often', 'node: a\n'.repeat(20_000)],
  ];
  for (const [name, text] of hostile) {
    test(name, { timeout: 20_000 }, () => {
      const problems = check(text);
      assert.ok(problems.length > 0);
      assert.ok(problems.length <= 200, `${problems.length} problems`);
      for (const problem of problems) assert.ok(problem.length < 1000, problem);
    });
  }
});
