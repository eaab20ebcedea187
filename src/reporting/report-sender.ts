/**
 * Sends the reports in rounds, half a minute apart, some at once (RFC 8460 §5): those whose time has come
 * (report-plan.ts). A round begins while reports of earlier ones are still under way. A relay that was away catches up with the days of the last week.
 *
 * With other nodes on the same Redis a round shares what this node counted first, and the reports of a day
 * wait for the counts of all of them, for an hour at most; who comes later is noted, and its counts are in no
 * report. While Redis is away nothing is sent: nobody could say whether another node did.
 *
 * What fails is told, and tried again by the next round.
 */
import type { MessageId } from '../mail/message-id.ts';
import type { Clock } from '../platform/clock.ts';
import { utcDay } from './collect.ts';
import type { DayTally } from './day-tally.ts';
import { settleTarget } from './hand-on.ts';
import { NodeShare } from './node-share.ts';
import type { ReportFiles } from './report-files.ts';
import { type DayPlan, endOf, oldestToSend, ReportPlan } from './report-plan.ts';
import {
  isOver,
  isQueuedElsewhere,
  type ReportState,
  type ReportTarget,
  withTarget,
} from './report-state.ts';
import type { ReportStates } from './report-states.ts';
import type { ReportJob, SendReportParts } from './send-parts.ts';
import { previewReport, sendReport } from './send-report.ts';
import type { SharedReports } from './shared-reports.ts';
import { Turns } from './turns.ts';

export interface ReportSenderEvents {
  /** A round came to nothing, and is made again. */
  roundFailed(error: Error): void;
  /** Sending one report came to nothing, and is tried again. */
  sendFailed(day: string, domain: string, error: Error): void;
  /** Nodes were awaited in vain: what they counted later is in no report. */
  nodesMissing(day: string, nodes: readonly string[]): void;
  /** This node counted something that is not in the report that another one sent. */
  lateCounts(day: string, domain: string): void;
}

export interface ReportSenderParts extends SendReportParts {
  readonly settings: () => {
    readonly enabled: boolean;
    /** After midnight, UTC; ms. */
    readonly sendAfter: number;
    readonly sendWindow: number;
    readonly keep: number;
    readonly exclude: readonly string[];
  };
  /** What this node counted. */
  readonly counts: {
    days(): Promise<readonly string[]>;
    tallyOf(day: string): Promise<DayTally>;
  };
  readonly isExcludedDomain: (domain: string) => boolean;
  readonly states: ReportStates;
  readonly files: ReportFiles;
  readonly shared?: SharedReports | undefined;
  readonly events: SendReportParts['events'] & ReportSenderEvents;
  readonly clock: Clock;
}

/** How the mail that carried a report ended. */
export interface MailEnding {
  /** Absent: it was delivered. */
  readonly failure?: string;
  /** What failed is this relay, or an administrator gave it up: nothing is held against the place. */
  readonly isOwnFault?: boolean;
}

/** What an administrator who asks for the reports of a day is told about one. */
export interface SendAnswer {
  readonly domain: string;
  /** As it is now; of a dry run, as it would be when sending begins. Undefined: another node is at it. */
  readonly state: ReportState | undefined;
  /** What would be done, or was: false where nothing is left to do. */
  readonly sends: boolean;
  /** Sending it came to nothing, and is tried again: why. */
  readonly error?: string;
}

const ROUND_MS = 30_000;
const DAY_MS = 86_400_000;
/** How long the reports of a day wait for the counts of other nodes. */
const GRACE_MS = 3_600_000;
/** Reports that are sent at once; most wait for somebody's host. */
const AT_ONCE = 32;
/** After something failed that is nobody's fault outside. */
const AGAIN_MS = 60_000;
/** For one report, its POSTs included. */
const PATIENCE_MS = 150_000;

export class ReportSender {
  readonly #parts: ReportSenderParts;
  readonly #ending = new AbortController();
  readonly #plan: ReportPlan;
  readonly #share: NodeShare | undefined;
  readonly #toldMissing = new Set<string>();
  /** Reports that are being sent: by a round, or because somebody asks. */
  readonly #underWay = new Map<string, Promise<unknown>>();
  /** What rounds have begun and not ended, waiting for its turn included. */
  readonly #begun = new Set<string>();
  readonly #turns = new Turns(AT_ONCE);
  #cleanedOn = '';
  /** Rounds fail: told once. */
  #isFailing = false;
  #cancel: () => void = () => {};
  #round: Promise<unknown> = Promise.resolve();

  constructor(parts: ReportSenderParts) {
    this.#parts = parts;
    this.#plan = new ReportPlan(parts);
    const { shared, clock } = parts;
    const oldest = () => oldestToSend(clock.now());
    this.#share = shared && new NodeShare({ ...parts, shared, oldest });
  }

