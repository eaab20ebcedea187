/**
 * A crash campaign: rounds of load with a disturbance in each, against the real program in a
 * pretend internet, and a ledger that knows what must come of it. Ends at the first broken
 * promise, or when all rounds are through and everything acknowledged has had its end.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Random } from '../fuzz/engine/random.ts';
import { waitFor } from '../support/wait-for.ts';
import { CampaignDir } from './campaign-dir.ts';
import { type Choice, choose, DISTURBANCES, randomOf } from './choice.ts';
import type { Disturbance, Scene } from './disturbances/disturbance.ts';
import { keepEvidence } from './evidence.ts';
import { type FloodSource, flood } from './flood.ts';
import { Ledger } from './ledger.ts';
import { COUNTS, Violation } from './ledger-facts.ts';
import { Composer } from './mail.ts';
import { RelayRun } from './relay-run.ts';
import { relaySettings } from './relay-settings.ts';
import { RoundLoad } from './round-load.ts';
import { SmallDisk } from './small-disk.ts';
import { lookIntoSpool } from './spool-look.ts';
import type { RoundFacts } from './tally.ts';
import { RECIPIENT_DOMAINS, SECURE_DOMAINS, startTown, type Town } from './town.ts';
import { judgeLine, watchLag } from './watching.ts';

export interface CampaignOptions {
  readonly seed: number;
  readonly rounds: number;
  /** Messages of a round, about. */
  readonly messages: number;
  /** Names of disturbances; empty: all. */
  readonly only: readonly string[];
  /** Names of disturbances that do not come. */
  readonly without: readonly string[];
  /** Disturbances that take a minute may come. */
  readonly isLong: boolean;
  /** The data directory is on a small disk, which can be full. */
  readonly onSmallDisk: boolean;
  /** No round begins after so many milliseconds, but the first two. */
  readonly endAfterMs?: number;
  /** So long everything acknowledged may take to have its end; default two minutes. */
  readonly settleMs?: number;
  readonly onRound?: (facts: RoundFacts) => void;
  readonly onNote?: (text: string) => void;
}

export interface CampaignResult {
  readonly rounds: readonly RoundFacts[];
  /** What is to be said of the broken promise; undefined when all were kept. */
  readonly violation: readonly string[] | undefined;
}

const FULL_SETTLE_EVERY = 10;
const SOFT_SETTLE_MS = 800;
const DEFAULT_SETTLE_MS = 120_000;
/** Where there is time for fewer: the start alone may take longer on a slow machine. */
const FEWEST_ROUNDS = 2;
/** One spool in so many is looked into after the relay was killed. */
const LOOKS = 3;

/** Run one. Throws what is no broken promise. */
export async function runCampaign(options: CampaignOptions): Promise<CampaignResult> {
  const campaign = await Campaign.prepare(options);
  try {
    return await campaign.run();
  } finally {
    await campaign.close();
  }
}

interface CampaignParts {
  readonly options: CampaignOptions;
  readonly dir: CampaignDir;
  readonly ledger: Ledger;
  readonly town: Town;
  readonly relay: RelayRun;
  readonly disk: SmallDisk | undefined;
  readonly composer: Composer;
  readonly violated: Promise<never>;
  readonly violate: (error: Error) => void;
}

class Campaign {
  readonly #parts: CampaignParts;
  readonly #rounds: RoundFacts[] = [];
  readonly #lagWatch: NodeJS.Timeout;
  #tokens = 0;
  #isOver = false;

  constructor(parts: CampaignParts) {
    this.#parts = parts;
    this.#lagWatch = watchLag(parts.ledger);
  }

  static async prepare(options: CampaignOptions): Promise<Campaign> {
    const dir = new CampaignDir();
    const { promise: violated, reject: violate } = Promise.withResolvers<never>();
    violated.catch(() => {}); // whoever waits is told
    const ledger = new Ledger({ mustBeSecure: SECURE_DOMAINS, onViolation: violate });
    const disk = options.onSmallDisk ? mountDisk(dir.path, options.onNote) : undefined;
    const dataDir = join(disk?.path ?? dir.path, 'data');
    mkdirSync(dataDir, { mode: 0o700 });
    const town = await startTown(ledger, randomOf(options.seed, 0));
    const relay = new RelayRun({
      directory: dir.path,
      dataDir,
      settings: await relaySettings(town.internet, dataDir),
      onLine: (line) => judgeLine(line, ledger, violate),
    });
    const composer = new Composer(randomOf(options.seed, -1), RECIPIENT_DOMAINS);
    const parts = { options, dir, ledger, town, relay, disk, composer };
    return new Campaign({ ...parts, violated, violate });
  }

