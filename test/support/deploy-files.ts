/**
 * What deploy/ and the texts about it say, read as they are: commands, settings, variables, paths. For the
 * tests that hold them against the program.
 */
import { globSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseAllDocuments } from 'yaml';

export const ROOT = fileURLToPath(new URL('../../', import.meta.url));

/** Texts for people about running it. */
export const TEXTS: readonly string[] = [
  'SECURITY.md',
  'docs/going-live.md',
  ...globSync(['deploy/*.md', 'deploy/smarthost/*.md'], { cwd: ROOT }),
];

/** Path from the root of the repository. */
export function readFile(path: string): string {
  return readFileSync(ROOT + path, 'utf8');
}

/** Every document of a YAML file. */
export function readYaml<T>(path: string): readonly T[] {
  const documents = parseAllDocuments(readFile(path));
  return documents.map((document) => {
    if (document.errors.length > 0) throw new Error(`${path}: ${document.errors[0]?.message}`);
    return document.toJS() as T;
  });
}

/** The settings of a systemd unit, by name; several of one name in their order. */
export function readUnit(path: string): ReadonlyMap<string, readonly string[]> {
  const settings = new Map<string, string[]>();
  for (const line of readFile(path).split('\n')) {
    const [, name, value = ''] = /^([A-Z]\w+)=(.*)$/.exec(line) ?? [];
    if (name !== undefined) settings.set(name, [...(settings.get(name) ?? []), value]);
  }
  return settings;
}

/** The words behind each `stsrelay` that is typed: in code spans, code blocks and comments. */
export function commandsIn(text: string): readonly string[] {
  const typed = [
    ...text.matchAll(/(?:`|^|\$ |sudo |exec (?:relay )?|-- |# +)stsrelay ([a-z][^`#\n|]*)/gm),
  ];
  return typed.map(([, words = '']) => words.trim());
}

/** Dotted settings in code spans: `limits.messageSize`, `listeners[].auth`. */
export function settingsIn(text: string, sections: ReadonlySet<string>): readonly string[] {
  const spans = [...text.matchAll(/`([a-z]\w*(?:\[\])?(?:\.[a-zA-Z]+(?:\[\])?)+)[`:]/g)];
  const plain = spans.map(([, key = '']) => key.replaceAll('[]', ''));
  return plain.filter((key) => sections.has(key.split('.')[0] ?? ''));
}

/** Files of the repository that Markdown links lead to, from the root. */
export function linksIn(path: string): readonly string[] {
  const folder = new URL(path, 'file:///');
  const targets = [...readFile(path).matchAll(/\]\(([^)\s]+)\)/g)].map(([, to = '']) => to);
  return targets
    .filter((to) => !/^(https?:|#)/.test(to))
    .map((to) => new URL(to, folder))
    .map(({ pathname, hash }) => decodeURIComponent(pathname.slice(1)) + hash);
}

/** The anchor that GitHub gives a heading. */
export function anchorsIn(markdown: string): ReadonlySet<string> {
  const headings = [...markdown.matchAll(/^#+ (.+)$/gm)].map(([, title = '']) => title);
  return new Set(
    headings.map((title) =>
      title
        .toLowerCase()
        .replace(/[^\w\- ]/g, '')
        .replaceAll(' ', '-'),
    ),
  );
}
