/**
 * What the audit log says of a change: how it is from now on, and how it was, where that is something else. Flat, for
 * the line of a terminal: `tls: verify, tlsBefore: none`.
 */
import type { StoredOverride } from '../policy/override-store.ts';
import type { Pause } from '../queue/pauses.ts';

type Facts = Readonly<Record<string, string>>;

/** Undefined: there is none, or was none. */
export function factsOfOverride(
  now: Omit<StoredOverride, 'addedAt'> | undefined,
  before: StoredOverride | undefined,
): Facts {
  return change(now && overrideFacts(now), before && overrideFacts(before));
}

export function factsOfPause(
  now: Pick<Pause, 'reason' | 'expires'> | undefined,
  before: Pause | undefined,
): Facts {
  return change(now && pauseFacts(now), before && pauseFacts(before));
}

function overrideFacts({ tls, owner, reason, expires }: Omit<StoredOverride, 'addedAt'>): Facts {
  return { tls, owner, reason, expires: timeOf(expires) };
}

function pauseFacts({ reason, expires }: Pick<Pause, 'reason' | 'expires'>): Facts {
  return expires === undefined ? { reason } : { reason, expires: timeOf(expires) };
}

function change(now: Facts = {}, before: Facts = {}): Facts {
  const others = Object.entries(before).filter(([name, value]) => now[name] !== value);
  return { ...now, ...Object.fromEntries(others.map(([name, value]) => [`${name}Before`, value])) };
}

function timeOf(ms: number): string {
  return new Date(ms).toISOString();
}
