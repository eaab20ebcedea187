/**
 * What several commands that ask the running relay have in common.
 */
import { InvalidArgumentError } from 'commander';
import { z } from 'zod';
import { parseDuration, parseExpiry } from '../config/units.ts';
import { type DomainName, parseDomain } from '../protocol/domain.ts';
import { quoted } from '../protocol/quote.ts';
import { CliError, EXIT } from './command.ts';
import type { ControlAnswer } from './control-client.ts';
import { printable } from './terminal.ts';

export const TIMEOUT_MS = 30_000;

export const EXIT_CODES = `
Exit codes:
  0  done
  1  the answer is no
  2  wrong usage or configuration
  3  the relay cannot be reached`;

/** What was done to a domain. */
export const changeSchema = z.looseObject({ domain: z.string(), result: z.string() });
const refusalSchema = z.object({ error: z.string() });

/** The body of a 200 as `schema` wants it. Throws CliError for every other answer. */
export function readAnswer<T>({ status, body }: ControlAnswer, schema: z.ZodType<T>): T {
  const parsed = schema.safeParse(body);
  if (status === 200 && parsed.success) return parsed.data;
  const refusal = refusalSchema.safeParse(body);
  const why = refusal.success
    ? refusal.data.error
    : `the relay answered ${status}, which is not understood here`;
  // 400: what was asked for is not understood; everything else is an answer.
  throw new CliError(status === 400 ? EXIT.wrong : EXIT.no, printable(why), { status });
}

export function requireDomain(text: string): DomainName {
  const domain = parseDomain(text);
  if (domain !== undefined) return domain;
  throw new CliError(EXIT.wrong, `${quoted(text)} is no domain name`);
}

/** For an option: when something ends. */
export function parseEnd(text: string): number {
  const at = parseExpiry(text);
  if (at !== undefined && at > Date.now()) return at;
  throw new InvalidArgumentError('It is a day such as 2027-01-31, or a time, to come.');
}

/** For an option: how long something lasts. */
export function parseSpan(text: string): number {
  const span = parseDuration(text);
  if (span !== undefined && span > 0) return span;
  throw new InvalidArgumentError('It is a duration: 30m, 2h, 7d.');
}

/** For an option: a text that is kept. */
export function parseText(most: number): (text: string) => string {
  return (text) => {
    const trimmed = text.trim();
    if (trimmed !== '' && trimmed.length <= most) return trimmed;
    throw new InvalidArgumentError(`It has 1 to ${most} characters.`);
  };
}
