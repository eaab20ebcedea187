/**
 * Policies on disk: a file a domain below `dataDir/state/policies`. The truth of what is known:
 * it survives a restart and a Redis that is gone or was emptied (RFC 8461 §10.2).
 */
import { createHash } from 'node:crypto';
import { opendir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { makeDirectory, replaceFile, syncDirectory } from '../platform/durable-file.ts';
import type { DomainName } from '../protocol/domain.ts';
import { formatEntry, parseAnyEntry, parseEntry, type StsEntry } from './sts-entry.ts';

/** What is kept about a domain is there and cannot be read: not known, which is not nothing. */
export class UnreadableEntryError extends Error {
  constructor(file: string, reason: string) {
    super(`${file} cannot be read (${reason}); remove it to forget what it says`);
    this.name = 'UnreadableEntryError';
  }
}

/** A domain may be longer than a file name may. */
const LONGEST_NAME = 200;

export class StsFiles {
  readonly #directory: string;

  private constructor(directory: string) {
    this.#directory = directory;
  }

  static async open(directory: string): Promise<StsFiles> {
    await makeDirectory(directory);
    return new StsFiles(directory);
  }

  /** Undefined: nothing is known. Rejects with UnreadableEntryError or the system's error. */
  async read(domain: DomainName): Promise<StsEntry | undefined> {
    const file = this.#path(domain);
    let json: string;
    try {
      json = await readFile(file, 'utf8');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw error;
    }
    const entry = parseEntry(domain, json);
    if (!entry) throw new UnreadableEntryError(file, 'damaged, or of another version');
    return entry;
  }

  write(entry: StsEntry): Promise<void> {
    return replaceFile(this.#path(entry.domain), formatEntry(entry));
  }

  /** Whether there was one. */
  async remove(domain: DomainName): Promise<boolean> {
    try {
      await rm(this.#path(domain));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
      throw error;
    }
    await syncDirectory(this.#directory);
    return true;
  }

  /** Every entry that can be read, in no order; one after the other, so that many cost no memory. */
  async *all(onUnreadable: (error: Error) => void): AsyncGenerator<StsEntry> {
    for await (const { name } of await opendir(this.#directory)) {
      if (!name.endsWith('.json')) continue;
      const file = join(this.#directory, name);
      try {
        const entry = parseAnyEntry(await readFile(file, 'utf8'));
        if (entry && this.#path(entry.domain) === file) yield entry;
        else onUnreadable(new UnreadableEntryError(file, 'damaged, or of another version'));
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT') onUnreadable(error as Error);
      }
    }
  }

  #path(domain: DomainName): string {
    const fits = domain.length <= LONGEST_NAME;
    const name = fits ? domain : createHash('sha256').update(domain).digest('hex');
    return join(this.#directory, `${name}.json`);
  }
}
