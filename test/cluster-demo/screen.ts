/**
 * What the cluster demo shows: one table that is drawn anew where stdout is a terminal, a line now and then elsewhere,
 * and what happens, as lines.
 */
import { stripVTControlCharacters } from 'node:util';

export class Screen {
  readonly #isTerminal: boolean;
  #drawn = 0;
  #lastPlainMs = -Infinity;

  constructor(isTerminal: boolean) {
    this.#isTerminal = isTerminal;
  }

  /** Something happened: stays above the table. */
  say(text: string): void {
    this.#clear();
    process.stdout.write(`${text}\n`);
  }

  /** The table as it is now. `plain`: the same in one line. */
  draw(table: readonly string[], plain: string): void {
    if (this.#isTerminal) {
      this.#clear();
      const columns = process.stdout.columns || 100;
      process.stdout.write(table.map((line) => `${cut(line, columns)}\n`).join(''));
      this.#drawn = table.length;
    } else if (performance.now() - this.#lastPlainMs > 5000) {
      this.#lastPlainMs = performance.now();
      process.stdout.write(`${plain}\n`);
    }
  }

  #clear(): void {
    if (this.#drawn > 0) process.stdout.write(`\x1b[${this.#drawn}A\x1b[J`);
    this.#drawn = 0;
  }
}

function cut(line: string, columns: number): string {
  return stripVTControlCharacters(line).length < columns ? line : line.slice(0, columns - 1);
}

/** A bar of `width` for `value` of `most`; what is beyond is `!`. */
export function bar(value: number, most: number, width = 30): string {
  const filled = Math.round((Math.min(value, most) / most) * width);
  return `|${'#'.repeat(filled)}${'-'.repeat(width - filled)}|${value > most ? '!' : ''}`;
}