  async run(): Promise<CampaignResult> {
    const { violated } = this.#parts;
    try {
      await Promise.race([this.#runRounds(), violated]);
      return { rounds: this.#rounds, violation: undefined };
    } catch (error) {
      return { rounds: this.#rounds, violation: this.#evidenceOf(error as Error) };
    }
  }

  async close(): Promise<void> {
    const { relay, town, disk, dir } = this.#parts;
    this.#isOver = true;
    clearInterval(this.#lagWatch);
    await relay.close();
    await town.close();
    disk?.close();
    dir.remove();
  }

  async #runRounds(): Promise<void> {
    const { options, relay } = this.#parts;
    const endMs = Date.now() + (options.endAfterMs ?? Number.POSITIVE_INFINITY);
    const possible = this.#possible();
    await relay.start();
    await this.#warmUp();
    const fewest = Math.min(FEWEST_ROUNDS, options.rounds);
    for (
      let round = 1;
      round <= fewest || (round <= options.rounds && Date.now() < endMs);
      round += 1
    ) {
      const random = randomOf(options.seed, round);
      const facts = await this.#round(round, choose(possible, random), random);
      this.#rounds.push(facts);
      options.onRound?.(facts);
    }
    await this.#finish();
  }

  #possible(): readonly Disturbance[] {
    const { options } = this.#parts;
    const scene = this.#scene(randomOf(options.seed, 0));
    return DISTURBANCES.filter((one) => {
      if (options.without.includes(one.name)) return false;
      if (options.only.length > 0) return options.only.includes(one.name);
      if (one.isSlow === true && !options.isLong) return false;
      const missing = one.missing?.(scene);
      if (missing !== undefined) options.onNote?.(`left out: ${one.name} (${missing})`);
      return missing === undefined;
    });
  }

  /** Each domain gets mail once, so that the policies are known before somebody takes them away. */
  async #warmUp(): Promise<void> {
    await this.#flood(randomOf(this.#parts.options.seed, -2), {
      sessions: 2,
      durationMs: 20_000,
      enough: 30,
    });
    await this.#settleAll();
  }

