/**
 * Hands a report that is made to those who want it: by mail through the queue, or by POST (RFC 8460 §3, §5.3,
 * §5.4); and keeps what became of each copy, on disk before the next step.
 */
import { newMessageId } from '../mail/message-id.ts';
import {
  isFinal,
  type ReportState,
  type ReportTarget,
  retryAt,
  withTarget,
} from './report-state.ts';
import { mailboxOf } from './rua.ts';
import type { ReportCopy, ReportJob, SendReportParts } from './send-parts.ts';

type Parts = SendReportParts & { readonly signal: AbortSignal };

/** RFC 8460 §3: to each of them, as far as it gets now: mail first, then all POSTs side by side. */
export async function handOn(
  begun: ReportState,
  job: ReportJob,
  parts: Parts,
): Promise<ReportState> {
  const copy = await copyOf(job, parts);
  const latest = () => parts.states.get(job.day, job.domain) ?? begun;
  const [posts, mails] = [
    begun.targets.filter(isPost),
    begun.targets.filter((one) => !isPost(one)),
  ];
  for (const { rua } of mails) await handOne(latest(), { rua, job, copy, parts });
  const posted = await Promise.allSettled(
    posts.map(({ rua }) => handOne(latest(), { rua, job, copy, parts })),
  );
  for (const one of posted) if (one.status === 'rejected') throw one.reason;
  return latest();
}

function isPost({ rua }: ReportTarget): boolean {
  return /^https:/i.test(rua);
}

interface OneTarget extends Handing {
  readonly rua: string;
  readonly job: ReportJob;
}

async function handOne(state: ReportState, { rua, job, copy, parts }: OneTarget): Promise<void> {
  const { day, domain } = job;
  // As it is by now: what was queued may have been delivered meanwhile.
  const target = state.targets.find((one) => one.rua === rua);
  if (!target || isFinal(target) || (target.nextAtMs ?? 0) > parts.clock.now()) return;
  parts.signal.throwIfAborted();
  // A reload may have changed it.
  if (parts.isExcluded(rua)) {
    await settleTarget(state, { ...target, state: 'excluded' }, { day, parts });
    return;
  }
  // `handing-over` here: the disk did not take it, so nothing was queued.
  const suspension = job.anew ? undefined : parts.suspensions.of({ domain, rua });
  if (suspension && target.attempts === 0) {
    const until = new Date(suspension.untilMs).toISOString();
    const reason = `not tried before ${until}: ${suspension.reason}`;
    await settleTarget(state, { ...target, state: 'suspended', reason }, { day, parts });
  } else if (isPost(target)) await postTo(state, target, { copy, parts });
  else await mailTo(state, target, { copy, parts });
}

/** As it was made; anew where another node made it, or somebody removed it. */
async function copyOf({ day, domain }: ReportJob, { files, make }: Parts): Promise<ReportCopy> {
  const [gzip, report] = [await files.read(day, domain), await files.report(day, domain)];
  if (gzip && report) return { day, domain, report, gzip };
  const made = await make(day, domain);
  if (!made) throw new Error(`the report for ${domain} of ${day} is gone, and its counts, too`);
  return { day, domain, report: made.report, gzip: await files.write(day, domain, made.report) };
}

interface Handing {
  readonly copy: ReportCopy;
  readonly parts: Parts;
}

async function postTo(
  state: ReportState,
  target: ReportTarget,
  { copy, parts }: Handing,
): Promise<ReportState> {
  const { day, gzip } = copy;
  const handed = await parts.post(target.rua, gzip, parts.signal);
  if (handed.ok) return settleTarget(state, arrived(target, 'posted'), { day, parts });
  parts.signal.throwIfAborted();
  const { reason, permanent = false } = handed;
  if (!permanent) return failedOnce(state, { target, reason }, { copy, parts });
  const failed = { ...target, state: 'failed', attempts: target.attempts + 1, reason } as const;
  return settleTarget(state, failed, { day, parts });
}

