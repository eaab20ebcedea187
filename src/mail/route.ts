/**
 * A route: where the mail for one destination may go, in order, and whose policy binds it.
 * Made by routing/, read by policy/ and delivery/.
 */
import { hash } from 'node:crypto';
import type { DomainName } from '../protocol/domain.ts';

/** The unit of delivery: a recipient domain, or an address literal such as `[192.0.2.1]`. */
export type Destination = string & { readonly __destination?: never };

/** One host that may take the mail (RFC 5321 §5.1). */
export interface MxCandidate {
  /** The name in the MX record (or the domain itself, or a smart host): what policy and certificate are held against. Absent for an address literal. */
  readonly host: DomainName | undefined;
  readonly preference: number;
  /** The address itself, where the destination is an address literal or an administrator's route names one. */
  readonly address?: string;
  readonly port: number;
  /**
   * An administrator's route named it: the address guard, which is there against strangers'
   * DNS, is not asked about its addresses, and DNS trouble with it is never permanent.
   */
  readonly trusted?: true;
}

/** Characters of host names that are kept as they are; a stranger's MX records have thousands. */
const MOST_TEXT = 200;

/**
 * The hosts of a route, whatever their order: destinations for which it is the same load the same
 * hosts. For equality, and for people: the first of many, and a digest of all.
 */
export function hostsOf({ candidates }: Route): string {
  const hosts = candidates.map(({ host, address, port }) => {
    const name = host ?? `[${address}]`;
    return port === 25 ? name : `${name}:${port}`;
  });
  const all = [...new Set(hosts)].sort();
  const text = all.join(', ');
  if (text.length <= MOST_TEXT) return text;
  const digest = hash('sha256', text).slice(0, 16);
  return `${text.slice(0, MOST_TEXT)}... (${all.length} hosts, ${digest})`;
}

/** How an administrator's smart host is to be spoken to. */
export interface SmartHost {
  /** TLS from the first octet (RFC 8314 §3.3), instead of STARTTLS. */
  readonly implicitTls: boolean;
  /** AUTH (RFC 4954): who we are, and where the password lies. */
  readonly login?: { readonly user: string; readonly passwordFile: string };
}

export interface Route {
  readonly destination: Destination;
  /**
   * The domain whose MTA-STS policy binds the session: the recipient domain, or the next hop
   * of an administrator's route (RFC 8461 §3.4). Undefined where no policy can apply:
   * address literals.
   */
  readonly policyDomain: DomainName | undefined;
  readonly kind: 'mx' | 'implicit-mx' | 'literal' | 'configured';
  /** Of an administrator's route that says more than where. */
  readonly smartHost?: SmartHost;
  /**
   * DNSSEC, or an administrator, vouches that these candidates are the next hop's: its names, as asked for
   * and, behind CNAMEs, as it is known there (RFC 7672 §2.2.1, §3.2.2). Absent where nothing does.
   */
  readonly securedNames?: readonly DomainName[];
  /** In the order they are to be tried; equals are shuffled already. Never empty. */
  readonly candidates: readonly MxCandidate[];
}
