/**
 * Which rate holds for a lane, and with whom it shares it: `destinations.domains[].rate` is a
 * domain's own, `destinations.default.rate` that of all others which go to the same hosts.
 */
import type { Rate } from '../config/units.ts';
import type { Destination } from '../mail/route.ts';
import type { Lane } from './lane.ts';
import type { SiteKey } from './site.ts';

/** What one rate is counted in. */
export interface Bucket {
  readonly scope: 'domain' | 'site';
  /** The domain, or the hosts. */
  readonly name: string;
  readonly rate: Rate;
}

export interface RateSettings {
  readonly default: { readonly rate: Rate | undefined };
  readonly domains: readonly {
    readonly domain: string;
    /** There and undefined: no limit for this one, whatever the default is. */
    readonly rate?: Rate | undefined;
  }[];
}

export interface BucketsOf {
  /** Undefined: no limit. */
  lane(lane: Lane): Bucket | undefined;
  /** Of all at these hosts that have none of their own. */
  site(key: SiteKey): Bucket | undefined;
}

/** The buckets as the settings of the moment have them: asked at every decision, so a reload counts at once. */
export function bucketsOf(settings: () => RateSettings): BucketsOf {
  let read: RateSettings | undefined;
  let own = new Map<Destination, Rate | undefined>();
  const current = () => {
    const now = settings();
    if (now !== read) {
      read = now;
      const withRate = now.domains.filter((entry) => 'rate' in entry);
      own = new Map(withRate.map(({ domain, rate }) => [domain, rate]));
    }
    return now;
  };
  const bucket = (scope: Bucket['scope'], name: string, rate: Rate | undefined) =>
    rate && { scope, name, rate };
  return {
    lane({ destination, site }) {
      const { rate } = current().default;
      if (own.has(destination)) return bucket('domain', destination, own.get(destination));
      return bucket('site', site.key, rate);
    },
    site: (key) => bucket('site', key, current().default.rate),
  };
}
