/**
 * Sends the report of one day for one policy domain, as far as it gets now (RFC 8460 §3, §5):
 *
 *   ask      the record at _smtp._tls of the domain: who wants it
 *   make     the report, once; what is sent again is the same
 *   hand on  to every rua: by mail through the queue, or by POST
 *
 * Each step is on disk before the next: a crash repeats no mail, since the id that it is queued under is
 * recorded first, and the spool says whether it was. A POST that was answered and not recorded is made
 * again: HTTP has no way to ask. The report-id tells the receiver that it is the same report (RFC 8460 §5.3).
 *
 * With other nodes on the same Redis the one that takes the lease sends; what it did is in Redis for them.
 */
import { discoverTlsRptRecord } from '../protocol/tlsrpt/record.ts';
import { handOn, keep } from './hand-on.ts';
import {
  isFinal,
  isOver,
  nextAt,
  type ReportState,
  type ReportTarget,
  retryAt,
} from './report-state.ts';
import type { ReportJob, SendReportParts } from './send-parts.ts';

/** Another node has the lease, or Redis is away: look again. */
const LOOK_AGAIN_MS = 300_000;

/** When to go on, ms; undefined when nothing is left to do. Rejects when disk or Redis do not work. */
export async function sendReport(
  job: ReportJob,
  parts: SendReportParts,
  signal: AbortSignal,
): Promise<number | undefined> {
  const { clock, shared } = parts;
  const { day, domain } = job;
  const open = async () => {
    const known = await knownState(job, parts);
    return job.anew ? openedAnew(known, parts) : known;
  };
  let state = await open();
  if (isOver(state)) return undefined;
  if (shared) {
    if (!(await shared.take(day, domain))) return clock.now() + LOOK_AGAIN_MS;
    state = await open(); // as it is when nobody else is at it
    if (isOver(state)) return undefined;
  }
  if (job.anew) state = await keep(day, state, parts);
  if (state.outcome === 'asking') state = await ask(state, job, { ...parts, signal });
  if (state.outcome === 'sending') state = await handOn(state, job, { ...parts, signal });
  return nextAt(state);
}

type Parts = SendReportParts & { readonly signal: AbortSignal };

/** What is on disk here, or what another node says of it. */
async function knownState(
  { day, domain }: ReportJob,
  parts: SendReportParts,
): Promise<ReportState> {
  const { states, shared, node, clock } = parts;
  const own = states.get(day, domain);
  if (own && isOver(own) && own.outcome !== 'gave-up') return own;
  const told = await shared?.state(day, domain);
  if (told && told.node !== node) {
    if (!isOver(told)) return adopted(told, own, parts);
    const { nodes, without } = told;
    const over = { domain, node: told.node, outcome: 'elsewhere', nodes, without } as const;
    const { targets = [] } = own ?? {};
    const state: ReportState = { ...over, atMs: clock.now(), attempts: 0, targets };
    await states.put(day, state);
    return state;
  }
  if (own) return own;
  const fresh = { domain, node, outcome: 'asking', attempts: 0 } as const;
  return { ...fresh, atMs: clock.now(), nodes: [], without: [], targets: [] };
}

/**
 * Another node went on with it last, and has let go of it: what it was about to queue is in its spool. What
 * this one knows to be done is.
 */
function adopted(
  told: ReportState,
  own: ReportState | undefined,
  { node, clock }: SendReportParts,
): ReportState {
  const targets = told.targets.map((target): ReportTarget => {
    const known = own?.targets.find(({ rua }) => rua === target.rua);
    if (known && isFinal(known)) return known;
    if (target.state === 'queued') return { queuedBy: told.node, ...target };
    if (target.state !== 'handing-over') return target;
    const queued = { state: 'queued', queuedBy: told.node, atMs: clock.now() } as const;
    return { ...target, ...queued, reason: `queued by ${told.node}` };
  });
  return { ...told, node, targets };
}

