/**
 * Findings about this relay and this check rather than the domain: what its configuration decides
 * for the domain, and what was not looked at. Pure.
 */
import { noResolverAnswered } from './resolver-silence.ts';
import { dayOf } from './text.ts';
import type { DomainFacts, Finding } from './types.ts';

/** What other senders would not see, or would see differently. */
export function configuredFindings(facts: DomainFacts): readonly Finding[] {
  const { domain, configured } = facts;
  return [
    ...overrideFindings(facts),
    ...routeFindings(facts),
    ...(configured.mtaStsEnabled ? [] : [mtaStsDisabled(domain)]),
    ...(configured.daneEnabled ? [] : [daneDisabled(domain)]),
    ...(facts.timedOut ? [timedOut(domain)] : []),
  ];
}

/** Instead of all findings about the domain, none of which would be true. */
export function noResolver({ domain: subject }: DomainFacts, silence: string): Finding {
  return {
    severity: 'error',
    code: 'resolver-unreachable',
    subject,
    text: noResolverAnswered(silence),
    fix: 'Look at dns.servers in the configuration of this relay, or where that is empty at /etc/resolv.conf of this machine; and whether a firewall lets its queries out.',
  };
}

function overrideFindings({ domain: subject, configured }: DomainFacts): readonly Finding[] {
  const { override } = configured;
  if (!override) return [];
  // An expiry is the end of the day that was written.
  const until = override.expires === undefined ? '' : ` until ${dayOf(override.expires - 1)}`;
  const text = `An override of this relay sets tls: ${override.tls} for the domain${until}; what the domain publishes is not applied.`;
  return [{ severity: 'info', code: 'override-applies', subject, text }];
}

function routeFindings({ domain: subject, route, hosts }: DomainFacts): readonly Finding[] {
  if (!route.found || route.kind !== 'configured') return [];
  const binding =
    route.policyDomain === undefined
      ? 'No policy can bind there.'
      : `The policy of ${route.policyDomain} binds there; the domain's own records are not looked at.`;
  const through = hosts.map(({ host }) => host).join(', ');
  const text = `A route of this relay sends the mail through ${through}. ${binding}`;
  return [{ severity: 'info', code: 'route-applies', subject, text, rfc: 'RFC 8461 §3.4' }];
}

function mtaStsDisabled(subject: string): Finding {
  return {
    severity: 'warning',
    code: 'mta-sts-disabled',
    subject,
    text: 'This relay does not apply MTA-STS: security.mtaSts.enabled is false.',
    fix: 'Set it to true.',
    rfc: 'RFC 8461 §5',
  };
}

function daneDisabled(subject: string): Finding {
  return {
    severity: 'warning',
    code: 'dane-disabled',
    subject,
    text: 'This relay does not apply DANE: security.dane is off.',
    fix: 'Set it to auto.',
    rfc: 'RFC 7672 §2.2',
  };
}

function timedOut(subject: string): Finding {
  return {
    severity: 'error',
    code: 'check-timed-out',
    subject,
    text: 'The time for the check was over before everything was looked at; what was not reached counts as no answer.',
    fix: 'Give it more with --timeout.',
  };
}
