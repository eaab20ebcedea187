/**
 * The grammars of RFC 8461 §3.1, §3.2 and the matching rule of §4.1 a second time, written as
 * differently from src/ as possible: one expression for a whole text, labels compared one by
 * one. What the parsers say is held against it. Slow and unguarded: for tests.
 */

const FIELD_NAME = '[A-Za-z0-9][A-Za-z0-9_.-]{0,31}';
const RECORD_FIELD = `${FIELD_NAME}=[\\x21-\\x3a\\x3c\\x3e-\\x7e]+`;
const RECORD = new RegExp(
  `^v=STSv1(?:[ \\t]*;[ \\t]*${RECORD_FIELD})+(?:[ \\t]*;[ \\t]*)?$`.replaceAll('\\\\', '\\'),
);

/** The id of the one MTA-STS record among TXT records (octets as Latin-1), if that is what there is. */
export function referenceRecordId(texts: readonly string[]): string | undefined {
  const left = texts.length < 2 ? texts : texts.filter((text) => text.startsWith('v=STSv1;'));
  const [text = ''] = left;
  if (left.length !== 1 || !RECORD.test(text)) return undefined;
  const id = /;[ \t]*id=([^; \t]*)/.exec(text)?.[1];
  return id !== undefined && /^[A-Za-z0-9]{1,32}$/.test(id) ? id : undefined;
}

export interface ReferencePolicy {
  readonly mode: string;
  readonly mx: readonly string[];
  readonly maxAgeSeconds: number;
}

/** sts-policy-vchar and blanks between: no other control character, anything from U+0080 on. */
const VALUE = '[^\\x00-\\x20\\x7f](?:[^\\x00-\\x1f\\x7f]*[^\\x00-\\x20\\x7f])?';
const POLICY_LINE = `${FIELD_NAME}:[ \\t]*${VALUE}[ \\t]*`;
const POLICY = new RegExp(`^${POLICY_LINE}(?:\\r?\\n${POLICY_LINE})*(?:\\r?\\n)?$`);
const LABEL = '[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?';
const PATTERN = new RegExp(`^(?:\\*\\.)?${LABEL}(?:\\.${LABEL})*$`);

/** What a policy text says; undefined when it is none. */
export function referencePolicy(text: string): ReferencePolicy | undefined {
  if (!POLICY.test(text)) return undefined;
  const fields = text
    .split(/\r?\n/)
    .map((line) => /^([^:]*):[ \t]*(.*?)[ \t]*$/s.exec(line) ?? [])
    .map(([, name = '', value = '']) => ({ name, value }));
  const first = (wanted: string) => fields.find(({ name }) => name === wanted)?.value ?? '';
  const mx = fields.flatMap(({ name, value }) => (name === 'mx' ? [value] : []));
  const [mode, maxAge] = [first('mode'), first('max_age')];
  const isWhole =
    first('version') === 'STSv1' &&
    ['enforce', 'testing', 'none'].includes(mode) &&
    /^[0-9]{1,10}$/.test(maxAge) &&
    mx.every((value) => PATTERN.test(value) && value.replace(/^\*\./, '').length <= 253) &&
    (mx.length > 0 || mode === 'none');
  if (!isWhole) return undefined;
  // RFC 8461 §3.2, erratum 7282: more than about a year counts as about a year.
  const maxAgeSeconds = Math.min(Number.parseInt(maxAge, 10), 31_557_600);
  return { mode, mx: mx.map((value) => value.toLowerCase()), maxAgeSeconds };
}

/** Whether a presented name (an mx pattern, a dNSName) covers `host`, both in A-labels. */
export function referenceMatch(pattern: string, host: string): boolean {
  const wanted = pattern.split('.');
  const given = host.replace(/\.$/, '').split('.');
  if (!given.every((label) => new RegExp(`^${LABEL}$`).test(label))) return false;
  if (given.join('.').length > 253 || /^(?:\d+|0[xX][0-9a-fA-F]*)$/.test(given.at(-1) ?? '')) {
    return false;
  }
  if (!PATTERN.test(pattern) || wanted.length !== given.length) return false;
  return wanted.every(
    (label, at) => (at === 0 && label === '*') || label.toLowerCase() === given[at]?.toLowerCase(),
  );
}
