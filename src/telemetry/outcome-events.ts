/**
 * The answers messages get. One function per event: log line and metric together. A delivery's
 * line is the evidence of how it went: MX, address, TLS, certificate, policy and verdict.
 */
import type { Diagnosis, Outcome } from '../mail/outcome.ts';
import type { SessionFacts, SessionResult } from '../mail/session-result.ts';
import { sessionResultType } from '../mail/session-result-type.ts';
import { fallbacksOf, reachedWith, tlsWordsOf } from '../mail/tls-outcome.ts';
import type { TlsRequirement } from '../mail/tls-requirement.ts';
import type { Log } from './log.ts';
import type { Metrics } from './metrics.ts';

interface RecipientFacts {
  readonly id: string;
  readonly recipient: string;
  readonly destination: string;
  readonly attempt: number;
}

export function outcomeEvents(log: Log, metrics: Metrics) {
  function countSession(result: SessionResult): void {
    const { requirement, tls } = result.facts;
    if (tls) metrics.tlsHandshakes.inc({ version: tls.version, cipher: tls.cipher });
    const outcome = sessionResultType(result);
    if (outcome !== undefined)
      metrics.tlsSessions.inc({ ...policyLabels(requirement), result: outcome });
  }

  /** Every try that came after a handshake that failed: mostly none. */
  function tellFallbacks(id: string, { facts }: SessionResult): void {
    for (const { to, because } of fallbacksOf(facts)) {
      const { cause, detail } = because;
      metrics.tlsFallbacks.inc({ to, cause });
      log.write(to === 'clear' ? 'warn' : 'info', 'delivery.tls_fallback', {
        id,
        mx: facts.candidate.host,
        address: facts.address,
        to,
        cause,
        reason: detail,
        ...describePolicy(facts.requirement),
      });
    }
  }

  return {
    /** The first attempt of a delivery begins, `waitedMs` after the message was acknowledged. */
    firstAttempt(waitedMs: number): void {
      metrics.firstAttemptDelay.observe(Math.max(0, waitedMs) / 1000);
    },
    connection(change: 1 | -1): void {
      metrics.connectionsOpen.inc(change);
    },
    /** A bug: a session thread ended by itself. Its `runs` deliveries stay queued; a new thread is started. */
    threadEnded(facts: { error: string; stack: string | undefined; runs: number }): void {
      log.write('error', 'delivery.thread_ended', facts);
    },
    /** A smart host cannot be told who we are, or does not believe it: its mail waits until somebody mends that. */
    loginFailed(facts: {
      user: string;
      mx?: string | undefined;
      address?: string;
      reason: string;
    }): void {
      metrics.smartHostLoginFailures.inc();
      log.write('error', 'delivery.login_failed', facts);
    },
    /** Node.js warned in a session thread. */
    nodeWarning(warning: string): void {
      log.write('warn', 'relay.node_warning', { warning });
    },
    /** A message went over a session, or a session ended before, or a candidate was skipped. */
    session(id: string, result: SessionResult): void {
      const { facts } = result;
      metrics.attempts.inc({ result: result.kind });
      tellFallbacks(id, result);
      // A session counts once, with its first message (RFC 8460 §4.2.1).
      if (facts.reused) metrics.connectionsReused.inc();
      else countSession(result);
      if (result.kind === 'ended-early') {
        log.write('info', 'delivery.session_failed', {
          id,
          ...describeSession(result),
          ...describeFailure(result.failure),
        });
      }
    },
    delivered(
      recipient: RecipientFacts,
      outcome: Outcome & { kind: 'delivered' },
      afterMs: number,
    ): void {
      metrics.recipientsDelivered.inc();
      metrics.destinations.count(recipient.destination, 'delivered');
      const exemplarLabels = { id: recipient.id };
      metrics.deliveryDuration.observe({ value: Math.max(0, afterMs) / 1000, exemplarLabels });
      const { requirement, tls } = outcome.facts;
      if (!tls) metrics.plaintextDeliveries.inc({ exemplarLabels });
      metrics.tlsDeliveries.inc({
        asked: requirement.level,
        policy: policyWord(requirement),
        reached: reachedWith(tls),
      });
      log.write('info', 'delivery.delivered', {
        ...recipient,
        ...describeSession({ kind: 'transacted', facts: outcome.facts }),
        reply: `${outcome.reply.code} ${outcome.reply.text}`,
        afterMs,
      });
    },
    deferred(recipient: RecipientFacts & { nextAttemptMs: number }, diagnosis: Diagnosis): void {
      const { nextAttemptMs, ...rest } = recipient;
      const isPolicyNotMet = diagnosis.causeClass === 'tlsPolicy';
      metrics.recipientsDeferred.inc(oneMore(recipient, diagnosis));
      metrics.destinations.count(
        recipient.destination,
        isPolicyNotMet ? 'policy-not-met' : 'deferred',
      );
      // Mail that a policy holds back is what somebody should look at.
      const level = isPolicyNotMet ? 'warn' : 'info';
      log.write(level, 'delivery.deferred', {
        ...rest,
        ...describeDiagnosis(diagnosis),
        nextAttempt: new Date(nextAttemptMs).toISOString(),
      });
    },
    bounced(recipient: RecipientFacts & { lifetimeOver: boolean }, diagnosis: Diagnosis): void {
      metrics.recipientsBounced.inc(oneMore(recipient, diagnosis));
      metrics.destinations.count(recipient.destination, 'bounced');
      log.write('warn', 'outcome.bounced', { ...recipient, ...describeDiagnosis(diagnosis) });
    },
    /** An administrator gave it up, and nobody is told. */
    dropped(recipient: RecipientFacts, reason: string): void {
      metrics.recipientsDropped.inc();
      log.write('warn', 'outcome.dropped', { ...recipient, reason });
    },
    /** A DSN about message `about` is in the queue. */
    dsnQueued(facts: {
      id: string;
      about: string;
      to: string;
      /** Recipients it is about, by action. */
      failed: number;
      delayed: number;
      relayed: number;
    }): void {
      if (facts.failed > 0) metrics.dsn.inc({ action: 'failed' });
      if (facts.delayed > 0) metrics.dsn.inc({ action: 'delayed' });
      if (facts.relayed > 0) metrics.dsn.inc({ action: 'relayed' });
      log.write('info', 'outcome.dsn_queued', facts);
    },
    /** The DSN could not be stored for now; it stays owed. */
    dsnDelayed(about: string, error: Error): void {
      log.write('error', 'outcome.dsn_delayed', { about, error: error.message });
    },
    /** The spool does not take the record of an attempt: the delivery waits for it. */
    recordDelayed(id: string, error: Error): void {
      log.write('error', 'outcome.record_delayed', { id, error: error.message });
    },
    /** Every recipient has its answer. */
    finished(id: string): void {
      log.write('info', 'outcome.finished', { id });
    },
  };
}
export type OutcomeEvents = ReturnType<typeof outcomeEvents>;

