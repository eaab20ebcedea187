/**
 * The relay as a whole over the API:
 *
 *   GET  /api/v1/status   one screen about it
 *   POST /api/v1/reload   put the changed configuration into force; 422 with its problems
 */
import { z } from 'zod';
import { type Api, answer, refusals, timeStamp } from './api-form.ts';
import type { RelayStatus } from './status.ts';

export type ReloadResult =
  /** Applied; `needRestart` names settings that take effect at the next start only. */
  | { readonly ok: true; readonly needRestart?: readonly string[] }
  | { readonly ok: false; readonly problems: readonly string[] };

export interface RelayAdmin {
  readonly status: () => Promise<RelayStatus>;
  readonly reload: (actor: string) => Promise<ReloadResult>;
}

const listener = z.object({
  address: z.string(),
  port: z.number().int(),
  tls: z.string().optional(),
  auth: z.string().optional(),
  connections: z.number().int().optional().describe('Client connections open now.'),
});

const status = z
  .object({
    version: z.string(),
    uptimeSeconds: z.number(),
    node: z.string().describe('Name of this relay among several on one Redis.'),
    listeners: z.array(listener).readonly(),
    queue: z
      .record(z.string(), z.number())
      .describe('Numbers by name: messages, deliveries due, waiting and so on.'),
    redis: z.object({ up: z.boolean(), reason: z.string().optional() }),
    spool: z.object({ ok: z.boolean(), reason: z.string().optional() }),
    lastErrors: z
      .array(z.object({ time: timeStamp, event: z.string(), text: z.string() }))
      .readonly()
      .describe('The latest first.'),
  })
  .meta({ id: 'Status' });

const applied = z
  .object({
    ok: z.literal(true),
    needRestart: z
      .array(z.string())
      .readonly()
      .optional()
      .describe('Settings that take effect at the next start only.'),
  })
  .meta({ id: 'Reloaded' });

const notApplied = z
  .object({
    ok: z.literal(false),
    problems: z.array(z.string()).readonly().describe('A sentence each, with file and line.'),
  })
  .meta({ id: 'ReloadRefused' });

const ask = {
  operationId: 'getStatus',
  tags: ['relay'],
  summary: 'One screen about the running relay',
  response: { 200: answer('How it is.', status), ...refusals() },
};

const change = {
  operationId: 'reload',
  tags: ['relay'],
  summary: 'Put the changed configuration into force',
  response: {
    200: answer('It is in force.', applied),
    422: answer('The former one stays.', notApplied),
    ...refusals(),
  },
};

/** Add the routes to `api`. */
export function addRelayRoutes(api: Api, relay: RelayAdmin): void {
  api.get('/status', { schema: ask }, () => relay.status());
  api.post('/reload', { schema: change }, async ({ actor }, reply) => {
    const result = await relay.reload(actor);
    reply.code(result.ok ? 200 : 422);
    return result;
  });
}
