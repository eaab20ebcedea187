/**
 * Where the supervisor says how its roles are: a unix socket that tells whoever connects, as one
 * line of JSON, and closes. It answers while the owner of the control socket is away, which is
 * when somebody asks. It takes nothing in.
 */
import { chmodSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import type { RoleFacts } from './role-state.ts';

export interface SupervisorFacts {
  readonly version: string;
  readonly pid: number;
  /** RFC 3339. */
  readonly startedAt: string;
  readonly roles: readonly RoleFacts[];
}

const MOST_CONNECTIONS = 8;
const SEND_MS = 2000;

/**
 * Listen, mode 0600, in a directory that is locked for us: a socket left behind is removed. `failed`:
 * why nobody can ask; everything else goes on.
 */
export function openRolesSocket(
  path: string,
  facts: () => SupervisorFacts,
  failed: (error: Error) => void,
): Server {
  const server = createServer((socket) => {
    socket.on('error', () => {}); // who asked is gone
    socket.setTimeout(SEND_MS, () => socket.destroy());
    socket.resume().end(`${JSON.stringify(facts())}\n`);
  });
  server.maxConnections = MOST_CONNECTIONS;
  server.on('error', failed);
  try {
    rmSync(path, { force: true });
    // Until here the mode of the data directory (0700) keeps others out.
    server.listen(path, () => chmodSync(path, 0o600));
  } catch (error) {
    failed(error as Error);
  }
  return server;
}
