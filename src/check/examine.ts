/**
 * The examination of one domain, in the order of a delivery (pipeline.ts):
 *
 *   route     MX hosts or a smart host                      (RFC 5321 §5.1)
 *   record    MTA-STS and TLSRPT records                    (RFC 8461 §3.1, RFC 8460 §3)
 *   policy    fetched, as with nothing in the cache         (RFC 8461 §3.3)
 *   hosts     addresses, TLSA records (RFC 7672 §2.2), and a session with each of them (RFC 8461 §4)
 *   outcome   what the engine would conclude from that
 *
 * Every part is the delivery engine's own; nothing is kept anywhere. A step that runs out of time
 * gives the failure it would give in a delivery.
 */
import type { SecureContext } from 'node:tls';
import type { SessionParts } from '../delivery/session.ts';
import type { Outcome } from '../mail/outcome.ts';
import type { AddressGuard } from '../platform/address-guard.ts';
import type { Clock } from '../platform/clock.ts';
import type { IpFamily } from '../platform/host-addresses.ts';
import type { Resolver } from '../platform/resolver.ts';
import type { DanePolicy } from '../policy/dane-policy.ts';
import type { FetchResult } from '../policy/sts-fetch.ts';
import type { TlsPolicySettings } from '../policy/tls-policy.ts';
import type { DomainName } from '../protocol/domain.ts';
import type { RouteResult, Router } from '../routing/route.ts';
import { examineHosts } from './examine-hosts.ts';
import { examinePolicy, stsLookupFrom } from './examine-policy.ts';
import { examineStsRecord, examineTlsRptRecord } from './examine-records.ts';
import type { ConfiguredFacts, DomainFacts, MxFacts, RouteFacts } from './types.ts';

/** What the relay sees the world with (outside.ts), and how this check uses it. */
export interface CheckParts {
  readonly resolver: Resolver;
  readonly router: Router;
  readonly families: readonly IpFamily[];
  readonly guard: AddressGuard;
  readonly fetch: (domain: DomainName, signal: AbortSignal) => Promise<FetchResult>;
  /** What `fetch` accepts of a policy host's TLS. */
  readonly policyHostContext: SecureContext;
  readonly tlsPolicySettings: TlsPolicySettings;
  /** Undefined: switched off. */
  readonly dane: DanePolicy | undefined;
  readonly sessionParts: Omit<SessionParts, 'onConnection'>;
  readonly httpsPort: number;
  readonly dnsFailureGraceMs: number;
  /** The servers `resolver` asks, for people. */
  readonly resolvers: readonly string[];
  /** Whether one of them is believed about DNSSEC. */
  readonly believesDnssec: boolean;
  readonly clock: Clock;
  /** Connect to the MX hosts. */
  readonly connect: boolean;
  /** Patience with one step at a policy host, milliseconds. */
  readonly stepMs: number;
  /** Told what is being looked at. */
  readonly onStep: (step: string) => void;
}

export interface Examined {
  readonly facts: DomainFacts;
  /** What the engine would make of a message to the domain. */
  readonly outcome: Outcome;
}

/** Examine `domain`; ends with `signal`. Never throws for what DNS and other hosts do. */
export async function examineDomain(
  domain: DomainName,
  parts: CheckParts,
  signal: AbortSignal,
): Promise<Examined> {
  const { resolver, clock, onStep } = parts;
  onStep('MX and TXT records');
  const routed = await parts.router.findRoute(domain, signal);
  const mx = await examineMx(domain, { routed, resolver, signal });
  const policyDomain = routed.kind === 'route' ? routed.route.policyDomain : domain;
  const [record, tlsRpt] = policyDomain
    ? await Promise.all([
        examineStsRecord(policyDomain, resolver, signal),
        examineTlsRptRecord(policyDomain, resolver, signal),
      ])
    : [];
  const trusted = routed.kind === 'route' && routed.route.kind === 'configured';
  const policyOf = () => examinePolicy({ policyDomain, record, trusted }, parts, signal);
  if (record?.kind === 'record') onStep('policy');
  // A policy that no record announces decides nothing: nobody has to wait for it.
  const policyKnown = record?.kind === 'record' ? await policyOf() : undefined;
  const lookupSts = async (name: DomainName) =>
    stsLookupFrom(name, { record, policy: policyKnown }, { ...parts, signal });
  if (parts.connect) onStep('MX hosts');
  const [policy, visited] = await Promise.all([
    policyKnown ?? policyOf(),
    examineHosts(routed, { parts, lookupSts, signal }),
  ]);
  const facts: DomainFacts = {
    domain,
    checkedAtMs: clock.now(),
    connected: parts.connect,
    timedOut: signal.aborted,
    configured: configuredFor(domain, parts),
    mx,
    route: routeFacts(routed),
    ...(record ? { record } : {}),
    policy: policy.facts,
    hosts: visited.hosts,
    ...(tlsRpt ? { tlsRpt } : {}),
  };
  return { facts, outcome: visited.outcome };
}

function configuredFor(domain: DomainName, parts: CheckParts): ConfiguredFacts {
  const { overrides, mtaStsEnabled, defaultLevel } = parts.tlsPolicySettings;
  const now = parts.clock.now();
  const override = overrides.find(
    (one) => one.domain === domain && (one.expires ?? Number.POSITIVE_INFINITY) > now,
  );
  return {
    ...(override
      ? {
          override: {
            domain: override.domain,
            tls: override.tls,
            ...(override.expires === undefined ? {} : { expires: override.expires }),
          },
        }
      : {}),
    mtaStsEnabled,
    daneEnabled: parts.dane !== undefined,
    defaultLevel,
    dnsFailureGraceMs: parts.dnsFailureGraceMs,
    resolvers: parts.resolvers,
    believesDnssec: parts.believesDnssec,
  };
}

function routeFacts(routed: RouteResult): RouteFacts {
  if (routed.kind === 'failed') return { found: false, failure: routed.failure };
  const { kind, policyDomain, securedNames } = routed.route;
  return { found: true, kind, policyDomain, secure: securedNames !== undefined };
}

/** The MX records as they are; the router has asked for them already. */
async function examineMx(
  domain: DomainName,
  { routed, resolver, signal }: { routed: RouteResult; resolver: Resolver; signal: AbortSignal },
): Promise<MxFacts> {
  if (routed.kind === 'route' && routed.route.kind === 'configured') return { kind: 'not-asked' };
  const answer = await resolver.lookupMx(domain, signal);
  switch (answer.kind) {
    case 'found':
      return { kind: 'found', records: answer.records };
    case 'absent':
      return { kind: 'absent', nameExists: answer.nameExists };
    case 'failed':
      return { kind: 'failed', detail: answer.reason };
  }
}
