/**
 * docs/configuration.md, rendered from the declared settings. The committed file must equal the
 * rendering (a test compares them); `node test/support/write-docs.ts` writes it anew.
 */
import { type Element, root } from './structure.ts';

const INTRODUCTION = `# Configuration

<!-- Generated from src/config by test/support/write-docs.ts: edit the settings there, not this file. -->

One YAML file: \`--config FILE\`, else \`$STSRELAY_CONFIG\`, else \`./stsrelay.yaml\`, else
\`/etc/stsrelay/stsrelay.yaml\`. With no file at all the defaults below hold. A key without a value is as if it
were not there; an unknown key is an error. All problems are reported at once, each with file, line, what was
found and what was expected; \`stsrelay config check\` reports them without starting anything, \`stsrelay config
show\` prints what is in effect, \`stsrelay config schema\` gives a JSON Schema for editors.

- **Durations** are a whole number and a unit: \`250ms 30s 5m 4h 5d\`.
- **Sizes** count in powers of 1024: \`512B 64KiB 50MiB 1GiB\`.
- **Rates** are a number per duration: \`600/1m\`.
- **Relative paths** start at the directory the relay was started in.

Every setting can come from an environment variable, which goes before the file: its key in capitals, \`_\` between
the parts, \`STSRELAY_\` in front. \`limits.messageSize\` is \`STSRELAY_LIMITS_MESSAGESIZE\`; lists are separated by
commas (\`STSRELAY_DNS_SERVERS=127.0.0.1,::1\`); in lists of sections the position counts from 0
(\`STSRELAY_LISTENERS_0_PORT\`). An unknown variable of that form is an error.

\`SIGHUP\` and \`stsrelay reload\` apply a changed file; an invalid one is refused and the old one stays.
`;

/** The whole document, Markdown. */
export function renderConfigurationDoc(): string {
  const { shape } = root();
  const parts = shape.kind === 'section' ? [...shape.keys] : [];
  const isPlain = ([, { shape: of }]: readonly [string, Element]) => of.kind === 'setting';
  const general = parts.filter(isPlain).flatMap(([key, element]) => rows(key, element));
  const sections = parts
    .filter((part) => !isPlain(part))
    .map(([key, element]) => renderSection(key, element));
  return [INTRODUCTION, `## General\n\n${table(general)}`, ...sections].join('\n');
}

function renderSection(key: string, element: Element): string {
  const { prose, shape } = element;
  const isList = shape.kind === 'sections';
  const preset = isList ? `\n\nA list; default: ${inline(element.default)}.` : '';
  const children = shape.kind === 'sections' ? rows(`${key}[]`, shape.element) : rows(key, element);
  return `## ${key}\n\n${prose}${preset}\n\n${table(children)}`;
}

/** One row a setting; sections within sections are flattened, lists of sections get a row of their own. */
function rows(key: string, element: Element): readonly string[] {
  const { shape } = element;
  if (shape.kind === 'section') {
    return [...shape.keys].flatMap(([name, child]) =>
      rows(`${key}.${name}`, withPresetOf(element, name, child)),
    );
  }
  const expects = shape.kind === 'setting' ? shape.facts.expected : 'a list of sections';
  const row = [`\`${key}\``, preset(element), expects, element.prose];
  const inner = shape.kind === 'sections' ? rows(`${key}[]`, shape.element) : [];
  return [`| ${row.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`, ...inner];
}

/** A section that has a default as a whole, or may be left out, answers for what is in it. */
function withPresetOf(section: Element, name: string, child: Element): Element {
  const whole = section.default as Readonly<Record<string, unknown>> | undefined;
  const optional = child.optional || section.optional;
  return { ...child, default: child.default ?? whole?.[name], optional };
}

function preset(element: Element): string {
  if (element.default !== undefined) return inline(element.default);
  return element.optional ? 'none' : 'required';
}

function inline(value: unknown): string {
  return `\`${typeof value === 'string' && value !== '' ? value : JSON.stringify(value)}\``;
}

function table(lines: readonly string[]): string {
  return ['| key | default | expects | meaning |', '| --- | --- | --- | --- |', ...lines, ''].join(
    '\n',
  );
}
