/** The TXT answer that a vector describes, and a resolver that gives it. */
import type { LookupResult, Resolver } from '../../../src/platform/resolver.ts';
import { plainHost } from './compare.ts';
import { NotSupported } from './vector.ts';

export interface TxtAnswer {
  readonly rcode: string;
  /** The character-strings of each RR. */
  readonly txt: readonly (readonly string[])[];
  /** The chain that led there; the resolver has followed it. */
  readonly cname?: readonly string[];
}

const FAILURES = ['SERVFAIL', 'REFUSED', 'TIMEOUT', 'BOGUS'];
const FACTS = { ttlSeconds: 60, authenticated: false } as const;

/** As the relay's own resolver gives it. */
export function lookupResultOf({ rcode, txt, cname }: TxtAnswer): LookupResult<readonly Buffer[]> {
  if (FAILURES.includes(rcode)) return { kind: 'failed', reason: rcode };
  if (rcode !== 'NOERROR' && rcode !== 'NXDOMAIN') throw new NotSupported(`rcode ${rcode}`);
  if (txt.length === 0) return { kind: 'absent', nameExists: rcode === 'NOERROR', ...FACTS };
  const records = txt.map((strings) => strings.map((text) => Buffer.from(text)));
  return { kind: 'found', records, canonicalName: cname?.at(-1) ?? '', ...FACTS };
}

/** Gives `answer` at `name` and nothing else to nobody: asking for another name is a failed case. */
export function txtResolver(name: string, answer: TxtAnswer): Resolver {
  const refuse = (asked: string) => Promise.reject(new Error(`asked for ${asked}, not ${name}`));
  return {
    lookupTxt: async (asked) =>
      asked === plainHost(name) ? lookupResultOf(answer) : refuse(asked),
    lookupMx: refuse,
    lookupAddress: refuse,
    lookupTlsa: refuse,
    lookupCname: refuse,
  };
}
