/**
 * The verdict: what would become of a message, from the outcome that the engine concludes
 * (outcome/conclude.ts), in words for somebody who did not read the RFC. Pure.
 */
import type { Outcome } from '../mail/outcome.ts';
import type { SessionFacts } from '../mail/session-result.ts';
import { opensWithError, plainErrors } from '../mail/system-errors.ts';
import { tlsWordsOf } from '../mail/tls-outcome.ts';
import { describeRequirement, type TlsRequirement } from '../mail/tls-requirement.ts';
import { noResolverAnswered, resolverSilence } from './resolver-silence.ts';
import { describeFailure, inWords } from './text.ts';
import type { DomainFacts, Verdict } from './types.ts';

/** Decide it. */
export function decideVerdict(outcome: Outcome, facts: DomainFacts): Verdict {
  if (outcome.kind !== 'delivered') return notDelivered(outcome, facts);
  const session = outcome.facts;
  const { host, address } = session.candidate;
  const at = host ?? address ?? session.address;
  const place = {
    ...(at === undefined ? {} : { host: at }),
    ...(session.address === undefined ? {} : { address: session.address }),
  };
  return facts.connected
    ? {
        outcome: 'delivered',
        ...place,
        ...howDelivered(session),
        tls: tlsWordsOf({ kind: 'transacted', facts: session }),
      }
    : { outcome: 'attempted', ...place, ...whatIsAsked(session.requirement) };
}

function notDelivered(
  { kind, diagnosis }: Exclude<Outcome, { kind: 'delivered' }>,
  facts: DomainFacts,
): Verdict {
  const { domain, configured, timedOut } = facts;
  const { failure, host, address, status, requirement, causeClass } = diagnosis;
  const wanted = requirement && causeClass === 'tlsPolicy' ? describeRequirement(requirement) : '';
  const silence = resolverSilence(facts);
  const what = silence === undefined ? describeFailure(failure) : noResolverAnswered(silence);
  const unknown = failure.kind === 'local' && failure.cause === 'policy-unknown' && !timedOut;
  const after = unknown
    ? `After ${inWords(configured.dnsFailureGraceMs / 1000)} of this it would be delivered as if nothing were published.`
    : '';
  return {
    outcome: kind,
    ...(host === undefined ? {} : { host }),
    ...(address === undefined ? {} : { address }),
    cause: failure.kind === 'local' ? failure.cause : 'reply',
    status,
    why: [sentence(what, domain), wanted, after].filter(Boolean).join(' '),
  };
}

function howDelivered({ tls, requirement, clearTextBecause }: SessionFacts) {
  const asked = requirement.level === 'verify' || requirement.level === 'encrypt';
  const reason = asked ? describeRequirement(requirement) : whyNotAsked(requirement);
  if (tls?.verdict.verified) {
    const { tlsa, matchedName } = tls.verdict;
    const what = tlsa ? 'that the TLSA records name' : 'that is valid';
    const text = `${tls.version} with a certificate ${what} for ${matchedName}.`;
    return { how: 'verified-tls', why: `${text} ${reason}` } as const;
  }
  if (tls) {
    const doubt = tls.verdict.verified ? '' : `: ${tls.verdict.detail}`;
    const text = `${tls.version}, but the host does not prove who it is${doubt}.`;
    return { how: 'unauthenticated-tls', why: `${text} ${reason}` } as const;
  }
  const doubt = clearTextBecause ? sentence(plainErrors(clearTextBecause.detail)) : '';
  return { how: 'clear-text', why: [doubt, reason].filter(Boolean).join(' ') } as const;
}

function whatIsAsked(requirement: TlsRequirement) {
  const noted = 'No MX host was connected to.';
  switch (requirement.level) {
    case 'verify':
      return { how: 'verified-tls', why: `${describeRequirement(requirement)} ${noted}` } as const;
    case 'encrypt':
      return {
        how: 'unauthenticated-tls',
        why: `${describeRequirement(requirement)} ${noted}`,
      } as const;
    case 'opportunistic':
      return { how: 'tls-if-offered', why: `${whyNotAsked(requirement)} ${noted}` } as const;
    case 'none':
      return { how: 'clear-text', why: `${whyNotAsked(requirement)} ${noted}` } as const;
  }
}

/** Why this relay would do with less than verified TLS. */
function whyNotAsked(requirement: TlsRequirement): string {
  const { source, level } = requirement;
  switch (source.kind) {
    case 'override':
      return level === 'none'
        ? `An override of this relay for ${source.domain} turns TLS off.`
        : `An override of this relay for ${source.domain} makes TLS optional.`;
    case 'route':
      return `The route of this relay for ${source.domain} makes TLS optional.`;
    case 'mta-sts':
      return `The MTA-STS policy of ${source.domain} is in mode testing and demands nothing.`;
    case 'dane': // it always asks for TLS
      return describeRequirement(requirement);
    case 'tls-required-no':
      return whyNotAsked({ ...requirement, source: source.instead });
    case 'default':
      return 'No policy in force demands TLS, so an attacker on the way can strip it.';
  }
}

/** With a full stop, and a capital unless it begins with a name: of a domain, or of an error. */
function sentence(text: string, domain = ''): string {
  const end = /[.!?]$/.test(text) ? '' : '.';
  const isName = text.startsWith(`${domain} `) || opensWithError(text);
  const isWord = /^[a-z]+ /.test(text) && !isName && !/^[a-z]+ E[A-Z]{3,}/.test(text);
  return (isWord ? text.charAt(0).toUpperCase() + text.slice(1) : text) + end;
}
