/**
 * New inputs from old ones: a seed, changed a few times over.
 */
import type { Random } from './random.ts';

export interface Material {
  /** Not empty. */
  readonly seeds: readonly Buffer[];
  readonly tokens: readonly Buffer[];
  readonly maxOctets: number;
}

/** Octets that mean something to one parser or another. */
const TELLING_OCTETS = Buffer.from('\0\t\n\r "\\.,;:=<>@[]{}*+-_%/09aZ\x7f\x80\xc3\xff', 'latin1');
const MOST_CHANGES = 6;

type Change = (input: Buffer, random: Random, material: Material) => Buffer;

/** Another input, of at most `maxOctets` octets. */
export function mutate(material: Material, random: Random): Buffer {
  let input: Buffer = random.pick(material.seeds);
  for (let left = 1 + random.below(MOST_CHANGES); left > 0; left--) {
    input = random.pick(CHANGES)(input, random, material).subarray(0, material.maxOctets);
  }
  return input;
}

const CHANGES: readonly Change[] = [
  flipBit,
  setOctet,
  setOctet,
  insertToken,
  insertToken,
  replaceByToken,
  removeRange,
  removeRange,
  copyRange,
  swapCase,
  changeNumber,
  splice,
  cutOff,
  repeatRange,
];

function flipBit(input: Buffer, random: Random): Buffer {
  const changed = Buffer.from(input);
  const at = random.below(changed.length);
  if (at < changed.length) changed[at] = (changed[at] as number) ^ (1 << random.below(8));
  return changed;
}

/** Over another octet, or between two. */
function setOctet(input: Buffer, random: Random): Buffer {
  const octet = random.below(2) === 0 ? random.pick([...TELLING_OCTETS]) : random.below(256);
  const at = random.below(input.length + 1);
  return replaced(input, { at, length: random.below(2) }, Buffer.of(octet));
}

function insertToken(input: Buffer, random: Random, { tokens }: Material): Buffer {
  const at = random.below(input.length + 1);
  return replaced(input, { at, length: 0 }, tokenFrom(tokens, random));
}

function replaceByToken(input: Buffer, random: Random, { tokens }: Material): Buffer {
  return replaced(input, rangeOf(input, random), tokenFrom(tokens, random));
}

function removeRange(input: Buffer, random: Random): Buffer {
  return replaced(input, rangeOf(input, random), Buffer.alloc(0));
}

function copyRange(input: Buffer, random: Random): Buffer {
  const { at, length } = rangeOf(input, random);
  const to = random.below(input.length + 1);
  return replaced(input, { at: to, length: 0 }, input.subarray(at, at + length));
}

function swapCase(input: Buffer, random: Random): Buffer {
  const { at, length } = rangeOf(input, random);
  const letters = input
    .toString('latin1', at, at + length)
    .replace(/[a-zA-Z]/g, (letter) => String.fromCharCode(letter.charCodeAt(0) ^ 0x20));
  return replaced(input, { at, length }, Buffer.from(letters, 'latin1'));
}

const NUMBERS = '0 1 -1 255 256 65535 65536 2147483647 4294967296 9007199254740993 1e9 007'.split(
  ' ',
);

function changeNumber(input: Buffer, random: Random): Buffer {
  const found = [...input.toString('latin1').matchAll(/\d+/g)];
  if (found.length === 0) return input;
  const { index, 0: digits } = random.pick(found);
  return replaced(input, { at: index, length: digits.length }, Buffer.from(random.pick(NUMBERS)));
}

/** The head of this one and the tail of another. */
function splice(input: Buffer, random: Random, { seeds }: Material): Buffer {
  const other = random.pick(seeds);
  const head = input.subarray(0, random.below(input.length + 1));
  return Buffer.concat([head, other.subarray(random.below(other.length + 1))]);
}

function cutOff(input: Buffer, random: Random): Buffer {
  return input.subarray(0, random.below(input.length + 1));
}

/** The same few octets very often: what takes time squared shows itself here. */
function repeatRange(input: Buffer, random: Random, { maxOctets }: Material): Buffer {
  const { at, length } = rangeOf(input, random);
  const room = Math.max(0, maxOctets - input.length);
  const most = Math.floor(room / Math.max(1, length));
  const times = random.below(4) === 0 ? most : random.below(Math.min(most, 40));
  return replaced(input, { at, length: 0 }, repeated(input.subarray(at, at + length), times));
}

function repeated(octets: Buffer, times: number): Buffer {
  return Buffer.alloc(octets.length * times, octets.length > 0 ? octets : 0);
}

interface Range {
  readonly at: number;
  readonly length: number;
}

/** Short ones mostly. */
function rangeOf(input: Buffer, random: Random): Range {
  const at = random.below(input.length);
  const longest = Math.min(input.length - at, random.below(4) === 0 ? input.length : 16);
  return { at, length: Math.min(longest, 1 + random.below(longest)) };
}

function tokenFrom(tokens: readonly Buffer[], random: Random): Buffer {
  return tokens.length > 0 ? random.pick(tokens) : Buffer.of(random.below(256));
}

function replaced(input: Buffer, { at, length }: Range, by: Buffer): Buffer {
  return Buffer.concat([input.subarray(0, at), by, input.subarray(at + length)]);
}
