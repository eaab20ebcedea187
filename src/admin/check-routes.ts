/**
 * `stsrelay check` over the API:
 *
 *   POST /api/v1/domains/DOMAIN/check   { connect }: begin one, 202; 503 while too many run
 *   GET  /api/v1/domains/DOMAIN/check   the last one: how far it is, then what it found
 *   GET  /api/v1/checks                 the last ones, without what they found: { checks }
 *
 * A check takes up to a minute: whoever began one asks for it until its `state` is not `running` any more.
 */
import { z } from 'zod';
import type { DomainFacts } from '../check/types.ts';
import type { DomainName } from '../protocol/domain.ts';
import { type Api, answer, domainParams, Refusal, refusals, timeStamp } from './api-form.ts';
import type { CheckAdmin } from './checks.ts';

const tags = ['domains'];

const finding = z.object({
  severity: z
    .enum(['error', 'warning', 'info', 'ok'])
    .describe('error: mail is refused, or protection that somebody wanted is not there.'),
  code: z.string().describe('Stable, for scripts.'),
  subject: z.string().describe('What it is about: a name in DNS.'),
  text: z.string(),
  fix: z.string().optional().describe('What to do about it.'),
  rfc: z.string().optional(),
});

const verdict = z.object({
  outcome: z
    .enum(['delivered', 'attempted', 'deferred', 'bounced'])
    .describe('attempted: nothing speaks against it, but no host was connected to.'),
  how: z
    .enum(['verified-tls', 'unauthenticated-tls', 'clear-text', 'tls-if-offered'])
    .optional()
    .describe('What TLS protects the mail; of `attempted`, what TLS would be demanded.'),
  tls: z.string().optional().describe('Of `delivered`: what is asked and reached, as in the log.'),
  host: z
    .string()
    .optional()
    .describe('The host that it goes to, or the one that speaks against it.'),
  address: z.string().optional(),
  cause: z.string().optional().describe('Of a deferral or bounce: as in the log, or `reply`.'),
  status: z.string().optional().describe('RFC 3463.'),
  why: z.string(),
});

/** Plain data, and much of it; what it looks like is no promise. */
const facts = z
  .record(z.string(), z.unknown())
  .describe('What was found; may change between versions.') as unknown as z.ZodType<DomainFacts>;

const examination = z
  .object({
    domain: z.string() as unknown as z.ZodType<DomainName>,
    ok: z.boolean().describe('Delivered, or attempted, and no finding is an error.'),
    verdict,
    findings: z.array(finding).readonly().describe('The worst first.'),
    facts,
  })
  .meta({ id: 'Examination' });

const summary = z
  .object({
    domain: z.string(),
    state: z
      .enum(['running', 'done', 'failed'])
      .describe('failed: no answer came about. What is wrong with the domain is an answer.'),
    connect: z.boolean(),
    startedAt: timeStamp,
    finishedAt: timeStamp.optional(),
    step: z.string().optional().describe('While it runs: what is being looked at.'),
    error: z.string().optional().describe('Of a failed one.'),
    ok: z.boolean().optional().describe('Of one that is done; see `Examination`.'),
  })
  .meta({ id: 'CheckSummary' });

const view = summary
  .extend({ result: examination.optional().describe('As `stsrelay check --json` prints it.') })
  .meta({ id: 'Check' });

const start = {
  operationId: 'checkDomain',
  tags,
  summary: "Begin to examine a domain: the sender's view of it",
  description:
    'DNS, policy, and a session with each MX host up to TLS, as a delivery would have it: never as far as MAIL FROM. Takes a minute at most; two at a time. Where one of the same kind is under way, that is the answer.',
  params: domainParams,
  body: z.strictObject({
    connect: z
      .boolean()
      .default(true)
      .describe('false: DNS and policy alone, no MX host is connected to.'),
  }),
  response: { 202: answer('It is under way.', view), ...refusals(400, 409, 503) },
};

const show = {
  operationId: 'getDomainCheck',
  tags,
  summary: 'The last check of a domain: how far it is, or what it found',
  description: 'Checks are kept for an hour, the last twenty, and until the relay is restarted.',
  params: domainParams,
  response: { 200: answer('It.', view), ...refusals(400, 404) },
};

const list = {
  operationId: 'listChecks',
  tags,
  summary: 'The last checks of domains',
  response: {
    200: answer('The latest first.', z.object({ checks: z.array(summary).readonly() })),
    ...refusals(),
  },
};

/** Add the routes to `api`. */
export function addCheckRoutes(api: Api, checks: CheckAdmin): void {
  api.get('/checks', { schema: list }, async () => ({ checks: checks.list() }));
  api.get('/domains/:domain/check', { schema: show }, async ({ params: { domain } }) => {
    const found = checks.show(domain);
    if (found) return found;
    throw new Refusal(404, `${domain} was not checked, or too long ago`);
  });
  api.post('/domains/:domain/check', { schema: start }, async (request, reply) => {
    const { params, body, actor } = request;
    const made = await checks.start({ ...params, ...body }, actor);
    if (!made.ok) throw new Refusal(made.status, made.error);
    reply.code(202);
    return made.check;
  });
}
