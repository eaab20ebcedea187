/**
 * Settings that are read and checked but not in effect in this version: marked where they are
 * declared, listed by `config check` and at start when somebody set one.
 */
import { z } from 'zod';

const marks = z.registry<{ readonly notYet: true }>();

/** Mark a setting, or a whole section, whose function this version does not have. */
export function notYet<S extends z.ZodType>(schema: S): S {
  marks.add(schema, { notYet: true });
  return schema;
}

export function isNotYet(schema: z.core.$ZodType): boolean {
  return marks.has(schema);
}
