/**
 * What our documents say that a machine can check: that links lead somewhere, that commands, settings, metrics, log
 * events, alerts, `make` targets and files exist, that samples are valid. Each check returns complaints with place.
 */
import { existsSync, globSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Command, CommanderError } from 'commander';
import { parse } from 'yaml';
import { EXIT } from '../../src/cli/command.ts';
import { COMMANDS, GROUPS } from '../../src/cli/commands.ts';
import { buildProgram } from '../../src/cli/run.ts';
import { variableName } from '../../src/config/environment.ts';
import { loadSettings } from '../../src/config/load.ts';
import { formatProblem } from '../../src/config/problems.ts';
import { allKeys } from '../../src/config/structure.ts';
import type { AnyFamily } from '../../src/telemetry/families/family.ts';
import { FAMILIES, PREFIX } from '../../src/telemetry/metrics.ts';
import { EVENTS } from '../../src/telemetry/vocabulary/events.ts';
import { readRules } from './dashboards.ts';
import { type Markdown, readMarkdown } from './markdown.ts';
import { shellCommands } from './shell-words.ts';

export const ROOT = fileURLToPath(new URL('../../', import.meta.url));

export interface Document extends Markdown {
  /** From the root of the repository. */
  readonly path: string;
  readonly source: string;
}

/** Where, and what is wrong there. */
export type Complaint = string;

export function readDocument(path: string, source = readFileSync(join(ROOT, path), 'utf8')) {
  return { path, source, ...readMarkdown(source) };
}

export function readDocuments(): readonly Document[] {
  const isForeign = (path: string) => /(?:^|\/)(?:node_modules|dist)(?:\/|$)/.test(path);
  const paths = globSync('**/*.md', { cwd: ROOT, exclude: isForeign }).sort();
  return paths.map((path) => readDocument(path));
}

const at = ({ path }: Document, line: number, text: string): Complaint =>
  `${path}:${line}: ${text}`;

/** Links and pictures that lead to no file of ours, or to no heading in it. Other sites are not asked. */
export function deadLinks(document: Document, all: readonly Document[]): readonly Complaint[] {
  const stray = document.strayNames.map(({ text, line }) => {
    return at(document, line, `no address for [${text}]`);
  });
  const dead = document.targets.flatMap(({ text, line }) => {
    if (/^(?:[a-z]+:|\/\/)/.test(text)) return [];
    const [file = '', anchor] = text.split('#');
    const path = file === '' ? document.path : normalize(join(dirname(document.path), file));
    if (!existsSync(join(ROOT, path))) return [at(document, line, `no file ${path}`)];
    if (anchor === undefined) return [];
    const target = path === document.path ? document : all.find((one) => one.path === path);
    if (target?.anchors.has(anchor)) return [];
    return [at(document, line, `no heading #${anchor} in ${path}`)];
  });
  return [...stray, ...dead];
}

const SHELL = new Set(['sh', 'bash', 'console', 'shell']);
/** What npm and systems call the program. */
const OURS = /^(?:stsrelay|(?:\S*\/)?stsrelay|npx stsrelay)$/;

/** The arguments of ours, where a command is one of ours. */
function ourArguments(words: readonly string[]): readonly string[] | undefined {
  const line = words.join(' ');
  if (line.startsWith('npm run -s stsrelay -- ')) return words.slice(5);
  if (words[0] === 'node' && words[1] === 'dist/main.js') return words.slice(2);
  return OURS.test(words[0] ?? '') ? words.slice(1) : undefined;
}

/** Command lines of ours that the real command line does not take. */
export function wrongCommands(document: Document): readonly Complaint[] {
  const blocks = document.blocks.filter(({ words }) => SHELL.has(words[0] ?? ''));
  const typed = blocks.flatMap(({ text, line }) =>
    shellCommands(text).flatMap((words) => {
      const args = ourArguments(words);
      return args === undefined ? [] : [{ line, words, problem: refusal(args) }];
    }),
  );
  const named = document.spans.flatMap(({ text, line }) =>
    alternatives(text).map((args) => {
      return { line, words: ['stsrelay', ...args], problem: refusal(args, true) };
    }),
  );
  return [...typed, ...named].flatMap(({ line, words, problem }) =>
    problem === undefined ? [] : [at(document, line, `${words.join(' ')}: ${problem}`)],
  );
}

const GROUP_NAMES = new Set(GROUPS.map(({ name }) => name));

/** `stsrelay queue list | show ID` is two; `queue show ID` is one of ours, too, `queue full` none. */
function alternatives(span: string): readonly (readonly string[])[] {
  const [first = [], ...others] = shellCommands(span.replaceAll('…', ''));
  const args = ourArguments(first) ?? (isShorthand(first) ? first : undefined);
  if (args === undefined || args.length === 0) return [];
  const group = GROUP_NAMES.has(args[0] ?? '') ? args.slice(0, 1) : [];
  const isAlternative = (words: readonly string[]) => /^[a-z]+$/.test(words[0] ?? '');
  return [
    args,
    ...(span.includes(' | ') ? others.filter(isAlternative) : []).map((words) => {
      return ourArguments(words) ?? [...group, ...words];
    }),
  ];
}

