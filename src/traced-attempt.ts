/**
 * An attempt with its trace: the stages of pipeline.ts, each with an eye on the clock, and the spans that come of
 * it, told when the attempt is settled. Where the message is not traced the stages are what they were.
 *
 * An attempt that was put off, or cut short, is not told: a destination with a rate would have thousands.
 */
import type { Outcome } from './mail/outcome.ts';
import type { AttemptOutcomes } from './outcome/settle.ts';
import { attemptDelivery, type QueuedDelivery, type Stages } from './pipeline.ts';
import { wallMs } from './platform/wall-time.ts';
import type { TlsPolicy } from './policy/tls-policy.ts';
import type { AttemptEnd } from './queue/attempts.ts';
import type { AttemptRecord } from './spool/message-state.ts';
import {
  aboutMessage,
  type Fates,
  fateAttributes,
  problemAmong,
} from './telemetry/traces/message-spans.ts';
import type { MessageTrace, Traces } from './telemetry/traces/open-traces.ts';
import { problemOf, sessionSpan, skipSpan } from './telemetry/traces/session-spans.ts';
import type { SpanAttributes, SpanProblem, SpanTree } from './telemetry/traces/span-tree.ts';
import type { SpanName } from './telemetry/traces/vocabulary.ts';
import { fatesOf } from './traced-messages.ts';

/** As attemptDelivery (pipeline.ts), told to `traces` when there are any. */
export async function tracedAttempt(
  delivery: QueuedDelivery,
  { stages, traces }: { readonly stages: Stages; readonly traces: Traces | undefined },
  signal: AbortSignal,
): Promise<AttemptEnd> {
  const trace = traces?.of(delivery.id);
  if (!trace) return attemptDelivery(delivery, stages, signal);
  const watched = new WatchedAttempt(stages);
  const end = await attemptDelivery(delivery, watched.stages(), signal);
  watched.tell(trace, delivery);
  return end;
}

/** What is said of a step that ended. */
interface Said {
  readonly attributes?: SpanAttributes;
  readonly problem?: SpanProblem | undefined;
}

class WatchedAttempt {
  readonly #stages: Stages;
  readonly #startMs = wallMs();
  readonly #steps: SpanTree[] = [];
  readonly #outcomes: Outcome[] = [];
  #fates: Fates = { delivered: 0, deferred: 0, bounced: 0 };
  #last: { readonly attempts: number; readonly record: AttemptRecord } | undefined;

  constructor(stages: Stages) {
    this.#stages = stages;
  }

  tell(trace: MessageTrace, { id, destination }: QueuedDelivery): void {
    if (!this.#last) return;
    const { attempts, record } = this.#last;
    trace.tell({
      ...{ name: 'attempt', startMs: this.#startMs, endMs: wallMs() },
      attributes: {
        ...aboutMessage('attempt', id),
        'messaging.destination.name': destination,
        'stsrelay.attempt': attempts,
        'stsrelay.recipients': this.#outcomes.length,
        ...fateAttributes(this.#fates),
        'stsrelay.next_attempt':
          record.nextAttemptMs === undefined
            ? undefined
            : new Date(record.nextAttemptMs).toISOString(),
      },
      problem: problemAmong(this.#outcomes),
      children: this.#steps,
    });
  }

  /** The stages, watched. */
  stages(): Stages {
    const stages = this.#stages;
    return {
      ...stages,
      findRoute: (destination, signal) =>
        this.#step('route', () => stages.findRoute(destination, signal), sayRoute),
      tlsPolicy: async (route, signal, wish) =>
        this.#watchDane(
          await this.#step('policy', () => stages.tlsPolicy(route, signal, wish), sayPolicy),
        ),
      addressesOf: (candidate, destination, signal) =>
        this.#step(
          'addresses',
          () => stages.addressesOf(candidate, destination, signal),
          (found) => ({
            attributes: {
              'server.address': candidate.host ?? candidate.address,
              'stsrelay.addresses': found.kind === 'addresses' ? found.addresses.length : undefined,
            },
            problem: found.kind === 'failed' ? problemOf(found.failure) : undefined,
          }),
        ),
      runSession: async (plan, consignment, signal) => {
        const startMs = wallMs();
        const result = await stages.runSession({ ...plan, isTimed: true }, consignment, signal);
        // Without an address there was none, and onSession is told.
        if (result.facts.address !== undefined) {
          this.#steps.push(sessionSpan(result, { startMs, endMs: wallMs() }));
        }
        return result;
      },
      onSession: (envelope, route, result) => {
        const { address } = result.facts;
        if (result.kind === 'ended-early' && address === undefined) {
          this.#steps.push(skipSpan(result, wallMs()));
        }
        stages.onSession(envelope, route, result);
      },
      recheckPolicy: (used, signal) =>
        this.#step('recheck', () => stages.recheckPolicy(used, signal)),
      settle: (attempt) => this.#settle(attempt),
    };
  }

  #watchDane(policy: TlsPolicy): TlsPolicy {
    if (policy.kind === 'undecided' || !policy.bindByDane) return policy;
    const { bindByDane } = policy;
    return {
      ...policy,
      bindByDane: (candidate, known, signal) =>
        this.#step(
          'dane',
          () => bindByDane(candidate, known, signal),
          (verdict) => ({
            attributes: { 'server.address': candidate.host ?? candidate.address },
            problem: verdict.kind === 'refused' ? problemOf(verdict.failure) : undefined,
          }),
        ),
    };
  }

  async #settle(attempt: AttemptOutcomes): Promise<AttemptRecord> {
    const record = await this.#step(
      'settle',
      () => this.#stages.settle(attempt),
      (made) => ({ attributes: fateAttributes(fatesOf(made)) }),
    );
    const { delivered, deferred, bounced } = fatesOf(record);
    const before = this.#fates;
    this.#fates = {
      delivered: before.delivered + delivered,
      deferred: before.deferred + deferred,
      bounced: before.bounced + bounced,
    };
    this.#outcomes.push(...attempt.outcomes.values());
    this.#last = { attempts: attempt.attempts, record };
    return record;
  }

  async #step<T>(name: SpanName, work: () => Promise<T>, say?: (result: T) => Said): Promise<T> {
    const startMs = wallMs();
    const result = await work();
    this.#steps.push({ name, startMs, endMs: wallMs(), ...say?.(result) });
    return result;
  }
}

function sayRoute(routed: Awaited<ReturnType<Stages['findRoute']>>): Said {
  if (routed.kind === 'failed') return { problem: problemOf(routed.failure) };
  const { kind, candidates } = routed.route;
  return { attributes: { 'stsrelay.route': kind, 'stsrelay.route.hosts': candidates.length } };
}

function sayPolicy(policy: TlsPolicy): Said {
  return policy.kind === 'undecided' ? { problem: problemOf(policy.failure) } : {};
}