async function mailTo(
  state: ReportState,
  target: ReportTarget,
  { copy, parts }: Handing,
): Promise<ReportState> {
  const { day } = copy;
  const missing = parts.missingForMail();
  if (missing !== undefined) {
    const reason = `no report leaves by mail without ${missing}`;
    return settleTarget(state, { ...target, state: 'not-mailed', reason }, { day, parts });
  }
  if (!(await parts.canSign())) {
    // Somebody may mend the key; and no place is to blame for it.
    const reason = 'no report leaves by mail without a dkim key that works';
    return failedOnce(state, { target, reason, endsAs: 'not-mailed' }, { copy, parts });
  }
  const mailbox = mailboxOf(target.rua);
  if (mailbox === undefined) {
    const reason = 'there is no mailbox in it';
    return settleTarget(state, { ...target, state: 'failed', reason }, { day, parts });
  }
  const id = newMessageId(parts.clock.now());
  const begun = { ...target, state: 'handing-over', messageId: id } as const;
  // On disk before the message is: a start finds both, or neither.
  const latest = parts.states.get(day, state.domain) ?? state;
  let now = await keep(day, withTarget(latest, begun), parts);
  try {
    await parts.mail({ ...copy, mailbox, rua: target.rua, id }, async () => {
      now = await settleTarget(now, arrived(begun, 'queued'), { day, parts });
    });
    return now;
  } catch (error) {
    const { rua, attempts, firstAtMs, atMs } = target;
    const again: ReportTarget = { rua, state: 'waiting', attempts, firstAtMs, atMs };
    const reason = (error as Error).message;
    // A full disk, a key that cannot be read.
    return failedOnce(now, { target: again, reason, isOwnFault: true }, { copy, parts });
  }
}

function arrived(target: ReportTarget, state: 'posted' | 'queued'): ReportTarget {
  return {
    ...target,
    ...{ state, attempts: target.attempts + 1, nextAtMs: undefined, reason: undefined },
  };
}

interface FailedAttempt {
  readonly target: ReportTarget;
  readonly reason: string;
  /** What becomes of it after the last attempt. */
  readonly endsAs?: 'failed' | 'not-mailed';
  /** It failed here, not there: nothing is held against the place. */
  readonly isOwnFault?: boolean;
}

/** RFC 8460 §5.5: tried again for a day. */
async function failedOnce(
  state: ReportState,
  { target, reason, endsAs = 'failed', isOwnFault = false }: FailedAttempt,
  { copy, parts }: Handing,
): Promise<ReportState> {
  const { day } = copy;
  const nowMs = parts.clock.now();
  const attempts = target.attempts + 1;
  const firstAtMs = target.firstAtMs ?? nowMs;
  const nextAtMs = retryAt(attempts, firstAtMs, nowMs);
  const tried = { ...target, attempts, firstAtMs, nextAtMs, reason };
  const isGivenUp = nextAtMs === undefined;
  const changed = { ...tried, state: isGivenUp ? endsAs : 'waiting' } as const;
  return settleTarget(state, changed, { day, parts, isOwnFault });
}

interface Settling {
  readonly day: string;
  readonly parts: SendReportParts;
  /** It failed here, not there: nothing is held against the place. */
  readonly isOwnFault?: boolean;
}

/** A target has another state: kept, told, and remembered for later reports to the same place. */
export async function settleTarget(
  state: ReportState,
  target: ReportTarget,
  { day, parts, isOwnFault = false }: Settling,
): Promise<ReportState> {
  const { clock, events, suspensions, states } = parts;
  const { domain } = state;
  const changed = { ...target, atMs: clock.now() };
  // Meanwhile another target may have changed.
  const latest = states.get(day, domain) ?? state;
  const now = await keep(day, withTarget(latest, changed), parts);
  events.target(day, domain, changed);
  if (changed.state === 'posted' || changed.state === 'delivered') {
    await suspensions.arrived({ domain, rua: changed.rua });
  }
  if (changed.state === 'failed' && !isOwnFault) {
    const { reason = '', rua } = changed;
    const suspension = await suspensions.failed({ domain, rua }, { day, reason });
    if (suspension) {
      const { failures, untilMs } = suspension;
      events.suspended(domain, { rua, failures, until: new Date(untilMs).toISOString(), reason });
    }
  }
  return now;
}

/** On disk first; Redis gets it when it is there. Rejects with the system's error. */
export async function keep(
  day: string,
  state: ReportState,
  parts: SendReportParts,
): Promise<ReportState> {
  try {
    await parts.states.put(day, state);
  } catch (error) {
    parts.events.stateDelayed(day, state.domain, error as Error);
    throw error;
  }
  await parts.shared
    ?.putState(day, state)
    .catch((error: Error) => parts.events.stateDelayed(day, state.domain, error));
  return state;
}
