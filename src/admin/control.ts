/**
 * The control socket: the API of the running relay for the commands of the command line. Only the
 * relay's own user (and root) can open it.
 */
import { chmod, lstat, rm } from 'node:fs/promises';
import type { AuditLog } from './audit.ts';
import { addAuditRoutes } from './audit-routes.ts';
import { addDomainRoutes } from './domain-routes.ts';
import type { DomainAdmin } from './domains.ts';
import { closeApp, newApp } from './http-app.ts';
import { addOverrideRoutes } from './override-routes.ts';
import type { OverrideAdmin } from './overrides.ts';
import type { PolicyAdmin } from './policies.ts';
import { addPolicyRoutes } from './policy-routes.ts';
import { shortPath } from './socket-path.ts';
import type { RelayStatus } from './status.ts';

export type ReloadResult =
  /** Applied; `needRestart` names settings that take effect at the next start only. */
  | { readonly ok: true; readonly needRestart?: readonly string[] }
  | { readonly ok: false; readonly problems: readonly string[] };

export interface ControlOptions {
  /** A file left behind by a relay that is gone is removed; the data directory must be locked. */
  readonly socketPath: string;
  readonly status: () => Promise<RelayStatus>;
  readonly reload: () => Promise<ReloadResult>;
  readonly policies: PolicyAdmin;
  readonly overrides: OverrideAdmin;
  readonly domains: DomainAdmin;
  readonly audit: Pick<AuditLog, 'last'>;
}

/** Open the control socket, mode 0600. Rejects when its path cannot be used. */
export async function createControlServer(
  options: ControlOptions,
): Promise<{ readonly close: () => Promise<void> }> {
  const path = shortPath(options.socketPath);
  await removeStaleSocket(path);
  const app = newApp({ tellsErrors: true });
  app.get('/api/v1/status', async () => options.status());
  app.post('/api/v1/reload', async (_request, reply) => {
    const result = await options.reload();
    return reply.code(result.ok ? 200 : 422).send(result);
  });
  addPolicyRoutes(app, options.policies);
  addOverrideRoutes(app, options.overrides);
  addDomainRoutes(app, options.domains);
  addAuditRoutes(app, options.audit);
  await app.listen({ path });
  // Until here the mode of the data directory (0700) keeps others out.
  await chmod(path, 0o600);
  return {
    async close() {
      await closeApp(app);
      await rm(path, { force: true });
    },
  };
}

async function removeStaleSocket(path: string): Promise<void> {
  const found = await lstat(path).catch(() => undefined);
  if (found === undefined) return;
  if (!found.isSocket()) throw new Error(`${path} is in the way: it is no socket`);
  await rm(path, { force: true });
}
