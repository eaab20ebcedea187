/**
 * The fuzzing engine finds what is planted, and every target stands a few hundred mutated inputs
 * and everything in its corpus. `make fuzz` does the same for longer.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { runCampaign } from '../fuzz/engine/campaign.ts';
import { mutate } from '../fuzz/engine/mutate.ts';
import { Random } from '../fuzz/engine/random.ts';
import { shrink } from '../fuzz/engine/shrink.ts';
import { chunksOf, DEFAULT_MAX_OCTETS, type FuzzTarget } from '../fuzz/engine/target.ts';
import { watchCampaign } from '../fuzz/engine/watch.ts';
import { corpusOf, corpusTargets, keepFinding } from '../fuzz/kept.ts';
import { targets as plantedTargets } from '../fuzz/planted.ts';
import { targets } from '../fuzz/targets.ts';
import { tempDir } from '../support/temp-dir.ts';

const RUNS = 300;
const SEED = 1;
const PLANTED = new URL('../fuzz/planted.ts', import.meta.url).href;

function planted(name: string): FuzzTarget {
  return plantedTargets.find((target) => target.name === name) ?? assert.fail(name);
}

/** A short campaign that begins with the input the fault waits for. */
function watchPlanted(target: string, slowMs: number) {
  const corpus = [Buffer.from('a bug!')];
  return watchCampaign({ module: PLANTED, target, seed: SEED, durationMs: 300, corpus, slowMs });
}

describe('mutations', () => {
  const material = {
    seeds: [Buffer.from('one 1'), Buffer.alloc(0)],
    tokens: [Buffer.from('tok')],
    maxOctets: 50,
  };

  test('come out the same for the same seed, and differ for another', () => {
    const some = (seed: number) => {
      const random = new Random(seed);
      return Array.from({ length: 200 }, () => mutate(material, random).toString('hex'));
    };
    assert.deepEqual(some(1), some(1));
    assert.notDeepEqual(some(1), some(2));
    assert.ok(new Set(some(1)).size > 100);
  });

  test('are bounded, and leave the seeds alone', () => {
    const random = new Random(3);
    const made = Array.from({ length: 2000 }, () => mutate(material, random));
    assert.ok(made.every((input) => input.length <= material.maxOctets));
    assert.ok(made.some((input) => input.length === material.maxOctets));
    assert.ok(made.some((input) => input.includes('tok')));
    assert.equal(material.seeds[0]?.toString(), 'one 1');
  });

  test('random numbers stay below their end', () => {
    const random = new Random(4);
    assert.equal(random.below(0), 0);
    const drawn = Array.from({ length: 1000 }, () => random.below(3));
    assert.deepEqual([...new Set(drawn)].sort(), [0, 1, 2]);
  });
});

test('chunks put together are the input', () => {
  for (const chunks of chunksOf(Buffer.from('abcdefg'))) {
    assert.equal(Buffer.concat(chunks).toString(), 'abcdefg');
  }
});

test('shrinking keeps what matters', async () => {
  const input = Buffer.from(`${'x'.repeat(500)}bug${'y'.repeat(300)}!`);
  const smallest = await shrink(input, async (smaller) => /bug.*!/.test(smaller.toString()));
  assert.equal(smallest.toString(), 'bug!');
});

