/**
 * The queue over the API:
 *
 *   GET  /api/v1/queue?domain&sender&recipient&client&user&state&olderThan&limit&after   a page
 *   GET  /api/v1/queue/summary?domain&state&limit&after                       by destination
 *   GET  /api/v1/queue/messages/ID          one message explained; 404 when it is not queued
 *   GET  /api/v1/queue/holds?text&limit&after   rules that hold mail
 *   POST /api/v1/queue/retry|hold|release|bounce|drop   { ids | filter | all, dryRun, ... }
 */
import { z } from 'zod';
import { isMessageId } from '../mail/message-id.ts';
import { CAUSE_CLASSES } from '../mail/outcome.ts';
import { QUEUE_STATES, type QueueState } from '../queue/gates.ts';
import { LONGEST_HOLD_REASON } from '../queue/hold-rules.ts';
import { isNoNetwork } from '../queue/mail-pattern.ts';
import type { QueueFilter } from '../queue/selection.ts';
import { type Api, answer, instant, Refusal, refusals, sendJson, timeStamp } from './api-form.ts';
import { domainPattern, duration, namePattern, next, pageOf, pageQuery } from './api-page.ts';
import type { QueueAdmin } from './queue.ts';
import { QUEUE_ACTIONS, type QueueAction } from './queue-actions.ts';

/** The most rows of one page. */
export const MOST_ROWS = 5000;
/** Ids of one order. */
const MOST_IDS = 10_000;
const IDS_BODY = 1024 * 1024;
/** Giving up hundreds of thousands takes minutes. */
const ACTION_TIMEOUT_MS = 3_600_000;

const tags = ['queue'];

const counts = z
  .object(
    Object.fromEntries(QUEUE_STATES.map((state) => [state, z.number().int()])) as {
      readonly [K in QueueState]: z.ZodNumber;
    },
  )
  .meta({ id: 'QueueCounts' });

const barrier = z
  .object({
    kind: z.string().describe('hold, backoff, node, pause, breaker, rate, connections or turn'),
    text: z.string().describe('A sentence or two for people.'),
    until: timeStamp.optional().describe('When it is over, or looked at again; absent: not known.'),
  })
  .meta({ id: 'QueueBarrier' });

const row = z
  .object({
    id: z.string(),
    domain: z.string(),
    sender: z.string().describe('Empty: the null reverse-path.'),
    recipients: z.array(z.string()).readonly().describe('The first few of those who still wait.'),
    recipientCount: z.number().int(),
    client: z
      .string()
      .optional()
      .describe('Address of the client; absent: the relay made it itself.'),
    user: z.string().optional().describe('Who logged in; absent: nobody.'),
    state: z.enum(QUEUE_STATES),
    received: timeStamp,
    sizeBytes: z.number().int(),
    attempts: z.number().int(),
    nextAttempt: timeStamp
      .optional()
      .describe('Where that is known: when it is due, or what closes its destination is over.'),
    expires: timeStamp.optional().describe('When it is given up; absent while it is held.'),
    lastFailure: z.string().optional().describe('What the last attempt came to.'),
    waitsFor: z.string().optional().describe('A sentence or two.'),
  })
  .meta({ id: 'QueueRow' });

const destination = z
  .object({
    domain: z.string(),
    total: z.number().int(),
    counts,
    oldest: timeStamp.describe('When the oldest was received.'),
    nextAttempt: timeStamp.optional(),
    cause: z
      .enum(CAUSE_CLASSES)
      .optional()
      .describe('Why most of those failed last that were tried.'),
    closedBy: z.array(barrier).readonly(),
  })
  .meta({ id: 'QueuedDestination' });

const hold = z
  .object({
    rule: z.string().describe('What it holds, in words.'),
    domain: z.string().optional(),
    sender: z.string().optional(),
    recipient: z.string().optional(),
    client: z.string().optional(),
    user: z.string().optional(),
    reason: z.string(),
    by: z.string(),
    since: timeStamp,
    expires: timeStamp.optional().describe('When it is over by itself; absent: never.'),
  })
  .meta({ id: 'HoldRule' });

const now = z
  .object({
    destination: z.string(),
    state: z.enum(QUEUE_STATES),
    waitsFor: z.array(barrier).readonly().describe('What is in its way, the first one first.'),
    nextAttempt: timeStamp
      .optional()
      .describe('Absent while it is attempted, held, or parked and nobody knows for how long.'),
    expires: timeStamp.optional().describe('When it is given up; absent while it is held.'),
    override: z
      .looseObject({})
      .optional()
      .describe('The override of its TLS policy that is in force.'),
  })
  .meta({ id: 'QueuedNow' });

