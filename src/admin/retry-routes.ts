/**
 * The retry settings, and other ones tried out over the API; nothing is changed:
 *
 *   GET  /api/v1/retry                       those in force, in the form that the preview takes
 *   POST /api/v1/retry/preview   { retry }: what these settings would do to the queue of now
 *
 * `retry` is that section of the configuration file, as JSON: what is left out is as the defaults are, not as
 * the relay runs, so that the answer is about the file that is to be.
 */
import { z } from 'zod';
import { retry as retrySection } from '../config/sections/retry.ts';
import { formatDuration, parseDuration } from '../config/units.ts';
import { CAUSE_CLASSES } from '../mail/outcome.ts';
import type { RetrySettings } from '../queue/retry-schedule.ts';
import { type Api, answer, domainName, refusals, refuse, timeStamp } from './api-form.ts';
import type { QueueAdmin } from './queue.ts';

const tags = ['queue'];
const MOST_OCTETS = 4 * 1024 * 1024;
const LONGEST_MS = 365 * 86_400_000;
const WANTED = 'a duration such as "10m", or milliseconds';
const DEFAULTS = retrySection.parse({});

const span = z
  .union(
    [
      z.int().min(1).max(LONGEST_MS),
      z.string().transform((text, context) => {
        const ms = parseDuration(text);
        return ms !== undefined && ms > 0 && ms <= LONGEST_MS ? ms : refuse(context, WANTED);
      }),
    ],
    WANTED,
  )
  .meta({
    description: 'A duration such as "30s", "10m", "4h" or "5d"; a number is milliseconds.',
    examples: ['10m'],
  });
const schedule = z
  .array(span)
  .min(1)
  .max(100)
  .describe('Waits after the first, second, ... attempt; the last one repeats.');

const ownClass = z.strictObject({ schedule });
type ClassName = (typeof CAUSE_CLASSES)[number];
type OwnClass = { readonly schedule: readonly number[] } | undefined;
const classDefaults: { readonly [K in ClassName]?: OwnClass } = DEFAULTS.classes;
const classes = z
  .strictObject(
    Object.fromEntries(CAUSE_CLASSES.map((name) => [name, ownClass.optional()])) as {
      readonly [K in ClassName]: z.ZodOptional<typeof ownClass>;
    },
  )
  .transform((given) => ({ ...classDefaults, ...given }))
  .describe('Schedules per cause of the failure.');

const settings = z
  .strictObject({
    schedule: schedule.default(DEFAULTS.schedule),
    lifetime: span.default(DEFAULTS.lifetime),
    bounceLifetime: span.default(DEFAULTS.bounceLifetime),
    delayWarning: z.unknown().optional().describe('Taken, and without effect on attempts.'),
    classes: classes.prefault({}),
    domains: z
      .array(
        z.strictObject({
          domain: domainName,
          schedule: schedule.optional(),
          lifetime: span.optional(),
        }),
      )
      .max(10_000)
      .default([])
      .describe('Recipient domains with their own.'),
  })
  .meta({
    id: 'RetrySettings',
    description:
      'The `retry` section of the configuration. What is left out is as the defaults of the configuration are, whatever the running relay has.',
    examples: [{ schedule: ['5m', '30m', '2h'], lifetime: '3d' }],
  });

const shift = {
  waiting: z.number().int().describe('Deliveries that wait.'),
  unchanged: z.number().int(),
  sooner: z.number().int(),
  later: z.number().int(),
  atOnce: z.number().int().describe('Of those sooner: as soon as there is a turn.'),
  lastAttempt: z.number().int().describe('Older than their lifetime would be.'),
  firstBefore: timeStamp.optional().describe('The next attempt of all, as it is.'),
  firstAfter: timeStamp.optional().describe('As it would be.'),
};

const preview = {
  operationId: 'previewRetry',
  tags,
  summary: 'What other retry settings would do to the queue',
  description:
    'Nothing is changed. What is due now is attempted in any case; what waits is counted from its last attempt.',
  body: z.strictObject({ retry: settings }),
  response: {
    200: answer(
      'In numbers of deliveries; those destinations with most changes first.',
      z
        .object({
          total: z.object(shift),
          destinations: z.array(z.object({ domain: z.string(), ...shift })).readonly(),
        })
        .meta({ id: 'RetryPreview' }),
    ),
    ...refusals(400, 413),
  },
};

const durationText = z.string().describe('A duration such as 10m.');
const spans = z.array(durationText).readonly();
const current = {
  operationId: 'getRetry',
  tags,
  summary: 'The retry settings that the relay runs with',
  response: {
    200: answer(
      'In the form that the preview takes.',
      z
        .object({
          retry: z.object({
            schedule: spans,
            lifetime: durationText,
            bounceLifetime: durationText,
            classes: z.partialRecord(z.enum(CAUSE_CLASSES), z.object({ schedule: spans })),
            domains: z
              .array(
                z.object({
                  domain: z.string(),
                  schedule: spans.optional(),
                  lifetime: durationText.optional(),
                }),
              )
              .readonly(),
          }),
        })
        .meta({ id: 'Retry' }),
    ),
    ...refusals(),
  },
};

/** Add the routes to `api`. */
export function addRetryRoutes(
  api: Api,
  queue: Pick<QueueAdmin, 'previewRetry' | 'retryNow'>,
): void {
  api.get('/retry', { schema: current }, async () => ({ retry: viewOf(queue.retryNow()) }));
  const options = { schema: preview, bodyLimit: MOST_OCTETS };
  api.post('/retry/preview', options, ({ body }) => queue.previewRetry(body.retry));
}

function viewOf({ schedule, lifetime, bounceLifetime, classes, domains }: RetrySettings) {
  return {
    schedule: schedule.map(formatDuration),
    lifetime: formatDuration(lifetime),
    bounceLifetime: formatDuration(bounceLifetime),
    classes: Object.fromEntries(
      Object.entries(classes).flatMap(([name, own]) =>
        own ? [[name, { schedule: own.schedule.map(formatDuration) }]] : [],
      ),
    ),
    domains: domains.map(({ domain, schedule: own, lifetime: ownLifetime }) => ({
      domain,
      ...(own ? { schedule: own.map(formatDuration) } : {}),
      ...(ownLifetime === undefined ? {} : { lifetime: formatDuration(ownLifetime) }),
    })),
  };
}
