/** Vectors `sts-policy`: a policy host's response, as fetched and judged (RFC 8461 §3.2, §3.3). */
import type { HttpsGetResult } from '../../../src/platform/https-get.ts';
import { fetchPolicy } from '../../../src/policy/sts-fetch.ts';
import { parseDomain } from '../../../src/protocol/domain.ts';
import { FakeClock } from '../fake-clock.ts';
import { onlyKeys, type VectorKind } from './vector.ts';

interface Input {
  readonly status: number;
  readonly content_type: string | null;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  readonly body_b64?: string;
  readonly body_gen?: {
    readonly prefix: string;
    readonly fill: string;
    readonly suffix: string;
    readonly total_bytes: number;
  };
}

export const stsPolicy: VectorKind = {
  async answer(input: Input) {
    onlyKeys('input', input, [
      ...['status', 'content_type', 'headers'],
      ...['body', 'body_b64', 'body_gen'],
    ]);
    const clock = new FakeClock();
    const get = async () => response(input);
    const domain = parseDomain('alpha.example');
    if (domain === undefined) throw new Error('no domain');
    const options = { get, httpsPort: 443, fetchTimeoutMs: 60_000, clock };
    const fetched = await fetchPolicy(domain, options, new AbortController().signal);
    if (fetched.kind === 'failed') return { ok: false };
    const { mode, mx, maxAgeSeconds } = fetched.policy;
    return { ok: true, policy: { version: 'STSv1', mode, mx, max_age: maxAgeSeconds } };
  },
};

/**
 * As platform/https-get.ts gives it. It follows no redirect and knows no cache: fields about
 * those change nothing (https-get.test.ts).
 */
function response(input: Input): HttpsGetResult {
  const { status, content_type: contentType } = input;
  return { kind: 'response', status, contentType: contentType ?? undefined, body: bodyOf(input) };
}

function bodyOf({ body, body_b64, body_gen }: Input): Buffer {
  if (body_b64 !== undefined) return Buffer.from(body_b64, 'base64');
  if (!body_gen) return Buffer.from(body ?? '');
  const { prefix, fill, suffix, total_bytes } = body_gen;
  const rest = total_bytes - Buffer.byteLength(prefix) - Buffer.byteLength(suffix);
  return Buffer.concat([Buffer.from(prefix), Buffer.alloc(rest, fill), Buffer.from(suffix)]);
}
