/**
 * Spans as values: what took how long, and what is to be said about it. They are told when they are over,
 * a whole tree at once (open-traces.ts).
 */
import type { AttributeName, SpanName } from './vocabulary.ts';

export type SpanAttributes = Readonly<
  Partial<Record<AttributeName, string | number | boolean | undefined>>
>;

/** Why a span ended in an error. */
export interface SpanProblem {
  /** One of few: the cause, or the code of a reply. */
  readonly type: string;
  /** For people. */
  readonly text: string;
}

export interface SpanTree {
  readonly name: SpanName;
  /** Milliseconds since the epoch, with fractions (platform/wall-time.ts). */
  readonly startMs: number;
  readonly endMs: number;
  /** `server`: somebody else's request; `client`: our own to somebody else. */
  readonly kind?: 'server' | 'client';
  /** What is undefined is left out. */
  readonly attributes?: SpanAttributes;
  readonly problem?: SpanProblem | undefined;
  readonly children?: readonly SpanTree[];
}

/** Of texts that hosts of strangers wrote. */
const MOST_TEXT = 300;
const MAILBOX = /[^\s<>@]{1,64}@[^\s<>@]{1,255}/g;

/** A text for a span: no mailbox stands in it, which are in the log alone. */
export function spanText(text: string): string {
  return text.slice(0, MOST_TEXT).replace(MAILBOX, '(mailbox)');
}
