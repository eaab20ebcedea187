/**
 * Holds the dashboards against Grafana's own JSON Schemas: `node test/support/check-grafana-schema.ts DIR`, where
 * DIR is the folder `jsonschema` of a checkout of grafana/grafana-foundation-sdk. They are no part of this repository;
 * this is for whoever changes the dashboards or takes a newer SDK. Says what does not fit, and ends with 1.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Ajv, type ValidateFunction } from 'ajv';
import { readBoards } from './dashboards.ts';

interface Schema {
  readonly definitions: Readonly<Record<string, unknown>>;
}

interface Panel {
  readonly type: string;
  readonly title?: string;
  readonly options?: unknown;
  readonly fieldConfig?: { readonly defaults?: { readonly custom?: unknown } };
  readonly targets?: readonly unknown[];
  readonly panels?: readonly Panel[];
}

const [, , directory = ''] = process.argv;
const compiled = new Map<string, ValidateFunction>();

/** For a definition of a schema. Throws where it has none of that name. */
function validatorOf(name: string, definition: string): ValidateFunction {
  const key = `${name}#${definition}`;
  const known = compiled.get(key);
  if (known) return known;
  const text = readFileSync(join(directory, `${name}.jsonschema.json`), 'utf8');
  const ajv = new Ajv({ strict: false, allErrors: true, validateFormats: false });
  const schema = JSON.parse(text) as Schema;
  const validate = ajv.compile({ ...schema, $ref: `#/definitions/${definition}` });
  compiled.set(key, validate);
  return validate;
}

let checked = 0;

function check(what: string, value: unknown, [name, definition]: readonly [string, string]): void {
  if (value === undefined) return;
  const validate = validatorOf(name, definition);
  checked += 1;
  if (validate(value)) return;
  process.exitCode = 1;
  for (const { instancePath, message } of validate.errors ?? []) {
    process.stdout.write(`${what}: ${instancePath} ${message}\n`);
  }
}

function checkPanel(file: string, panel: Panel): void {
  const what = `${file}: ${panel.title ?? panel.type}`;
  for (const inner of panel.panels ?? []) checkPanel(file, inner);
  if (panel.type === 'row') return;
  check(what, panel.options, [panel.type, 'Options']);
  check(what, panel.fieldConfig?.defaults?.custom, [panel.type, 'FieldConfig']);
  for (const target of panel.targets ?? []) check(what, target, ['prometheus', 'Dataquery']);
}

for (const board of readBoards()) {
  check(board.file, JSON.parse(JSON.stringify({ ...board, file: undefined })), [
    'dashboard',
    'Dashboard',
  ]);
  for (const panel of board.panels) checkPanel(board.file, panel as Panel);
}
process.stdout.write(`${checked} parts checked\n`);
