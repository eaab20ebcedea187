/**
 * Asks `stsrelay spool check` what is in the spool of a relay that is not running.
 */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const MAIN = fileURLToPath(new URL('../../src/main.ts', import.meta.url));
const MAX_OUTPUT = 256 * 1024 * 1024;
const TIMEOUT_MS = 300_000;

export interface SpoolLook {
  /** Nothing that was acknowledged is damaged. */
  readonly isWhole: boolean;
  readonly ids: ReadonlySet<string>;
  readonly output: string;
}

export function lookIntoSpool(configFile: string): Promise<SpoolLook> {
  const args = [MAIN, 'spool', 'check', '--json', '--config', configFile];
  return new Promise((resolve, reject) => {
    const options = { maxBuffer: MAX_OUTPUT, timeout: TIMEOUT_MS };
    execFile(process.execPath, args, options, (error, stdout, stderr) => {
      try {
        const { messages, ok } = JSON.parse(stdout) as {
          ok: boolean;
          messages: readonly { readonly id: string }[];
        };
        const ids = new Set(messages.map(({ id }) => id));
        resolve({ isWhole: ok && error === null, ids, output: stdout + stderr });
      } catch {
        reject(new Error(`spool check said nothing useful: ${error?.message}\n${stdout}${stderr}`));
      }
    });
  });
}
