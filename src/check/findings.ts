/**
 * From the facts about a domain to everything there is to say about it, worst first, and the
 * whole examination. Pure.
 */
import type { Outcome } from '../mail/outcome.ts';
import { configuredFindings, noResolver } from './findings-configured.ts';
import { daneFindings } from './findings-dane.ts';
import { hostNameFindings, mxFindings } from './findings-mx.ts';
import { policyFindings } from './findings-policy.ts';
import { policyHostFindings } from './findings-policy-host.ts';
import { recordFindings } from './findings-record.ts';
import { sessionFindings } from './findings-session.ts';
import { tlsRptFindings } from './findings-tlsrpt.ts';
import { resolverSilence } from './resolver-silence.ts';
import type { DomainFacts, Examination, Finding, HostFacts } from './types.ts';
import { decideVerdict } from './verdict.ts';

const ORDER = ['error', 'warning', 'info', 'ok'] as const;

/** Verdict and findings. */
export function judgeDomain(facts: DomainFacts, outcome: Outcome): Examination {
  const verdict = decideVerdict(outcome, facts);
  const findings = findingsAbout(facts);
  const isTaken = verdict.outcome === 'delivered' || verdict.outcome === 'attempted';
  const ok = isTaken && !findings.some(({ severity }) => severity === 'error');
  return { domain: facts.domain, ok, verdict, findings, facts };
}

/** All findings, worst first; in the order of a delivery among equals. */
export function findingsAbout(facts: DomainFacts): readonly Finding[] {
  const silence = resolverSilence(facts);
  if (silence !== undefined) {
    return inOrder([noResolver(facts, silence), ...configuredFindings(facts)]);
  }
  const isReached = facts.hosts.some(facts.connected ? takesSession : couldBeTried);
  return inOrder([
    ...mxFindings(facts),
    ...(takesMail(facts) ? publishedFindings(facts) : []),
    ...hostNameFindings(facts, isReached),
    ...daneFindings(facts, isReached),
    ...sessionFindings(facts, isReached),
    ...configuredFindings(facts),
  ]);
}

function inOrder(findings: readonly Finding[]): readonly Finding[] {
  return [...findings].sort((a, b) => ORDER.indexOf(a.severity) - ORDER.indexOf(b.severity));
}

function publishedFindings(facts: DomainFacts): readonly Finding[] {
  return [
    ...recordFindings(facts),
    ...policyHostFindings(facts),
    ...policyFindings(facts),
    ...tlsRptFindings(facts),
  ];
}

function takesSession({ failure: refusal, addresses }: HostFacts): boolean {
  return !refusal && addresses.some(({ failure }) => !failure);
}

function couldBeTried({ failure, foundAddresses }: HostFacts): boolean {
  return !failure && foundAddresses.length > 0;
}

/** A domain that is not there, or wants no mail, needs no policy. */
function takesMail({ route }: DomainFacts): boolean {
  if (route.found) return true;
  return route.failure.cause !== 'domain-not-found' && route.failure.cause !== 'null-mx';
}
