/** Runs one case: the answer of its kind, held against `expect` and then against each of `alt`. */
import { differences } from './compare.ts';
import { NotSupported, type Vector, type VectorContext, type VectorKind } from './vector.ts';

export type CaseResult =
  | { readonly kind: 'met' }
  /** It met one of `alt`, not `expect`. */
  | { readonly kind: 'alternative' }
  | {
      readonly kind: 'failed';
      /** There was nothing to compare: the case is about something that is not there yet. */
      readonly unsupported: boolean;
      /** Undefined when there was no answer. */
      readonly came: unknown;
      /** Where it is not `expect`, or why there was no answer. */
      readonly why: readonly string[];
    };

/** No case takes longer, unless it hangs. */
const CASE_MS = 90_000;

/** Never rejects. */
export async function runCase(
  { answer, differences: compare = differences }: VectorKind,
  { input, expect, alt = [] }: Vector,
  context: VectorContext,
): Promise<CaseResult> {
  try {
    const came = await withinTime(async () => answer(input as never, context));
    const why = compare(came, expect);
    if (why.length === 0) return { kind: 'met' };
    const isAlternative = alt.some((other) => compare(came, other).length === 0);
    return isAlternative
      ? { kind: 'alternative' }
      : { kind: 'failed', unsupported: false, came, why };
  } catch (error) {
    const { message } = error as Error;
    const unsupported = error instanceof NotSupported;
    return { kind: 'failed', unsupported, came: undefined, why: [message] };
  }
}

async function withinTime<T>(work: () => Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer in ${CASE_MS / 1000} s`)), CASE_MS);
  });
  try {
    return await Promise.race([work(), late]);
  } finally {
    clearTimeout(timer);
  }
}
