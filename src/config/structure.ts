/**
 * The shape of the settings, read from their schema: which sections and lists there are, what
 * each setting expects, its default and its prose. For everything that works on all settings
 * alike: problems, environment variables, warnings, documentation.
 */
import { z } from 'zod';
import { type KindFacts, kindFacts } from './kinds.ts';
import { settingsSchema } from './settings.ts';

/** A key path; numbers are positions in lists. */
export type KeyPath = readonly (string | number)[];

export type Shape =
  | { readonly kind: 'section'; readonly keys: ReadonlyMap<string, Element> }
  /** A list of sections. */
  | { readonly kind: 'sections'; readonly element: Element }
  | { readonly kind: 'setting'; readonly facts: KindFacts; readonly element?: Element };

export interface Element {
  readonly shape: Shape;
  readonly prose: string;
  /** The default as somebody would write it; undefined when there is none. */
  readonly default: unknown;
  readonly optional: boolean;
  readonly schema: z.core.$ZodType;
}

const known = new WeakMap<z.core.$ZodType, Element>();

/** The whole configuration. */
export function root(): Element {
  return describe(settingsSchema);
}

function describe(schema: z.core.$ZodType): Element {
  const before = known.get(schema);
  if (before !== undefined) return before;
  let inner = schema;
  let defaultInput: unknown;
  let optional = false;
  let prose = proseOf(inner);
  while (inner instanceof z.ZodPrefault || inner instanceof z.ZodOptional) {
    if (inner instanceof z.ZodPrefault) defaultInput = inner.def.defaultValue;
    else optional = true;
    inner = inner.unwrap();
    prose ??= proseOf(inner);
  }
  const element: Element = {
    shape: shapeOf(inner),
    prose: prose ?? '',
    default: defaultInput,
    optional,
    schema,
  };
  known.set(schema, element);
  return element;
}

function proseOf(schema: z.core.$ZodType): string | undefined {
  return z.globalRegistry.get(schema)?.description;
}

function shapeOf(inner: z.core.$ZodType): Shape {
  const facts = kindFacts.get(inner);
  if (facts !== undefined) {
    const element = inner instanceof z.ZodArray ? describe(inner.element) : undefined;
    return element === undefined ? { kind: 'setting', facts } : { kind: 'setting', facts, element };
  }
  if (inner instanceof z.ZodObject) {
    const keys = Object.entries(inner.shape).map(
      ([key, schema]) => [key, describe(schema as z.core.$ZodType)] as const,
    );
    return { kind: 'section', keys: new Map(keys) };
  }
  if (inner instanceof z.ZodArray) return { kind: 'sections', element: describe(inner.element) };
  throw new Error(`a setting of kind ${inner._zod.def.type} says nowhere what it expects`);
}

/** What stands at `path`; undefined where the settings have no such place. */
export function elementAt(path: KeyPath): Element | undefined {
  let at: Element | undefined = root();
  for (const step of path) {
    const shape: Shape | undefined = at?.shape;
    if (shape?.kind === 'section') at = shape.keys.get(String(step));
    // Inside a setting that has no places of its own, the setting itself is what counts.
    else if (shape !== undefined) at = shape.element ?? at;
  }
  return at;
}

/** What a problem at `path` should have been. */
export function expectedAt(path: KeyPath): string {
  const shape = elementAt(path)?.shape;
  if (shape?.kind === 'setting') return shape.facts.expected;
  if (shape?.kind !== 'sections') return 'a section (keys and values)';
  const { shape: inner } = shape.element;
  const [first] = inner.kind === 'section' ? inner.keys.keys() : [];
  return first ? `a list of sections, each "- ${first}: …"` : 'a list of sections';
}

/** Every key path there is, positions in lists left out. */
export function allKeys(
  element: Element = root(),
  path: readonly string[] = [],
): readonly string[][] {
  const { shape } = element;
  if (shape.kind === 'sections') return allKeys(shape.element, path);
  if (shape.kind === 'setting') return [];
  return [...shape.keys].flatMap(([key, child]) => {
    const here = [...path, key];
    return [here, ...allKeys(child, here)];
  });
}

/** `['listeners', 0, 'port']` -> `listeners[0].port`. */
export function formatPath(path: KeyPath): string {
  return path.reduce<string>((text, step) => {
    if (typeof step === 'number') return `${text}[${step}]`;
    return text === '' ? step : `${text}.${step}`;
  }, '');
}
