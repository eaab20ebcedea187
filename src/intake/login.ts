/**
 * One AUTH exchange (RFC 4954): whether name and password are right, slowed by the brake. What
 * was wrong is never said: a name nobody has and a wrong password get the same answer.
 */
import type { SMTPServerAuthentication } from 'smtp-server';
import type { Clock } from '../platform/clock.ts';
import type { IntakeEvents } from '../telemetry/intake-events.ts';
import type { User, Users } from './access.ts';
import { clientKey } from './client-key.ts';
import type { IntakeLimits } from './intake-limits.ts';
import { REFUSALS, type Refusal } from './replies.ts';

export interface LoginParts {
  readonly users: Users;
  readonly limits: Pick<IntakeLimits, 'brake'>;
  readonly events: IntakeEvents;
  readonly clock: Clock;
}

export type LoginResult =
  | { readonly kind: 'user'; readonly user: User }
  | { readonly kind: 'refused'; readonly refusal: Refusal };

/** Names in the log are cut here: they are whatever a stranger typed. */
const MAX_LOGGED_NAME = 128;

/** Check name and password of a client at `address`, after the waits the brake asks for. */
export async function checkLogin(
  auth: Pick<SMTPServerAuthentication, 'username' | 'password' | 'authcid' | 'authzid'>,
  address: string,
  { users, limits, events, clock }: LoginParts,
): Promise<LoginResult> {
  const client = clientKey(address);
  const holdMs = limits.brake.hold(client);
  if (holdMs === undefined) return { kind: 'refused', refusal: REFUSALS.loginPaused };
  await pause(holdMs, clock);
  const name = auth.username ?? '';
  const shownName = name.slice(0, MAX_LOGGED_NAME);
  try {
    // RFC 4616 §2: an authorization identity of its own; nobody may act as somebody else here.
    const isImpersonation = !!auth.authcid && !!auth.authzid && auth.authcid !== auth.authzid;
    const user = isImpersonation ? undefined : await users.verify(name, auth.password ?? '');
    if (user) {
      events.authenticated({ client: address, user: shownName });
      return { kind: 'user', user };
    }
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    events.sessionError({ client: address, error: `passwords cannot be checked: ${message}` });
    return { kind: 'refused', refusal: REFUSALS.loginUnavailable };
  }
  events.authFailed({ client: address, user: shownName });
  await pause(limits.brake.failed(client), clock);
  return { kind: 'refused', refusal: REFUSALS.badCredentials };
}

function pause(ms: number, clock: Clock): Promise<void> | undefined {
  return ms > 0 ? new Promise((resolve) => void clock.after(ms, resolve)) : undefined;
}
