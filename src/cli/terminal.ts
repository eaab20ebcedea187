/**
 * Writing to the two streams. Results go to stdout, everything said about them to stderr.
 */
import { unhiddenJson } from '../protocol/quote.ts';

/** A line, or several, on stdout. */
export function print(text: string): void {
  process.stdout.write(`${text}\n`);
}

/** A line, or several, on stderr. */
export function printError(text: string): void {
  process.stderr.write(`${text}\n`);
}

/** A value as JSON on stdout, for `--json`. */
export function printJson(value: unknown): void {
  print(unhiddenJson(JSON.stringify(value, undefined, 2)));
}

/** Print all as they come, as one array; how many there were. */
export async function printJsonList(views: AsyncIterable<unknown>): Promise<number> {
  let count = 0;
  for await (const view of views) {
    const json = unhiddenJson(JSON.stringify(view, undefined, 2)).replaceAll('\n', '\n  ');
    const isTaken = process.stdout.write(`${count === 0 ? '[' : ','}\n  ${json}`);
    if (!isTaken) await flushOutput();
    count += 1;
  }
  print(count === 0 ? '[]' : '\n]');
  return count;
}

/** Wait until the reader has taken what was printed: an end of the process before loses it. */
export async function flushOutput(): Promise<void> {
  for (const stream of [process.stdout, process.stderr]) {
    await new Promise<void>((resolve) => stream.write('', () => resolve()));
  }
}

/** Text of strangers for a terminal: no control characters, which could rewrite the screen. */
export function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}]/gu, '\u{fffd}');
}
