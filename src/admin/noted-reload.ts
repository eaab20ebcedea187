/**
 * Who had the configuration read again is in the audit log, like every other change: over the API, and by a signal, of which
 * nobody knows who sent it.
 */
import type { AuditLog } from './audit.ts';
import type { ReloadResult } from './relay-routes.ts';

/** Rejects with the system's error, and reloads nothing, where it cannot be noted. */
export async function reloadNoted(
  audit: Pick<AuditLog, 'during'>,
  actor: string,
  reload: () => Promise<ReloadResult>,
): Promise<ReloadResult> {
  const noted = { actor, action: 'relay.reload', target: 'configuration' };
  const made = await audit.during(noted, async () => {
    const result = await reload();
    return { ok: result.ok, error: result.ok ? '' : result.problems.join('; '), result };
  });
  return made.result;
}

/** Nobody could be told that it did not happen: what cannot be noted (`onError`) is done all the same. */
export async function reloadBySignal(
  audit: Pick<AuditLog, 'during'>,
  reload: () => Promise<ReloadResult>,
  onError: (error: Error) => void,
): Promise<void> {
  let isBegun = false;
  const begin = () => {
    isBegun = true;
    return reload();
  };
  try {
    await reloadNoted(audit, 'SIGHUP', begin);
  } catch (error) {
    onError(error as Error);
    if (!isBegun) await reload();
  }
}