/** Most of it is evidence for people: it may grow from version to version. */
const message = z
  .looseObject({
    id: z.string(),
    received: timeStamp,
    sender: z.string().describe('Empty: the null reverse-path.'),
    sizeBytes: z.number().int(),
    recipients: z
      .array(z.looseObject({}))
      .readonly()
      .describe('The first 1000, those who wait first: each with its fate.'),
    recipientsLeftOut: z.number().int().optional(),
    destinations: z
      .array(z.looseObject({ destination: z.string() }))
      .readonly()
      .describe('The first 100, each with its attempts: hosts, TLS, replies.'),
    destinationsLeftOut: z.number().int().optional(),
    now: z.array(now).readonly().describe('For each destination where somebody waits.'),
  })
  .meta({ id: 'QueuedMessage' });

const done = z
  .object({
    action: z.enum(QUEUE_ACTIONS),
    dryRun: z.boolean(),
    matched: z.number().int().describe('Deliveries that fit: one a message and destination.'),
    touched: z.number().int().describe('With which it was done, or would be.'),
    underWay: z
      .number()
      .int()
      .describe('Being attempted: it is done with what is left after that.'),
    closed: z.number().int().optional().describe('Of those touched: their destination is closed.'),
    recipients: z.number().int().optional().describe('Given up.'),
    failed: z.number().int().optional().describe('The disk did not take it: they wait as before.'),
    notQueued: z
      .array(z.string())
      .readonly()
      .optional()
      .describe('Of the ids: those that are not in the queue.'),
    nullSender: z
      .number()
      .int()
      .optional()
      .describe('Of a bounce: with the null reverse-path, so that nobody is told.'),
    rule: z.string().optional().describe('A rule that was made, changed or ended.'),
    ruleChanged: z
      .boolean()
      .optional()
      .describe('It was there before: what was not said about it stays as it was.'),
    held: z.number().int().optional().describe('Of those that fit: held still.'),
    rulesLeft: z.array(z.string()).readonly().optional().describe('The rules that hold them.'),
    closedBy: z
      .array(z.string())
      .readonly()
      .optional()
      .describe('Why those that are closed wait on, in sentences.'),
  })
  .meta({ id: 'QueueAnswer' });

const state = z
  .enum([...QUEUE_STATES, 'deferred'])
  .transform((name): QueueState => (name === 'deferred' ? 'delayed' : name))
  .meta({ description: '`deferred` is another word for `delayed`.' });
const filter = z.strictObject({
  domain: domainPattern.optional(),
  sender: namePattern('The reverse-path; <> is the null one').optional(),
  recipient: namePattern('One of those who still wait').optional(),
  client: namePattern('The address of the client, or its network; <> is mail that the relay made')
    .refine((pattern) => !isNoNetwork(pattern), 'an address, a network such as 10.0.0.0/8, or <>')
    .optional(),
  user: namePattern('Who logged in to hand it over; <> is mail without a login').optional(),
  state: state.optional(),
  olderThan: duration
    .meta({ description: 'Received so long ago or longer.', examples: ['2h'] })
    .optional(),
});

function filterOf({ olderThan: olderThanMs, ...others }: z.infer<typeof filter>): QueueFilter {
  return { ...others, olderThanMs };
}

const list = {
  operationId: 'listQueue',
  tags,
  summary: 'What is queued, page by page',
  description: 'A row for each message and destination, the oldest first.',
  querystring: pageQuery(filter.shape, MOST_ROWS, 1000),
  response: {
    200: answer(
      'A page.',
      z.object({
        entries: z.array(row).readonly(),
        total: z.number().int().describe('All that fit, on whatever page.'),
        next,
      }),
    ),
    ...refusals(400),
  },
};

const summary = {
  operationId: 'summarizeQueue',
  tags,
  summary: 'The queue by destination, page by page',
  description:
    'The sums are of all that fits `domain`, on whatever page. A destination whose mail grows or shrinks between two pages can be on both or on neither.',
  querystring: pageQuery(
    {
      domain: domainPattern.optional(),
      state: state
        .meta({ description: 'Those with mail in this state alone, with most of it first.' })
        .optional(),
    },
    MOST_ROWS,
  ),
  response: {
    200: answer(
      'Those with most first.',
      z.object({
        messages: z.number().int(),
        deliveries: z.number().int(),
        counts,
        destinationCount: z.number().int().describe('How many have mail (in this state).'),
        destinations: z.array(destination).readonly(),
        next,
      }),
    ),
    ...refusals(400),
  },
};

