/**
 * A process that tries to get a data directory whenever it is told to: `node lock-contender.ts
 * DIRECTORY`, with an IPC channel. Answers whether it got it; it never gives it back.
 */
import { DataDirLockedError, openDataDir } from '../../src/platform/data-dir.ts';

const [directory = ''] = process.argv.slice(2);

process.on('message', () => {
  openDataDir(directory).then(
    () => process.send?.('got it'),
    (error: unknown) => {
      process.send?.(error instanceof DataDirLockedError ? 'locked' : String(error));
    },
  );
});
process.send?.('ready');
