/**
 * Logging in with a browser: the token is shown once, and a cookie stands for it afterwards, which no script can
 * read (HttpOnly) and no page of another site can send (SameSite=Strict). Wrong tokens are slowed down as in
 * api-token.ts, by the same gate.
 *
 * A request with the cookie that changes something must come from our own page: it has the field
 * `x-stsrelay-page`, which another origin may not send without being asked for permission (there is no
 * CORS here). Any request with the cookie is from here, where the browser says where it comes from (Sec-Fetch-Site, or
 * else Origin): SameSite lets other hosts of this site through, and other ports. 403 otherwise. A bearer token in `Authorization` goes before a cookie and needs none of that.
 *
 * On the control socket nobody logs in. What comes there from a browser came through a tunnel, and a page of
 * anybody may have sent it: a name with dots in Host (a name of DNS that was bent to this address) or
 * another origin is refused.
 */
import type { FastifyReply, FastifyRequest } from 'fastify';
import { bearerOf } from '../protocol/bearer-token.ts';
import { type AccessEvents, UNNOTED } from './access-audit.ts';
import {
  type Admit,
  addressOf,
  admitByToken,
  refuseShown,
  type TokenGate,
  UNUSABLE,
} from './api-token.ts';
import { hasNameOfDns } from './host-name.ts';
import type { Login, Logins } from './logins.ts';

export const COOKIE = 'stsrelay_login';
/** Over TLS: with this prefix it can be set by this host alone, over TLS, for all of it (cookie prefixes). */
const SECURE_COOKIE = `__Host-${COOKIE}`;
/** Others on this host may have set some of that name, too; the header has room for no more. */
const MOST_COOKIES = 100;
/** A request with this field comes from a page of this origin, or from no page. */
export const PAGE_FIELD = 'x-stsrelay-page';

/** Who asks, as the page shows it. */
export interface SessionView {
  readonly signedIn: boolean;
  /** How one is let in here. */
  readonly by: 'token' | 'login' | 'control-socket';
  /** What the audit log says of changes. */
  readonly actor?: string;
  /** RFC 3339, UTC: when the login ends at the latest. */
  readonly ends?: string;
}

/** Where the login is: over HTTP. */
export interface LoginDoor {
  view(request: FastifyRequest): Promise<SessionView>;
  /** Answers itself who is not let in: then undefined. */
  begin(
    wish: { readonly token: string; readonly name: string },
    request: FastifyRequest,
    reply: FastifyReply,
  ): Promise<SessionView | undefined>;
  end(request: FastifyRequest, reply: FastifyReply): Promise<void>;
}

/** Who is let in, and how one logs in. */
export interface Access {
  readonly admit: Admit;
  readonly door: LoginDoor;
}

/** Over HTTP: by token, or by login. */
export function accessByToken(
  gate: TokenGate,
  logins: Logins,
  told: AccessEvents = UNNOTED,
): Access {
  const byToken = admitByToken(gate);
  function loginOf(request: FastifyRequest, mark: string): Login | undefined {
    for (const id of cookiesOf(request)) {
      const login = logins.use(id, mark);
      if (login) return login;
    }
    return undefined;
  }
  return {
    async admit(request, reply) {
      const isBearer = bearerOf(request.headers.authorization ?? '') !== undefined;
      if (isBearer || cookiesOf(request).length === 0) {
        return byToken(request, reply);
      }
      const mark = await gate.mark();
      if (mark === undefined) return refuseShown(reply, UNUSABLE);
      const login = loginOf(request, mark);
      if (!login) return reply.code(401).send({ error: 'the login is over: log in again' });
      if (isForeign(request) || (!isSafe(request) && !isFromOurPage(request))) {
        return refuseForeign(reply);
      }
      request.actor = actorOf(login, request);
      return undefined;
    },
    door: {
      async view(request) {
        const mayKnow = cookiesOf(request).length > 0 && !isForeign(request);
        const mark = mayKnow ? await gate.mark() : undefined;
        const login = mark === undefined ? undefined : loginOf(request, mark);
        return login ? viewOf(login, request) : { signedIn: false, by: 'login' };
      },
      async begin({ token, name }, request, reply) {
        if (!isFromOurPage(request)) return void refuseForeign(reply);
        const shown = await gate.show(addressOf(request), token);
        if (shown.kind !== 'right') return void refuseShown(reply, shown);
        for (const before of cookiesOf(request)) logins.end(before);
        const { id, login } = logins.begin({ name, mark: shown.mark });
        await told.loggedIn(actorOf(login, request));
        reply.header('set-cookie', cookie(request, id));
        return viewOf(login, request);
      },
      async end(request, reply) {
        const ids = cookiesOf(request);
        for (const id of ids) logins.end(id);
        if (ids.length > 0) await told.loggedOut(request.actor);
        reply.header('set-cookie', `${cookie(request, '')}; Max-Age=0`);
      },
    },
  };
}

