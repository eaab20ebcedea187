/**
 * What an examination of a domain gives: facts as they were found, findings about them, and a
 * verdict. All of it is plain data, and what `stsrelay check --json` prints: names stay as they
 * are, new ones may come.
 */
import type { CertificateFacts } from '../delivery/certificate.ts';
import type { Failure, LocalCause, LocalFailure, TlsFailureCause } from '../mail/failure.ts';
import type { Route } from '../mail/route.ts';
import type { TlsFacts, TlsMode } from '../mail/session-result.ts';
import type { TlsWords } from '../mail/tls-outcome.ts';
import type { TlsLevel, TlsRequirement } from '../mail/tls-requirement.ts';
import type { MxRecord } from '../platform/resolver.ts';
import type { DomainName } from '../protocol/domain.ts';
import type { InvalidPolicy, StsPolicy } from '../protocol/mta-sts/policy.ts';
import type { StsDiscovery } from '../protocol/mta-sts/record.ts';
import type { TlsRptDiscovery } from '../protocol/tlsrpt/record.ts';
import type { ResultType } from '../protocol/tlsrpt/result-type.ts';

/** A TXT record as found; `failed`: DNS gave no answer. */
export type RecordFacts<Discovery> = {
  readonly name: string;
  /** Every TXT record at the name, its strings joined. */
  readonly texts: readonly string[];
} & (Discovery | { readonly kind: 'failed'; readonly detail: string });

export type StsRecordFacts = RecordFacts<StsDiscovery> & {
  /** Without a record: names where one stands that nobody looks at. */
  readonly elsewhere: readonly string[];
};
export type TlsRptRecordFacts = RecordFacts<TlsRptDiscovery>;

/** The step at which a policy host failed when it was looked at once more, step by step. */
export type PolicyHostTrouble =
  | { readonly at: 'dns' | 'no-address' | 'address' | 'connect' | 'handshake' | 'http' }
  | { readonly at: 'certificate'; readonly cause: TlsFailureCause }
  | { readonly at: 'status'; readonly status: number }
  | {
      readonly at: 'policy';
      readonly reason: InvalidPolicy['reason'];
      /** With `syntax`, where it is known: counted from 1. */
      readonly line?: number;
      /** That line, as it was published. */
      readonly content?: string;
    };

export interface PolicyHostLook {
  readonly certificate?: CertificateFacts;
  /** Absent when every step worked. */
  readonly trouble?: PolicyHostTrouble & { readonly detail: string };
}

export type PolicyTerms = Pick<StsPolicy, 'mode' | 'mx' | 'maxAgeSeconds' | 'lines'>;

export type PolicyFacts =
  /** Nobody would ask: there is no record. `served`: what is there all the same. */
  | { readonly kind: 'not-asked'; readonly served?: PolicyTerms }
  | {
      readonly kind: 'fetched';
      readonly host: string;
      readonly policy: PolicyTerms;
      readonly look: PolicyHostLook;
    }
  | {
      readonly kind: 'failed';
      readonly host: string;
      readonly resultType: ResultType;
      readonly detail: string;
      readonly look: PolicyHostLook;
    };

/** The MX records; `not-asked` where the configuration says where mail goes. */
export type MxFacts =
  | { readonly kind: 'found'; readonly records: readonly MxRecord[] }
  | { readonly kind: 'absent'; readonly nameExists: boolean }
  | { readonly kind: 'failed'; readonly detail: string }
  | { readonly kind: 'not-asked' };

export type RouteFacts =
  | ({
      readonly found: true;
      /** DNSSEC, or the configuration, vouches for the hosts. */
      readonly secure: boolean;
    } & Pick<Route, 'kind' | 'policyDomain'>)
  | { readonly found: false; readonly failure: LocalFailure };

/** How far one address of a host was got. */
export interface AddressFacts {
  readonly address: string;
  /** The last way TLS was tried. */
  readonly mode: TlsMode;
  readonly tls?: TlsFacts;
  readonly certificate?: CertificateFacts;
  /** In clear text: why. */
  readonly clearTextBecause?: { readonly cause: TlsFailureCause; readonly detail: string };
  /** Why no message could go over it. */
  readonly failure?: Failure;
}