function isShorthand([group = '', command = '']: readonly string[]): boolean {
  return GROUP_NAMES.has(group) && /^[a-z]+$/.test(command);
}

/** Why commander refuses it; a mention may leave out what it needs, and have WORDS in the place of values. */
function refusal(args: readonly string[], isMention = false): string | undefined {
  const still = { run: () => EXIT.done };
  const program = buildProgram(
    {
      commands: COMMANDS.map((one) => ({ ...one, ...still })),
      groups: GROUPS.map((group) => {
        return { ...group, commands: group.commands.map((one) => ({ ...one, ...still })) };
      }),
    },
    { code: EXIT.done },
  );
  silence(program);
  try {
    program.parse(args, { from: 'user' });
    return undefined;
  } catch (error) {
    if (!(error instanceof CommanderError)) return (error as Error).message;
    if (error.exitCode === 0) return undefined; // --help, --version
    const isLeftOut = /missing|commander\.help$/i.test(error.code);
    const isPlaceholder =
      error.code === 'commander.invalidArgument' && /'[A-Z]+'/.test(error.message);
    return isMention && (isLeftOut || isPlaceholder) ? undefined : error.message;
  }
}

function silence(command: Command): void {
  command.configureOutput({ writeOut: () => {}, writeErr: () => {} });
  for (const one of command.commands) silence(one);
}

const MAKEFILE = readFileSync(join(ROOT, 'Makefile'), 'utf8');
const MAKE_TARGETS = new Set([...MAKEFILE.matchAll(/^([a-z][a-z-]*):/gm)].map(([, name]) => name));

/**
 * Names of somebody else that look like ours; a document lists them in a comment, where `*` stands for anything:
 * `<!-- not ours: tls.*, make dsn -->`.
 */
function isOfOthers({ source }: Document, name: string): boolean {
  const listed = [...source.matchAll(/<!-- not ours: (.+?) -->/g)].flatMap(([, names = '']) =>
    names.split(',').map((one) => one.trim()),
  );
  return listed.some((one) => {
    return one.endsWith('*') ? name.startsWith(one.slice(0, -1)) : name === one;
  });
}

/** `make X` without such a target. */
export function wrongTargets(document: Document): readonly Complaint[] {
  return pieces(document).flatMap(({ text, line }) =>
    shellCommands(text).flatMap(([program, ...args]) => {
      const target = args.find((one) => !one.includes('=') && !one.startsWith('-'));
      if (program !== 'make' || target === undefined || MAKE_TARGETS.has(target)) return [];
      if (args.includes('-C') || isOfOthers(document, `make ${target}`)) return [];
      return [at(document, line, `make ${target}: no such target`)];
    }),
  );
}

/** Everything that is code: spans, and what is typed in a shell. */
function pieces(document: Document): readonly { readonly text: string; readonly line: number }[] {
  const typed = document.blocks.filter(({ words }) => SHELL.has(words[0] ?? ''));
  return [...document.spans, ...typed];
}

