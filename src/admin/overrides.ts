/**
 * Overrides as the API sees them: those of the configuration and those that were added, and the
 * changes to the latter, each in the audit log.
 */
import type { TlsLevel } from '../mail/tls-requirement.ts';
import type { Clock } from '../platform/clock.ts';
import type { OverrideStore } from '../policy/override-store.ts';
import type { DomainName } from '../protocol/domain.ts';
import { addressMatcher } from '../queue/mail-pattern.ts';
import type { Change } from './api-form.ts';
import type { AuditLog } from './audit.ts';
import { factsOfOverride } from './audit-facts.ts';

export interface OverrideView {
  readonly domain: string;
  readonly tls: TlsLevel;
  readonly owner: string;
  readonly reason: string;
  /** RFC 3339, UTC; absent: never. */
  readonly expires?: string;
  /** `file`: it can only be changed in the configuration. */
  readonly source: 'file' | 'added';
  readonly addedAt?: string;
}

export interface NewOverride {
  readonly domain: DomainName;
  readonly tls: TlsLevel;
  readonly owner: string;
  readonly reason: string;
  /** Milliseconds since the epoch. */
  readonly expires: number;
}

/** One of the configuration. */
interface Configured {
  readonly domain: string;
  readonly tls: TlsLevel;
  readonly owner: string;
  readonly reason: string;
  readonly expires?: number | undefined;
}

export interface OverrideAdminParts {
  readonly store: OverrideStore;
  readonly configured: () => readonly Configured[];
  readonly audit: Pick<AuditLog, 'during'>;
  readonly clock: Clock;
}

export interface OverrideFilter {
  /** In which `*` stands for any characters. */
  readonly domain?: string | undefined;
  /** They end in this time, ms. */
  readonly expiringWithin?: number | undefined;
}

export interface OverrideAdmin {
  /** Those in force, by domain; where a domain has two, that of the file, which counts, alone. */
  list(filter?: OverrideFilter): readonly OverrideView[];
  /** Make or change one. Rejects with the system's error when the disk does not take it. */
  add(override: NewOverride, actor: string): Promise<Change>;
  remove(domain: DomainName, actor: string): Promise<Change>;
}

export class Overrides implements OverrideAdmin {
  readonly #parts: OverrideAdminParts;

  constructor(parts: OverrideAdminParts) {
    this.#parts = parts;
  }

  list({ domain: pattern = '*', expiringWithin }: OverrideFilter = {}): readonly OverrideView[] {
    const { store, clock } = this.#parts;
    const now = clock.now();
    const isMeant = addressMatcher(pattern);
    const untilMs = expiringWithin === undefined ? undefined : now + expiringWithin;
    const fits = ({ domain, expires }: Configured) =>
      isMeant(domain) && (untilMs === undefined || (expires ?? Infinity) <= untilMs);
    const file = this.#parts
      .configured()
      .filter(({ expires }) => expires === undefined || expires > now);
    const inFile = new Set(file.map(({ domain }) => domain));
    const added = store.list().filter((one) => !inFile.has(one.domain) && fits(one));
    const views: OverrideView[] = [
      ...file.filter(fits).map((one) => ({ ...viewOf(one), source: 'file' as const })),
      ...added.map((one) => ({
        ...viewOf(one),
        source: 'added' as const,
        addedAt: new Date(one.addedAt).toISOString(),
      })),
    ];
    return views.sort((a, b) => (a.domain < b.domain ? -1 : 1));
  }

  async add(override: NewOverride, actor: string): Promise<Change> {
    const { store, clock, audit } = this.#parts;
    const { domain, expires } = override;
    const now = clock.now();
    if (expires <= now) return refused(422, 'it would have ended already');
    if (this.#isInFile(domain)) return refused(409, FILE_DECIDES(domain));
    const facts = factsOfOverride(override, this.#added(domain));
    const noted = { actor, action: 'override.add', target: domain, facts };
    return audit.during(noted, async () => {
      const result = await store.put({ ...override, addedAt: now });
      if (result === 'full') return refused(422, 'there are too many overrides; remove some first');
      return { ok: true, result };
    });
  }

  async remove(domain: DomainName, actor: string): Promise<Change> {
    const { store, audit } = this.#parts;
    const before = this.#added(domain);
    if (!before) {
      if (this.#isInFile(domain)) return refused(409, FILE_DECIDES(domain));
      return refused(404, `there is no override for ${domain}`);
    }
    const facts = factsOfOverride(undefined, before);
    return audit.during({ actor, action: 'override.remove', target: domain, facts }, async () => {
      await store.remove(domain);
      return { ok: true, result: 'removed' };
    });
  }

  #added(name: DomainName) {
    return this.#parts.store.list().find(({ domain }) => domain === name);
  }

  #isInFile(name: DomainName): boolean {
    const now = this.#parts.clock.now();
    return this.#parts
      .configured()
      .some(({ domain, expires }) => domain === name && (expires ?? Infinity) > now);
  }
}

const FILE_DECIDES = (domain: string) =>
  `the configuration file has an override for ${domain}: change it there, then reload`;

function viewOf({ domain, tls, owner, reason, expires }: Configured) {
  const view = { domain, tls, owner, reason };
  return expires === undefined ? view : { ...view, expires: new Date(expires).toISOString() };
}

function refused(status: 404 | 409 | 422, error: string): Change {
  return { ok: false, status, error };
}
