/**
 * The clock of tests: stands still until told otherwise. Tasks run in the order they are due,
 * each at its own time, those due at the same time in the order they were asked for.
 */
import type { Clock } from '../../src/platform/clock.ts';

interface Task {
  readonly dueAt: number;
  readonly order: number;
  readonly run: () => void;
}

export class FakeClock implements Clock {
  #now: number;
  #order = 0;
  readonly #tasks = new Set<Task>();

  constructor(now: number | string | Date = '2026-01-15T12:00:00Z') {
    this.#now = new Date(now).getTime();
  }

  now(): number {
    return this.#now;
  }

  after(delayMs: number, run: () => void): () => void {
    const task: Task = { dueAt: this.#now + Math.max(delayMs, 0), order: this.#order, run };
    this.#order += 1;
    this.#tasks.add(task);
    return () => this.#tasks.delete(task);
  }

  /** How many tasks wait. */
  get pending(): number {
    return this.#tasks.size;
  }

  /** Milliseconds until the next task is due; undefined when none waits. */
  get nextIn(): number | undefined {
    const next = this.#next();
    return next === undefined ? undefined : Math.max(next.dueAt - this.#now, 0);
  }

  /** Let `ms` pass: what falls due runs, tasks that running tasks ask for included. */
  advance(ms: number): void {
    const target = this.#now + ms;
    while (this.#runNext(target));
    this.#now = target;
  }

  /** Like `advance`, but promises get their turn before, between and after the tasks. */
  async advanceAsync(ms: number): Promise<void> {
    const target = this.#now + ms;
    await turn();
    while (this.#runNext(target)) await turn();
    this.#now = target;
    await turn();
  }

  /** Jump to a time. Forward: what falls due on the way runs. Backward: nothing runs. */
  set(now: number | string | Date): void {
    const target = new Date(now).getTime();
    if (target > this.#now) this.advance(target - this.#now);
    else this.#now = target;
  }

  #next(): Task | undefined {
    let next: Task | undefined;
    for (const task of this.#tasks) {
      const sooner =
        next === undefined ||
        task.dueAt < next.dueAt ||
        (task.dueAt === next.dueAt && task.order < next.order);
      if (sooner) next = task;
    }
    return next;
  }

  #runNext(target: number): boolean {
    const next = this.#next();
    if (next === undefined || next.dueAt > target) return false;
    this.#tasks.delete(next);
    this.#now = Math.max(this.#now, next.dueAt);
    next.run();
    return true;
  }
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