/** On the control socket, whose own mode says who may use it. They may say who they are, for the audit log. */
export function accessOfSocket(): Access {
  const actorOfSocket = ({ headers }: FastifyRequest) => {
    const said = headers['x-stsrelay-actor'];
    return typeof said === 'string' && /^[\w.@ -]{1,100}$/.test(said) ? said : 'control socket';
  };
  const view = async (request: FastifyRequest): Promise<SessionView> => {
    return { signedIn: true, by: 'control-socket', actor: actorOfSocket(request) };
  };
  return {
    async admit(request, reply) {
      if (hasNameOfDns(request.headers.host) || isForeign(request)) return refuseForeign(reply);
      request.actor = actorOfSocket(request);
      return undefined;
    },
    door: { view, begin: (_wish, request) => view(request), end: async () => {} },
  };
}

function viewOf(login: Login, request: FastifyRequest): SessionView {
  const ends = new Date(login.endsMs).toISOString();
  return { signedIn: true, by: 'login', actor: actorOf(login, request), ends };
}

function actorOf({ name }: Login, request: FastifyRequest): string {
  return `${name === '' ? 'page login' : `${name} (page)`} from ${addressOf(request)}`;
}

/** The browser keeps it until it is closed; it goes to this origin's host alone. */
function cookie(request: FastifyRequest, id: string): string {
  const secure = request.protocol === 'https' ? '; Secure' : '';
  return `${cookieName(request)}=${id}; Path=/; HttpOnly; SameSite=Strict${secure}`;
}

function cookieName({ protocol }: FastifyRequest): string {
  return protocol === 'https' ? SECURE_COOKIE : COOKIE;
}

/**
 * The ids in all cookies of our name. There may be several: cookies know no ports, so that another service on this host,
 * or on one below the same domain, may set one that is sent before ours.
 */
function cookiesOf(request: FastifyRequest): readonly string[] {
  const start = `${cookieName(request)}=`;
  return (request.headers.cookie ?? '')
    .split(/; ?/)
    .filter((one) => one.startsWith(start))
    .map((one) => one.slice(start.length))
    .filter((id) => /^[0-9a-f]{64}$/.test(id))
    .slice(0, MOST_COOKIES);
}

function isSafe({ method }: FastifyRequest): boolean {
  return method === 'GET' || method === 'HEAD';
}

function isFromOurPage(request: FastifyRequest): boolean {
  return request.headers[PAGE_FIELD] !== undefined && !isForeign(request);
}

/** Whether the browser says that another origin is behind it. */
function isForeign({ headers }: FastifyRequest): boolean {
  const from = headers['sec-fetch-site'];
  // `none`: it was typed into the address bar.
  if (from !== undefined) return from !== 'same-origin' && from !== 'none';
  if (headers.origin === undefined) return false;
  return !URL.canParse(headers.origin) || new URL(headers.origin).host !== headers.host;
}

function refuseForeign(reply: FastifyReply): FastifyReply {
  return reply.code(403).send({ error: 'this did not come from the admin page of this relay' });
}
