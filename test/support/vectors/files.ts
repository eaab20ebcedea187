/** The vector files of a directory. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { isObject } from './compare.ts';
import type { Vector } from './vector.ts';

export type VectorFile =
  | { readonly kind: 'vectors'; readonly name: string; readonly vectors: readonly Vector[] }
  | { readonly kind: 'unreadable'; readonly name: string; readonly reason: string };

/**
 * The `*.json` directly in `directory` that hold vectors, and those that nobody can tell
 * because they cannot be read; by name. Throws the system's error for the directory.
 */
export function readVectorFiles(directory: string): readonly VectorFile[] {
  const names = readdirSync(directory, { withFileTypes: true })
    .filter((entry) => !entry.isDirectory() && entry.name.endsWith('.json'))
    .map(({ name }) => name)
    .sort();
  return names.map((name) => readVectorFile(directory, name)).filter((file) => file !== undefined);
}

/** Undefined when it holds something else. */
function readVectorFile(directory: string, name: string): VectorFile | undefined {
  try {
    const content: unknown = JSON.parse(readFileSync(join(directory, name), 'utf8'));
    if (!Array.isArray(content) || !content.some(isVector)) return undefined;
    // An entry that is none stays: it is a case that fails.
    const vectors = content.map((entry, n) =>
      isVector(entry) ? entry : { id: `entry ${n + 1}`, input: {}, expect: 'a vector' },
    );
    return { kind: 'vectors', name, vectors };
  } catch (error) {
    return { kind: 'unreadable', name, reason: (error as Error).message };
  }
}

function isVector(entry: unknown): entry is Vector {
  return isObject(entry) && typeof entry['id'] === 'string' && 'expect' in entry;
}
