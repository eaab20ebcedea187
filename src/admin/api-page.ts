/**
 * What all lists of the API have in common: filters, and pages. A page is asked for with `limit` and `after`, and
 * has `next` where it is not the last one: the `after` of the following one. Who goes on until there is no `next`
 * has seen everything that was there from the first page to the last once, whatever came or went meanwhile.
 */
import { z } from 'zod';
import { parseDuration } from '../config/units.ts';
import { parseDomain } from '../protocol/domain.ts';
import { quoted } from '../protocol/quote.ts';
import { LONGEST_PATTERN } from '../queue/hold-rules.ts';
import { refuse, wholeNumber } from './api-form.ts';

/** The most entries of a page, where a list does not say otherwise. */
export const MOST_OF_PAGE = 1000;
/** A rule's words with five patterns in them, each in quotes and with every character escaped. */
const LONGEST_CURSOR = 3300;

export interface PageWish {
  readonly limit: number;
  /** `next` of the page before. */
  readonly after?: string | undefined;
}

/** The query string of a list with these filters. */
export function pageQuery<F extends z.ZodRawShape>(filters: F, most = MOST_OF_PAGE, usual = most) {
  return z.strictObject({
    ...filters,
    limit: wholeNumber(1, most).default(usual),
    after: z.string().max(LONGEST_CURSOR).optional().describe('`next` of the page before.'),
  });
}

/** In the answer of a list. */
export const next = z
  .string()
  .optional()
  .describe('`after` of the next page; absent on the last one.');

/** The page of `all`, which are in the order (`<`) of their keys. */
export function pageOf<T>(
  all: readonly T[],
  keyOf: (one: T) => string,
  { limit, after }: PageWish,
): { readonly page: readonly T[]; readonly next?: string } {
  const begin = after === undefined ? 0 : all.findIndex((one) => keyOf(one) > after);
  const page = begin < 0 ? [] : all.slice(begin, begin + limit);
  const last = page.at(-1);
  const isLast = last === undefined || begin + limit >= all.length;
  return isLast ? { page } : { page, next: keyOf(last) };
}

/** A pattern for names that are compared without regard to upper and lower case. */
export function namePattern(whose: string) {
  return z
    .string()
    .min(1)
    .max(LONGEST_PATTERN)
    .toLowerCase()
    .describe(`${whose}; * stands for any characters.`);
}

/** A domain, an address literal, or a pattern for domains. */
export const domainPattern = z
  .string()
  .min(1)
  .max(LONGEST_PATTERN)
  .transform((text, context) => {
    if (text.includes('*')) return text.toLowerCase();
    const domain = text.startsWith('[') ? text : parseDomain(text);
    return domain ?? refuse(context, `${quoted(text)} is no domain`);
  })
  .meta({
    description:
      'A domain in A-labels or U-labels, or an address literal; in A-labels * stands for any characters.',
    examples: ['example.com', '*.example.com'],
  });

/** How long something is, or was ago; in milliseconds. */
export const duration = z
  .string()
  .transform((text, context) => parseDuration(text) ?? refuse(context, 'a duration: 30m, 2h, 7d'));
