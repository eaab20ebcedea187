/**
 * The MTA-STS and certificate identity vectors: one test a vector, named after it. A
 * contested vector may also give one of its `alt` answers, but only where CHOSEN says why.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { matchesMxPattern } from '../../src/protocol/mta-sts/match.ts';
import { judgeFetchResponse, type PolicyVerdict } from '../../src/protocol/mta-sts/policy.ts';
import { discoverRecord } from '../../src/protocol/mta-sts/record.ts';
import { daneTaNames, matchDnsId } from '../../src/protocol/tls/dns-id.ts';

interface Vector<Input> {
  readonly id: string;
  readonly rule: string;
  readonly input: Input;
  readonly expect: unknown;
  readonly note?: string;
  readonly alt?: readonly unknown[];
}

/** Where we give an `alt` answer on purpose. */
const CHOSEN: Readonly<Record<string, string>> = {
  'smxm-036': 'a host spelled with a star is no host name, so no policy can allow it',
};

/** `reason` and `detail` texts are advisory. */
function comparable(expect: unknown): unknown {
  if (typeof expect !== 'object' || expect === null) return expect;
  return Object.fromEntries(Object.entries(expect).filter(([key]) => key !== 'reason'));
}

function runVectors<Input>(file: string, answer: (input: Input) => unknown): void {
  const url = new URL(`../fixtures/vectors/${file}`, import.meta.url);
  const vectors: readonly Vector<Input>[] = JSON.parse(readFileSync(url, 'utf8'));
  describe(file, () => {
    test('the file holds vectors', () => assert.ok(vectors.length > 0));
    for (const vector of vectors) {
      test(`${vector.id} ${vector.rule} ${vector.note ?? ''}`, () => {
        const accepted = vector.id in CHOSEN ? (vector.alt ?? []) : [vector.expect];
        assert.ok(accepted.length > 0);
        assert.deepEqual(answer(vector.input), comparable(accepted[0]));
      });
    }
  });
}

interface TxtInput {
  readonly rcode: string;
  readonly txt: readonly (readonly string[])[];
}

runVectors('sts-txt.json', ({ rcode, txt }: TxtInput) => {
  if (rcode !== 'NOERROR' && rcode !== 'NXDOMAIN') return { outcome: 'error' };
  const found = discoverRecord(txt.map((strings) => strings.map((text) => Buffer.from(text))));
  return found.kind === 'record' ? { outcome: 'id', id: found.id } : { outcome: 'none' };
});

interface PolicyInput {
  readonly status: number;
  readonly content_type: string | null;
  readonly body?: string;
  readonly body_b64?: string;
  readonly body_gen?: {
    readonly prefix: string;
    readonly fill: string;
    readonly suffix: string;
    readonly total_bytes: number;
  };
}

function policyBody({ body, body_b64, body_gen }: PolicyInput): Buffer {
  if (body_b64 !== undefined) return Buffer.from(body_b64, 'base64');
  if (!body_gen) return Buffer.from(body ?? '');
  const { prefix, fill, suffix, total_bytes } = body_gen;
  return Buffer.from(prefix + fill.repeat(total_bytes - prefix.length - suffix.length) + suffix);
}

function policyAnswer(verdict: PolicyVerdict): unknown {
  if (!verdict.ok) return { ok: false };
  const { mode, mx, maxAgeSeconds } = verdict.policy;
  return { ok: true, policy: { version: 'STSv1', mode, mx, max_age: maxAgeSeconds } };
}

runVectors('sts-policy.json', (input: PolicyInput) =>
  policyAnswer(
    judgeFetchResponse({
      status: input.status,
      contentType: input.content_type ?? undefined,
      body: policyBody(input),
    }),
  ),
);

runVectors('sts-mx-match.json', ({ pattern, host }: { pattern: string; host: string }) =>
  matchesMxPattern(pattern, host),
);

interface IdentityInput {
  readonly profile: 'sts-mx' | 'sts-policy-host' | 'dane-ta';
  readonly references: readonly string[];
  readonly san: { readonly dns?: readonly string[] };
  readonly cn: string | null;
}

runVectors('cert-identity.json', ({ profile, references, san, cn }: IdentityInput) => {
  const dnsNames = san.dns ?? [];
  const presented = profile === 'dane-ta' ? daneTaNames(dnsNames, cn ?? undefined) : dnsNames;
  return matchDnsId(references, presented) !== undefined;
});
