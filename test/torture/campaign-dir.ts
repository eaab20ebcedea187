/**
 * The directory of a campaign: gone at its end, however that comes, unless it holds evidence.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { killProcessesIn } from '../support/tied-child.ts';

export class CampaignDir {
  readonly path = mkdtempSync(join(tmpdir(), 'stsrelay-torture-'));
  #isKept = false;
  readonly #remove = () => {
    if (this.#isKept) return;
    try {
      rmSync(this.path, { recursive: true, force: true, maxRetries: 3 });
    } catch {
      // A process that is just ending may still write there.
    }
  };

  readonly #removeAtExit = () => {
    killProcessesIn(this.path); // or they would go on writing
    this.#remove();
  };

  constructor() {
    process.on('exit', this.#removeAtExit);
  }

  /** It holds evidence. */
  keep(): void {
    this.#isKept = true;
  }

  remove(): void {
    process.off('exit', this.#removeAtExit);
    this.#remove();
  }
}
