/**
 * The reports that were made, as they are sent (RFC 8460 §5.2: gzip), by day: so that what is sent again is
 * the same, and so that people can look at it.
 *
 *   DAY/DOMAIN.json.gz
 */
import { createHash } from 'node:crypto';
import { readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { gunzip, gzip } from 'node:zlib';
import { makeDirectory, replaceFile } from '../platform/durable-file.ts';
import type { TlsReport } from '../protocol/tlsrpt/report.ts';

const compress = promisify(gzip);
const uncompress = promisify(gunzip);

/** Names of files have 255 octets at most. */
const LONGEST_NAME = 240;
/** Ours have a quarter of that at most (protocol/tlsrpt/report.ts). */
const MOST_OCTETS = 16 * 1024 * 1024;

export class ReportFiles {
  readonly #directory: string;

  /** `directory` is made when it is needed. */
  constructor(directory: string) {
    this.#directory = directory;
  }

  /** Durable when it returns; the compressed report. Rejects with the system's error. */
  async write(day: string, domain: string, report: TlsReport): Promise<Buffer> {
    const octets = await compress(JSON.stringify(report));
    await makeDirectory(join(this.#directory, day));
    await replaceFile(this.#fileOf(day, domain), octets);
    return octets;
  }

  /** Compressed; undefined where none was made. Rejects with the system's error. */
  async read(day: string, domain: string): Promise<Buffer | undefined> {
    try {
      return await readFile(this.#fileOf(day, domain));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw error;
    }
  }

  /** Undefined also for one that cannot be read. */
  async report(day: string, domain: string): Promise<TlsReport | undefined> {
    try {
      const octets = await this.read(day, domain);
      if (!octets) return undefined;
      const json = await uncompress(octets, { maxOutputLength: MOST_OCTETS });
      return JSON.parse(json.toString()) as TlsReport;
    } catch {
      return undefined;
    }
  }

  /** Rejects with the system's error. */
  async removeBefore(oldest: string): Promise<void> {
    const days = await readdir(this.#directory).catch(() => []);
    for (const day of days) {
      if (!/^\d{4}-\d\d-\d\d$/.test(day) || day >= oldest) continue;
      await rm(join(this.#directory, day), { recursive: true, force: true });
    }
  }

  #fileOf(day: string, domain: string): string {
    const isLong = domain.length > LONGEST_NAME;
    const name = isLong ? createHash('sha256').update(domain).digest('hex') : domain;
    return join(this.#directory, day, `${name}.json.gz`);
  }
}
