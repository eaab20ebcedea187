/**
 * What stands between a delivery and its next attempt, in sentences for people, with the facts beside
 * them for programs.
 */
import type { Hold } from '../mail/hold.ts';
import type { Barrier, QueueState } from '../queue/gates.ts';

export interface BarrierView {
  /** `hold`, `backoff`, `node`, `pause`, `breaker`, `rate`, `connections`, `turn` */
  readonly kind: Barrier['kind'];
  /** A sentence, or two. */
  readonly text: string;
  /** RFC 3339, UTC: when it is over, or is looked at again; absent: nobody knows. */
  readonly until?: string;
}

/** RFC 3339, to the second. */
export function instant(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 19)}Z`;
}

export function viewOfBarrier(barrier: Barrier): BarrierView {
  const until = untilOf(barrier);
  const view = { kind: barrier.kind, text: textOf(barrier) };
  return until === undefined ? view : { ...view, until: instant(until) };
}

/** When what waits is attempted: what stands first in its way says so where something does. Absent: nobody knows, or it is due. */
export function nextAttemptOf(
  { state, nextAttemptMs }: { readonly state: QueueState; readonly nextAttemptMs: number },
  barriers: readonly BarrierView[],
): string | undefined {
  if (state === 'delayed') return instant(nextAttemptMs);
  return state === 'parked' ? barriers[0]?.until : undefined;
}

/** The same of the first of a lane's; where one is due, or attempted, that is now. */
export function nextOfLane(
  { active, due, parked }: Readonly<Record<QueueState, number>>,
  nextMs: number | undefined,
  closedBy: readonly BarrierView[],
): string | undefined {
  if (active + due > 0) return undefined;
  if (parked > 0) return closedBy[0]?.until;
  return nextMs === undefined ? undefined : instant(nextMs);
}

function untilOf(barrier: Barrier): number | undefined {
  switch (barrier.kind) {
    case 'hold':
      return barrier.hold.untilMs;
    case 'backoff':
    case 'rate':
      return barrier.untilMs;
    case 'pause':
      return barrier.pause.expires;
    case 'breaker':
      // While one is tried nobody knows how long that takes.
      return barrier.state === 'open' ? barrier.probeAtMs : undefined;
    default:
      return undefined;
  }
}

function textOf(barrier: Barrier): string {
  switch (barrier.kind) {
    case 'hold':
      return describeHold(barrier.hold);
    case 'backoff':
      return describeBackoff(barrier);
    case 'node':
      return `It is due, but ${barrier.trouble}; \`stsrelay status\` and the log (queue.node_taken) say more.`;
    case 'pause': {
      const { domain, reason, pausedAt, expires } = barrier.pause;
      const end = expires === undefined ? 'until `domain resume`' : `until ${instant(expires)}`;
      return `Delivery to ${domain} is paused since ${instant(pausedAt)}, ${end}${because(reason)}.`;
    }
    case 'breaker': {
      const { site, state, sinceMs, probeAtMs, failures, lastFailure } = barrier;
      const when = state === 'open' ? `From ${instant(probeAtMs)} on` : 'Now';
      return (
        `The hosts of this destination (${site}) cannot be reached since ${instant(sinceMs)}, ` +
        `${failures} attempts in a row. ${when} the next message that is due is tried, all others wait for that. ` +
        `Last: ${lastFailure}`
      );
    }
    case 'rate': {
      const { rate, site, untilMs } = barrier;
      const whose = site === undefined ? 'of this destination' : `of its hosts (${site})`;
      return `The rate ${whose}, ${rate}, is used up until ${instant(untilMs)}.`;
    }
    case 'connections':
      return (
        `All connections that ${barrier.site} may have at once are busy; ` +
        `${barrier.due} deliveries for this destination are due.`
      );
    case 'turn':
      return barrier.redisIsAway
        ? 'It is due; Redis is away, which hands out the turns. Nothing is lost meanwhile.'
        : 'It is due and is attempted as soon as its turn comes round.';
  }
}

const SCHEDULES = {
  domain: 'the schedule of this domain (retry.domains)',
  default: 'the schedule of all mail (retry.schedule)',
};

function describeBackoff({
  untilMs,
  attempts,
  causeClass,
  schedule,
}: Barrier & { kind: 'backoff' }) {
  const whose =
    schedule === 'class'
      ? `the schedule for this cause (retry.classes.${causeClass})`
      : SCHEDULES[schedule];
  if (attempts === 0) return `Its first attempt is at ${instant(untilMs)}.`;
  const made = attempts === 1 ? 'one attempt' : `${attempts} attempts`;
  return `After ${made} it waits until ${instant(untilMs)}, by ${whose}.`;
}

function describeHold({ reason, by, sinceMs, untilMs, rule }: Hold): string {
  const what = rule === undefined ? 'It is held' : `It is held by a rule (${rule})`;
  const end = untilMs === undefined ? 'until it is released' : `until ${instant(untilMs)}`;
  return `${what} since ${instant(sinceMs)} by ${by}, ${end}${because(reason)}. Meanwhile it does not expire.`;
}

function because(reason: string): string {
  return reason === '' ? '' : `: ${reason.replace(/\.$/, '')}`;
}
