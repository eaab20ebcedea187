/**
 * `make bench`: our relay and others in turn over the same work, several rounds, medians and
 * ratios. settings.ts says what it can be told; docs/performance.md, which it writes, says how it
 * measures. Exit status 1 when a run failed, 2 for wrong usage.
 */
import { appendFileSync, existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { measureDurability } from './durability.ts';
import { type GrowthTable, measureGrowth } from './growth/growth.ts';
import { MANY_DOMAINS } from './growth/redis.ts';
import { describeMachine } from './measure/machine.ts';
import { compilePrograms } from './measure/programs.ts';
import type { Bench, Peer } from './peers/peer.ts';
import { choosePeers } from './peers/peers.ts';
import { stsrelay } from './peers/stsrelay.ts';
import { printProfile, readProfiles, type ThreadProfile } from './profile/report.ts';
import { compare, standingNotes, standingRows } from './result/compare.ts';
import { writeGrowthDoc, writePerformanceDoc } from './result/document.ts';
import type { RunResult } from './result/run-result.ts';
import { plainTable } from './result/table.ts';
import { runOnce } from './run.ts';
import type { Scenario } from './scenarios.ts';
import { makeScratch } from './scratch.ts';
import { type BenchSettings, readSettings, UsageError } from './settings.ts';
import { inTurn } from './turn.ts';
import { startOutside } from './world/outside.ts';

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}

interface Shared {
  readonly bench: Bench;
  readonly settings: BenchSettings;
}

/** All rounds of a scenario. A run that fails is said and left out. */
async function runRounds(
  scenario: Scenario,
  peers: readonly Peer[],
  { bench, settings }: Shared,
): Promise<readonly RunResult[]> {
  const messages = settings.messages ?? scenario.messages;
  const onProfiles = settings.profile
    ? (paths: readonly string[]) =>
        print(readProfiles(paths, messages).map(printProfile).join('\n'))
    : undefined;
  const results: RunResult[] = [];
  for (let round = 1; round <= settings.rounds; round += 1) {
    for (const peer of peers) {
      const plan = { bench, peer, scenario, messages, warmUp: settings.warmUp, onProfiles };
      const where = `  ${scenario.name} ${round}/${settings.rounds} ${peer.name}`;
      try {
        const result = await inTurn(() => runOnce(plan));
        results.push(result);
        keep(result, settings);
        const cpu = result.cpuMs.toFixed(2);
        print(`${where}: drain ${Math.round(result.drainRate)}/s, CPU ${cpu} ms a message`);
      } catch (error) {
        process.exitCode = 1;
        print(`${where}: FAILED, ${(error as Error).message}`);
      }
    }
  }
  return results;
}

function keep(result: object, { outFile }: BenchSettings): void {
  if (outFile !== '') appendFileSync(resolve(outFile), `${JSON.stringify(result)}\n`);
}

/** One scenario: say who takes part, run, print the table. */
async function runScenario(
  scenario: Scenario,
  peers: readonly Peer[],
  shared: Shared,
): Promise<readonly RunResult[]> {
  print(`${scenario.name}: ${scenario.summary}`);
  const able = peers.filter((peer) => {
    const reason = peer.missing(scenario);
    if (reason !== undefined) print(`  without ${peer.name}: ${reason}`);
    return reason === undefined;
  });
  const results = await runRounds(scenario, able, shared);
  if (results.length > 0) {
    const standings = compare(results);
    print(`\n${plainTable(standingRows(standings))}`);
    print(`${standingNotes(standings).join('\n')}\n`);
  }
  return results;
}

/** What was asked for of growth; one that fails is said and left out. */
async function runGrowth({ bench, settings }: Shared): Promise<readonly GrowthTable[]> {
  const tables: GrowthTable[] = [];
  const peer = stsrelay(settings);
  for (const name of settings.growth) {
    print(`${name}:`);
    try {
      const table = await measureGrowth(name, { bench, peer, settings, print });
      tables.push(table);
      keep({ growth: name, figures: table.figures }, settings);
      print(`\n${table.summary}\n${plainTable(table.rows)}${table.notes.join('\n')}\n`);
    } catch (error) {
      process.exitCode = 1;
      print(`  ${name}: FAILED, ${(error as Error).message}`);
    }
  }
  return tables;
}

/** One run of our relay that counts for nothing else: profiling slows it down. */
async function profileOurs({ bench, settings }: Shared): Promise<readonly ThreadProfile[]> {
  const [scenario] = settings.scenarios;
  if (scenario === undefined || !settings.peers.includes('stsrelay')) return [];
  const messages = settings.messages ?? scenario.messages;
  let profiles: readonly ThreadProfile[] = [];
  const onProfiles = (paths: readonly string[]) => {
    profiles = readProfiles(paths, messages);
  };
  const peer = stsrelay({ ...settings, profile: true });
  const plan = { bench, peer, scenario, messages, warmUp: settings.warmUp, onProfiles };
  await inTurn(() => runOnce(plan));
  return profiles;
}

async function bench(settings: BenchSettings): Promise<void> {
  if (!existsSync(settings.main)) throw new UsageError(`there is no ${settings.main}`);
  const programs = compilePrograms();
  const work = makeScratch(settings.work);
  const machine = describeMachine(work);
  const own = settings.growth.includes('redis') ? MANY_DOMAINS : 1;
  const domains = Math.max(own, ...settings.scenarios.map((scenario) => scenario.domains));
  const outside = await startOutside(work, domains > 1 ? domains : 0);
  const shared = { bench: { work, programs, outside }, settings };
  const peers = choosePeers(settings);
  const results: RunResult[] = [];
  for (const scenario of settings.scenarios) {
    results.push(...(await runScenario(scenario, peers, shared)));
  }
  const growth = await runGrowth(shared);
  const durability = settings.durability ? await measureDurability(peers, shared.bench, print) : [];
  if (!settings.write) {
    print('docs/performance.md stays as it is (WRITE=1 writes it)');
    return;
  }
  if (growth.length > 0) writeGrowthDoc(growth, machine);
  if (results.length > 0 || durability.length > 0) {
    const profiles = await profileOurs(shared);
    writePerformanceDoc({ results, durability, profiles, machine, peers, settings });
  }
  print('docs/performance.md is written');
}

try {
  await bench(readSettings(process.env));
  process.exit();
} catch (error) {
  print(error instanceof UsageError ? error.message : String((error as Error).stack));
  process.exit(error instanceof UsageError ? 2 : 1);
}
