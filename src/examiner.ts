/**
 * Composition of `stsrelay check`: the examination of a domain, on the eyes and hands of the relay
 * (outside.ts) with an empty DNS cache of its own. The command makes it, and so does the thread in which a
 * running relay examines (check-thread.ts): both find the same.
 */
import { type CheckParts, examineDomain } from './check/examine.ts';
import { judgeDomain } from './check/findings.ts';
import type { Examination } from './check/types.ts';
import type { Settings } from './config/settings.ts';
import { sessionParts } from './delivery/sessions.ts';
import { createOutside } from './outside.ts';
import type { Clock } from './platform/clock.ts';
import { withDeadline } from './platform/deadline.ts';
import { believesAd, chooseServers, formatServer, serversToAsk } from './platform/dns/servers.ts';
import type { DomainName } from './protocol/domain.ts';

/** A check is for a person: no step of it waits as long as a delivery would (RFC 5321 §4.5.3.2). */
const LONGEST_STEP_MS = 20_000;

export interface ExaminerOptions {
  readonly clock: Clock;
  /** Connect to the MX hosts; without: DNS and policy alone. */
  readonly connect: boolean;
}

export interface Order {
  /** For the whole domain, milliseconds; what was not looked at by then counts as out of time. */
  readonly timeoutMs: number;
  /** Told what is being looked at. */
  readonly onStep: (step: string) => void;
}

export type Examiner = (domain: DomainName, order: Order) => Promise<Examination>;

/**
 * The check, made from the settings; `overrides` are all that hold. Throws when a file of
 * `trustedCaFiles` cannot be read.
 */
export function createExaminer(settings: Settings, { clock, connect }: ExaminerOptions): Examiner {
  const { trustAd } = settings.dns;
  const servers = serversToAsk(chooseServers(settings.dns.servers), trustAd);
  const outside = createOutside(impatient(settings), clock);
  const parts: Omit<CheckParts, 'onStep'> = {
    ...outside,
    sessionParts: sessionParts(outside.sessionSettings),
    httpsPort: settings.security.mtaSts.httpsPort,
    dnsFailureGraceMs: settings.security.mtaSts.dnsFailureGrace,
    resolvers: servers.map(formatServer),
    believesDnssec: servers.some((server) => believesAd(server, trustAd)),
    clock,
    connect,
    stepMs: LONGEST_STEP_MS,
  };
  return async (domain, { timeoutMs, onStep }) => {
    const limit = { clock, waitMs: timeoutMs };
    const { facts, outcome } = await withDeadline(limit, new AbortController().signal, (signal) =>
      examineDomain(domain, { ...parts, onStep }, signal),
    );
    return judgeDomain(facts, outcome);
  };
}

function impatient(settings: Settings): Settings {
  const { outbound, security } = settings;
  const shorter = (ms: number) => Math.min(ms, LONGEST_STEP_MS);
  const { timeouts: t } = outbound;
  return {
    ...settings,
    outbound: {
      ...outbound,
      timeouts: {
        ...t,
        connect: shorter(t.connect),
        greeting: shorter(t.greeting),
        helo: shorter(t.helo),
        tls: shorter(t.tls),
      },
    },
    security: {
      ...security,
      mtaSts: { ...security.mtaSts, fetchTimeout: shorter(security.mtaSts.fetchTimeout) },
    },
  };
}
