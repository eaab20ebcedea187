/**
 * The control socket: the API of the running relay for the commands of the command line, and the admin page
 * for whoever reaches it through a tunnel. Only the relay's own user (and root) can open it.
 */
import { chmod, lstat, rm } from 'node:fs/promises';
import { type ApiParts, addApi } from './api.ts';
import { accessOfSocket } from './api-login.ts';
import { closeApp, newApp } from './http-app.ts';
import { addPage, type PageFiles } from './page-files.ts';
import { shortPath } from './socket-path.ts';

export interface ControlOptions {
  /** A file left behind by a relay that is gone is removed; the data directory must be locked. */
  readonly socketPath: string;
  readonly api: ApiParts;
  readonly page?: PageFiles | undefined;
}

/** Open the control socket, mode 0600. Rejects when its path cannot be used. */
export async function createControlServer(
  options: ControlOptions,
): Promise<{ readonly close: () => Promise<void> }> {
  const path = shortPath(options.socketPath);
  await removeStaleSocket(path);
  const app = newApp({ tellsErrors: true });
  addApi(app, options.api, accessOfSocket());
  addPage(app, options.page);
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