/** What had no good end has another chance. */
function openedAnew(state: ReportState, { clock }: SendReportParts): ReportState {
  const nowMs = clock.now();
  if (state.outcome === 'gave-up') {
    return { ...state, outcome: 'asking', attempts: 0, firstAtMs: undefined, nextAtMs: undefined };
  }
  if (state.outcome === 'asking') return { ...state, nextAtMs: undefined };
  if (state.outcome === 'elsewhere') return state;
  const targets = state.targets.map((target): ReportTarget => {
    const { rua, state: before } = target;
    if (before === 'waiting') return { ...target, nextAtMs: undefined };
    const isOpen = before === 'failed' || before === 'suspended' || before === 'not-mailed';
    return isOpen ? { rua, state: 'waiting', atMs: nowMs, attempts: 0 } : target;
  });
  return { ...state, targets, outcome: targets.every(isFinal) ? 'done' : 'sending' };
}

async function ask(state: ReportState, job: ReportJob, parts: Parts): Promise<ReportState> {
  const { clock, events, signal } = parts;
  const { day, domain } = job;
  const nowMs = clock.now();
  if ((state.nextAtMs ?? 0) > nowMs) return state;
  const answer = await whoAsks(domain, parts);
  signal.throwIfAborted();
  if (answer.kind === 'failed') {
    const attempts = state.attempts + 1;
    const firstAtMs = state.firstAtMs ?? nowMs;
    const nextAtMs = retryAt(attempts, firstAtMs, nowMs);
    const tried = { ...state, attempts, firstAtMs, nextAtMs, atMs: nowMs, reason: answer.reason };
    if (nextAtMs !== undefined) return keep(day, tried, parts);
    events.gaveUp(day, domain, answer.reason);
    return keep(day, { ...tried, outcome: 'gave-up' }, parts);
  }
  if (answer.kind === 'none') return nobodyAsks(answer.detail);
  const made = await parts.make(day, domain);
  if (!made) return nobodyAsks('there was nothing to report');
  const { report, nodes } = made;
  const { without } = job;
  const gzip = await parts.files.write(day, domain, report);
  const facts = { day, domain, reportId: report['report-id'], octets: gzip.length, nodes, without };
  events.made(facts);
  const targets = targetsOf(answer.rua, parts);
  const outcome = targets.every(isFinal) ? 'done' : 'sending';
  const begun = { ...state, outcome, targets, nodes, without, atMs: nowMs } as const;
  const kept = await keep(day, begun, parts);
  for (const target of targets) if (isFinal(target)) events.target(day, domain, target);
  return kept;

  function nobodyAsks(reason: string): Promise<ReportState> {
    events.nobodyAsks(day, domain, reason);
    return keep(day, { ...state, outcome: 'nobody-asks', reason, atMs: nowMs }, parts);
  }
}

/** The record at _smtp._tls of the policy domain (RFC 8460 §3). */
async function whoAsks(domain: string, { lookupTxt, signal }: Parts) {
  const answer = await lookupTxt(`_smtp._tls.${domain}`, signal);
  if (answer.kind === 'failed') return answer;
  return discoverTlsRptRecord(answer.kind === 'found' ? answer.records : []);
}

function targetsOf(rua: readonly string[], parts: SendReportParts): readonly ReportTarget[] {
  const atMs = parts.clock.now();
  return [...new Set(rua)].map((one) => {
    const state = parts.isExcluded(one) ? 'excluded' : 'waiting';
    return { rua: one, state, atMs, attempts: 0 };
  });
}

/** What `sendReport` would begin with, were an administrator to ask: nothing is changed, and nobody told. */
export async function previewReport(
  job: ReportJob,
  parts: SendReportParts,
  signal: AbortSignal,
): Promise<ReportState> {
  const known = openedAnew(await knownState(job, { ...parts, states: inMemory(parts) }), parts);
  if (known.outcome !== 'asking') return known;
  const answer = await whoAsks(job.domain, { ...parts, signal });
  if (answer.kind === 'failed') return { ...known, reason: answer.reason };
  if (answer.kind === 'none') return { ...known, outcome: 'nobody-asks', reason: answer.detail };
  const missing = parts.missingForMail();
  const targets = targetsOf(answer.rua, parts).map((target): ReportTarget => {
    const isMail = !/^https:/i.test(target.rua);
    if (isFinal(target) || !isMail || missing === undefined) return target;
    return {
      ...target,
      state: 'not-mailed',
      reason: `no report leaves by mail without ${missing}`,
    };
  });
  return { ...known, outcome: targets.every(isFinal) ? 'done' : 'sending', targets };
}

function inMemory({ states }: SendReportParts): SendReportParts['states'] {
  return { get: (day, domain) => states.get(day, domain), put: async () => {} };
}
