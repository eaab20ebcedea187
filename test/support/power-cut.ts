/**
 * What a power cut leaves of a disk (memory-disk.ts): all that was durable at that moment, and of
 * the rest what chance, or the worst case, leaves.
 */
import { dirname } from 'node:path';
import { cut, type DiskStep, type Inode, type MemoryDisk, put } from './memory-disk.ts';

/**
 * What becomes of what was not durable. `latest`: of the names that were made or removed the last one
 * in each directory is, the others are not; octets are lost. A disk need not keep their order.
 */
export type Fate = 'lost' | 'kept' | 'partly' | 'latest';

type DataStep = Extract<DiskStep, { op: 'write' | 'truncate' }>;
type NameStep = Extract<DiskStep, { op: 'create' | 'unlink' | 'rename' }>;

interface Pending<T> {
  readonly step: T;
  readonly index: number;
}

/** Follows the steps of a disk, one after the other, and tells what would be left now. */
export class PowerCut {
  readonly #disk: MemoryDisk;
  readonly #random: () => number;
  #index = 0;
  /** What is durable. */
  readonly #inodes = new Map<number, Inode>();
  readonly #names = new Map<string, number>();
  readonly #data = new Map<number, Pending<DataStep>[]>();
  readonly #renamed = new Map<string, Pending<NameStep>[]>();

  /** `random` gives numbers from 0 up to 1. */
  constructor(disk: MemoryDisk, random: () => number) {
    this.#disk = disk;
    this.#random = random;
    let number = 0;
    for (const [path, octets] of disk.origin) {
      number += 1;
      this.#names.set(path, number);
      this.#inodes.set(number, { number, octets: Buffer.from(octets), size: octets.length });
    }
  }

  /** Steps followed so far. */
  get at(): number {
    return this.#index;
  }

  /** Follow one more; undefined when there is none. */
  next(): DiskStep | undefined {
    const step = this.#disk.steps[this.#index];
    if (!step) return undefined;
    this.#follow(step, this.#index);
    this.#index += 1;
    return step;
  }

  /** The files that are there when the power comes back. */
  left(fate: Fate): Map<string, Buffer> {
    const names = new Map(this.#names);
    for (const pending of this.#renamed.values()) {
      const last = pending.at(-1);
      for (const one of pending) {
        if (fate === 'latest' ? one === last : this.#stays(fate)) rename(names, one.step);
      }
    }
    const files = new Map<string, Buffer>();
    const made = new Map<number, Buffer>();
    for (const [path, number] of names) {
      const octets = made.get(number) ?? this.#contentOf(number, fate);
      made.set(number, octets);
      files.set(path, octets);
    }
    return files;
  }

  #stays(fate: Fate): boolean {
    return fate === 'kept' || (fate === 'partly' && this.#random() < 0.5);
  }

  #contentOf(number: number, fate: Fate): Buffer {
    const durable = this.#inodes.get(number) ?? { number, octets: Buffer.alloc(0), size: 0 };
    const inode = { ...durable, octets: Buffer.from(durable.octets.subarray(0, durable.size)) };
    for (const { step } of this.#data.get(number) ?? []) {
      if (fate === 'lost' || fate === 'latest') continue;
      if (step.op === 'truncate') {
        if (this.#stays(fate)) cut(inode, step.size);
      } else if (fate === 'kept') put(inode, step.at, step.octets);
      else this.#putPartly(inode, step);
    }
    return inode.octets.subarray(0, inode.size);
  }

  /** Pages come to the disk in any order; a size may come before them. */
  #putPartly(inode: Inode, { at, octets }: Extract<DiskStep, { op: 'write' }>): void {
    const page = this.#random() < 0.5 ? 64 : 4096;
    for (let from = 0; from < octets.length; from += page) {
      const part = octets.subarray(from, from + page);
      const chance = this.#random();
      if (chance < 0.4) put(inode, at + from, part);
      else if (chance < 0.6) put(inode, at + from, Buffer.alloc(part.length));
      else if (chance < 0.8) {
        put(inode, at + from, part.subarray(0, Math.floor(part.length * this.#random())));
      }
    }
  }

  #follow(step: DiskStep, index: number): void {
    switch (step.op) {
      case 'create':
      case 'unlink':
      case 'rename':
        listIn(this.#renamed, dirname(step.path)).push({ step, index });
        break;
      case 'write':
      case 'truncate':
        listIn(this.#data, step.inode).push({ step, index });
        break;
      case 'sync':
        this.#sync(step);
        break;
      case 'syncDirectory': {
        for (const [directory, pending] of this.#renamed) {
          const isDone = (one: Pending<NameStep>) =>
            one.index < step.since &&
            (directory === step.path ||
              (one.step.op === 'rename' && dirname(one.step.from) === step.path));
          for (const one of pending.filter(isDone)) rename(this.#names, one.step);
          this.#renamed.set(
            directory,
            pending.filter((one) => !isDone(one)),
          );
        }
        break;
      }
      case 'mark':
    }
  }

  #sync({ inode: number, since, failed }: Extract<DiskStep, { op: 'sync' }>): void {
    const pending = listIn(this.#data, number);
    const inode = this.#inodes.get(number) ?? { number, octets: Buffer.alloc(0), size: 0 };
    this.#inodes.set(number, inode);
    for (const { step, index } of pending) {
      if (index >= since) continue;
      // After a failed sync nobody knows; and the next one no longer looks at these.
      if (failed) {
        if (step.op === 'write' && this.#random() < 0.5) put(inode, step.at, step.octets);
      } else if (step.op === 'write') put(inode, step.at, step.octets);
      else cut(inode, step.size);
    }
    this.#data.set(
      number,
      pending.filter(({ index }) => index >= since),
    );
  }
}

function rename(names: Map<string, number>, step: NameStep): void {
  if (step.op === 'unlink') names.delete(step.path);
  else names.set(step.path, step.inode);
  if (step.op === 'rename') names.delete(step.from);
}

function listIn<K, T>(lists: Map<K, T[]>, key: K): T[] {
  const known = lists.get(key) ?? [];
  lists.set(key, known);
  return known;
}
