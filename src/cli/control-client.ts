/**
 * One request to the running relay over the control socket in its data directory.
 */
import { request } from 'node:http';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { shortPath } from '../admin/socket-path.ts';
import { askRoles, formatRole } from './ask-roles.ts';
import { CliError, EXIT } from './command.ts';

export interface ControlAnswer {
  readonly status: number;
  readonly body: unknown;
}

export interface ControlRequest {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  readonly path: string;
  /** Sent as JSON. */
  readonly body?: unknown;
  /** How long the answer may take, milliseconds. */
  readonly timeoutMs: number;
}

const MAX_ANSWER_BYTES = 16 * 1024 * 1024;

/** Ask the relay that runs on `dataDir`. Throws CliError when there is none, or no answer in time. */
export async function askRelay(dataDir: string, asked: ControlRequest): Promise<ControlAnswer> {
  const socketPath = join(dataDir, 'control.sock');
  try {
    return await exchange(shortPath(socketPath), asked);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    throw new CliError(
      EXIT.unreachable,
      `the relay cannot be reached on ${socketPath}: ${await explain(dataDir, { code, message })}`,
      { socket: socketPath },
    );
  }
}

async function explain(
  dataDir: string,
  { code, message }: Pick<NodeJS.ErrnoException, 'code' | 'message'>,
): Promise<string> {
  switch (code) {
    case 'ENOENT':
    case 'ECONNREFUSED': {
      const away = (await askRoles(dataDir))?.roles.find(({ role }) => role === 'deliver');
      if (away) return `its process for queue and control is away: ${formatRole(away, Date.now())}`;
      return 'none is running on this dataDir; start it with `stsrelay start`, or name its configuration with --config';
    }
    case 'EACCES':
    case 'EPERM':
      return 'only the user the relay runs as (and root) may talk to it';
    default:
      return message;
  }
}

function exchange(
  socketPath: string,
  { method, path, timeoutMs, body }: ControlRequest,
): Promise<ControlAnswer> {
  const json = body === undefined ? '' : JSON.stringify(body);
  const headers = {
    'x-stsrelay-actor': actor(),
    ...(body === undefined ? {} : { 'content-type': 'application/json' }),
  };
  const signal = AbortSignal.timeout(timeoutMs);
  return new Promise((resolve, reject) => {
    const fail = (error: Error) =>
      reject(signal.aborted ? new Error(`no answer in ${timeoutMs / 1000} s`) : error);
    const asking = request(
      { socketPath, method, path, headers, signal, agent: false },
      (response) => {
        const parts: Buffer[] = [];
        let length = 0;
        response.on('error', fail);
        response.on('data', (part: Buffer) => {
          length += part.length;
          parts.push(part);
          if (length > MAX_ANSWER_BYTES) response.destroy(new Error('the answer is too long'));
        });
        response.on('end', () => {
          try {
            const body: unknown = JSON.parse(Buffer.concat(parts).toString('utf8'));
            resolve({ status: response.statusCode ?? 0, body });
          } catch {
            reject(new Error('the answer is not JSON'));
          }
        });
      },
    );
    asking.on('error', fail);
    asking.end(json);
  });
}

/** Who asks, for the audit log: the account behind sudo, where there is one. */
function actor(): string {
  const { uid, username } = userInfo();
  const name = process.env['SUDO_USER'] ?? username;
  return `${name.replace(/[^\w.@-]/g, '').slice(0, 60) || 'unknown'} uid ${uid}`;
}
