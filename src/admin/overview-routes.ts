/**
 * What the admin page shows first, over the API:
 *
 *   GET /api/v1/overview      the queue, its largest destinations, and what asks for attention
 *   GET /api/v1/flow?after    mail flow and TLS of the last hour, in steps of ten seconds
 */
import { z } from 'zod';
import { CAUSE_CLASSES } from '../mail/outcome.ts';
import { QUEUE_STATES, type QueueState } from '../queue/gates.ts';
import { type Api, answer, refusals, timeStamp } from './api-form.ts';
import { EVERY_MS, type Flow } from './flow.ts';
import type { Overview } from './overview.ts';

export interface OverviewAdmin {
  readonly overview: () => Promise<Overview>;
  readonly flow: Pick<Flow, 'samples'>;
}

const tags = ['relay'];
const count = z.number().int();

const counts = z.object(
  Object.fromEntries(QUEUE_STATES.map((state) => [state, count])) as {
    readonly [K in QueueState]: typeof count;
  },
);

const overview = z
  .object({
    at: timeStamp,
    messages: count,
    deliveries: count.describe('One for each message and destination.'),
    counts,
    overdue: count.describe(
      'Due for more than a minute, though nothing closes their destinations.',
    ),
    destinationCount: count,
    destinations: z
      .array(
        z.object({
          domain: z.string(),
          total: count,
          counts,
          nextAttempt: timeStamp.optional(),
          cause: z
            .enum(CAUSE_CLASSES)
            .optional()
            .describe('Why the one failed last that is tried next.'),
          closedBy: z
            .array(z.object({ kind: z.string(), text: z.string(), until: timeStamp.optional() }))
            .readonly(),
        }),
      )
      .readonly()
      .describe('The ten with most.'),
    attention: z
      .array(
        z.object({
          level: z.enum(['alert', 'warning', 'note']),
          about: z.string().describe('relay, queue, tls, breaker, pause, hold, override and so on'),
          text: z.string().describe('A sentence.'),
          domain: z.string().optional(),
        }),
      )
      .readonly()
      .describe('The gravest first; empty: it is well.'),
  })
  .meta({ id: 'Overview' });

const sample = z.object({
  at: timeStamp.describe('When the step ended.'),
  seconds: count.describe('How long it was.'),
  received: count.describe('Messages.'),
  delivered: count.describe('Recipients.'),
  deferred: count,
  bounced: count,
  verified: count.describe('Recipients delivered over TLS with a peer that was verified.'),
  encrypted: count.describe('Over TLS with nobody knows whom.'),
  clear: count.describe('In clear text.'),
  queue: counts.describe('How the queue was at its end.'),
});

const showOverview = {
  operationId: 'getOverview',
  tags,
  summary: 'The relay at a glance, cheap to ask for often',
  response: { 200: answer('At most two seconds old.', overview), ...refusals() },
};

const showFlow = {
  operationId: 'getFlow',
  tags,
  summary: 'Mail flow and TLS of the last hour, step by step',
  querystring: z.strictObject({
    after: z.string().max(40).optional().describe('`at` of the last step that is known.'),
  }),
  response: {
    200: answer(
      'The oldest first.',
      z.object({ everySeconds: count, samples: z.array(sample).readonly() }).meta({ id: 'Flow' }),
    ),
    ...refusals(400),
  },
};

/** Add the routes to `api`. */
export function addOverviewRoutes(api: Api, { overview: make, flow }: OverviewAdmin): void {
  api.get('/overview', { schema: showOverview }, () => make());
  api.get('/flow', { schema: showFlow }, async ({ query }) => ({
    everySeconds: EVERY_MS / 1000,
    samples: flow.samples(query.after),
  }));
}
