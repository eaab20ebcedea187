/**
 * Writes the files that are generated from the code: `node test/support/write-docs.ts`.
 * test/unit/generated-files.test.ts compares the committed ones with what this would write.
 */
import { writeFileSync } from 'node:fs';
import { GENERATED } from './generated-files.ts';

for (const [path, render] of Object.entries(GENERATED)) {
  writeFileSync(new URL(`../../${path}`, import.meta.url), render());
}