describe('a campaign', () => {
  for (const name of ['throws', 'throws-late']) {
    test(`finds an input on which a target ${name}, makes it small and names the place`, async () => {
      const { findings } = await runCampaign(planted(name), { seed: SEED, maxRuns: 20_000 });
      assert.equal(findings.length, 1);
      const [finding] = findings;
      assert.equal(finding?.input.toString(), 'bug!');
      assert.equal(finding.kind, 'thrown');
      assert.match(finding.signature, /^RangeError at planted\.ts:\d+$/);
      assert.match(finding.text, /RangeError/);
    });
  }

  test('finds an input that takes too long, twice', async () => {
    const options = { seed: SEED, maxRuns: 0, slowMs: 40, corpus: [Buffer.from('a bug!')] };
    const { findings } = await runCampaign(planted('is-slow'), options);
    assert.deepEqual(
      findings.map(({ kind }) => kind),
      ['slow'],
    );
    assert.ok(findings[0]?.input.includes('bug!'));
  });

  test('finds nothing where nothing is, and says what answers there were', async () => {
    const { findings, kinds, runs } = await runCampaign(planted('sound'), {
      seed: SEED,
      maxRuns: 500,
    });
    assert.deepEqual(findings, []);
    assert.equal(runs, 500);
    assert.deepEqual([...kinds.keys()].sort(), ['0', '1']);
  });

  test('runs the corpus first, and hands out copies', async () => {
    const corpus = [Buffer.from('a bug!')];
    const { findings } = await runCampaign(planted('throws'), { seed: SEED, maxRuns: 0, corpus });
    assert.equal(findings.length, 1);
    const target = planted('spoils-its-input');
    await runCampaign(target, { seed: SEED, maxRuns: 100 });
    assert.equal(target.seeds[0]?.toString(), 'plain words');
  });
});

describe('a watched campaign', () => {
  for (const [name, kind, slowMs] of [
    ['hangs', 'hang', 250],
    ['never-answers', 'hang', 250],
    ['crashes', 'crash', 2000],
    ['eats-memory', 'crash', 60_000],
  ] as const) {
    test(`finds an input on which a target ${name}`, async () => {
      const { findings } = await watchPlanted(name, slowMs);
      const found = findings.filter((finding) => finding.kind === kind);
      assert.ok(
        found.some(({ input }) => input.includes('bug!')),
        JSON.stringify(findings),
      );
    });
  }

  test('brings home what the thread found, and what a replay gives', async () => {
    const common = { module: PLANTED, target: 'throws', seed: SEED, durationMs: 300_000 };
    const { findings, runs } = await watchCampaign({ ...common, maxRuns: 20_000 });
    assert.equal(findings[0]?.input.toString(), 'bug!');
    assert.ok(runs >= 20_000);
    const replayed = async (text: string) =>
      watchCampaign({ ...common, corpus: [Buffer.from(text)], replay: true });
    assert.equal((await replayed('a bug!')).findings.length, 1);
    assert.deepEqual([...(await replayed('a bug')).kinds], [['fine', 1]]);
  });
});

test('the input of a finding is written as it is', () => {
  using dir = tempDir();
  const input = Buffer.from('\0\xff\r\n', 'latin1');
  const finding = { target: 'throws', kind: 'thrown', signature: 's', text: 't', input } as const;
  const file = keepFinding(finding, dir.file('found'));
  assert.deepEqual(readFileSync(file), input);
});

describe('targets', () => {
  test('have names of their own, seeds that fit, and a corpus only where there is a target', () => {
    const names = targets.map(({ name }) => name);
    assert.equal(new Set(names).size, names.length);
    for (const { seeds, maxOctets = DEFAULT_MAX_OCTETS } of targets) {
      assert.ok(seeds.length > 0 && seeds.every((seed) => seed.length <= maxOctets));
    }
    assert.deepEqual(
      corpusTargets().filter((name) => !names.includes(name)),
      [],
    );
  });

  for (const target of targets) {
    test(target.name, { timeout: 400_000 }, async () => {
      // On a busy machine a second is no hang; `make fuzz` watches for those.
      const slowMs = 60_000;
      const options = { seed: SEED, maxRuns: RUNS, corpus: corpusOf(target.name), slowMs };
      const { findings, kinds } = await runCampaign(target, options);
      await target.close?.();
      const told = findings.map(
        ({ text, input }) => `${JSON.stringify(input.toString('latin1'))}\n${text}`,
      );
      assert.deepEqual(told, []);
      // A target that gives the same answer to everything looks at nothing.
      assert.ok(kinds.size > 1, [...kinds.keys()].join());
    });
  }
});
