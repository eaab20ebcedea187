/**
 * What asks for an administrator's attention now, in sentences, the gravest first: what is broken (Redis, the
 * spool, the listeners), what is closed or held, and what ends soon. Empty: it is well.
 */
import type { Clock } from '../platform/clock.ts';
import type { StsRefresher } from '../policy/sts-refresher.ts';
import type { PauseView } from './domains.ts';
import type { OverrideView } from './overrides.ts';
import type { HoldView } from './queue.ts';

export interface Attention {
  readonly level: 'alert' | 'warning' | 'note';
  readonly about:
    | 'relay'
    | 'queue'
    | 'tls'
    | 'breaker'
    | 'pause'
    | 'hold'
    | 'override'
    | 'policy'
    | 'report';
  /** A sentence. */
  readonly text: string;
  /** That it is about, where it is one. */
  readonly domain?: string;
}

/** One part of the relay, as /readyz tells of it. */
interface PartState {
  readonly ok: boolean;
  readonly reason?: string;
}

export interface AttentionParts {
  readonly clock: Clock;
  readonly readiness: () => Promise<{ readonly parts: Readonly<Record<string, PartState>> }>;
  readonly breakers: () => { readonly open: number; readonly halfOpen: number };
  readonly rates: () => { readonly domain: number; readonly site: number };
  readonly pauses: () => readonly PauseView[];
  readonly holds: () => readonly HoldView[];
  readonly overrides: () => readonly OverrideView[];
  readonly refresher: Pick<StsRefresher, 'failing'>;
  readonly suspensions: () => readonly { readonly domain: string }[];
}

/** Named one by one; of more than that their number is told. */
const MOST_NAMED = 5;
const SOON_MS = 7 * 86_400_000;

const NAMES: Readonly<Record<string, string>> = {
  redis: 'Redis',
  spool: 'The spool',
  listeners: 'The listeners',
};

/** What is known of the queue. */
export interface QueueTroubles {
  /** Deliveries that should be under way and are not. */
  readonly overdue: number;
  /** Destinations whose mail waits since the TLS that was asked for was not reached. */
  readonly withoutTls: readonly string[];
}

export async function attentions(
  parts: AttentionParts,
  { overdue, withoutTls }: QueueTroubles,
): Promise<readonly Attention[]> {
  return [
    ...(await brokenParts(parts)),
    ...(overdue > 0 ? [overdueNote(overdue)] : []),
    ...tlsNotReached(withoutTls),
    ...closedPlaces(parts),
    ...failingPolicies(parts),
    ...endingOverrides(parts),
    ...suspendedReports(parts),
  ];
}

async function brokenParts({ readiness }: AttentionParts): Promise<readonly Attention[]> {
  const { parts } = await readiness();
  return Object.entries(parts).flatMap(([name, { ok, reason = '' }]): Attention[] =>
    ok
      ? []
      : [{ level: 'alert', about: 'relay', text: `${NAMES[name] ?? name}: ${reason || 'away'}.` }],
  );
}

function overdueNote(overdue: number): Attention {
  const text = `${overdue} due for more than a minute: all turns are taken, or Redis does not hand them out.`;
  return { level: 'warning', about: 'queue', text };
}

function tlsNotReached(domains: readonly string[]): readonly Attention[] {
  const found = domains.slice(0, MOST_NAMED).map((domain): Attention => {
    const text = `Mail for ${domain} waits: the TLS that is asked for was not reached.`;
    return { level: 'warning', about: 'tls', text, domain };
  });
  const more = domains.length - MOST_NAMED;
  if (more <= 0) return found;
  return [...found, { level: 'warning', about: 'tls', text: `So does mail for ${more} others.` }];
}

function closedPlaces(parts: AttentionParts): readonly Attention[] {
  const { open, halfOpen } = parts.breakers();
  const broken = open + halfOpen;
  const { domain, site } = parts.rates();
  const rates = domain + site;
  const pauses = parts.pauses();
  const holds = parts.holds();
  const found: Attention[] = [];
  if (broken > 0) {
    const text = `${many(broken, 'destination', 'destinations')} cannot be reached: one message at a time probes, the others wait.`;
    found.push({ level: 'warning', about: 'breaker', text });
  }
  for (const { domain: name, waiting, expires, reason } of pauses.slice(0, MOST_NAMED)) {
    const end = expires === undefined ? 'until it is resumed' : `until ${brief(expires)}`;
    const why = reason === '' ? '' : ` (${reason})`;
    const text = `${name} is paused ${end}${why}; ${many(waiting, 'delivery waits', 'deliveries wait')}.`;
    found.push({ level: 'warning', about: 'pause', text, domain: name });
  }
  const more = pauses.length - MOST_NAMED;
  if (more > 0) found.push({ level: 'warning', about: 'pause', text: `${more} more are paused.` });
  if (holds.length > 0) {
    const text = `${many(holds.length, 'rule holds', 'rules hold')} mail, also what comes in later.`;
    found.push({ level: 'warning', about: 'hold', text });
  }
  if (rates > 0) {
    const text = `${many(rates, 'rate is', 'rates are')} used up for now.`;
    found.push({ level: 'note', about: 'queue', text });
  }
  return found;
}

function failingPolicies({ refresher }: AttentionParts): readonly Attention[] {
  const { counts, expiresAtMs } = refresher.failing();
  const failing = Object.values(counts).reduce((sum, count) => sum + count, 0);
  if (failing === 0) return [];
  const end = expiresAtMs === undefined ? '' : `; the first ends ${brief(isoOf(expiresAtMs))}`;
  const text = `${many(failing, 'policy', 'policies')} could not be refreshed${end}.`;
  return [{ level: 'warning', about: 'policy', text }];
}

function endingOverrides({ overrides, clock }: AttentionParts): readonly Attention[] {
  const soon = overrides().filter(
    ({ expires }) => expires !== undefined && Date.parse(expires) - clock.now() < SOON_MS,
  );
  const named = soon.slice(0, MOST_NAMED).map(({ domain, tls, expires = '' }): Attention => {
    const text = `The override of ${domain} (tls: ${tls}) ends ${brief(expires)}.`;
    return { level: 'note', about: 'override', text, domain };
  });
  const more = soon.length - MOST_NAMED;
  if (more <= 0) return named;
  return [...named, { level: 'note', about: 'override', text: `${more} more overrides end soon.` }];
}

function suspendedReports({ suspensions }: AttentionParts): readonly Attention[] {
  const { length } = suspensions();
  if (length === 0) return [];
  const text = `TLS reports to ${many(length, 'address', 'addresses')} keep failing and are suspended.`;
  return [{ level: 'note', about: 'report', text }];
}

function many(count: number, one: string, more: string): string {
  return `${count} ${count === 1 ? one : more}`;
}

function isoOf(ms: number): string {
  return new Date(ms).toISOString();
}

/** `2027-01-31 12:00 UTC` */
function brief(time: string): string {
  return `${time.slice(0, 16).replace('T', ' ')} UTC`;
}
