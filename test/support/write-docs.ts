/**
 * Writes the documents that are generated from the code: `node test/support/write-docs.ts`.
 * Tests compare the committed documents with what this would write.
 */
import { writeFileSync } from 'node:fs';
import { renderConfigurationDoc } from '../../src/config/document.ts';
import { renderTlsDecisions } from './tls-decisions.ts';

const TOP = new URL('../../', import.meta.url);

writeFileSync(new URL('docs/configuration.md', TOP), renderConfigurationDoc());
writeFileSync(new URL('test/fixtures/tls-decisions.txt', TOP), renderTlsDecisions());
