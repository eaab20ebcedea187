/**
 * Comparison of DSNs: fields by name without case, their texts without regard to the blanks
 * behind a type's `;`, dates as moments, blocks and parameters in any order, fields that must not
 * occur.
 */
import { difference, differences, isObject } from './compare.ts';

type Fields = Readonly<Record<string, string>>;

interface Dsn {
  readonly per_message: Fields;
  readonly recipients: readonly Fields[];
  readonly headers?: Fields;
  readonly content_type?: string;
  readonly mail_params?: readonly string[];
}
interface ExpectedDsn extends Dsn {
  /** Names, or `Name: beginning of the text`. */
  readonly absent?: readonly string[];
}

/** As `differences` of compare.ts, for answers of dsn.ts. */
export function dsnDifferences(answer: unknown, expected: unknown): readonly string[] {
  if (!isObject(answer) || !isObject(expected)) return differences(answer, expected);
  const { dsn: ours, ...others } = answer;
  const { dsn: wanted, ...otherWanted } = expected;
  const sorted = differences(sortedLists(others), sortedLists(otherWanted));
  if (!isObject(ours) || !isObject(wanted)) return [...sorted, ...differences(ours, wanted, 'dsn')];
  return [...sorted, ...reportDifferences(ours as never, wanted as never)];
}

function reportDifferences(ours: Dsn, wanted: ExpectedDsn): readonly string[] {
  const { per_message, recipients, headers, content_type, mail_params, absent, ...plain } = wanted;
  return [
    ...differences(ours, plain, 'dsn'),
    ...fieldDifferences(ours.per_message, per_message),
    ...blockDifferences(ours.recipients, recipients),
    ...fieldDifferences(ours.headers ?? {}, headers ?? {}),
    ...typeDifferences(ours.content_type, content_type),
    ...(mail_params
      ? differences([...(ours.mail_params ?? [])].sort(), mail_params.toSorted())
      : []),
    ...unwantedFields([ours.per_message, ...ours.recipients], absent ?? []),
  ];
}

function fieldDifferences(ours: Fields, wanted: Fields): readonly string[] {
  return Object.entries(wanted).flatMap(([name, value]) => {
    const text = ours[name.toLowerCase()];
    const isSame =
      plainText(text) === plainText(value) ||
      (DATES.test(name) && isSameMoment(text, value)) ||
      (ADDRESSES.test(name) && plainAddress(text) === plainAddress(value));
    return isSame ? [] : [difference(name, text, value)];
  });
}

const DATES = /^(arrival-date|last-attempt-date|will-retry-until)$/i;

const ADDRESSES = /^to$/i;

/** An addr-spec, or the same as an angle-addr (RFC 5322 §3.4). */
function plainAddress(text: string | undefined): string | undefined {
  return text?.trim().replace(/^<(.*)>$/, '$1');
}

function isSameMoment(text: string | undefined, value: string): boolean {
  return text !== undefined && Date.parse(text) === Date.parse(value);
}

/** Each wanted block is compared with the one for the same recipient. */
function blockDifferences(ours: readonly Fields[], wanted: readonly Fields[]): readonly string[] {
  if (ours.length !== wanted.length) {
    return [difference('number of recipient blocks', ours.length, wanted.length)];
  }
  const recipientOf = (block: Fields) =>
    plainText(block['final-recipient'] ?? block['Final-Recipient']);
  return wanted.flatMap((block, n) => {
    const same = ours.find((one) => recipientOf(one) === recipientOf(block));
    return fieldDifferences(same ?? ours[n] ?? {}, block);
  });
}

/** The type and each of the wanted parameters. */
function typeDifferences(ours = '', wanted: string | undefined): readonly string[] {
  const parts = (text: string) => text.split(';').map((part) => part.trim().replaceAll('"', ''));
  const given = parts(ours);
  const missing = wanted && !parts(wanted).every((part) => given.includes(part));
  return missing ? [difference('content_type', ours, wanted)] : [];
}

function unwantedFields(blocks: readonly Fields[], absent: readonly string[]): readonly string[] {
  return absent.flatMap((unwanted) => {
    const [name = '', start = ''] = unwanted.split(/:\s*/, 2);
    const found = blocks
      .map((block) => block[name.toLowerCase()])
      .find((text) => text !== undefined && beginsWith(text, start));
    return found === undefined ? [] : [difference(`no ${unwanted}`, found, undefined)];
  });
}

function beginsWith(text: string, start: string): boolean {
  return plainText(text)?.toLowerCase().startsWith(start.toLowerCase()) ?? false;
}

/** One blank behind the first `;`. */
function plainText(text: string | undefined): string | undefined {
  return text?.replace(/^([^;]*?)\s*;\s*/, '$1; ');
}

function sortedLists(value: Readonly<Record<string, unknown>>) {
  return Object.fromEntries(
    Object.entries(value).map(([key, one]) => [key, Array.isArray(one) ? one.toSorted() : one]),
  );
}
