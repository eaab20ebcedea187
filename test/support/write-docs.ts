/**
 * Writes the documents that are generated from the code: `node test/support/write-docs.ts`.
 * Tests compare the committed documents with what this would write.
 */
import { writeFileSync } from 'node:fs';
import { renderConfigurationDoc } from '../../src/config/document.ts';

writeFileSync(new URL('../../docs/configuration.md', import.meta.url), renderConfigurationDoc());
