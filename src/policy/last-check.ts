/**
 * RFC 8461 §5.1: before a policy makes a message fail for good, it is checked for a newer one.
 */
import type { DomainName } from '../protocol/domain.ts';
import type { PolicyEvents } from '../telemetry/policy-events.ts';
import type { RefreshResult } from './sts-refresh.ts';

/**
 * `changed`: another policy is in force than the one given, or none any more. `unchecked`: neither
 * DNS nor the policy host said whether there is a newer one.
 */
export type PolicyCheck = 'changed' | 'unchanged' | 'unchecked';

/** The policy that an attempt was made under. */
export interface PolicyUsed {
  readonly domain: DomainName;
  /** As published. */
  readonly text: string;
}

export interface LastCheckParts {
  readonly refresh: (domain: DomainName, signal: AbortSignal) => Promise<RefreshResult>;
  readonly events: PolicyEvents;
}

/** See whether the policy `used` is still the latest. Never rejects. */
export async function checkPolicy(
  { domain, text }: PolicyUsed,
  { refresh, events }: LastCheckParts,
  signal: AbortSignal,
): Promise<PolicyCheck> {
  try {
    const result = await refresh(domain, signal);
    // Not against what was kept before the refresh: others may have fetched it during the attempt.
    if (result.kept?.policy.text !== text) return 'changed';
    // What the policy host said just now is later than any id in DNS.
    if (result.kind === 'refreshed') return 'unchanged';
    const why = whyUnknown(result);
    if (why === undefined) return 'unchanged';
    events.lastCheckFailed(domain, why);
  } catch (error) {
    events.lastCheckFailed(domain, (error as Error).message);
  }
  return 'unchecked';
}

/** Without an answer of the policy host: why there may be a newer policy than the one in force. */
function whyUnknown({ live, kept }: RefreshResult): string | undefined {
  if (live?.kind === 'failed') return live.detail;
  if (live?.kind !== 'record' || live.id === kept?.id) return undefined;
  return `the record names another policy (id ${live.id}), which cannot be fetched`;
}
