/**
 * What the queue commands ask of the running relay.
 */
import { z } from 'zod';
import { MOST_ROWS } from '../admin/queue-routes.ts';
import { readAnswer, TIMEOUT_MS } from './answers.ts';
import { CliError, EXIT } from './command.ts';
import { askRelay } from './control-client.ts';
import { type ListEnd, type ListWish, listAll } from './list.ts';

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
const destinationSchema = z.looseObject({
  domain: z.string(),
  total: z.number(),
  counts: countsSchema,
  oldest: z.string(),
  nextAttempt: z.string().optional(),
  cause: z.string().optional(),
  closedBy: z.array(barrierSchema),
});
type Destination = z.infer<typeof destinationSchema>;
const summarySchema = z.looseObject({
  messages: z.number(),
  deliveries: z.number(),
  counts: countsSchema,
  destinationCount: z.number(),
  destinations: z.array(destinationSchema),
});
export type Summary = z.infer<typeof summarySchema>;
const holdSchema = z.looseObject({
  rule: z.string(),
  reason: z.string(),
  by: z.string(),
  since: z.string(),
  expires: z.string().optional(),
});
export type HoldRow = z.infer<typeof holdSchema>;
const actionSchema = z.looseObject({
  action: z.string(),
  dryRun: z.boolean(),
  matched: z.number(),
  touched: z.number(),
  underWay: z.number(),
  closed: z.number().optional(),
  recipients: z.number().optional(),
  failed: z.number().optional(),
  notQueued: z.array(z.string()).optional(),
  nullSender: z.number().optional(),
  rule: z.string().optional(),
  ruleChanged: z.boolean().optional(),
  held: z.number().optional(),
  rulesLeft: z.array(z.string()).optional(),
  closedBy: z.array(z.string()).optional(),
});
export type ActionAnswer = z.infer<typeof actionSchema>;

/** Bouncing hundreds of thousands takes minutes. */
const ACTION_TIMEOUT_MS = 3_600_000;
type Wish = Pick<ListWish<unknown>, 'filters' | 'limit'>;

/** Those that fit, the oldest first; asked for page by page as they are taken. */
export function listQueue(dataDir: string, wish: Wish): AsyncGenerator<Row, ListEnd> {
  return listAll(dataDir, { path: '/api/v1/queue', name: 'entries', entry: rowSchema, ...wish });
}

/** The queue by destination: the sums of the first answer, and the destinations of all. */
export async function summarize(dataDir: string, { filters, limit }: Wish): Promise<Summary> {
  const path = '/api/v1/queue/summary';
  const query = new URLSearchParams({ ...filters, limit: '1' });
  const asked = { method: 'GET', path: `${path}?${query}`, timeoutMs: TIMEOUT_MS } as const;
  const { next: _, ...sums } = readAnswer(await askRelay(dataDir, asked), summarySchema);
  const found = new Map<string, Destination>();
  const [name, entry] = ['destinations', destinationSchema] as const;
  const all = { path, filters, limit, name, entry, most: MOST_ROWS };
  // One that grew or shrank meanwhile may come twice.
  for await (const one of listAll(dataDir, all)) found.set(one.domain, one);
  return { ...sums, destinations: [...found.values()] };
}

/** Rules that hold mail. */
export function listHolds(dataDir: string, wish: Wish): AsyncGenerator<HoldRow, ListEnd> {
  return listAll(dataDir, {
    path: '/api/v1/queue/holds',
    name: 'holds',
    entry: holdSchema,
    ...wish,
  });
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
