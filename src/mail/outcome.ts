/**
 * The outcome of an attempt for one recipient: delivered, deferred or bounced. Values, not
 * exceptions; each non-delivery says at which host and why.
 */
import type { Reply } from '../protocol/smtp/reply.ts';
import type { Failure } from './failure.ts';
import type { SessionFacts } from './session-result.ts';
import type { TlsRequirement } from './tls-requirement.ts';

/** Why a recipient waits: picks the retry schedule (product contract, `retry.classes`). */
export const CAUSE_CLASSES = [
  'greylisted',
  'tlsPolicy',
  'dns',
  'connection',
  'mailboxFull',
  'rateLimited',
  'reputation',
  'other',
] as const;
export type CauseClass = (typeof CAUSE_CLASSES)[number];

/** A failure and what it means, the verdict of outcome/classify.ts. */
export interface Diagnosis {
  readonly failure: Failure;
  /** The host that answered, or was to; undefined when it never came to one. */
  readonly host: string | undefined;
  readonly address: string | undefined;
  /** RFC 3463 status for the DSN, e.g. `4.7.5`. */
  readonly status: string;
  readonly causeClass: CauseClass;
  /** What TLS was asked for; undefined when it did not come to that. */
  readonly requirement: TlsRequirement | undefined;
}

export type Outcome =
  | {
      readonly kind: 'delivered';
      readonly facts: SessionFacts;
      readonly reply: Reply;
      /** Whether the next hop took over the DSN parameters (RFC 3461 §5.2.2). */
      readonly dsnOffered: boolean;
    }
  | { readonly kind: 'deferred'; readonly diagnosis: Diagnosis }
  | { readonly kind: 'bounced'; readonly diagnosis: Diagnosis };
