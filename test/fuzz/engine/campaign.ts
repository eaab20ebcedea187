/**
 * One campaign against one target, in this thread: the seeds as they are, then mutated inputs,
 * until time or count is used up. An error, a broken promise or an input that takes too long is
 * a finding; each cause counts once. A target that never comes back is not noticed here: see
 * watch.ts.
 */
import { type Finding, findingOf } from './finding.ts';
import { type Material, mutate } from './mutate.ts';
import { Random } from './random.ts';
import { shrink } from './shrink.ts';
import { DEFAULT_MAX_OCTETS, type FuzzTarget } from './target.ts';

export interface CampaignOptions {
  readonly seed: number;
  /** Ends the campaign, whichever comes first; the seeds are run in any case. */
  readonly maxRuns?: number;
  readonly durationMs?: number;
  /** Inputs kept from earlier findings; run like seeds. */
  readonly corpus?: readonly Buffer[];
  /** An input that takes longer is a finding. */
  readonly slowMs?: number;
  /** Told before and after each run. */
  readonly observer?: CampaignObserver;
}

export interface CampaignObserver {
  before(input: Buffer): void;
  after(kinds: number): void;
}

export interface CampaignResult {
  readonly runs: number;
  /** What kinds of answers there were, and how many of each. */
  readonly kinds: ReadonlyMap<string, number>;
  readonly findings: readonly Finding[];
}

export const SLOW_MS = 1000;
/** Seeds that are taken in for a new kind of answer. */
const MOST_NEW_SEEDS = 200;
/** Beyond this many causes nobody reads on. */
const MOST_FINDINGS = 20;

/** Run the campaign. */
export async function runCampaign(
  target: FuzzTarget,
  options: CampaignOptions,
): Promise<CampaignResult> {
  return new Campaign(target, options).run();
}

class Campaign {
  readonly #target: FuzzTarget;
  readonly #options: CampaignOptions;
  readonly #seeds: Buffer[];
  readonly #material: Material;
  readonly #kinds = new Map<string, number>();
  readonly #findings = new Map<string, Finding>();
  #runs = 0;

  constructor(target: FuzzTarget, options: CampaignOptions) {
    this.#target = target;
    this.#options = options;
    this.#seeds = [...target.seeds, ...(options.corpus ?? [])];
    this.#material = {
      seeds: this.#seeds,
      tokens: target.tokens.map((token) => Buffer.from(token as string)),
      maxOctets: target.maxOctets ?? DEFAULT_MAX_OCTETS,
    };
  }

  async run(): Promise<CampaignResult> {
    const { seed, maxRuns = Number.POSITIVE_INFINITY, durationMs } = this.#options;
    const random = new Random(seed);
    const startedAt = performance.now();
    const isOver = () =>
      this.#runs >= maxRuns ||
      this.#findings.size >= MOST_FINDINGS ||
      (durationMs !== undefined && performance.now() - startedAt >= durationMs);
    for (const input of [...this.#seeds]) await this.#try(input);
    while (!isOver()) await this.#try(mutate(this.#material, random));
    const findings = [...this.#findings.values()];
    return { runs: this.#runs, kinds: this.#kinds, findings };
  }

  async #try(input: Buffer): Promise<void> {
    this.#runs += 1;
    const judged = await this.#judge(input);
    if (typeof judged === 'string') {
      if (!this.#kinds.has(judged) && this.#kinds.size < MOST_NEW_SEEDS) this.#seeds.push(input);
      this.#kinds.set(judged, (this.#kinds.get(judged) ?? 0) + 1);
    } else if (!this.#findings.has(judged.signature)) {
      const isSame = async (smaller: Buffer) => {
        const again = await this.#judge(smaller);
        return typeof again !== 'string' && again.signature === judged.signature;
      };
      const smallest = judged.kind === 'slow' ? input : await shrink(input, isSame);
      const again = await this.#judge(smallest);
      this.#findings.set(judged.signature, typeof again === 'string' ? judged : again);
    }
  }

  /** The kind of answer, or what was wrong with it. */
  async #judge(input: Buffer): Promise<string | Finding> {
    const { slowMs = SLOW_MS } = this.#options;
    const first = await this.#timed(input);
    if (typeof first.outcome !== 'string' || first.ms <= slowMs) return first.outcome;
    // The machine may have been busy with something else: it has to be slow again.
    const { ms } = await this.#timed(input);
    if (ms <= slowMs) return first.outcome;
    const text = `an input of ${input.length} octets took ${Math.round(ms)} ms`;
    return { target: this.#target.name, kind: 'slow', signature: 'slow', text, input };
  }

  async #timed(input: Buffer): Promise<{ outcome: string | Finding; ms: number }> {
    const { observer } = this.#options;
    // A copy: whatever a parser does to its input, the one that is kept is what it was given.
    const given = Buffer.from(input);
    observer?.before(input);
    const startedAt = performance.now();
    let outcome: string | Finding;
    try {
      const answer = this.#target.run(given);
      outcome = typeof answer === 'string' ? answer : await answer;
    } catch (error) {
      outcome = findingOf(this.#target.name, error, input);
    }
    const ms = performance.now() - startedAt;
    observer?.after(this.#kinds.size);
    return { outcome, ms };
  }
}
