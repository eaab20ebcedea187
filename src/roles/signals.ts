/**
 * The signals that a relay process takes from people and init systems: SIGTERM and SIGINT ask
 * for an orderly end, a second one for the end at once, SIGHUP for a reload.
 */

/** A signal to the whole group that make or npm hands on as well is one wish, not two. */
const SAME_WISH_MS = 250;
const ENDED_AT_ONCE = 1;

export interface Signals {
  /** The first SIGTERM or SIGINT, also one that came while starting. */
  readonly stop: Promise<NodeJS.Signals>;
  /** What SIGHUP does from now on; before, it does nothing. */
  onReload(reload: () => Promise<unknown>): void;
}

/** Listen from now on. `beforeExit` runs before a second signal ends the process. */
export function listenForSignals(beforeExit: () => void = () => {}): Signals {
  const { promise: stop, resolve } = Promise.withResolvers<NodeJS.Signals>();
  let askedAtMs: number | undefined;
  let reload = async (): Promise<unknown> => undefined;
  const onStop = (signal: NodeJS.Signals) => {
    const now = performance.now();
    if (askedAtMs !== undefined && now - askedAtMs > SAME_WISH_MS) {
      beforeExit();
      process.exit(ENDED_AT_ONCE);
    }
    askedAtMs ??= now;
    resolve(signal);
  };
  process.on('SIGTERM', onStop);
  process.on('SIGINT', onStop);
  process.on('SIGHUP', () => void reload());
  return {
    stop,
    onReload(action) {
      reload = action;
    },
  };
}
