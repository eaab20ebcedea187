/**
 * The policy cache of the running relay behind the PolicyAdmin port. What an administrator changes
 * is in the audit log.
 */
import type { Clock } from '../platform/clock.ts';
import type { LiveRecord } from '../policy/sts-live.ts';
import type { RefreshResult } from '../policy/sts-refresh.ts';
import type { StsRefresher } from '../policy/sts-refresher.ts';
import type { StsStore } from '../policy/sts-store.ts';
import type { DomainName } from '../protocol/domain.ts';
import type { PolicyEvents } from '../telemetry/policy-events.ts';
import type { AuditLog } from './audit.ts';
import { type PolicyAdmin, type PolicyView, type RefreshAnswer, viewOf } from './policies.ts';

export interface PolicyCacheParts {
  readonly store: StsStore;
  readonly refresher: StsRefresher;
  readonly refresh: (domain: DomainName, signal: AbortSignal) => Promise<RefreshResult>;
  readonly clock: Clock;
  readonly events: PolicyEvents;
  readonly audit: Pick<AuditLog, 'during'>;
}

export function createPolicyAdmin(parts: PolicyCacheParts): PolicyAdmin {
  const { store, refresher, refresh, clock, events, audit } = parts;

  async function show(domain: DomainName): Promise<PolicyView | undefined> {
    const entry = await store.get(domain);
    return entry && viewOf(entry, clock.now(), refresher.nextRefreshMs(domain));
  }

  return {
    async *list(after, isMeant = () => true) {
      await refresher.ready;
      const domains = refresher
        .domains()
        .filter((domain) => (after === undefined || domain > after) && isMeant(domain));
      for (const domain of domains.sort()) {
        // One that cannot be read is in the log, and must not hide the others.
        const view = await show(domain).catch(() => undefined);
        if (view) yield view;
      }
    },
    show,
    async refresh(domain, actor, signal) {
      const noted = { actor, action: 'policy.refresh', target: domain };
      const work = async () => {
        const before = await store.get(domain).catch(() => undefined);
        const result = await refresh(domain, signal);
        const view = await show(domain);
        const answer = { ...answerTo(result, before?.kept === undefined), ...(view && { view }) };
        return { ok: answer.ok, error: answer.text, answer };
      };
      const made = await audit.during(noted, work, ({ answer }) => ({ outcome: answer.text }));
      return made.answer;
    },
    async forget(domain, actor) {
      const noted = { actor, action: 'policy.forget', target: domain };
      const made = await audit.during(noted, async () => {
        const wasKnown = await store.forget(domain, { shared: true });
        if (wasKnown) events.forgotten(domain, 'admin');
        return { ok: wasKnown, error: 'nothing is known about it' };
      });
      return made.ok;
    },
  };
}

function answerTo(result: RefreshResult, isFirst: boolean): RefreshAnswer {
  if (result.kind !== 'failed') {
    const { changed, kept, live } = result;
    const what = kept ? `mode ${kept.policy.mode}, id ${kept.id}` : 'no policy';
    const how = changed ? (isFirst ? 'new' : 'changed') : 'unchanged';
    const but = live && live.kind !== 'record' ? missingRecord(live) : '';
    return { ok: true, changed, text: `${how}: ${what}${but}` };
  }
  const { reason, resultType, kept } = result;
  const why = resultType ? `${resultType}: ${reason}` : reason;
  const stays = kept
    ? `; the policy in force stays (mode ${kept.policy.mode}, id ${kept.id})`
    : '; no policy is in force';
  return { ok: false, changed: false, text: why + stays };
}

/** The policy host answers, and DNS does not name a policy: other senders see none. */
function missingRecord({ kind, detail }: Exclude<LiveRecord, { kind: 'record' }>): string {
  return kind === 'none'
    ? `; but there is no record at _mta-sts (${detail}): the policy stays until it expires`
    : `; but the record at _mta-sts could not be looked up (${detail})`;
}
