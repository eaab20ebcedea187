/**
 * Pauses of destinations as the API sees them; each change is in the audit log.
 */
import type { Clock } from '../platform/clock.ts';
import type { DomainName } from '../protocol/domain.ts';
import { addressMatcher } from '../queue/mail-pattern.ts';
import type { Pause, Pauses } from '../queue/pauses.ts';
import type { Change } from './api-form.ts';
import type { AuditLog } from './audit.ts';
import { factsOfPause } from './audit-facts.ts';

export interface PauseView {
  readonly domain: string;
  readonly reason: string;
  /** RFC 3339, UTC. */
  readonly pausedAt: string;
  /** When it is over by itself; absent: never. */
  readonly expires?: string;
  /** Deliveries that wait. */
  readonly waiting: number;
}

export interface DomainAdmin {
  /** By domain; in `domain` `*` stands for any characters. */
  list(filter?: { readonly domain?: string | undefined }): readonly PauseView[];
  /** Rejects with the system's error when the disk does not take it. */
  pause(pause: Omit<Pause, 'pausedAt'>, actor: string): Promise<Change>;
  resume(domain: DomainName, actor: string): Promise<Change>;
}

export interface DomainAdminParts {
  readonly pauses: Pauses;
  readonly audit: Pick<AuditLog, 'during'>;
  readonly clock: Clock;
  /** Deliveries that wait for a destination. */
  readonly waiting: (domain: DomainName) => number;
  /** Its mail may go again. */
  readonly resumed: (domain: DomainName) => void;
}

export class Domains implements DomainAdmin {
  readonly #parts: DomainAdminParts;

  constructor(parts: DomainAdminParts) {
    this.#parts = parts;
  }

  list({ domain: pattern = '*' }: { readonly domain?: string | undefined } = {}) {
    const { pauses, waiting } = this.#parts;
    const isMeant = addressMatcher(pattern);
    const meant = pauses.list().filter(({ domain }) => isMeant(domain));
    return meant.map(({ domain, reason, pausedAt, expires }) => ({
      ...{ domain, reason },
      pausedAt: new Date(pausedAt).toISOString(),
      ...(expires === undefined ? {} : { expires: new Date(expires).toISOString() }),
      waiting: waiting(domain),
    }));
  }

  async pause(pause: Omit<Pause, 'pausedAt'>, actor: string): Promise<Change> {
    const { pauses, clock, audit } = this.#parts;
    const { domain } = pause;
    const now = clock.now();
    if (pause.expires !== undefined && pause.expires <= now) {
      return { ok: false, status: 422, error: 'it would be over already' };
    }
    // What is not said about one that is there stays as it was.
    const before = pauses.of(domain);
    const reason = pause.reason || before?.reason || '';
    const expires = pause.expires ?? before?.expires;
    const facts = factsOfPause({ reason, expires }, before);
    const noted = { actor, action: 'domain.pause', target: domain, facts };
    return audit.during(noted, async (): Promise<Change> => {
      const made = await pauses.put({
        ...{ domain, reason, pausedAt: before?.pausedAt ?? now },
        ...(expires === undefined ? {} : { expires }),
      });
      if (made === 'full') {
        return { ok: false, status: 422, error: 'there are too many pauses; resume some first' };
      }
      return { ok: true, result: made === 'added' ? 'paused' : 'the pause was changed' };
    });
  }

  async resume(domain: DomainName, actor: string): Promise<Change> {
    const { pauses, audit, resumed } = this.#parts;
    const before = pauses.of(domain);
    if (before === undefined) {
      return { ok: false, status: 404, error: `${domain} is not paused` };
    }
    const facts = factsOfPause(undefined, before);
    return audit.during({ actor, action: 'domain.resume', target: domain, facts }, async () => {
      await pauses.remove(domain);
      resumed(domain);
      return { ok: true, result: 'resumed' };
    });
  }
}
