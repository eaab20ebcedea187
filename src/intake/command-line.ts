/**
 * What a line must be before it is looked at as a command (RFC 5321 §2.3.8, §4.5.3.1.4): not too
 * long, UTF-8 (RFC 6531 §3.4), and without control characters, which would come out again in
 * replies, log lines and header fields.
 *
 * Lines of an AUTH exchange are longer; smtp-server limits those.
 */
import { isUtf8 } from 'node:buffer';

/** Code and text of a reply, the enhanced status in front of the text. */
export interface Reply {
  readonly code: number;
  readonly text: string;
}

/** The RFC asks for 512 octets and more for parameters; recipients with DSN parameters need the most. */
const MAX_OCTETS = 4096;
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is being refused
const CONTROL = /[\0-\x1f\x7f-\x9f]/;

/** The command's name in capitals, and the reply if the line may go no further. */
export function readCommandLine(line: Buffer): { readonly name: string; readonly fault?: Reply } {
  const text = line.toString();
  const name = text.split(' ', 1)[0]?.toUpperCase() ?? '';
  if (name !== 'AUTH' && line.length > MAX_OCTETS) {
    return { name, fault: { code: 500, text: '5.5.2 Command line too long' } };
  }
  if (isUtf8(line) && !CONTROL.test(text)) return { name };
  return { name, fault: { code: 500, text: '5.5.2 Invalid character in command' } };
}
