/**
 * The lines of a file from the last to the first, read block by block: whoever wants the newest lines of a long file
 * may stop anywhere. What is appended meanwhile is not in it. A file that is not there has no lines.
 */
import { open } from 'node:fs/promises';

const LF = 0x0a;
const BLOCK = 64 * 1024;

/** UTF-8, without line ends, none empty. Throws the system's error. */
export async function* linesBackwards(file: string): AsyncGenerator<string> {
  const handle = await open(file, 'r').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  });
  if (!handle) return;
  try {
    let { size: end } = await handle.stat();
    /** The line whose beginning is not read yet. */
    let tail: Buffer[] = [];
    while (end > 0) {
      const block = Buffer.alloc(Math.min(BLOCK, end));
      const { bytesRead } = await handle.read(block, 0, block.length, end - block.length);
      if (bytesRead < block.length) return; // it was made shorter
      end -= block.length;
      const first = block.indexOf(LF);
      if (end > 0 && first < 0) {
        tail = [block, ...tail];
        continue;
      }
      const whole = Buffer.concat([block, ...tail]);
      const begin = end > 0 ? first + 1 : 0;
      tail = [whole.subarray(0, begin)];
      const lines = whole.subarray(begin).toString('utf8').split('\n');
      for (const line of lines.reverse()) if (line !== '') yield line;
    }
  } finally {
    await handle.close();
  }
}
