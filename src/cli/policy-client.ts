/**
 * What the policy commands ask of the running relay. An answer that is none ends the command
 * with a CliError; "nothing is known" and "it failed" are answers.
 */
import { z } from 'zod';
import type { PolicyListing, PolicyView } from '../admin/policies.ts';
import { MAX_PAGE, REFRESH_TIMEOUT_MS } from '../admin/policy-routes.ts';
import type { DomainName } from '../protocol/domain.ts';
import { CliError, EXIT } from './command.ts';
import { askRelay, type ControlAnswer, type ControlRequest } from './control-client.ts';
import { type ListEnd, type ListWish, listAll } from './list.ts';
import { printable } from './terminal.ts';

const TIMEOUT_MS = 30_000;
/** The relay gives up first, and says so. */
const REFRESH_WAIT_MS = REFRESH_TIMEOUT_MS + 5000;

/** Loose: a relay of another version may say more. */
const policySchema = z.looseObject({
  id: z.string(),
  mode: z.string(),
  mx: z.array(z.string()),
  maxAgeSeconds: z.number(),
  fetchedAt: z.string(),
  expiresAt: z.string(),
  inForce: z.boolean(),
  source: z.string(),
});
const listingSchema = z.looseObject({
  domain: z.string(),
  policy: policySchema.optional(),
  nextRefreshAt: z.string().optional(),
  lastUsedAt: z.string().optional(),
  lastFailure: z
    .looseObject({
      kind: z.string(),
      at: z.string(),
      since: z.string().optional(),
      count: z.number().optional(),
      id: z.string().optional(),
      resultType: z.string().optional(),
      reason: z.string(),
    })
    .optional(),
  suspicions: z.array(
    z.looseObject({
      signal: z.string(),
      firstAt: z.string(),
      lastAt: z.string(),
      count: z.number(),
      detail: z.string(),
    }),
  ),
});
const viewSchema = listingSchema.extend({
  policy: policySchema.extend({ text: z.string() }).optional(),
});
const refreshSchema = z.looseObject({
  ok: z.boolean(),
  text: z.string(),
  changed: z.boolean(),
  view: viewSchema.optional(),
});
const forgottenSchema = z.object({ forgotten: z.literal(true) });
const refusalSchema = z.object({ error: z.string() });

/** The policies kept, in the order of their domains; asked for page by page as they are taken. */
export function listPolicies(
  dataDir: string,
  wish: Pick<ListWish<unknown>, 'filters' | 'limit'>,
): AsyncGenerator<PolicyListing, ListEnd> {
  const asked = { path: '/api/v1/policies', name: 'policies', most: MAX_PAGE, ...wish };
  // The schema is looser than the type: it does not know which modes and signals there are.
  const entry = listingSchema as unknown as z.ZodType<PolicyListing>;
  return listAll(dataDir, { ...asked, entry });
}

/** All that is known about `domain`; undefined: nothing is. */
export async function showPolicy(
  dataDir: string,
  domain: DomainName,
): Promise<PolicyView | undefined> {
  const answer = await askRelay(dataDir, about(domain, 'GET'));
  if (answer.status === 404) return undefined;
  const isFine = answer.status === 200;
  return read(answer, { schema: viewSchema, isFine }) as unknown as PolicyView;
}

/** Have it fetched now; as the relay answers it. */
export async function refreshPolicy(
  dataDir: string,
  domain: DomainName,
): Promise<z.infer<typeof refreshSchema>> {
  const { path } = about(domain, 'POST');
  const asked = { method: 'POST', path: `${path}/refresh`, timeoutMs: REFRESH_WAIT_MS } as const;
  const answer = await askRelay(dataDir, asked);
  const isFine = answer.status === 200 || answer.status === 422;
  return read(answer, { schema: refreshSchema, isFine });
}

/** Whether there was something to forget. */
export async function forgetPolicy(dataDir: string, domain: DomainName): Promise<boolean> {
  const answer = await askRelay(dataDir, about(domain, 'DELETE'));
  if (answer.status === 404) return false;
  return read(answer, { schema: forgottenSchema, isFine: answer.status === 200 }).forgotten;
}

function about(domain: DomainName, method: ControlRequest['method']): ControlRequest {
  return { method, path: `/api/v1/policies/${domain}`, timeoutMs: TIMEOUT_MS };
}

/** The body as `schema` wants it, of an answer whose status is fine. */
function read<T>(
  { status, body }: ControlAnswer,
  { schema, isFine }: { readonly schema: z.ZodType<T>; readonly isFine: boolean },
): T {
  const parsed = schema.safeParse(body);
  if (isFine && parsed.success) return parsed.data;
  const refusal = refusalSchema.safeParse(body);
  const why = refusal.success
    ? `: ${printable(refusal.data.error)}`
    : ', which is not understood here';
  throw new CliError(EXIT.no, `the relay answered ${status}${why}`, { status });
}