/** One candidate of the route. */
export interface HostFacts {
  /** Its name, or its address where it has no name. */
  readonly host: string;
  readonly preference: number;
  readonly port: number;
  /** What a session with it must reach; undefined while the policy is unknown. */
  readonly requirement?: TlsRequirement;
  /** At the end of its CNAME chain, where it has one. */
  readonly aliasOf?: string;
  /** Addresses that may not be connected to, each with its reason. */
  readonly refusedAddresses: readonly string[];
  /** Undefined where it has no address or no name. */
  readonly dane?: DaneFacts;
  readonly foundAddresses: readonly string[];
  /** Why no mail goes to it, whatever its addresses say. */
  readonly failure?: Failure;
  /** Those that were connected to; at a host outside the policy, for its findings alone. */
  readonly addresses: readonly AddressFacts[];
}

/** The TLSA records of a host, and whether they count (RFC 7672 §2.2). */
export type DaneFacts =
  | {
      readonly kind: 'records';
      /** The name that they stand at is `_port._tcp.` and this. */
      readonly baseDomain: string;
      readonly records: readonly string[];
      readonly usable: readonly string[];
    }
  | { readonly kind: 'absent'; readonly why: string }
  | { readonly kind: 'failed'; readonly detail: string };

/** What the configuration of this relay has to say about the domain. */
export interface ConfiguredFacts {
  readonly override?: {
    readonly domain: string;
    readonly tls: TlsLevel;
    /** Milliseconds since the epoch. */
    readonly expires?: number;
  };
  readonly mtaStsEnabled: boolean;
  readonly daneEnabled: boolean;
  readonly defaultLevel: TlsLevel;
  readonly dnsFailureGraceMs: number;
  /** The DNS servers this relay asks, each as `address:port`. */
  readonly resolvers: readonly string[];
  /** One of them at least is believed about DNSSEC (`dns.trustAd`). */
  readonly believesDnssec: boolean;
}

export interface DomainFacts {
  readonly domain: DomainName;
  /** Milliseconds since the epoch. */
  readonly checkedAtMs: number;
  /** Whether hosts were connected to. */
  readonly connected: boolean;
  /** The time was over before everything was looked at. */
  readonly timedOut: boolean;
  readonly configured: ConfiguredFacts;
  readonly mx: MxFacts;
  readonly route: RouteFacts;
  /** Undefined where no policy can apply: a next hop that is an address. */
  readonly record?: StsRecordFacts;
  readonly policy: PolicyFacts;
  /** In the order they would be tried. */
  readonly hosts: readonly HostFacts[];
  readonly tlsRpt?: TlsRptRecordFacts;
}

/** `error`: mail is refused, or protection that somebody wanted is not there. */
export type Severity = 'error' | 'warning' | 'info' | 'ok';

export interface Finding {
  readonly severity: Severity;
  /** Stable, for scripts. */
  readonly code: string;
  /** What it is about: a name in DNS. */
  readonly subject: string;
  readonly text: string;
  /** What to do about it. */
  readonly fix?: string;
  /** e.g. `RFC 8461 §3.1`. */
  readonly rfc?: string;
}

export interface Verdict {
  /** `attempted`: nothing speaks against it, but no host was connected to. */
  readonly outcome: 'delivered' | 'attempted' | 'deferred' | 'bounced';
  /** What TLS protects the mail; of `attempted`, what TLS would be demanded. */
  readonly how?: 'verified-tls' | 'unauthenticated-tls' | 'clear-text' | 'tls-if-offered';
  /** Of `delivered`: what is asked and what is reached, as in the log, e.g. `verify:verified`. */
  readonly tls?: TlsWords;
  /** The host it goes to, or the one that speaks against it. */
  readonly host?: string;
  readonly address?: string;
  /** Of a deferral or bounce: a cause as in the log, or `reply` where the host said no. */
  readonly cause?: LocalCause | 'reply';
  /** RFC 3463 status of a deferral or bounce. */
  readonly status?: string;
  readonly why: string;
}

export interface Examination {
  readonly domain: DomainName;
  /** Delivered, or attempted, and no error. */
  readonly ok: boolean;
  readonly verdict: Verdict;
  readonly findings: readonly Finding[];
  readonly facts: DomainFacts;
}
