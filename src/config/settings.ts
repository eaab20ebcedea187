/**
 * Every setting, declared once: type, default, bounds, unit and a line of prose. The loader,
 * the environment overrides, `config show`, `config schema` and docs/configuration.md all read
 * this declaration. Defaults are given as somebody would write them (`prefault`).
 *
 * Durations are held in milliseconds, sizes in octets, rates as {count, perMs}, times of day in
 * milliseconds after midnight UTC, expiries in milliseconds since the epoch, domains as A-labels.
 */
import { z } from 'zod';
import { access, limits, listeners, tls } from './sections/door.ts';
import { overrides, routes } from './sections/exceptions.ts';
import {
  dataDir,
  dkim,
  hostname,
  http,
  log,
  node,
  postmaster,
  tlsRpt,
} from './sections/operation.ts';
import { dns, outbound, redis, security } from './sections/outbound.ts';
import { destinations, retry } from './sections/retry.ts';

export const settingsSchema = z.strictObject({
  hostname,
  dataDir,
  node,
  listeners,
  tls,
  access,
  postmaster,
  limits,
  redis,
  dns,
  outbound,
  security,
  overrides,
  routes,
  retry,
  destinations,
  dkim,
  tlsRpt,
  http,
  log,
});

type DeepReadonly<T> = T extends string // branded ones too, which are objects to the type checker
  ? T
  : T extends readonly (infer Element)[]
    ? readonly DeepReadonly<Element>[]
    : T extends object
      ? { readonly [Key in keyof T]: DeepReadonly<T[Key]> }
      : T;

/** The configuration as the program uses it: complete, checked, frozen. */
export type Settings = DeepReadonly<z.output<typeof settingsSchema>>;

/** The configuration as people write it, every key optional. */
export type SettingsInput = z.input<typeof settingsSchema>;

/** JSON Schema of the file, for editors (`stsrelay config schema`). */
export function toJsonSchema(): Readonly<Record<string, unknown>> {
  const schema = z.toJSONSchema(settingsSchema, { io: 'input', target: 'draft-7' });
  return { title: 'stsrelay configuration', ...schema };
}

/** The settings as somebody would write them: durations, sizes and the like as text again. */
export function toInput(settings: Settings): SettingsInput {
  return z.encode(settingsSchema, structuredClone(settings) as z.output<typeof settingsSchema>);
}
