/** The policy host of the flow vectors: HTTPS results for their words. */
import type { HttpsGet, HttpsGetResult } from '../../../src/platform/https-get.ts';
import { parsePolicy, type StsPolicy } from '../../../src/protocol/mta-sts/policy.ts';
import { onlyKeys } from './vector.ts';

export interface PublishedPolicy {
  readonly version?: string;
  readonly mode: string;
  readonly mx: readonly string[];
  readonly max_age: number;
}

export interface HttpsInput {
  /** `policy`, or a word for what goes wrong. */
  readonly result: string;
  readonly policy?: PublishedPolicy;
}

function textOf(policy: PublishedPolicy): string {
  onlyKeys('policy', policy, ['version', 'mode', 'mx', 'max_age']);
  const { version = 'STSv1', mode, mx, max_age } = policy;
  const lines = [`version: ${version}`, `mode: ${mode}`, ...mx.map((one) => `mx: ${one}`)];
  return [...lines, `max_age: ${max_age}`, ''].join('\r\n');
}

/** The policy as the relay keeps it. */
export function policyOf(published: PublishedPolicy): StsPolicy {
  const verdict = parsePolicy(Buffer.from(textOf(published)));
  if (!verdict.ok) throw new Error(`no policy: ${verdict.detail}`);
  return verdict.policy;
}

/** What the HTTPS client of the relay would come back with; `onAsked` is told of every GET. */
export function policyHost(input: HttpsInput, onAsked: () => void): HttpsGet {
  onlyKeys('https', input, ['result', 'policy']);
  return async () => {
    onAsked();
    return resultOf(input);
  };
}

const VALID: PublishedPolicy = { mode: 'enforce', mx: ['*.w.example'], max_age: 604_800 };

/** Every word but `policy` is an error, and one of the fetch unless it says otherwise. */
function resultOf({ result: word, policy }: HttpsInput): HttpsGetResult {
  if (word === 'policy') {
    if (!policy) throw new Error('https.policy is missing');
    return response(200, textOf(policy));
  }
  if (/cert|webpki|untrusted|expired|self-signed|mismatch|wrong-name/.test(word)) {
    return { kind: 'failed', stage: 'tls', cause: 'certificate', detail: word };
  }
  if (/syntax|invalid|malformed|pars(e|able)/.test(word)) return response(200, 'mode enforce\r\n');
  if (/media|content-type/.test(word)) return response(200, textOf(VALID), 'text/html');
  if (/large|size/.test(word)) return failed('too-large');
  if (/timeout/.test(word)) return failed('timeout');
  const status = /\b[1-5]\d\d\b/.exec(word)?.[0] ?? (/redirect/.test(word) ? '302' : undefined);
  if (status !== undefined) return response(Number(status), '');
  if (word === 'not-served') return response(404, '');
  return { kind: 'failed', stage: 'connect', cause: 'connect-refused', detail: word };
}

function response(status: number, body: string, contentType = 'text/plain'): HttpsGetResult {
  return { kind: 'response', status, contentType, body: Buffer.from(body) };
}

function failed(stage: 'timeout' | 'too-large'): HttpsGetResult {
  return { kind: 'failed', stage, cause: stage, detail: stage };
}