  /**
   * What a crash left half done: mail that was about to be queued was, where the spool has it; mail that was
   * queued here and is not there any more has ended. To be called before the queue begins. Rejects with the
   * system's error.
   */
  async resume(isInSpool: (id: MessageId) => Promise<boolean>): Promise<void> {
    const { states, clock, node } = this.#parts;
    for (const [day, known] of states.recent()) {
      for (const state of known.values()) {
        for (const target of state.targets) {
          const isOurs = state.node === node && !isQueuedElsewhere(target);
          if (target.state !== 'handing-over' && !(target.state === 'queued' && isOurs)) continue;
          const { messageId } = target;
          const isThere = messageId !== undefined && (await isInSpool(messageId));
          const resumed = resumedTarget(target, isThere, clock.now());
          if (resumed === target) continue;
          await states.put(day, withTarget(states.get(day, state.domain) ?? state, resumed));
        }
      }
    }
  }

  /** Begin with the rounds; other nodes hear at once that this one is there, and has counts to wait for. */
  start(): void {
    const isOn = this.#parts.settings().enabled && !this.#ending.signal.aborted;
    if (isOn) this.#round = this.#round.then(() => this.#share?.share()).catch(() => {}); // a round tells
    this.#next();
  }

  #next(): void {
    if (this.#ending.signal.aborted) return;
    this.#cancel = this.#parts.clock.after(ROUND_MS, () => {
      void this.#begin().then(() => this.#next());
    });
  }

  /** One round: share, and send what is due. Never rejects. */
  async round(): Promise<void> {
    const begun = await this.#begin();
    await Promise.all(begun);
  }

  /** What a round began, none of which rejects: the next one does not wait for it. Never rejects. */
  #begin(): Promise<readonly Promise<void>[]> {
    const mine = this.#round.then(async () => {
      const begun: Promise<void>[] = [];
      if (!this.#parts.settings().enabled) return begun;
      try {
        await this.#share?.share();
        await this.#removeOld();
        for (const day of await this.#plan.days()) begun.push(...(await this.#sendDue(day)));
        this.#isFailing = false;
      } catch (error) {
        const isTold = this.#isFailing || this.#ending.signal.aborted;
        if (!isTold) this.#parts.events.roundFailed(error as Error);
        this.#isFailing = true;
      }
      return begun;
    });
    this.#round = mine;
    return mine;
  }

  /** The end of the mail that carried a report. */
  async mailEnded(id: MessageId, ending: MailEnding): Promise<void> {
    const { states, shared, node } = this.#parts;
    const mailed = states.ofMail(id);
    const target = mailed?.state.targets.find(({ messageId }) => messageId === id);
    if (!mailed || !target) return;
    const { failure, isOwnFault = false } = ending;
    const changed: ReportTarget =
      failure === undefined
        ? { ...target, state: 'delivered' }
        : { ...target, state: 'failed', reason: failure };
    const { day, state } = mailed;
    // Another node may have gone on with the other copies: what it says stays.
    const told = await shared?.state(day, state.domain).catch(() => undefined);
    const isOurs = told === undefined || told.node === node;
    const parts = isOurs ? this.#parts : { ...this.#parts, shared: undefined };
    await settleTarget(state, changed, { day, parts, isOwnFault }).catch(() => {}); // told
  }

  /**
   * Send the reports of an ended day now, those that came to nothing included; what has gone is not repeated. A
   * dry run changes nothing. What came to nothing for one domain is in its answer, and stops no other. Rejects
   * while other nodes may not have said what they sent, or Redis is away.
   */
  async sendNow(
    day: string,
    domains: readonly string[],
    { dryRun }: { readonly dryRun: boolean },
  ): Promise<readonly SendAnswer[]> {
    const { states } = this.#parts;
    const turns = new Turns(AT_ONCE);
    const without = dryRun ? [] : await this.#readyToSend(day);
    const sendOne = async (domain: string): Promise<SendAnswer> => {
      const job = { day, domain, without, anew: true };
      try {
        const before = await previewReport(job, this.#parts, this.#ending.signal);
        if (isOver(before) || dryRun) return { domain, sends: !isOver(before), state: before };
        await this.#sendOne(job, { rejects: true });
        return { domain, sends: true, state: states.get(day, domain) };
      } catch (error) {
        const { message } = error as Error;
        return { domain, sends: true, state: states.get(day, domain), error: message };
      }
    };
    const answers = await Promise.all(domains.map((domain) => turns.run(() => sendOne(domain))));
    return answers.sort((a, b) => (a.domain < b.domain ? -1 : 1));
  }

  /** What is under way is cut short; what is counted is shared. Never rejects. */
  async stop(): Promise<void> {
    this.#cancel();
    this.#ending.abort(new Error('the relay is stopping'));
    await this.#round;
    await this.#turns.idle();
  }

  /** Everything of this node is in Redis, as far as it is there: others need not wait. Never rejects. */
  async leave(): Promise<void> {
    await this.#share?.leave().catch(() => {}); // they wait, then
  }

  /** Nodes that are not awaited any more, when all others have said what they counted and sent. */
  async #readyToSend(day: string): Promise<readonly string[]> {
    await this.#share?.share();
    const awaited = await this.#awaited(day);
    const isEarly = this.#parts.clock.now() < endOf(day) + GRACE_MS;
    if (this.#share?.isRecalling || (awaited.length > 0 && isEarly)) {
      const who = awaited.length > 0 ? awaited.join(', ') : 'other nodes';
      throw new Error(`${who} may not have said yet what they counted and sent; try again later`);
    }
    return awaited;
  }

  async #removeOld(): Promise<void> {
    const { states, files, clock, settings } = this.#parts;
    const today = utcDay(clock.now());
    if (this.#cleanedOn === today) return;
    const oldest = utcDay(clock.now() - settings().keep - DAY_MS);
    // What has gone is known for as long as it could be sent again, whatever `keep` says.
    const toSend = oldestToSend(clock.now());
    const [oldestState = toSend] = [oldest, toSend].sort();
    await states.removeBefore(oldestState, toSend);
    await files.removeBefore(oldest);
    this.#cleanedOn = today;
  }

  /** Begin with what is due and not under way. Rejects as Redis does. */
  async #sendDue(day: string): Promise<readonly Promise<void>[]> {
    const { clock, isExcludedDomain } = this.#parts;
    const due = await this.#plan.of(day);
    // Excluded meanwhile: a plan holds for an hour.
    const domains = [...due].flatMap(([domain, atMs]) => {
      const isDue = atMs <= clock.now() && !this.#begun.has(`${day} ${domain}`);
      return isDue && !isExcludedDomain(domain) ? [domain] : [];
    });
    if (domains.length === 0 || this.#share?.isRecalling) return [];
    const without = await this.#awaited(day);
    return domains.flatMap((domain) => {
      const dueMs = this.#plan.dueAt(day, domain);
      if (without.length > 0 && clock.now() < dueMs + GRACE_MS) return [];
      if (without.length > 0) this.#tellMissing(day, without);
      return [this.#sendPlanned({ day, domain, without }, due)];
    });
  }

  /** In its turn. Never rejects. */
  async #sendPlanned(job: ReportJob, due: DayPlan): Promise<void> {
    const { day, domain } = job;
    const key = `${day} ${domain}`;
    this.#begun.add(key);
    try {
      await this.#turns.run(async () => {
        if (this.#ending.signal.aborted || this.#parts.isExcludedDomain(domain)) return;
        const next = await this.#sendOne(job);
        if (next === undefined) due.delete(domain);
        else due.set(domain, next);
      });
    } finally {
      this.#begun.delete(key);
    }
  }

  /** One after the other, where somebody asks for what a round is sending. */
  #sendOne(job: ReportJob, options: { readonly rejects?: boolean } = {}) {
    const key = `${job.day} ${job.domain}`;
    const before = this.#underWay.get(key) ?? Promise.resolve();
    const mine = before.catch(() => {}).then(() => this.#sendNext(job, options));
    this.#underWay.set(key, mine);
    const end = () => {
      if (this.#underWay.get(key) === mine) this.#underWay.delete(key);
    };
    mine.then(end, end);
    return mine;
  }

  async #sendNext(
    job: ReportJob,
    { rejects = false }: { readonly rejects?: boolean },
  ): Promise<number | undefined> {
    const { clock, events, states, node } = this.#parts;
    const { day, domain } = job;
    const patience = new AbortController();
    const cancel = clock.after(PATIENCE_MS, () => patience.abort(new Error('it took too long')));
    const signal = AbortSignal.any([this.#ending.signal, patience.signal]);
    try {
      const next = await sendReport(job, this.#parts, signal);
      const state = states.get(day, domain);
      const isLate = state?.outcome === 'elsewhere' && !state.nodes.includes(node);
      if (isLate && (await this.#parts.counts.tallyOf(day)).domains().includes(domain)) {
        events.lateCounts(day, domain);
      }
      return next;
    } catch (error) {
      if (rejects) throw error;
      if (!this.#ending.signal.aborted) events.sendFailed(day, domain, error as Error);
      return clock.now() + AGAIN_MS;
    } finally {
      cancel();
    }
  }

  async #awaited(day: string): Promise<readonly string[]> {
    return (await this.#parts.shared?.awaited(day)) ?? [];
  }

  #tellMissing(day: string, nodes: readonly string[]): void {
    const key = `${day} ${nodes.join()}`;
    if (this.#toldMissing.has(key)) return;
    this.#toldMissing.add(key);
    this.#parts.events.nodesMissing(day, nodes);
  }
}

function resumedTarget(target: ReportTarget, isInSpool: boolean, atMs: number): ReportTarget {
  const { rua, messageId, attempts, firstAtMs, state } = target;
  if (state === 'queued') {
    if (isInSpool) return target;
    // Its end was on record in the spool, and not here: most are delivered.
    const reason = 'it left the queue before a crash; the log says how';
    return { ...target, state: 'delivered', atMs, reason };
  }
  return isInSpool
    ? { rua, state: 'queued', messageId, attempts: attempts + 1, firstAtMs, atMs }
    : { rua, state: 'waiting', attempts, firstAtMs, atMs };
}
