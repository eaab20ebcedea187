/** Waiting at the very end, where nothing asynchronous runs any more. */

const EVERY_MS = 20;
const LONGEST_MS = 3000;

/** Until `probe` says so, or for three seconds. */
export function untilSync(probe: () => boolean): void {
  const nothing = new Int32Array(new SharedArrayBuffer(4));
  for (let ms = 0; ms < LONGEST_MS && !probe(); ms += EVERY_MS)
    Atomics.wait(nothing, 0, 0, EVERY_MS);
}
