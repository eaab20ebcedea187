/**
 * docs/conformance.md against the list of requirements, the sources and the tests: see
 * test/support/conformance.ts. The first tests show, with made-up documents, that the check can
 * fail.
 */
import assert from 'node:assert/strict';
import { existsSync, globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import {
  asCell,
  citationsOf,
  conformanceProblems,
  formatSections,
  type Requirement,
  rowsOf,
  strayCitations,
  testTitlesOf,
} from '../support/conformance.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));

/** The other sections that there are: whole chapters, registries, and what can go wrong. */
const ASK_NOTHING = new Set(
  ['1', '7', '8', '9', '9.1', '9.2', '9.3', '10', '10.1', '10.3', '10.4', '10.5'].map(
    (section) => `RFC 8461 §${section}`,
  ),
);

const REQUIREMENTS: readonly Requirement[] = [
  {
    number: 'R001',
    level: 'MUST*',
    sections: ['RFC 8461 §3.1', 'RFC 8461 §8.2', 'RFC 5891'],
    text: 'ask at _mta-sts.<D>',
  },
  { number: 'R002', level: 'MAY', sections: ['RFC 8461 §3.3'], text: 'bound the body' },
];

const FILES: Readonly<Record<string, string>> = {
  'src/a.ts': '// RFC 8461 §3.1: here.\n',
  'src/b.ts': '// RFC 8461 §3.3 and RFC 8461 §3.10: not the one asked for.\n',
  'test/a.test.ts': "test('R001 asks', () => {});\ntest('of another name', () => {});\n",
  'test/b.test.ts': "test.skip('R001 asks', () => {});\n// test('R001 asks', () => {});\n",
};

const A = '[a](../src/a.ts)';
const TEST = '[a](../test/a.test.ts)';

/** A row as it should be, with some cells exchanged. */
function row(change: Readonly<Partial<Record<string, string>>> = {}): string {
  const cells = {
    number: 'R001',
    level: 'MUST\\*',
    sections: '8461 §3.1, §8.2; 5891',
    text: 'ask at \\_mta-sts.\\<D>',
    status: 'met',
    sources: A,
    tests: TEST,
    ...change,
  };
  return `| ${Object.values(cells).join(' | ')} |`;
}
const OTHER = row({
  number: 'R002',
  level: 'MAY',
  sections: '8461 §3.3',
  text: 'bound the body',
  status: 'chosen: 64 KiB',
  sources: '-',
  tests: '-',
});

function problemsOf(...rows: readonly string[]): readonly string[] {
  const header = '| no | level | RFC | requirement | status | code | test |\n|---|---|---|';
  const document = `# Conformance\n\n${header}\n${rows.join('\n')}\n`;
  return conformanceProblems({
    requirements: REQUIREMENTS,
    document,
    read: (path) => FILES[path],
  });
}

describe('the check', () => {
  test('is content with a document that is right', () => {
    assert.deepEqual(problemsOf(row(), OTHER), []);
    const named = row({ tests: `${TEST} "another name", ${TEST}` });
    assert.deepEqual(problemsOf(named, OTHER), []);
    const byOthers = row({ status: 'met by OpenSSL', sources: '-' });
    assert.deepEqual(problemsOf(byOthers, OTHER), []);
  });

  const wrong: readonly (readonly [why: string, rows: readonly string[], said: RegExp])[] = [
    ['a requirement has no row', [row()], /^R002 has no row$/],
    ['a row is of no requirement', [row(), OTHER, row({ number: 'R003' })], /R003 is not on/],
    ['a requirement has two rows', [row(), OTHER, row()], /R001 has a row already/],
    ['the level differs', [row({ level: 'MUST' }), OTHER], /level MUST, the list says MUST\*/],
    ['the sections differ', [row({ sections: '8461 §3.1; 5891' }), OTHER], /the list says 8461/],
    ['the words differ', [row({ text: 'ask anywhere' }), OTHER], /the requirement ask anywhere/],
    ['there is no such status', [row({ status: 'mostly' }), OTHER], /does not exist: mostly/],
    ['a status lacks its reason', [row({ status: 'deviates: ' }), OTHER], /does not exist/],
    ['a MUST is chosen', [row({ status: 'chosen: no' }), OTHER], /nothing that can be chosen/],
    ['met without a file', [row({ sources: '-' }), OTHER], /is met without a file/],
    ['met without a test', [row({ tests: '-' }), OTHER], /is met without a test/],
    [
      'met by others without a test',
      [row({ status: 'met by X', tests: '' }), OTHER],
      /without a test/,
    ],
    [
      'deviates without a test',
      [row({ status: 'deviates: x', tests: '' }), OTHER],
      /without a test/,
    ],
    [
      'the file is not there',
      [row({ sources: '[c](../src/c.ts)' }), OTHER],
      /src\/c\.ts, which does not/,
    ],
    ['the file is no source', [row({ sources: TEST }), OTHER], /which is no source file/],
    [
      'the file cites something else',
      [row({ sources: '[b](../src/b.ts)' }), OTHER],
      /cites none of/,
    ],
    [
      'one of two files cites something else',
      [row({ sources: `${A}, [b](../src/b.ts)` }), OTHER],
      /b\.ts, which cites none/,
    ],
    [
      'the test file is not there',
      [row({ tests: '[c](../test/c.test.ts)' }), OTHER],
      /c\.test\.ts, which does not/,
    ],
    ['the test file is no test', [row({ tests: A }), OTHER], /which is no test$/],
    [
      'the test is skipped',
      [row({ tests: '[b](../test/b.test.ts)' }), OTHER],
      /has no test "R001"/,
    ],
    [
      'no test has the number',
      [row({ tests: TEST }), row({ number: 'R002', tests: TEST })],
      /has no test "R002"/,
    ],
    ['no test has the name', [row({ tests: `${TEST} "no name"` }), OTHER], /has no test "no name"/],
  ];
  for (const [why, rows, said] of wrong) {
    test(`sees when ${why}`, () => {
      const problems = problemsOf(...rows);
      assert.ok(
        problems.some((problem) => said.test(problem)),
        `${said} in ${JSON.stringify(problems)}`,
      );
    });
  }

  test('says in which line', () => {
    assert.deepEqual(problemsOf(OTHER, row({ status: 'no' })), [
      'line 6: R001 has a status that does not exist: no',
    ]);
  });
});

describe('the reading of', () => {
  test('citations', () => {
    const text = `/**
 * RFC 8461 §3.1, §3.3 and §5.1; RFC 5321
 * §4.5.3.2 (RFC 7505), RFC 8446 §E.5, CVE-2021-44532 (RFC 8461 §3.1,
 * §4).
 */
// RFC 2119
// §9 is nothing.
`;
    assert.deepEqual([...citationsOf(text)].sort(), [
      'CVE-2021-44532',
      'RFC 2119',
      'RFC 2119 §9',
      'RFC 5321',
      'RFC 5321 §4.5.3.2',
      'RFC 7505',
      'RFC 8446',
      'RFC 8446 §E.5',
      'RFC 8461',
      'RFC 8461 §3.1',
      'RFC 8461 §3.3',
      'RFC 8461 §4',
      'RFC 8461 §5.1',
    ]);
    assert.deepEqual([...citationsOf('RFC 8461 §3.10')], ['RFC 8461', 'RFC 8461 §3.10']);
  });

  test('sections', () => {
    const sections = ['RFC 9525 §6.3', 'RFC 6125 §6.4.3', 'RFC 8461 §4.1', 'RFC 8461 §4.2'];
    assert.equal(formatSections(sections), '9525 §6.3; 6125 §6.4.3; 8461 §4.1, §4.2');
    assert.equal(formatSections(['RFC 5891', 'CVE-2009-2408']), '5891; CVE-2009-2408');
  });

  test('test titles', () => {
    const text = [
      "test('one', () => {});",
      '  test(`two ' + '$' + '{x}`, () => {});',
      'test(\n    "three it\'s",',
      "test('four it\\'s', f);",
      "test.skip('five', f);",
      "// test('six', f);",
      "latest('seven');",
      "describe('eight', f);",
    ].join('\n');
    const titles = ['one', 'two ' + '$' + '{x}', "three it's", "four it's"];
    assert.deepEqual(testTitlesOf(text), titles);
  });

  test('cells with pipes and stars in them', () => {
    const text = 'a | b * c_d <e>';
    const [read] = rowsOf(row({ text: asCell(text), level: 'MUST NOT\\*' }));
    assert.equal(read?.text, asCell(text));
    assert.equal(read?.level, 'MUST NOT*');
    assert.equal(read?.status, 'met');
  });

  test('citations of sections that no requirement comes from', () => {
    const text = '// RFC 8461 §3.1, §3.9; RFC 5321 §9';
    assert.deepEqual(strayCitations(text, 'RFC 8461', REQUIREMENTS), ['RFC 8461 §3.9']);
  });
});

describe('docs/conformance.md', () => {
  const read = (path: string) => {
    const file = join(ROOT, path);
    return existsSync(file) ? readFileSync(file, 'utf8') : undefined;
  };
  const json = read('test/fixtures/requirements.json') ?? '[]';
  const requirements = JSON.parse(json) as readonly Requirement[];
  const check = (problems: readonly string[]) =>
    assert.ok(problems.length === 0, `\n${problems.join('\n')}\n`);

  test('has a list to be held against', () => {
    const numbers = new Set(requirements.map(({ number }) => number));
    assert.equal(numbers.size, requirements.length);
    for (let n = 1; n <= 79; n++) assert.ok(numbers.has(`R${String(n).padStart(3, '0')}`), `${n}`);
  });

  test('says of every requirement what is done about it, where, and which test shows it', () => {
    check(conformanceProblems({ requirements, document: read('docs/conformance.md') ?? '', read }));
  });

  test('knows every section of RFC 8461 that src/ cites and that asks something of a sender', () => {
    const files = globSync('src/**/*.ts', { cwd: ROOT });
    assert.ok(files.length > 10);
    const stray = files.flatMap((path) =>
      strayCitations(read(path) ?? '', 'RFC 8461', requirements)
        .filter((citation) => !ASK_NOTHING.has(citation))
        .map((citation) => `${path}: ${citation}`),
    );
    check(stray);
  });
});
