/**
 * Single flight: callers who ask for the same thing at the same time share one piece of work.
 * A caller who gives up leaves alone; the work is only aborted when nobody waits for it any more.
 */

interface Flight<T> {
  readonly result: Promise<T>;
  readonly controller: AbortController;
  waiting: number;
}

export interface SingleFlight<T> {
  /**
   * The result of `work` for `key`, or of the work already under way for it. Rejects with
   * `signal.reason` when the caller's own signal fires first, and with what `work` rejects with.
   */
  run(key: string, signal: AbortSignal, work: (signal: AbortSignal) => Promise<T>): Promise<T>;
}

/** As many flights as there are different keys; nothing is kept when one has landed. */
export function createSingleFlight<T>(): SingleFlight<T> {
  const flights = new Map<string, Flight<T>>();

  function depart(key: string, work: (signal: AbortSignal) => Promise<T>): Flight<T> {
    const controller = new AbortController();
    const flight: Flight<T> = {
      controller,
      waiting: 0,
      result: work(controller.signal).finally(() => {
        if (flights.get(key) === flight) flights.delete(key);
      }),
    };
    // Everybody may have left by the time it fails.
    flight.result.catch(() => {});
    flights.set(key, flight);
    return flight;
  }

  return {
    async run(key, signal, work) {
      signal.throwIfAborted();
      const flight = flights.get(key) ?? depart(key, work);
      flight.waiting += 1;
      const left = Promise.withResolvers<never>();
      const leave = () => left.reject(signal.reason);
      signal.addEventListener('abort', leave, { once: true });
      try {
        return await Promise.race([flight.result, left.promise]);
      } finally {
        signal.removeEventListener('abort', leave);
        flight.waiting -= 1;
        if (flight.waiting === 0) {
          // A late caller must start afresh instead of joining aborted work.
          if (flights.get(key) === flight) flights.delete(key);
          flight.controller.abort(new Error('nobody waits for this any more'));
        }
      }
    },
  };
}
