/**
 * One role as its supervisor knows it: its process, how far that has come, since when it does
 * its work or does not, and when it is started again.
 */
import type { ChildProcess } from 'node:child_process';
import type { RoleName } from '../telemetry/role-events.ts';

const FIRST_RESTART_MS = 200;
const LAST_RESTART_MS = 30_000;
/** A role that ran this long starts anew with its first delay. */
const LONG_RUN_MS = 60_000;

/** What `stsrelay status` is told. Times are RFC 3339. */
export interface RoleFacts {
  readonly role: RoleName;
  /** `starting`: there is a process, and it does not do its work yet. */
  readonly state: 'up' | 'starting' | 'down';
  /** Since when it does its work or, however often it was started since, does not. */
  readonly since: string;
  readonly pid?: number;
  /** How often it was started again. */
  readonly restarts: number;
  readonly lastEnd?: { readonly time: string; readonly reason: string };
  /** When it will be started again. */
  readonly restartAt?: string;
}

export class RoleState {
  readonly role: RoleName;
  progress: 'loading' | 'ready' | 'begun' = 'loading';
  restarts = 0;
  #child: ChildProcess | undefined;
  #isUp = false;
  #sinceMs = Date.now();
  #launchedAtMs = 0;
  #restartInMs = FIRST_RESTART_MS;
  #restart: { readonly timer: NodeJS.Timeout; readonly atMs: number } | undefined;
  #failure: string | undefined;
  #lastEnd: RoleFacts['lastEnd'];

  constructor(role: RoleName) {
    this.role = role;
  }

  get child(): ChildProcess | undefined {
    return this.#child;
  }

  get isWorking(): boolean {
    return this.#isUp;
  }

  launched(child: ChildProcess): void {
    this.#child = child;
    this.progress = 'loading';
    this.#launchedAtMs = performance.now();
    this.#restart = undefined;
  }

  /** It does its work. */
  isUp(): void {
    if (!this.#isUp) this.#sinceMs = Date.now();
    this.#isUp = true;
  }

  /** It said why it is about to end. */
  failed(reason: string): void {
    this.#failure = reason;
  }

  /** `how` counts where it did not say why. */
  ended(how: string): void {
    this.#child = undefined;
    if (this.#isUp) this.#sinceMs = Date.now();
    this.#isUp = false;
    this.#lastEnd = { time: new Date().toISOString(), reason: this.#failure ?? how };
    this.#failure = undefined;
  }

  /** Have it started again, ever later while it ends soon; in how many milliseconds. */
  restartLater(start: () => void): number {
    if (performance.now() - this.#launchedAtMs > LONG_RUN_MS) this.#restartInMs = FIRST_RESTART_MS;
    const inMs = this.#restartInMs;
    this.#restartInMs = Math.min(inMs * 2, LAST_RESTART_MS);
    this.restarts += 1;
    this.#restart = { timer: setTimeout(start, inMs), atMs: Date.now() + inMs };
    return inMs;
  }

  dontRestart(): void {
    clearTimeout(this.#restart?.timer);
    this.#restart = undefined;
  }

  /** End the process and forget it. */
  drop(): void {
    this.#child?.kill('SIGKILL');
    this.#child = undefined;
  }

  facts(): RoleFacts {
    const running = this.#isUp ? 'up' : 'starting';
    return {
      role: this.role,
      state: this.#child ? running : 'down',
      since: new Date(this.#sinceMs).toISOString(),
      ...(this.#child?.pid === undefined ? {} : { pid: this.#child.pid }),
      restarts: this.restarts,
      ...(this.#lastEnd ? { lastEnd: this.#lastEnd } : {}),
      ...(this.#restart ? { restartAt: new Date(this.#restart.atMs).toISOString() } : {}),
    };
  }
}