const show = {
  operationId: 'getQueuedMessage',
  tags,
  summary: 'One message explained',
  description:
    'Envelope, every attempt with its hosts, TLS and replies, what it waits for, when it is tried next and when it is given up.',
  params: z.object({
    id: z
      .string()
      .transform((text) => text.toUpperCase())
      .refine(isMessageId, 'a message id: 16 letters and digits'),
  }),
  response: { 200: answer('What is known of it.', message), ...refusals(400, 404) },
};

const holds = {
  operationId: 'listHolds',
  tags,
  summary: 'Rules that hold mail, also what comes in later, page by page',
  querystring: pageQuery({
    text: namePattern('In the words of the rule, the reason or who made it').optional(),
  }),
  response: {
    200: answer('By rule.', z.object({ holds: z.array(hold).readonly(), next })),
    ...refusals(400),
  },
};

const which = {
  ids: z
    .array(z.string().refine(isMessageId, 'a message id: 16 letters and digits'))
    .min(1)
    .max(MOST_IDS)
    .optional(),
  filter: filter
    .refine((given) => Object.keys(given).length > 0, 'at least one; or all: true')
    .optional(),
  all: z.literal(true).optional(),
  dryRun: z.boolean().default(false).describe('Say what would be done, and do nothing.'),
};
const reason = z.string().trim().max(LONGEST_HOLD_REASON).default('');
const BODIES = {
  retry: z.strictObject(which),
  hold: z.strictObject({
    ...which,
    reason,
    expires: instant.optional().describe('When it is over by itself; absent: never.'),
    onlyQueued: z.boolean().default(false).describe('Not what comes in later.'),
  }),
  release: z.strictObject({
    ...which,
    force: z
      .boolean()
      .default(false)
      .describe('With a filter: also what rules with other filters hold.'),
  }),
  bounce: z.strictObject({ ...which, reason: reason.describe('The senders read it.') }),
  drop: z.strictObject({ ...which, reason }),
} satisfies { readonly [K in QueueAction]: z.ZodType };

const SUMMARIES: { readonly [K in QueueAction]: string } = {
  retry: 'Try now what waits for its time',
  hold: 'Keep mail in the queue: neither attempted nor given up',
  release: 'Let go of what is held',
  bounce: 'Give mail up and tell its senders',
  drop: 'Remove mail and tell nobody',
};

/** Add the routes to `api`. */
export function addQueueRoutes(api: Api, queue: QueueAdmin): void {
  api.get('/queue', { schema: list }, async ({ query }, reply) => {
    const { limit, after, ...given } = query;
    return sendJson(reply, JSON.stringify(await queue.list(filterOf(given), { limit, after })));
  });
  api.get('/queue/summary', { schema: summary }, ({ query }) => queue.summary(query));
  api.get('/queue/holds', { schema: holds }, async ({ query }) => {
    const { page, ...rest } = pageOf(queue.holds(query), ({ rule }) => rule, query);
    return { holds: page, ...rest };
  });
  api.get('/queue/messages/:id', { schema: show }, async ({ params: { id } }, reply) => {
    const found = await queue.show(id);
    if (found === undefined) throw new Refusal(404, `${id} is not in the queue`);
    return sendJson(reply, JSON.stringify(found));
  });
  for (const action of QUEUE_ACTIONS) addAction(api, queue, action);
}

function addAction(api: Api, queue: QueueAdmin, action: QueueAction): void {
  const schema = {
    operationId: `${action}Queued`,
    tags,
    summary: SUMMARIES[action],
    body: BODIES[action],
    response: { 200: answer('What was done.', done), ...refusals(400, 413, 422) },
  };
  const options = { schema, bodyLimit: IDS_BODY, handlerTimeout: ACTION_TIMEOUT_MS };
  api.post(`/queue/${action}`, options, async (request) => {
    const { body, actor } = request;
    const ways = [body.ids, body.filter, body.all].filter((way) => way !== undefined);
    if (ways.length > 1) throw new Refusal(400, 'ids, filter and all exclude each other');
    if (ways.length < 1) throw new Refusal(400, 'one of ids, filter and all: true is wanted');
    // Nothing is said on the connection meanwhile, for longer than others may be silent.
    request.socket.setTimeout(ACTION_TIMEOUT_MS);
    const order = {
      action,
      filter: body.ids ? { ids: body.ids } : filterOf(body.filter ?? {}),
      dryRun: body.dryRun,
      reason: 'reason' in body ? body.reason : '',
      expiresMs: 'expires' in body ? body.expires : undefined,
      onlyQueued: 'onlyQueued' in body ? body.onlyQueued : false,
      force: 'force' in body ? body.force : false,
    };
    const made = await queue.act(order, actor);
    if (!made.ok) throw new Refusal(made.status, made.error);
    const { ok: _, ...told } = made;
    return told;
  });
}
