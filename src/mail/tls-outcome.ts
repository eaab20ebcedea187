/**
 * How TLS went, in two words: what was asked and what was reached, `opportunistic:encrypted`. The same words in log,
 * metrics, `queue show` and `check`. Pure.
 *
 *   asked     none, opportunistic, encrypt, verify: the levels of the configuration
 *   reached   clear, encrypted (nobody knows by whom), verified; `-` where it came to no message
 */
import { type HandshakeCause, isHandshakeCause } from './failure.ts';
import type {
  SessionFacts,
  SessionResult,
  TlsFacts,
  TlsMode,
  TlsTrouble,
} from './session-result.ts';
import type { TlsLevel } from './tls-requirement.ts';

/** The least first. */
export const TLS_REACHED = ['clear', 'encrypted', 'verified'] as const;
export type TlsReached = (typeof TLS_REACHED)[number];

/** `verify:verified`; `verify:-` where nothing was reached. */
export type TlsWords = `${TlsLevel}:${TlsReached | '-'}`;

/** What a session has over which a message may go. */
export function reachedWith(tls: TlsFacts | undefined): TlsReached {
  if (!tls) return 'clear';
  return tls.verdict.verified ? 'verified' : 'encrypted';
}

/** Of one session. */
export function tlsWordsOf({ kind, facts }: Pick<SessionResult, 'kind' | 'facts'>): TlsWords {
  const { requirement, tls } = facts;
  const isOpen = tls !== undefined || kind === 'transacted';
  return tlsWords(requirement.level, isOpen ? reachedWith(tls) : undefined);
}

export function tlsWords(asked: TlsLevel, reached: TlsReached | undefined): TlsWords {
  return `${asked}:${reached ?? '-'}`;
}

/** A try at the same address that came after a handshake that failed. */
export interface TlsFallback {
  readonly to: Exclude<TlsMode, 'full'>;
  readonly because: TlsTrouble & { readonly cause: HandshakeCause };
}

/** In their order; mostly none. */
export function fallbacksOf({
  smallHelloBecause,
  clearTextBecause,
}: SessionFacts): readonly TlsFallback[] {
  return [
    ...fallback('small-hello', smallHelloBecause),
    // Clear text also comes without one, where STARTTLS was not to be had.
    ...fallback('clear', clearTextBecause),
  ];
}

function fallback(to: TlsFallback['to'], because: TlsTrouble | undefined): readonly TlsFallback[] {
  if (!because || !isHandshakeCause(because.cause)) return [];
  return [{ to, because: { ...because, cause: because.cause } }];
}
