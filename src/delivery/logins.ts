/**
 * Logins to smart hosts over all sessions: the password is read from its file for every attempt, which
 * notices when it changed, and what was refused is not tried again for a while. A wrong password in a
 * full queue would else be offered as often as there are messages, and providers lock accounts
 * for less.
 *
 * All of it waits: what is wrong with a login bounces nobody's mail (outcome/classify.ts).
 */
import { type LocalFailure, localFailure } from '../mail/failure.ts';
import type { Route } from '../mail/route.ts';
import type { SessionResult } from '../mail/session-result.ts';
import type { Clock } from '../platform/clock.ts';
import { createSecretFiles } from '../platform/secret-file.ts';
import { formatReply } from '../protocol/smtp/reply.ts';
import { type CredentialsRead, digestOf } from './credentials.ts';
import type { SessionPlan } from './session.ts';
import type { Sessions } from './sessions.ts';

/** Told what an administrator has to mend; never a password. */
export interface LoginEvents {
  loginFailed(facts: {
    readonly user: string;
    readonly mx?: string | undefined;
    readonly address?: string;
    readonly reason: string;
  }): void;
}

/** How long refused credentials rest. */
const PAUSE_MS = 60_000;
/** The same trouble with a password file is told about so often. */
const TELL_AGAIN_MS = 60_000;

/** Reads the credentials of routes. */
export function createLoginReader({
  clock,
  events,
}: {
  readonly clock: Clock;
  readonly events: LoginEvents;
}): (route: Route) => Promise<CredentialsRead> {
  const readSecret = createSecretFiles();
  const told = new Map<string, number>();
  return async ({ smartHost }) => {
    const login = smartHost?.login;
    if (!login) return { kind: 'none' };
    const read = await readSecret(login.passwordFile);
    if (read.kind === 'found') {
      return { kind: 'found', credentials: { user: login.user, password: read.secret } };
    }
    const now = clock.now();
    if (now - (told.get(read.reason) ?? Number.NEGATIVE_INFINITY) >= TELL_AGAIN_MS) {
      told.set(read.reason, now);
      events.loginFailed({ user: login.user, reason: read.reason });
    }
    const detail = `the password for the smart host is missing: ${read.reason}`;
    return { kind: 'failed', failure: localFailure('auth-not-possible', detail) };
  };
}

/** `run`, but with no login that was refused within the last minute. */
export function pauseLogins(
  { clock, events }: { readonly clock: Clock; readonly events: LoginEvents },
  run: Sessions['run'],
): Sessions['run'] {
  /** By host and credentials; as many as there are routes and addresses, and passwords within a minute. */
  const refused = new Map<string, LocalFailure>();
  return async (plan, consignment, signal) => {
    // Nobody else asks us for a login: routes are an administrator's word.
    if (!plan.candidate.trusted) return run(plan, consignment, signal);
    const key = keyOf(plan);
    const before = refused.get(key);
    if (before) return { kind: 'ended-early', facts: notConnected(plan), failure: before };
    const result = await run(plan, consignment, signal);
    const reason = whyNotLoggedIn(result);
    if (reason === undefined) return result;
    const user = plan.credentials?.user ?? '';
    events.loginFailed({ user, mx: plan.candidate.host, address: plan.address, reason });
    refused.set(key, localFailure('auth-paused', `AUTH failed less than a minute ago: ${reason}`));
    clock.after(PAUSE_MS, () => refused.delete(key));
    return result;
  };
}

function keyOf({ candidate: { host, port, address }, credentials }: SessionPlan): string {
  return JSON.stringify([host ?? address, port, credentials && digestOf(credentials)]);
}

/** What an administrator has to mend; undefined for all else, a 4xx included. */
function whyNotLoggedIn(result: SessionResult): string | undefined {
  if (result.kind !== 'ended-early') return undefined;
  const { failure } = result;
  if (failure.kind === 'local') {
    return failure.cause === 'auth-not-possible' ? failure.detail : undefined;
  }
  const isRefusal = failure.stage === 'auth' && failure.reply.code >= 500;
  return isRefusal ? formatReply(failure.reply) : undefined;
}

function notConnected({ candidate, requirement }: SessionPlan): SessionResult['facts'] {
  return { candidate, address: undefined, localAddress: undefined, requirement, tls: undefined };
}
