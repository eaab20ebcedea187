/**
 * TLS reports against a JSON Schema of RFC 8460 §4.4 (test/fixtures/tlsrpt-report.schema.json), which
 * was written from the RFC and not from our types.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { z } from 'zod';

const FILE = new URL('../fixtures/tlsrpt-report.schema.json', import.meta.url);
const SCHEMA = z.fromJSONSchema(JSON.parse(readFileSync(FILE, 'utf8')));

/** Fails with what is wrong with `report`, once through JSON. */
export function assertIsReport(report: unknown): void {
  const problems = SCHEMA.safeParse(JSON.parse(JSON.stringify(report))).error?.issues;
  assert.equal(problems, undefined, JSON.stringify(problems, null, 1));
}
