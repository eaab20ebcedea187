/**
 * What the queue commands ask of the running relay.
 */
import { z } from 'zod';
import { MOST_ROWS } from '../admin/queue-routes.ts';
import { readAnswer, TIMEOUT_MS } from './answers.ts';
import { CliError, EXIT } from './command.ts';
import { askRelay } from './control-client.ts';

const barrierSchema = z.looseObject({
  kind: z.string(),
  text: z.string(),
  until: z.string().optional(),
});
const countsSchema = z.record(z.string(), z.number());
const rowSchema = z.looseObject({
  id: z.string(),
  domain: z.string(),
  sender: z.string(),
  recipients: z.array(z.string()),
  recipientCount: z.number(),
  state: z.string(),
  received: z.string(),
  sizeBytes: z.number(),
  attempts: z.number(),
  nextAttempt: z.string().optional(),
  expires: z.string().optional(),
  lastFailure: z.string().optional(),
  waitsFor: z.string().optional(),
});
export type Row = z.infer<typeof rowSchema>;
const pageSchema = z.looseObject({
  entries: z.array(rowSchema),
  total: z.number(),
  next: z.string().optional(),
});
const summarySchema = z.looseObject({
  messages: z.number(),
  deliveries: z.number(),
  counts: countsSchema,
  destinations: z.number(),
  entries: z.array(
    z.looseObject({
      domain: z.string(),
      total: z.number(),
      counts: countsSchema,
      oldest: z.string(),
      nextAttempt: z.string().optional(),
      closedBy: z.array(barrierSchema),
    }),
  ),
});
export type Summary = z.infer<typeof summarySchema>;
const holdsSchema = z.object({
  holds: z.array(
    z.looseObject({
      rule: z.string(),
      reason: z.string(),
      by: z.string(),
      since: z.string(),
      expires: z.string().optional(),
    }),
  ),
});
const actionSchema = z.looseObject({
  action: z.string(),
  dryRun: z.boolean(),
  matched: z.number(),
  touched: z.number(),
  underWay: z.number(),
  closed: z.number().optional(),
  recipients: z.number().optional(),
  rule: z.string().optional(),
  rulesLeft: z.array(z.string()).optional(),
});
export type ActionAnswer = z.infer<typeof actionSchema>;

/** As the API takes it. */
export interface Filter {
  readonly domain?: string;
  readonly sender?: string;
  readonly recipient?: string;
  readonly state?: string;
  /** A duration. */
  readonly olderThan?: string;
}

/** Bouncing hundreds of thousands takes minutes. */
const ACTION_TIMEOUT_MS = 3_600_000;
/** Rows of one question: the first ones are seen at once. */
const ROWS = Math.min(1000, MOST_ROWS);

/** Those that fit, the oldest first; asked for page by page as they are taken. */
export async function* listQueue(
  dataDir: string,
  filter: Filter,
  limit = Number.POSITIVE_INFINITY,
): AsyncGenerator<Row> {
  let wanted = limit;
  let after: string | undefined;
  do {
    const query = new URLSearchParams({ ...filter, limit: `${Math.min(wanted, ROWS)}` });
    if (after !== undefined) query.set('after', after);
    const path = `/api/v1/queue?${query}`;
    const answer = await askRelay(dataDir, { method: 'GET', path, timeoutMs: TIMEOUT_MS });
    const { entries, next } = readAnswer(answer, pageSchema);
    yield* entries;
    wanted -= entries.length;
    after = next;
  } while (after !== undefined && wanted > 0);
}

/** The queue by destination. */
export async function summarize(dataDir: string, limit: number | undefined): Promise<Summary> {
  const query = limit === undefined ? '' : `?limit=${limit}`;
  const path = `/api/v1/queue/summary${query}`;
  const answer = await askRelay(dataDir, { method: 'GET', path, timeoutMs: TIMEOUT_MS });
  return readAnswer(answer, summarySchema);
}

/** Rules that hold mail. */
export async function listHolds(dataDir: string): Promise<z.infer<typeof holdsSchema>['holds']> {
  const asked = { method: 'GET', path: '/api/v1/queue/holds', timeoutMs: TIMEOUT_MS } as const;
  return readAnswer(await askRelay(dataDir, asked), holdsSchema).holds;
}

/** Do something with queued mail. */
export async function act(
  dataDir: string,
  action: string,
  body: Readonly<Record<string, unknown>>,
): Promise<ActionAnswer> {
  const path = `/api/v1/queue/${action}`;
  const timeoutMs = ACTION_TIMEOUT_MS;
  const answer = await askRelay(dataDir, { method: 'POST', path, body, timeoutMs });
  return readAnswer(answer, actionSchema);
}

/** The `show` of one message; undefined when it is not in the queue. */
export async function showMessage(dataDir: string, id: string): Promise<unknown> {
  const path = `/api/v1/queue/messages/${id}`;
  const answer = await askRelay(dataDir, { method: 'GET', path, timeoutMs: TIMEOUT_MS });
  if (answer.status === 404) return undefined;
  if (answer.status === 200) return answer.body;
  readAnswer(answer, z.never());
  throw new CliError(EXIT.no, `the relay answered ${answer.status}`);
}
