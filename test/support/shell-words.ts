/**
 * The commands in a piece of shell as documentation has it: enough of the language to find each program and its
 * arguments. Prompts, comments, redirections and assignments in front are left out.
 */

const ENDS = new Set(['|', ';', '&', '(', ')', '\n', '`']);

/** Each command as its words, in order. */
export function shellCommands(source: string): readonly (readonly string[])[] {
  const text = source.replaceAll(/\\\n\s*/g, ' ').replaceAll(/^\$ /gm, '');
  const commands: string[][] = [];
  let words: string[] = [];
  let word: string | undefined;
  const endWord = () => {
    if (word !== undefined) words.push(word);
    word = undefined;
  };
  const endCommand = () => {
    endWord();
    if (words.length > 0) commands.push(words);
    words = [];
  };
  for (let at = 0; at < text.length; at += 1) {
    const char = text[at] ?? '';
    if (char === "'" || char === '"') {
      const end = text.indexOf(char, at + 1);
      if (end === -1) break; // prose with an apostrophe
      word = (word ?? '') + text.slice(at + 1, end);
      at = end;
    } else if (char === '#' && word === undefined) {
      while (at + 1 < text.length && text[at + 1] !== '\n') at += 1;
    } else if (ENDS.has(char) && !(char === '&' && word?.endsWith('>') === true)) endCommand();
    else if (/\s/.test(char)) endWord();
    else word = (word ?? '') + char;
  }
  endCommand();
  return commands
    .map(withoutRedirections)
    .map(withoutPrefix)
    .filter((one) => one.length > 0);
}

function withoutRedirections(words: readonly string[]): readonly string[] {
  return words.filter((word, at) => {
    return !/^\d?[<>]/.test(word) && !/^\d?[<>]+$/.test(words[at - 1] ?? '');
  });
}

/** `A=b sudo -u user program …` is the program. */
function withoutPrefix(words: readonly string[]): readonly string[] {
  const [first = '', second = ''] = words;
  if (/^[A-Za-z_]\w*=/.test(first)) return withoutPrefix(words.slice(1));
  if (first === 'sudo') return withoutPrefix(words.slice(second === '-u' ? 3 : 1));
  if (['exec', 'time', 'nohup', 'watch'].includes(first)) return withoutPrefix(words.slice(1));
  return words;
}
