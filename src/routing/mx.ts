/**
 * From the answer to an MX lookup to the candidates, in order (RFC 5321 §5.1, RFC 7505). Pure:
 * the lookup is done elsewhere, chance is handed in.
 *
 * Absent and failed stay apart: only a server's word that there is no MX gives an implicit
 * MX; a failed lookup never falls back to addresses.
 */
import { type LocalFailure, localFailure } from '../mail/failure.ts';
import type { MxCandidate } from '../mail/route.ts';
import { type LookupResult, type MxRecord, securityOf } from '../platform/resolver.ts';
import { type DomainName, mxHostName } from '../protocol/domain.ts';

export interface MxDecisionInput {
  readonly domain: DomainName;
  /** Of the MX lookup for `domain`, CNAMEs followed. */
  readonly answer: LookupResult<MxRecord>;
  /** Whether a host is this relay. */
  readonly isOwn: (host: DomainName) => boolean;
  readonly port: number;
  /** 0 ≤ x < 1. */
  readonly random: () => number;
}

export type MxDecision =
  | {
      readonly kind: 'candidates';
      readonly implicit: boolean;
      /** As in Route: where the answer is secure (RFC 7672 §2.2.1). */
      readonly securedNames?: readonly DomainName[];
      /** In the order they are to be tried; never empty. */
      readonly candidates: readonly MxCandidate[];
    }
  | { readonly kind: 'failed'; readonly failure: LocalFailure };

/** A domain needs no more hosts than this; what lies beyond is not tried (RFC 5321 §5.1 allows a limit). */
const MAX_CANDIDATES = 20;

/** Decide where mail for `domain` may go. */
export function decideMx(input: MxDecisionInput): MxDecision {
  const { domain, answer, port } = input;
  if (answer.kind === 'failed') {
    // RFC 5321 §5.1, RFC 7672 §2.1.2: queue and retry; the domain's own addresses are not looked at.
    return failed('dns-failed', `MX lookup for ${domain} failed: ${answer.reason}`);
  }
  if (answer.kind === 'absent') {
    if (!answer.nameExists) return failed('domain-not-found', `${domain} does not exist`);
    // RFC 5321 §5.1: the domain itself, as if by an MX record of preference 0.
    const implicit = dropOwn([{ host: domain, preference: 0, port }], input.isOwn);
    return decided(input, implicit, true);
  }
  const hosts = answer.records.filter((record) => record.exchange !== '');
  if (hosts.length === 0) {
    // RFC 7505 §3, whatever the preference: there is no host to try either way.
    return failed('null-mx', `${domain} accepts no mail (null MX)`);
  }
  // A "." beside real hosts is the publisher's mistake and names nothing: passed over.
  const usable = usableHosts(hosts, port);
  if (usable.length === 0) {
    return failed('no-usable-mx', `no MX record of ${domain} names a possible host`);
  }
  const kept = dropOwn(usable, input.isOwn);
  return decided(input, inOrder(kept, input.random).slice(0, MAX_CANDIDATES), false);
}

function decided(
  { domain, answer }: MxDecisionInput,
  candidates: readonly MxCandidate[],
  implicit: boolean,
): MxDecision {
  if (candidates.length > 0) {
    const securedNames = securedBy(domain, answer);
    return { kind: 'candidates', implicit, candidates, ...(securedNames && { securedNames }) };
  }
  return failed('mail-loops-back', `this relay is the best MX of ${domain} itself`);
}

/** RFC 7672 §2.2.1: every step of the answer, CNAMEs included, has to be secure. */
function securedBy(
  domain: DomainName,
  answer: LookupResult<MxRecord>,
): readonly DomainName[] | undefined {
  if (securityOf(answer) !== 'secure') return undefined;
  const expanded = answer.kind === 'found' ? mxHostName(answer.canonicalName) : undefined;
  return expanded === undefined || expanded === domain ? [domain] : [domain, expanded];
}

/**
 * Without this relay, every candidate of the same preference, and every worse one: sending to
 * those could bring the message back (RFC 5321 §5.1).
 */
export function dropOwn(
  candidates: readonly MxCandidate[],
  isOwn: (host: DomainName) => boolean,
): readonly MxCandidate[] {
  const own = candidates.filter(({ host }) => host !== undefined && isOwn(host));
  const best = Math.min(...own.map(({ preference }) => preference));
  return candidates.filter(({ preference }) => preference < best);
}

/** Each host once, at its best preference; records that name no possible host are left out. */
function usableHosts(records: readonly MxRecord[], port: number): readonly MxCandidate[] {
  const byHost = new Map<DomainName, MxCandidate>();
  for (const { preference, exchange } of records) {
    const host = mxHostName(exchange);
    if (host === undefined) continue;
    if (preference >= (byHost.get(host)?.preference ?? Number.POSITIVE_INFINITY)) continue;
    byHost.set(host, { host, preference, port });
  }
  return [...byHost.values()];
}

/** RFC 5321 §5.1: lower preference first, equals in an order drawn anew each time. */
function inOrder(candidates: readonly MxCandidate[], random: () => number): MxCandidate[] {
  return shuffled(candidates, random).sort((a, b) => a.preference - b.preference);
}

/** Fisher-Yates; the sort after it is stable and so keeps what was drawn. */
function shuffled<T>(items: readonly T[], random: () => number): T[] {
  const drawn = [...items];
  for (let last = drawn.length - 1; last > 0; last--) {
    const pick = Math.floor(random() * (last + 1));
    const [a, b] = [drawn[last] as T, drawn[pick] as T];
    drawn[last] = b;
    drawn[pick] = a;
  }
  return drawn;
}

function failed(cause: LocalFailure['cause'], detail: string): MxDecision {
  return { kind: 'failed', failure: localFailure(cause, detail) };
}