  async #round(round: number, choice: Choice, random: Random): Promise<RoundFacts> {
    const { ledger, relay } = this.#parts;
    const startedAtMs = Date.now();
    const before = { ...ledger.counts };
    relay.note(`round ${round}: ${choice.name}`);
    ledger.takeInFlight();
    const load = this.#startLoad(random);
    await load.moment(random.below(load.target));
    const end = ledger.disturb(choice.name, choice.mayRepeat);
    await this.#strike(choice, random, load);
    const inFlight = ledger.takeInFlight();
    if (relay.isRunning) await relay.waitHealthy();
    else await relay.start();
    end();
    load.end();
    await load.done;
    if (round % FULL_SETTLE_EVERY === 0) await this.#settleAll();
    else await this.#settled(SOFT_SETTLE_MS).catch(() => {}); // the next rounds have it, too
    const counts = COUNTS.map((name) => [name, ledger.counts[name] - before[name]]);
    return {
      ...(Object.fromEntries(counts) as typeof before),
      round,
      disturbance: choice.name,
      inFlight: choice.mayRepeat ? inFlight : 0,
      waiting: ledger.waiting,
      largestMiB: relay.memoryMiB,
      durationMs: Date.now() - startedAtMs,
    };
  }

  async #strike({ outer, inner }: Choice, random: Random, load: RoundLoad): Promise<void> {
    const scene = this.#scene(random);
    const moment = () => load.moment(random.below(40));
    const meanwhile = inner === undefined ? moment : () => this.#strikeInner(inner, scene, moment);
    await outer.strike(scene, meanwhile);
    if (!this.#parts.relay.isRunning && random.below(LOOKS) === 0) await this.#lookIntoSpool();
  }

  /** The relay comes back while the outer disturbance goes on. */
  async #strikeInner(inner: Disturbance, scene: Scene, moment: () => Promise<void>): Promise<void> {
    await moment();
    await inner.strike(scene, moment);
    const { relay } = this.#parts;
    if (!relay.isRunning) relay.launch();
    await moment();
  }

  /** With the relay down: everything acknowledged and without an end is in the spool. */
  async #lookIntoSpool(): Promise<void> {
    const { relay, ledger } = this.#parts;
    await relay.waitGone();
    const { isWhole, ids, output } = await lookIntoSpool(relay.configFile);
    if (!isWhole) throw new Violation(`the spool is damaged: ${output}`, []);
    ledger.judgeSpool(ids);
  }

  /** Until everything acknowledged has had its end. */
  async #settled(timeoutMs: number): Promise<void> {
    await waitFor('everything to have its end', () => this.#parts.ledger.waiting === 0, timeoutMs);
  }

  /** The same; what has none in time has none at all. */
  async #settleAll(): Promise<void> {
    const { ledger } = this.#parts;
    await this.#settled(this.#settleMs).catch(() => ledger.judgeWaiting());
  }

  get #settleMs(): number {
    return this.#parts.options.settleMs ?? DEFAULT_SETTLE_MS;
  }

  async #finish(): Promise<void> {
    const { relay } = this.#parts;
    await this.#settleAll();
    await relay.waitQueueEmpty(this.#settleMs);
    const ended = await relay.stop();
    if (ended !== 0) throw new Violation(`SIGTERM ended the relay with ${ended}`, []);
    const { isWhole, ids, output } = await lookIntoSpool(relay.configFile);
    if (!isWhole || ids.size > 0) {
      throw new Violation(`all is delivered, and the spool holds ${output}`, [...ids].slice(0, 20));
    }
  }

  #startLoad(random: Random): RoundLoad {
    const { options, relay, violate } = this.#parts;
    const load = new RoundLoad({
      source: this.#source(random),
      port: relay.smtpPort,
      target: Math.ceil(options.messages * (0.5 + random.below(100) / 100)),
      isOver: () => this.#isOver,
    });
    load.done.catch(violate);
    return load;
  }

  #scene(random: Random): Scene {
    const { relay, town, disk, options } = this.#parts;
    const flooding = (wanted: Parameters<Scene['flood']>[0]) => this.#flood(random, wanted);
    return { relay, town, disk, random, isLong: options.isLong, flood: flooding };
  }

  #flood(random: Random, wanted: Parameters<Scene['flood']>[0]) {
    return flood(this.#parts.relay, this.#source(random), wanted);
  }

  #source(random: Random): FloodSource {
    const { ledger, composer } = this.#parts;
    const nextToken = () => {
      this.#tokens += 1;
      return `t${this.#tokens}`;
    };
    return { ledger, composer, random, nextToken };
  }

  #evidenceOf(error: Error): readonly string[] {
    const { options, dir, relay } = this.#parts;
    dir.keep();
    const { seed, rounds, only, without, isLong } = options;
    const round = this.#rounds.length + 1;
    const named = (name: string, all: readonly string[]) =>
      all.length === 0 ? '' : ` ${name}=${all.join(',')}`;
    const also = `${isLong ? ' LONG=1' : ''}${named('ONLY', only)}${named('WITHOUT', without)}`;
    const isBroken = error instanceof Violation;
    return keepEvidence({
      directory: dir.path,
      dataDir: relay.dataDir,
      logFile: relay.logFile,
      violation: `BROKEN in round ${round}: ${isBroken ? error.message : error.stack}`,
      ids: isBroken ? error.ids : [],
      again: `make torture SEED=${seed} ROUNDS=${rounds}${also}`,
    });
  }
}

function mountDisk(directory: string, onNote: CampaignOptions['onNote']): SmallDisk | undefined {
  const disk = SmallDisk.mount(join(directory, 'disk'));
  if (typeof disk !== 'string') return disk;
  onNote?.(disk);
  return undefined;
}
