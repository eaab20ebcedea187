/**
 * What TLS a session must reach before the first byte of a message: a value that is computed
 * per candidate before connecting and travels with the attempt. A connection may only
 * carry a message whose requirement is equal to the one it was opened under.
 */
import type { DomainName } from '../protocol/domain.ts';
import type { LocalFailure } from './failure.ts';

/** Who asked for it; kept for the log, the bounce and the report. */
export type RequirementSource =
  | { readonly kind: 'default' }
  | { readonly kind: 'override'; readonly domain: string }
  | { readonly kind: 'route'; readonly domain: string }
  | {
      readonly kind: 'mta-sts';
      readonly domain: DomainName;
      readonly policyId: string;
      /** As published: which policy it was. */
      readonly policyText: string;
      readonly mode: 'enforce' | 'testing';
      /** The candidate matches an mx pattern of the policy; always so where `enforce` allows it. */
      readonly listed: boolean;
    }
  | DaneSource
  | {
      /** `TLS-Required: No` in the message set the policy of the recipient domain aside (RFC 8689 §4.2.2). */
      readonly kind: 'tls-required-no';
      /** What binds all the same: an administrator's word. */
      readonly instead:
        | { readonly kind: 'default' }
        | { readonly kind: 'route'; readonly domain: string };
    };

/** The TLSA records of the candidate (RFC 7672); they bind this host alone. */
export interface DaneSource {
  readonly kind: 'dane';
  /** The TLSA base domain: the name the records stand at, which is sent as SNI (RFC 7672 §8.1). */
  readonly baseDomain: string;
  /** All of them, as a report quotes them (RFC 8460 §4.5); none: they could not be had. */
  readonly records: readonly string[];
  /** Those that can be used. Where there is none any TLS will do, but TLS it has to be (RFC 7672 §2.2). */
  readonly usable: readonly string[];
  /** The names any of which the certificate may have under DANE-TA(2) (RFC 7672 §3.2.2). */
  readonly names: readonly string[];
}

export type TlsLevel =
  /** Clear text, by an administrator's decision. */
  | 'none'
  /** TLS when offered, clear text otherwise. */
  | 'opportunistic'
  /** TLS or nothing; the certificate does not matter. */
  | 'encrypt'
  /**
   * TLS with a certificate that chains to a trusted root and names the host in a SAN; with usable TLSA
   * records, one that they authenticate instead.
   */
  | 'verify';

export interface TlsRequirement {
  readonly level: TlsLevel;
  readonly minVersion: 'TLSv1.2' | 'TLSv1.3';
  readonly source: RequirementSource;
  /**
   * The message has REQUIRETLS, and the host is known securely (RFC 8689 §4.2.1). `required`: it goes
   * with REQUIRETLS or not at all; `preferred`: with it where the session allows that.
   */
  readonly requireTls?: 'required' | 'preferred';
}

const WANTED: Readonly<Record<TlsLevel, string>> = {
  none: 'clear text',
  opportunistic: 'TLS where it is offered',
  encrypt: 'TLS',
  verify: 'TLS with a valid certificate',
};

/** The requirement in a sentence, for people: who asks for what. */
export function describeRequirement(requirement: TlsRequirement): string {
  const { level, source, requireTls } = requirement;
  const what = WANTED[level];
  if (requireTls === 'required') return describeRequireTls(source);
  switch (source.kind) {
    case 'mta-sts':
      if (source.mode === 'testing') {
        return `This mail system asks for ${what} (the MTA-STS policy of ${source.domain} is in mode testing).`;
      }
      return `The MTA-STS policy of ${source.domain} (mode ${source.mode}, id ${source.policyId}) asks for TLS with a valid certificate, at a host that it lists.`;
    case 'dane':
      return describeDane(source);
    case 'override':
    case 'route':
      return `The ${source.kind} of this mail system for ${source.domain} asks for ${what}.`;
    case 'tls-required-no': {
      const { instead } = source;
      const otherwise = describeRequirement({ ...requirement, source: instead });
      return `The message says TLS-Required: No, so the policy of its recipients' domain is set aside. ${otherwise}`;
    }
    case 'default':
      return level === 'opportunistic'
        ? `This mail system asks for ${what}.`
        : `This mail system asks for ${what} everywhere.`;
  }
}

/** RFC 8689 §4.2.1, for the sender, who may not know what was asked for. */
function describeRequireTls(source: RequirementSource): string {
  const wish =
    'The message was sent with REQUIRETLS: it goes only to hosts that are known securely, over TLS with a valid certificate, and that promise to do the same.';
  if (source.kind === 'dane') return `${wish} ${describeDane(source)}`;
  return source.kind === 'mta-sts' && source.mode === 'enforce'
    ? `${wish} The MTA-STS policy of ${source.domain} (mode enforce, id ${source.policyId}) says which hosts are its own.`
    : wish;
}

/** The records that a peer under this requirement is held against, in place of names and roots. */
export function daneCheck({ source }: TlsRequirement): DaneSource | undefined {
  return source.kind === 'dane' && source.usable.length > 0 ? source : undefined;
}

function describeDane({ baseDomain, records, usable }: DaneSource): string {
  if (records.length === 0) {
    return `DNSSEC protects ${baseDomain}, and without an answer about its TLSA records (DANE) nothing may go there.`;
  }
  return usable.length > 0
    ? `The TLSA records of ${baseDomain} (DANE) ask for TLS with a certificate that they name.`
    : `The TLSA records of ${baseDomain} (DANE) ask for TLS; none of them can be used to check a certificate.`;
}

/** Whether a session may go on without TLS. */
export function allowsClearText(requirement: TlsRequirement): boolean {
  return requirement.level === 'none' || requirement.level === 'opportunistic';
}

/** What policy says about one candidate, before it is connected to. */
export type CandidateVerdict =
  | { readonly kind: 'allowed'; readonly requirement: TlsRequirement }
  | {
      readonly kind: 'refused';
      readonly requirement: TlsRequirement;
      readonly failure: LocalFailure;
    };
