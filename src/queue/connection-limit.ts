/**
 * How many attempts a destination gets at once: `destinations.domains[].connections`, else
 * `destinations.default.connections`. Asked for every attempt, so looked up by name; the names
 * are read again when the settings are other ones.
 */
import type { Destination } from '../mail/route.ts';

export interface ConnectionSettings {
  readonly default: { readonly connections: number };
  readonly domains: readonly {
    readonly domain: string;
    readonly connections?: number | undefined;
  }[];
}

/** The limit of a destination as the settings of the moment have it. */
export function connectionLimits(
  settings: () => ConnectionSettings,
): (destination: Destination) => number {
  let read: ConnectionSettings | undefined;
  let own = new Map<string, number>();
  return (destination) => {
    const current = settings();
    if (current !== read) {
      read = current;
      own = new Map(current.domains.map((entry) => [entry.domain, entry.connections ?? 0]));
    }
    return own.get(destination) || current.default.connections;
  };
}
