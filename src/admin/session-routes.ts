/**
 * Logging in and out, for the admin page:
 *
 *   GET    /api/v1/session   who asks, and whether they are let in; open to all
 *   POST   /api/v1/session   { token, name }: log in; open to all. 401, 429, 503 as with any token, 403 from elsewhere
 *   DELETE /api/v1/session   log out
 */
import { z } from 'zod';
import { type Api, answer, refusals, timeStamp } from './api-form.ts';
import type { LoginDoor } from './api-login.ts';

const LONGEST_TOKEN = 4096;
const LONGEST_NAME = 60;

const tags = ['relay'];

const session = z
  .object({
    signedIn: z.boolean(),
    by: z.enum(['token', 'login', 'control-socket']).describe('How one is let in here.'),
    actor: z.string().optional().describe('What the audit log says of changes.'),
    ends: timeStamp.optional().describe('When the login ends at the latest.'),
  })
  .meta({ id: 'Session' });

const open = { security: [] };

const show = {
  ...{ operationId: 'getSession', tags, ...open },
  summary: 'Who asks, and whether they are let in',
  response: { 200: answer('Who asks.', session), ...refusals() },
};

const begin = {
  ...{ operationId: 'logIn', tags, ...open },
  summary: 'Log in with the token, for a browser',
  description:
    'The answer sets a cookie that stands for the token. With it, requests that change something need the field `x-stsrelay-page`, as this one does.',
  body: z.strictObject({
    token: z.string().max(LONGEST_TOKEN),
    name: z
      .string()
      .trim()
      .max(LONGEST_NAME)
      .regex(/^[\p{L}\p{N}.@ _-]*$/u, 'letters, digits, blanks and . @ _ -')
      .default('')
      .describe('Who it is, for the audit log: their own word.'),
  }),
  response: { 200: answer('They are in.', session), ...refusals(400, 503) },
};

const end = {
  operationId: 'logOut',
  tags,
  summary: 'Log out: the cookie is worth nothing any more',
  response: { 200: answer('They are out.', session), ...refusals() },
};

/** Add the routes to `api`. */
export function addSessionRoutes(api: Api, door: LoginDoor): void {
  const config = { isOpen: true };
  api.get('/session', { schema: show, config }, (request) => door.view(request));
  api.post('/session', { schema: begin, config }, async (request, reply) => {
    const view = await door.begin(request.body, request, reply);
    return view ?? reply;
  });
  api.delete('/session', { schema: end }, async (request, reply) => {
    await door.end(request, reply);
    return { signedIn: false, by: 'login' as const };
  });
}
