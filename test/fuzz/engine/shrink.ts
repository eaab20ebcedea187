/**
 * Makes the input of a finding smaller while it stays the same finding.
 */

const MOST_TRIES = 1000;
const MOST_MS = 2000;

/** The smallest input that leaving parts out gives, as long as `isSame` says it is still the finding. */
export async function shrink(
  input: Buffer,
  isSame: (input: Buffer) => Promise<boolean>,
): Promise<Buffer> {
  const deadline = performance.now() + MOST_MS;
  let smallest = input;
  let tries = 0;
  for (let size = Math.ceil(input.length / 2); size >= 1; size = Math.floor(size / 2)) {
    for (let at = 0; at < smallest.length; ) {
      if (++tries > MOST_TRIES || performance.now() > deadline) return smallest;
      const without = Buffer.concat([smallest.subarray(0, at), smallest.subarray(at + size)]);
      if (await isSame(without)) smallest = without;
      else at += size;
    }
  }
  return smallest;
}
