/**
 * The facts that a ledger is told and keeps.
 */
import type { Addressee, Kind } from './mail.ts';

/** What became of handing a message over. */
export type Answer =
  | { readonly kind: 'acknowledged'; readonly id: string; readonly to: readonly string[] }
  | { readonly kind: 'refused'; readonly reply: string }
  /** The final dot was sent, and no answer came. */
  | { readonly kind: 'unsure' }
  /** The connection ended before the final dot. */
  | { readonly kind: 'cut-off' };

export interface Arrival {
  readonly token: string | undefined;
  readonly recipients: readonly string[];
  /** Below the trace field on top. */
  readonly digest: string;
  readonly overTls: boolean;
  readonly host: string;
  /** The host answers when nobody waits any more, or never. */
  readonly isLate: boolean;
}

export interface Fate extends Addressee {
  readonly entry: Entry;
  /** When an MX host took it. */
  readonly arrivals: { readonly atMs: number; readonly isLate: boolean }[];
  readonly bounces: { readonly atMs: number; readonly isLate: boolean }[];
  recorded: number;
  /** The relay answers for it. */
  isOwed: boolean;
}

export interface Entry {
  readonly token: string;
  readonly digest: string;
  readonly octets: number;
  readonly fates: readonly Fate[];
  readonly begunAtMs: number;
  answer: Answer | undefined;
  answeredAtMs: number;
}

export interface Window {
  readonly what: string;
  readonly fromMs: number;
  toMs: number;
  readonly mayRepeat: boolean;
}

/** A broken promise. */
export class Violation extends Error {
  readonly ids: readonly string[];
  constructor(message: string, ids: readonly string[]) {
    super(message);
    this.name = 'Violation';
    this.ids = ids;
  }
}

export const COUNTS = [
  'sent',
  'acknowledged',
  'refused',
  'unsure',
  'delivered',
  'bounced',
  'duplicates',
  'refusedYetDelivered',
] as const;
export type Counts = { -readonly [K in (typeof COUNTS)[number]]: number };

/** Whether MX hosts take mail for such a recipient in the end. */
export function isTaken(kind: Kind): boolean {
  return kind === 'takes' || kind === 'later';
}

export function idsOf({ answer }: Entry): readonly string[] {
  return answer?.kind === 'acknowledged' ? [answer.id] : [];
}
