/**
 * Notices signs that somebody weakens the TLS of a domain, counts them by signal and keeps them
 * with what is known about the domain. It changes nothing about deliveries: what must not happen
 * is prevented by the policy; what cannot be prevented (a domain without one) is at least seen.
 */
import { LRUCache } from 'lru-cache';
import type { DowngradeSignal } from '../mail/downgrade-signal.ts';
import { isHandshakeCause, type LocalCause } from '../mail/failure.ts';
import type { Destination } from '../mail/route.ts';
import type { SessionResult } from '../mail/session-result.ts';
import { daneCheck } from '../mail/tls-requirement.ts';
import type { Clock } from '../platform/clock.ts';
import { type DomainName, parseDomain } from '../protocol/domain.ts';
import type { PolicyEvents } from '../telemetry/policy-events.ts';
import type { StsStore } from './sts-store.ts';
import type { TlsMemory } from './tls-memory.ts';

export interface DetectorParts {
  readonly store: StsStore;
  readonly memory: TlsMemory;
  readonly clock: Clock;
  readonly events: PolicyEvents;
}

/** A sign that goes on is logged, and written down, this often. */
const NOTE_MS = 10 * 60_000;
const MOST_SPELLS = 20_000;
/** A certificate that was valid longer ago was given up, by all appearance. */
const VERIFIED_MEMORY_MS = 30 * 86_400_000;

interface Sign {
  readonly signal: DowngradeSignal;
  readonly detail: string;
  /** The domain, or one of its hosts. */
  readonly about: string;
}

interface Spell {
  readonly notedAtMs: number;
  /** Signs since. */
  readonly count: number;
}

/** Signs that go on, by what they are about; the oldest are let go. */
class Spells {
  readonly #spells = new LRUCache<string, Spell>({ max: MOST_SPELLS });

  /** How many signs there were since the last note, when it is time for one. */
  dueCount(key: string, now: number): number | undefined {
    const spell = this.#spells.get(key);
    const count = (spell?.count ?? 0) + 1;
    const isNoted = spell && now >= spell.notedAtMs && now - spell.notedAtMs < NOTE_MS;
    this.#spells.set(key, isNoted ? { ...spell, count } : { notedAtMs: now, count: 0 });
    return isNoted ? undefined : count;
  }
}

export class DowngradeDetector {
  readonly #parts: DetectorParts;
  readonly #logged = new Spells();
  readonly #kept = new Spells();

  constructor(parts: DetectorParts) {
    this.#parts = parts;
  }

  /** A sign was seen. Counted always; logged and kept when it is new, and then now and then. */
  suspect(domain: DomainName, signal: DowngradeSignal, detail: string): void {
    this.#note(domain, { signal, detail, about: domain });
  }

  /** A sign about a host is logged once for all its domains. */
  #note(domain: DomainName, { signal, detail, about }: Sign): void {
    const { clock, events, store } = this.#parts;
    const now = clock.now();
    events.downgradeSign(signal);
    const logged = this.#logged.dueCount(`${signal} ${about}`, now);
    if (logged) events.downgradeSuspected(domain, { signal, detail, count: logged });
    const durable = this.#kept.dueCount(`${signal} ${domain}`, now) !== undefined;
    store.noteSuspicion(domain, signal, { atMs: now, detail, durable }).catch((error: Error) => {
      events.cacheError('disk', error);
    });
  }

  /** A session with a host of `destination` ended, or the host was passed over. */
  session(destination: Destination, { facts, ...result }: SessionResult): void {
    const { source } = facts.requirement;
    const { host } = facts.candidate;
    const domain = source.kind === 'mta-sts' ? source.domain : parseDomain(destination);
    if (host === undefined || domain === undefined) return;
    const cause = result.kind === 'ended-early' && causeOf(result.failure);
    if (cause === 'mx-outside-policy') {
      this.suspect(domain, 'mx-outside-policy', `${host} is not listed by the policy`);
    }
    // That a host has TLS and a certificate is known from before, or the policy says so.
    const isPromised =
      (source.kind === 'mta-sts' && source.mode === 'enforce' && source.listed) ||
      daneCheck(facts.requirement) !== undefined;
    const seen = this.#parts.memory.get(host);
    const { smallHelloBecause, clearTextBecause } = facts;
    const lost = cause || clearTextBecause?.cause;
    // No host that is sound does that, and no memory is needed to see it.
    if ([lost, smallHelloBecause?.cause].includes('clear-text-after-starttls')) {
      const detail = `${host}: clear text came after its reply to STARTTLS`;
      this.#note(domain, { signal: 'starttls-injection', detail, about: host });
    }
    if ((seen || isPromised) && lost && isTlsGone(lost)) {
      const why = seen
        ? `TLS last seen ${day(seen.tlsAtMs)}`
        : 'though its policy or TLSA record promises TLS';
      const detail = `${host}: ${lost}, ${why}`;
      this.#note(domain, { signal: 'starttls-gone', detail, about: host });
    } else if (clearTextBecause && isHandshakeCause(clearTextBecause.cause)) {
      const detail = `${host}: ${clearTextBecause.cause}, sent in clear text`;
      this.#note(domain, { signal: 'clear-text-fallback', detail, about: host });
    }
    if (!facts.tls) return;
    const { verdict } = facts.tls;
    if (!verdict.verified && (isPromised || this.#wasVerified(seen?.verifiedAtMs))) {
      const detail = `${host}: ${verdict.detail}`;
      this.#note(domain, { signal: 'certificate-invalid', detail, about: host });
    }
    // A message over a session from before is no other handshake.
    // What a TLSA record vouched for need not hold for a domain that has none.
    const verified = verdict.verified && verdict.tlsa === undefined;
    if (!facts.reused) this.#parts.memory.note(host, { verified });
  }

  #wasVerified(atMs: number | undefined): boolean {
    return atMs !== undefined && this.#parts.clock.now() - atMs < VERIFIED_MEMORY_MS;
  }
}

function causeOf(failure: (SessionResult & { kind: 'ended-early' })['failure']) {
  return failure.kind === 'local' ? failure.cause : undefined;
}

function isTlsGone(cause: LocalCause): boolean {
  switch (cause) {
    case 'starttls-not-offered':
    case 'starttls-refused':
      return true;
    default:
      return isHandshakeCause(cause);
  }
}

function day(atMs: number): string {
  return new Date(atMs).toISOString().slice(0, 10);
}
