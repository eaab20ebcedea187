/**
 * From the sessions of one attempt to an outcome for every recipient. Pure.
 *
 * When no session came to a transaction, the failures of all hosts are weighed: permanent only
 * when every host failed for good; otherwise the most telling temporary one is named: a TLS
 * policy that was not met before a host that was away.
 */
import { type Failure, type LocalCause, localFailure } from '../mail/failure.ts';
import type { Diagnosis, Outcome } from '../mail/outcome.ts';
import type { RecipientReply, SessionFacts, SessionResult } from '../mail/session-result.ts';
import { classify, statusUnder } from './classify.ts';

/** Outcomes by recipient index. */
export function conclude(
  results: readonly SessionResult[],
  recipients: readonly number[],
): ReadonlyMap<number, Outcome> {
  const transaction = results.find((result) => result.kind === 'transacted');
  const others = overall(results);
  const outcomes = new Map<number, Outcome>();
  for (const index of recipients) {
    const reply = transaction?.recipients.get(index);
    outcomes.set(index, transaction && reply ? replied(reply, transaction.facts) : others);
  }
  return outcomes;
}

function replied(reply: RecipientReply, facts: SessionFacts): Outcome {
  if (reply.kind === 'failed') return failed(reply.failure, facts);
  return { kind: 'delivered', facts, reply: reply.reply, dsnOffered: reply.dsnOffered };
}

/**
 * Why those who were too many for a transaction wait like the others, instead of having their own at
 * once: the server, or the way to it, failed for now. Refusals of single recipients say nothing
 * about them, except for a 421 (RFC 5321 §3.8).
 */
export function whyNotOn(outcomes: ReadonlyMap<number, Outcome>): Outcome | undefined {
  for (const outcome of outcomes.values()) {
    if (outcome.kind !== 'deferred') continue;
    const { failure } = outcome.diagnosis;
    const isOwn = failure.kind === 'reply' && failure.stage === 'rcpt';
    if (!isOwn || failure.reply.code === 421) return outcome;
  }
  return undefined;
}

/** The outcome of a failure before any host was chosen. */
export function concludeWithoutSession(
  failure: Failure,
  recipients: readonly number[],
): ReadonlyMap<number, Outcome> {
  const outcome = failed(failure, undefined);
  return new Map(recipients.map((index) => [index, outcome]));
}

function failed(failure: Failure, facts: SessionFacts | undefined): Outcome {
  const { permanent } = classify(failure);
  return { kind: permanent ? 'bounced' : 'deferred', diagnosis: diagnose(failure, facts) };
}

export function diagnose(failure: Failure, facts: SessionFacts | undefined): Diagnosis {
  const { causeClass } = classify(failure);
  const status = statusUnder(facts?.requirement, failure);
  return {
    failure,
    host: facts?.candidate.host,
    address: facts?.address ?? facts?.candidate.address,
    status,
    causeClass,
    requirement: facts?.requirement,
  };
}

/** One outcome for sessions that all ended early. */
function overall(results: readonly SessionResult[]): Outcome {
  const early = results.filter((result) => result.kind === 'ended-early');
  // A host that was good enough for MAIL and refused it for good ended the walk: it has decided,
  // whatever became of the hosts before it.
  const last = early.at(-1);
  if (last && isRefusedMail(last.failure)) return failed(last.failure, last.facts);
  // RFC 8689 §4.2.1: hosts that are not the domain's do not count once its own have all said no.
  const isTagged = early.some(({ failure }) => isCause(failure, 'requiretls-unsupported'));
  const temporary = early.filter(
    ({ failure }) =>
      !classify(failure).permanent && !(isTagged && isCause(failure, 'mx-outside-policy')),
  );
  const telling =
    temporary.find(({ failure }) => classify(failure).causeClass === 'tlsPolicy') ??
    temporary.at(-1) ??
    early.findLast(({ failure }) => classify(failure).permanent) ??
    early.at(-1);
  if (!telling) return failed(localFailure('timeout', 'the attempt ran out of time'), undefined);
  const outcome = failed(telling.failure, telling.facts);
  if (early.length < 2 || outcome.kind === 'delivered' || telling.failure.kind === 'reply')
    return outcome;
  const also = early.filter((result) => result !== telling).map(describeEarly);
  const detail = `${telling.failure.detail}; also tried: ${[...new Set(also)].slice(0, 5).join('; ')}`;
  const failure = { ...telling.failure, detail };
  return { ...outcome, diagnosis: { ...outcome.diagnosis, failure } };
}

function isCause(failure: Failure, cause: LocalCause): boolean {
  return failure.kind === 'local' && failure.cause === cause;
}

function isRefusedMail(failure: Failure): boolean {
  return failure.kind === 'reply' && failure.stage === 'mail' && classify(failure).permanent;
}

function describeEarly({ facts, failure }: SessionResult & { kind: 'ended-early' }): string {
  const where = facts.candidate.host ?? facts.address ?? 'a host';
  const text =
    failure.kind === 'reply' ? `${failure.reply.code} ${failure.reply.text}` : failure.cause;
  return `${where}: ${text}`.slice(0, 200);
}
