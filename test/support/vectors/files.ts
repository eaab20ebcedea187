/** The vector files of a directory and of those in it. */
import { readdirSync, readFileSync } from 'node:fs';
import { basename, join, relative } from 'node:path';
import { isObject } from './compare.ts';
import { kindOfFile } from './registry.ts';
import type { Vector } from './vector.ts';

export type VectorFile =
  | { readonly kind: 'vectors'; readonly name: string; readonly vectors: readonly Vector[] }
  /** Nobody can tell what it holds, or it should hold vectors by its name and does not. */
  | { readonly kind: 'unreadable'; readonly name: string; readonly reason: string }
  /** JSON about something else, such as certificates. */
  | { readonly kind: 'other'; readonly name: string };

/** The `*.json` in and below `directory`, by name. Throws the system's error for the directory. */
export function readVectorFiles(directory: string): readonly VectorFile[] {
  return readdirSync(directory, { withFileTypes: true, recursive: true })
    .filter((entry) => !entry.isDirectory() && /\.json$/i.test(entry.name))
    .map(({ parentPath, name }) => relative(directory, join(parentPath, name)))
    .sort()
    .map((name) => readVectorFile(directory, name));
}

function readVectorFile(directory: string, name: string): VectorFile {
  try {
    const content: unknown = JSON.parse(readFileSync(join(directory, name), 'utf8'));
    if (!Array.isArray(content) || !content.some(isCase)) {
      if (kindOfFile(basename(name)) === undefined) return { kind: 'other', name };
      return { kind: 'unreadable', name, reason: 'it is no list of vectors' };
    }
    return { kind: 'vectors', name, vectors: content.map(vectorOf) };
  } catch (error) {
    return { kind: 'unreadable', name, reason: (error as Error).message };
  }
}

function isCase(entry: unknown): entry is Readonly<Record<string, unknown>> {
  return isObject(entry) && 'id' in entry && ('input' in entry || 'expect' in entry);
}

/** An entry that is no vector stays: it is a case that fails. Nor is one with nothing to compare: any answer would meet it. */
function vectorOf(entry: unknown, index: number): Vector {
  const { id, expect, alt } = isCase(entry) ? entry : {};
  const name = typeof id === 'string' ? id : `entry ${index + 1}`;
  const others = alt ?? [];
  if (
    typeof id !== 'string' ||
    !Array.isArray(others) ||
    ![expect, ...others].every(saysSomething)
  ) {
    return { id: name, input: {}, expect: 'a vector' };
  }
  return { ...(entry as Vector), alt: others };
}

function saysSomething(value: unknown): boolean {
  return value !== undefined && !(isObject(value) && Object.keys(value).length === 0);
}