/** Files of the repository that are named in code and are not there; what is built or made is not looked for. */
export function missingFiles(document: Document): readonly Complaint[] {
  const path = /(?<![\w./*-])(?:src|test|deploy|docs|grafana)\/[\w./-]*[\w/]/g;
  return pieces(document).flatMap(({ text, line }) =>
    [...text.matchAll(path)].flatMap(({ 0: file, index }) => {
      const isPattern = /^[-.]?[*<{$]/.test(text.slice(index + file.length));
      return isPattern || existsSync(join(ROOT, file))
        ? []
        : [at(document, line, `no file ${file}`)];
    }),
  );
}

const KEYS = allKeys();
const KEY_NAMES = new Set(KEYS.map((path) => path.join('.')));
const SECTIONS = new Set(KEYS.map(([first = '']) => first));
const STAGES = new Set(Object.keys(EVENTS).map((name) => name.split('.')[0] ?? ''));
const VARIABLES = new Set(KEYS.map(variableName));
const DOMAIN_ENDING = /\.(?:com|example|internal|net|org|test)$/;
const FILE_ENDING =
  /\.(?:md|ts|js|json|ya?ml|sock|log|pem|eml|crt|key|cf|gz|svg|txt|service|conf)$/;

/** Settings and log events that are not there. */
export function wrongNames(document: Document): readonly Complaint[] {
  const spans = document.spans.flatMap(({ text, line }) => {
    const [name = ''] = /^[a-z]\w*(?:(?:\[\d*\])?\.[\w*]+)+/.exec(text) ?? [];
    const first = name.split(/[.[]/)[0] ?? '';
    if (name === '' || FILE_ENDING.test(name) || text.startsWith(`${name}(`)) return [];
    if (!SECTIONS.has(first) && !STAGES.has(first)) return [];
    if (DOMAIN_ENDING.test(name) || isOfOthers(document, name)) return [];
    if (Object.hasOwn(EVENTS, name) || text === `${first}.*`) return [];
    if (isKey(name.replaceAll(/\[\d*\]/g, ''))) return [];
    return [at(document, line, `neither a setting nor a log event: ${name}`)];
  });
  const asked = searches(document.source, /(?:"event":|\.?\bevent\s*==?\s*)["`]([a-z_.]+)["`]/g)
    .filter(({ text }) => !Object.hasOwn(EVENTS, text))
    .map(({ text, line }) => at(document, line, `no log event: ${text}`));
  const variables = searches(document.source, /\b(STSRELAY_[A-Z0-9_]+)/g)
    .filter(({ text }) => !VARIABLES.has(text.replaceAll(/_\d+(?=_|$)/g, '')))
    .filter(({ text }) => text !== 'STSRELAY_CONFIG')
    .map(({ text, line }) => at(document, line, `no setting behind ${text}`));
  return [...spans, ...asked, ...variables];
}

/** `*` stands for one step, or for one that is a place in a list. */
function isKey(name: string): boolean {
  if (!name.includes('*')) return KEY_NAMES.has(name);
  const pattern = new RegExp(`^${name.replaceAll('.', '\\.').replaceAll('*', '\\w+')}$`);
  return [...KEY_NAMES].some((key) => pattern.test(key));
}

function searches(source: string, pattern: RegExp) {
  return [...source.matchAll(pattern)].map(({ 1: text = '', index }) => {
    return { text, line: source.slice(0, index).split('\n').length };
  });
}

const RULES = readRules();
const ALERTS = new Set(RULES.map(({ alert }) => alert));
const SAMPLES = new Set([
  ...Object.values<AnyFamily>(FAMILIES).flatMap(({ name, type }) =>
    ['', ...(type === 'histogram' ? ['_bucket', '_sum', '_count'] : [])].map((end) => name + end),
  ),
  ...RULES.flatMap(({ record }) => (record === undefined ? [] : [record])),
]);

/** Metrics and alerts that are not there. */
export function wrongMetrics(document: Document): readonly Complaint[] {
  const metrics = searches(document.source, /\bstsrelay_([a-z0-9_]+)(?![a-z0-9_*…])/g);
  const bare = document.spans.flatMap(({ text, line }) => {
    const [, name] = /^([a-z]+(?:_[a-z]+)*_(?:total|seconds|bytes))(?:\{.*\})?$/.exec(text) ?? [];
    return name === undefined || name.startsWith(PREFIX) ? [] : [{ text: name, line }];
  });
  const alerts = searches(document.source, /\b(Stsrelay[A-Z]\w*)/g);
  return [
    ...[...metrics, ...bare]
      .filter(({ text }) => !SAMPLES.has(text))
      .map(({ text, line }) => at(document, line, `no metric ${PREFIX}${text}`)),
    ...alerts
      .filter(({ text }) => !ALERTS.has(text))
      .map(({ text, line }) => at(document, line, `no alert ${text}`)),
  ];
}

/** Samples that are no good: `yaml` alone is a configuration, with a word behind it something else. */
export function wrongSamples(document: Document): readonly Complaint[] {
  const { unclosed } = document;
  const open = unclosed === undefined ? [] : [at(document, unclosed, 'a code block without end')];
  const wrong = document.blocks.flatMap(({ words, text, line }) => {
    const problems =
      words[0] === 'json'
        ? jsonProblems(text)
        : words[0] !== 'yaml'
          ? []
          : words.length === 1
            ? configurationProblems(text)
            : yamlProblems(text);
    return problems.map((problem) => at(document, line, problem));
  });
  return [...open, ...wrong];
}

/** By the relay's own eyes; what a file leaves out has its default, so a part of one is a whole one. */
export function configurationProblems(text: string): readonly string[] {
  const directory = mkdtempSync(join(tmpdir(), 'stsrelay-docs-'));
  try {
    const configFile = join(directory, 'stsrelay.yaml');
    writeFileSync(configFile, text);
    const loaded = loadSettings({ configFile, environment: {} });
    return loaded.ok ? [] : loaded.problems.map(formatProblem);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

function yamlProblems(text: string): readonly string[] {
  try {
    parse(text);
    return [];
  } catch (error) {
    return [(error as Error).message];
  }
}

/** One value, or one a line; log lines have only what their event has. */
function jsonProblems(text: string): readonly string[] {
  const parts = text.startsWith('{"level"') ? text.split('\n') : [text];
  return parts.flatMap((part) => {
    try {
      const value = JSON.parse(part) as Readonly<Record<string, unknown>>;
      return typeof value['event'] === 'string' ? strangeFields(value) : [];
    } catch (error) {
      return [(error as Error).message];
    }
  });
}

function strangeFields({ level, time, event, ...fields }: Readonly<Record<string, unknown>>) {
  const events: Readonly<Record<string, { readonly fields: readonly string[] }>> = EVENTS;
  const known = events[String(event)]?.fields;
  if (known === undefined) return [`no log event: ${event}`];
  return Object.keys(fields)
    .filter((name) => !known.includes(name))
    .map((name) => `${event} has no field ${name}`);
}
