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
    };

export type TlsLevel =
  /** Clear text, by an administrator's decision. */
  | 'none'
  /** TLS when offered, clear text otherwise. */
  | 'opportunistic'
  /** TLS or nothing; the certificate does not matter. */
  | 'encrypt'
  /** TLS with a certificate that chains to a trusted root and names the host in a SAN. */
  | 'verify';

export interface TlsRequirement {
  readonly level: TlsLevel;
  readonly minVersion: 'TLSv1.2' | 'TLSv1.3';
  readonly source: RequirementSource;
}

const WANTED: Readonly<Record<TlsLevel, string>> = {
  none: 'clear text',
  opportunistic: 'TLS where it is offered',
  encrypt: 'TLS',
  verify: 'TLS with a valid certificate',
};

/** The requirement in a sentence, for people: who asks for what. */
export function describeRequirement({ level, source }: TlsRequirement): string {
  const what = WANTED[level];
  switch (source.kind) {
    case 'mta-sts':
      if (source.mode === 'testing') {
        return `This mail system asks for ${what} (the MTA-STS policy of ${source.domain} is in mode testing).`;
      }
      return `The MTA-STS policy of ${source.domain} (mode ${source.mode}, id ${source.policyId}) asks for TLS with a valid certificate, at a host that it lists.`;
    case 'override':
    case 'route':
      return `The ${source.kind} of this mail system for ${source.domain} asks for ${what}.`;
    case 'default':
      return level === 'opportunistic'
        ? `This mail system asks for ${what}.`
        : `This mail system asks for ${what} everywhere.`;
  }
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
