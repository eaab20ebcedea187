/**
 * Targets with a fault planted in each, to show that the engine finds such faults.
 */
import { createHash } from 'node:crypto';
import type { FuzzTarget } from './engine/target.ts';

const SEEDS = [Buffer.from('plain words'), Buffer.from('other words')];
const hoard: Buffer[] = [];

function planted(name: string, run: FuzzTarget['run']): FuzzTarget {
  return { name, seeds: SEEDS, tokens: ['bug', '!'], maxOctets: 200, run };
}

const digestOf = (octets: Buffer) => createHash('sha256').update(octets).digest();
const isBad = (input: Buffer) => input.includes('bug!');

export const targets: readonly FuzzTarget[] = [
  planted('sound', (input) => `${input.length % 2}`),
  planted('throws', (input) => {
    if (isBad(input)) throw new RangeError(`no ${input.length}`);
    return 'fine';
  }),
  planted('throws-late', async (input) => {
    await new Promise(setImmediate);
    if (isBad(input)) throw new RangeError('late');
    return 'fine';
  }),
  planted('spoils-its-input', (input) => {
    input.fill(0);
    return 'fine';
  }),
  // Takes time that doubles with each blank: an expression that goes back and forth.
  planted('hangs', (input) => {
    const text = isBad(input) ? `${'a'.repeat(40)}!` : 'a';
    return String(/^(?:a+)+$/.test(text));
  }),
  planted('never-answers', (input) => (isBad(input) ? new Promise(() => {}) : 'fine')),
  planted('is-slow', (input) => {
    const until = performance.now() + (isBad(input) ? 60 : 0);
    while (performance.now() < until);
    return 'fine';
  }),
  planted('crashes', async (input) => {
    if (isBad(input))
      setImmediate(() => queueMicrotask(() => Promise.reject(new Error('unheard'))));
    await new Promise(setImmediate);
    await new Promise(setImmediate);
    return 'fine';
  }),
  planted('eats-memory', (input) => {
    // Not so fast that it has everything before anybody looks.
    while (isBad(input)) hoard.push(Buffer.alloc(65_536, digestOf(hoard.at(-1) ?? input)));
    return 'fine';
  }),
];
