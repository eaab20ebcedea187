/**
 * What the supervisor of a running relay says of its roles (roles/roles-socket.ts), and how that
 * reads. It answers while the role that has the control socket is away.
 */
import { connect } from 'node:net';
import { join } from 'node:path';
import { z } from 'zod';
import { shortPath } from '../admin/socket-path.ts';
import type { RoleFacts } from '../roles/role-state.ts';
import type { SupervisorFacts } from '../roles/roles-socket.ts';
import { formatSpan } from './span.ts';
import { printable } from './terminal.ts';

const TIMEOUT_MS = 2000;
const MOST_OCTETS = 64 * 1024;

/** Loose: a relay of another version may say more. */
const factsSchema = z.looseObject({
  version: z.string(),
  pid: z.number(),
  startedAt: z.iso.datetime(),
  roles: z.array(
    z.looseObject({
      role: z.string(),
      state: z.enum(['up', 'starting', 'down']),
      since: z.iso.datetime(),
      pid: z.number().optional(),
      restarts: z.number(),
      lastEnd: z.looseObject({ time: z.iso.datetime(), reason: z.string() }).optional(),
      restartAt: z.iso.datetime().optional(),
    }),
  ),
});

/** Ask the supervisor on `dataDir`; undefined when there is none, or it says nothing of use. */
export async function askRoles(dataDir: string): Promise<SupervisorFacts | undefined> {
  try {
    const text = await readAll(shortPath(join(dataDir, 'roles.sock')));
    const parsed = factsSchema.safeParse(JSON.parse(text));
    return parsed.success ? (parsed.data as SupervisorFacts) : undefined;
  } catch {
    return undefined;
  }
}

function readAll(path: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = '';
    const socket = connect(path);
    socket.setTimeout(TIMEOUT_MS, () => socket.destroy(new Error('no answer')));
    socket.setEncoding('utf8').on('data', (part: string) => {
      text += part;
      if (text.length > MOST_OCTETS) socket.destroy(new Error('the answer is too long'));
    });
    socket.on('error', reject).on('end', () => resolve(text));
  });
}

/** One line per role. */
export function formatRole(facts: RoleFacts, nowMs: number): string {
  const { role, state, since, pid, restarts, lastEnd, restartAt } = facts;
  const ended = lastEnd ? printable(lastEnd.reason.replace(/\s+/g, ' ')) : undefined;
  const head = `${printable(role)} ${state === 'up' ? 'up' : state.toUpperCase()}`;
  const parts = [`${head} since ${since} (${spanSince(since, nowMs)})`];
  if (pid !== undefined) parts.push(`process ${pid}`);
  if (state === 'up') {
    if (restarts > 0) parts.push(`restarted ${times(restarts)}, last after ${ended}`);
  } else {
    if (restartAt !== undefined)
      parts.push(`restart ${restarts} in ${spanSince(nowMs, restartAt)}`);
    else if (restarts > 0) parts.push(`restart ${restarts} under way`);
    if (ended !== undefined) parts.push(`ended with ${ended}`);
  }
  return parts.join(', ');
}

/** What roles that are away mean for mail; undefined when none is. */
export function formatMail({ roles }: SupervisorFacts): string | undefined {
  const isAway = (name: string) => roles.some(({ role, state }) => role === name && state !== 'up');
  if (isAway('receive')) {
    const queue = isAway('deliver') ? 'what was acknowledged is on disk' : 'the queue is delivered';
    return `none is taken, clients cannot connect until receive is back; ${queue}`;
  }
  if (!isAway('deliver')) return undefined;
  return 'refused with 451 and not delivered until deliver is back; what was acknowledged is on disk';
}

function times(count: number): string {
  return count === 1 ? 'once' : `${count} times`;
}

function spanSince(from: string | number, to: string | number): string {
  return formatSpan((new Date(to).getTime() - new Date(from).getTime()) / 1000);
}