/** Counted by cause, with the message as the example. */
function oneMore({ id }: RecipientFacts, { causeClass }: Diagnosis) {
  return { labels: { cause: causeClass }, value: 1, exemplarLabels: { id } };
}

function policyLabels({ source }: TlsRequirement): { policy_type: string; mode: string } {
  if (source.kind === 'mta-sts') return { policy_type: 'sts', mode: source.mode };
  // RFC 8460 §4.4; a mode is something that MTA-STS alone has.
  if (source.kind === 'dane') return { policy_type: 'tlsa', mode: 'none' };
  return { policy_type: 'no-policy-found', mode: source.kind };
}

function describeSession(session: Pick<SessionResult, 'kind' | 'facts'>) {
  const { candidate, address, requirement, tls, clearTextBecause, reused } = session.facts;
  return {
    mx: candidate.host,
    address,
    reused,
    resumed: tls?.resumed,
    tls: tlsWordsOf(session),
    tlsCause: troubleOf(session.facts)?.cause,
    ...describePolicy(requirement),
    tlsVersion: tls?.version,
    cipher: tls?.cipher,
    certSha256: tls?.certSha256,
    verified: tls?.verdict.verified ?? false,
    tlsa: tls?.verdict.verified ? shortTlsa(tls.verdict.tlsa) : undefined,
    verdict: tls && !tls.verdict.verified ? tls.verdict.detail : undefined,
    clearText: clearTextBecause?.detail,
  };
}

/** Why no more was reached; of a session that was verified why it took a second try. */
function troubleOf({ tls, clearTextBecause, smallHelloBecause }: SessionFacts) {
  const doubt = tls && !tls.verdict.verified ? tls.verdict : undefined;
  return doubt ?? clearTextBecause ?? smallHelloBecause;
}

function policyWord({ source }: TlsRequirement): string {
  return POLICY_WORDS[source.kind] ?? source.kind;
}

/** Whose word a requirement is, as the log has it. */
export function describePolicy(requirement: TlsRequirement) {
  const { level, source, requireTls } = requirement;
  return {
    required: level,
    requireTls,
    policy: policyWord(requirement),
    policyDomain: policyDomainOf(source),
    ruleFor: source.kind === 'override' || source.kind === 'route' ? source.domain : undefined,
    policyId: source.kind === 'mta-sts' ? source.policyId : undefined,
    policyMode: source.kind === 'mta-sts' ? source.mode : undefined,
  };
}

/** The policy types of RFC 8460 §4.4, in the words of a report. */
const POLICY_WORDS: Readonly<Record<string, string>> = { 'mta-sts': 'sts', dane: 'tlsa' };

/** RFC 8460 §1.1: of DANE it is the TLSA base domain. */
function policyDomainOf(source: TlsRequirement['source']): string | undefined {
  if (source.kind === 'mta-sts') return source.domain;
  return source.kind === 'dane' ? source.baseDomain : undefined;
}

/** Longer than any digest: a record may hold a whole certificate. */
const MOST_TLSA = 160;

function shortTlsa(record: string | undefined): string | undefined {
  return record !== undefined && record.length > MOST_TLSA
    ? `${record.slice(0, MOST_TLSA)}...`
    : record;
}

function describeFailure(failure: Diagnosis['failure']) {
  if (failure.kind === 'local') return { cause: failure.cause, reason: failure.detail };
  const { code, enhanced, text } = failure.reply;
  return { cause: failure.stage, reason: [code, enhanced, text].filter(Boolean).join(' ') };
}

function describeDiagnosis({ failure, requirement, ...diagnosis }: Diagnosis) {
  const { host, address, status, causeClass } = diagnosis;
  const policy = requirement ? describePolicy(requirement) : {};
  return { mx: host, address, status, causeClass, ...policy, ...describeFailure(failure) };
}
