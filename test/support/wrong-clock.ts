/**
 * A clock for a relay process that a test can set while it runs, so that what takes an hour does not
 * have to be made to take seconds: seconds are what a busy machine stands still for. Timers run
 * on as they do (test/torture/preload.ts).
 */
import { writeFileSync } from 'node:fs';
import { tempDir } from './temp-dir.ts';

const PRELOAD = new URL('../torture/preload.ts', import.meta.url).href;

export class WrongClock implements Disposable {
  readonly #dir = tempDir();

  /** For the environment of the relay. */
  get env(): Readonly<Record<string, string>> {
    return { NODE_OPTIONS: `--import=${PRELOAD}`, TORTURE_CLOCK_FILE: this.#dir.file('clock') };
  }

  /** Ahead of the real time by so much, from a moment after this on. */
  set(offsetMs: number): void {
    writeFileSync(this.#dir.file('clock'), String(offsetMs));
  }

  remove(): void {
    this.#dir.remove();
  }
  [Symbol.dispose](): void {
    this.remove();
  }
}
