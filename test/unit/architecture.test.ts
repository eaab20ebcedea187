/**
 * The house rules, checked against src/: see test/support/architecture.ts. The first tests show
 * that the checks can fail.
 */
import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import {
  floorBreaches,
  importCycles,
  importsOf,
  missingHeaders,
  oddCitations,
  type SourceFile,
} from '../support/architecture.ts';

const SRC = fileURLToPath(new URL('../../src/', import.meta.url));

function file(path: string, text: string): SourceFile {
  return { path, text };
}

describe('the checks see', () => {
  test('every way to import', () => {
    const text = `import { a } from './a.ts';
import type { B } from './b.ts';
import { type C, type D } from './c.ts';
import {
  type E,
  f,
} from './e.ts';
import * as g from './g.ts';
export { h } from './h.ts';
import './i.ts';
const j = await import('./j.ts');
export const name = 'from';
import K, { l } from './k.ts';
`;
    assert.deepEqual(
      importsOf(text).map(({ line, target, typeOnly }) => [line, target, typeOnly]),
      [
        [1, './a.ts', false],
        [2, './b.ts', true],
        [3, './c.ts', true],
        [4, './e.ts', false],
        [8, './g.ts', false],
        [9, './h.ts', false],
        [10, './i.ts', false],
        [11, './j.ts', false],
        [13, './k.ts', false],
      ],
    );
  });

  test('imports that point up', () => {
    const bad: readonly (readonly [string, string])[] = [
      ['protocol/x.ts', '../mail/envelope.ts'],
      ['mail/x.ts', '../platform/clock.ts'],
      ['telemetry/x.ts', '../config/settings.ts'],
      ['intake/x.ts', '../spool/segment-store.ts'],
      ['policy/x.ts', '../delivery/session.ts'],
      ['delivery/x.ts', '../pipeline.ts'],
      ['admin/x.ts', '../relay.ts'],
      ['main.ts', './relay.ts'],
      ['nowhere/x.ts', './y.ts'],
      ['protocol/x.ts', 'node:fs'],
      ['protocol/x.ts', 'nodemailer'],
      ['protocol/x.ts', 'node:net'],
    ];
    for (const [path, target] of bad) {
      const breaches = floorBreaches([file(path, `import { connect } from '${target}';\n`)]);
      assert.ok(breaches.length > 0, `${path} may not import ${target}`);
    }
    const types = floorBreaches([
      file('intake/x.ts', `import type { A } from '../outcome/a.ts';\n`),
    ]);
    assert.equal(types.length, 1);
  });

  test('imports that point down as good ones', () => {
    const good: readonly (readonly [string, string])[] = [
      ['protocol/dsn/x.ts', '../domain.ts'],
      ['mail/x.ts', '../protocol/domain.ts'],
      ['intake/x.ts', '../spool/store.ts'],
      ['intake/x.ts', '../queue/submit-port.ts'],
      ['outcome/x.ts', '../queue/retry-schedule.ts'],
      ['pipeline.ts', './delivery/deliver.ts'],
      ['relay.ts', './admin/http.ts'],
      ['cli/x.ts', '../relay.ts'],
      ['main.ts', './cli/program.ts'],
      ['platform/x.ts', 'node:fs'],
    ];
    for (const [path, target] of good) {
      assert.deepEqual(floorBreaches([file(path, `import { a } from '${target}';\n`)]), []);
    }
    assert.deepEqual(floorBreaches([file('mail/x.ts', `import { isIP } from 'node:net';\n`)]), []);
  });

  test('circles, of values only', () => {
    const a = file('mail/a.ts', `import { b } from './b.ts';\n`);
    const b = file('mail/b.ts', `import { c } from './c.ts';\n`);
    const c = file('mail/c.ts', `import { a } from './a.ts';\n`);
    const typesOnly = file('mail/c.ts', `import type { a } from './a.ts';\n`);
    assert.deepEqual(importCycles([a, b, c]), ['mail/a.ts -> mail/b.ts -> mail/c.ts -> mail/a.ts']);
    assert.deepEqual(importCycles([a, b, typesOnly]), []);
  });

  test('missing headers', () => {
    assert.equal(missingHeaders([file('a.ts', `import './b.ts';\n/** Late. */\n`)]).length, 1);
    assert.equal(missingHeaders([file('a.ts', `/**\n */\n`)]).length, 1);
    assert.equal(
      missingHeaders([file('a.ts', `#!/usr/bin/env node\n/**\n * This.\n */\n`)]).length,
      0,
    );
  });

  test('odd citations', () => {
    const odd = [
      'RFC8461',
      'RFC-8461',
      'RFC 8461 section 3',
      'RFC 8461, Section 3.3',
      'rfc 8461 §3',
    ];
    for (const text of [...odd, 'RFC 8461 § 3.3', 'RFC 8461§3.3', 'RFC 8461, §3', 'RFC 8461 §x']) {
      assert.equal(oddCitations([file('a.ts', `// ${text}\n`)]).length, 1, text);
    }
    for (const text of [
      'RFC 8461',
      'RFC 8461 §3.3',
      'RFC 8461 §3.1, §3.3',
      '(RFC 7505).',
      'RFC 3339 time',
    ]) {
      assert.deepEqual(oddCitations([file('a.ts', `// ${text}\n`)]), [], text);
    }
  });
});

describe('src/', () => {
  const files = globSync('**/*.ts', { cwd: SRC })
    .sort()
    .map((path) => file(path.replaceAll('\\', '/'), readFileSync(join(SRC, path), 'utf8')));
  const check = (lines: readonly string[]) =>
    assert.ok(lines.length === 0, `\n${lines.join('\n')}\n`);

  test('is there', () => assert.ok(files.length > 10));
  test('imports point down', () => check(floorBreaches(files)));
  test('imports run in no circle', () => check(importCycles(files)));
  test('every file opens with a header comment', () => check(missingHeaders(files)));
  test('RFCs are cited as RFC nnnn §x.y', () => check(oddCitations(files)));
});
