/**
 * What the tests read out of Markdown: its code blocks, its code spans, its links, and the names by which its
 * headings can be linked to. As much of the grammar as our own files use; not a parser for anybody else's.
 */

export interface CodeBlock {
  /** The words behind the fence: `yaml`, `sh`; the first one is the language. */
  readonly words: readonly string[];
  readonly text: string;
  /** Of its first line of text, from 1. */
  readonly line: number;
}

export interface Piece {
  readonly text: string;
  readonly line: number;
}

export interface Markdown {
  readonly blocks: readonly CodeBlock[];
  /** The line of a code block that does not end. */
  readonly unclosed: number | undefined;
  /** Code between backticks, in the text. */
  readonly spans: readonly Piece[];
  /** Where links and pictures lead to, of Markdown and of the HTML that GitHub lets through. */
  readonly targets: readonly Piece[];
  /** Of `[text][name]`: names that are defined nowhere. */
  readonly strayNames: readonly Piece[];
  /** What may stand behind `#`. */
  readonly anchors: ReadonlySet<string>;
  readonly headings: readonly (Piece & { readonly level: number })[];
}

const FENCE = /^(\s*)(`{3,}|~{3,})\s*(.*)$/;

export function readMarkdown(source: string): Markdown {
  const blocks: CodeBlock[] = [];
  const prose: string[] = [];
  let open: { fence: string; indent: number; block: CodeBlock; lines: string[] } | undefined;
  for (const [index, line] of source.split('\n').entries()) {
    const [, indent = '', fence = '', rest = ''] = FENCE.exec(line) ?? [];
    if (open) {
      if (fence.startsWith(open.fence) && rest === '') {
        blocks.push({ ...open.block, text: open.lines.join('\n') });
        open = undefined;
      } else
        open.lines.push(line.slice(Math.min(open.indent, line.length - line.trimStart().length)));
    } else if (fence !== '') {
      const words = rest.split(/\s+/).filter((word) => word !== '');
      open = {
        fence,
        indent: indent.length,
        block: { words, text: '', line: index + 2 },
        lines: [],
      };
    }
    prose.push(open || fence !== '' ? '' : line);
  }
  return { blocks, unclosed: open && open.block.line - 1, ...readProse(prose.join('\n')) };
}

function readProse(prose: string): Omit<Markdown, 'blocks' | 'unclosed'> {
  const text = prose.replaceAll(/<!--.*?-->/gs, blank);
  const lineAt = lineCounter(text);
  const spans: Piece[] = [];
  const bare = text.replaceAll(
    /(?<!`)(`+)(?!`)((?:(?!\n\s*\n).)+?)(?<!`)\1(?!`)/gs,
    (all, _ticks, code, at) => {
      // In a table a bar within code is written with a backslash.
      const plain = String(code).replaceAll('\n', ' ').replaceAll('\\|', '|');
      spans.push({ text: plain.trim(), line: lineAt(Number(at)) });
      return blank(all);
    },
  );
  const targets = [
    ...bare.matchAll(/\]\(\s*<?([^)\s>]+)>?(?:\s+"[^"]*")?\s*\)/g),
    ...bare.matchAll(/^ *\[[^\]]+\]: +(\S+)/gm),
    ...bare.matchAll(/<(?:a|img|source)\b[^>]*?\b(?:href|src|srcset)="([^"]+)"/g),
  ].map(({ 1: target = '', index }) => ({ text: target, line: lineAt(index) }));
  const defined = new Set([...bare.matchAll(/^ *\[([^\]]+)\]: /gm)].map(([, name]) => name));
  const strayNames = [...bare.matchAll(/\]\[([\w -]+)\]/g)]
    .filter(([, name]) => !defined.has(name))
    .map(({ 1: name = '', index }) => ({ text: name, line: lineAt(index) }));
  const headings = [...text.matchAll(/^(#{1,6}) +(.+?)\s*#*$/gm)].map(
    ({ 1: marks = '', 2: heading = '', index }) => {
      return { level: marks.length, text: heading, line: lineAt(index) };
    },
  );
  const named = [...bare.matchAll(/<a (?:id|name)="([^"]+)"/g)].map(([, name = '']) => name);
  return {
    spans,
    targets,
    strayNames,
    headings,
    anchors: new Set([...anchorsOf(headings), ...named]),
  };
}

/** As GitHub makes them: lower case, without punctuation, a number behind those that come again. */
function anchorsOf(headings: readonly Piece[]): readonly string[] {
  const seen = new Map<string, number>();
  return headings.map(({ text }) => {
    const plain = text.replaceAll(/\[([^\]]*)\]\([^)]*\)/g, '$1').toLowerCase();
    const anchor = plain.replaceAll(/[^\p{L}\p{N} _-]/gu, '').replaceAll(' ', '-');
    const before = seen.get(anchor) ?? 0;
    seen.set(anchor, before + 1);
    return before === 0 ? anchor : `${anchor}-${before}`;
  });
}

/** The same number of lines, with nothing on them. */
function blank(text: string): string {
  return text.replaceAll(/[^\n]/g, ' ');
}

function lineCounter(text: string): (at: number) => number {
  return (at) => text.slice(0, at).split('\n').length;
}
