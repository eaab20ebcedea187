/** What is generated from the code and committed is what the code says. Part of `make check`. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { GENERATED } from '../support/generated-files.ts';

for (const [path, render] of Object.entries(GENERATED)) {
  test(`${path} is what the code says; else run \`node test/support/write-docs.ts\``, () => {
    const committed = readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8');
    assert.ok(committed === render(), `${path} is out of date`);
  });
}
