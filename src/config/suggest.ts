/**
 * "Did you mean": the known name closest to one that is not known. Pure.
 */
const FARTHEST = 2;

/** Number of letters to change, add, leave out or swap with the next to make `a` into `b`. */
function distance(a: string, b: string): number {
  const rows = [Array.from({ length: b.length + 1 }, (_, j) => j)];
  const at = (i: number, j: number) => rows[i]?.[j] ?? 0;
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    rows.push(row);
    for (let j = 1; j <= b.length; j++) {
      const change = at(i - 1, j - 1) + (a[i - 1] === b[j - 1] ? 0 : 1);
      const swapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      const swap = swapped ? at(i - 2, j - 2) + 1 : change;
      row.push(Math.min(change, swap, at(i - 1, j) + 1, at(i, j - 1) + 1));
    }
  }
  return at(a.length, b.length);
}

/** The closest of `names` to `wrong`, when it is close enough to be a slip. */
export function closest(wrong: string, names: readonly string[]): string | undefined {
  const wanted = wrong.toLowerCase().replace(/[_-]/g, '');
  // Half the letters wrong is another word, however short it is.
  const farthest = Math.min(FARTHEST, Math.floor(wanted.length / 3));
  if (wanted.length > 100) return undefined;
  const ranked = names
    .map((name) => ({ name, far: distance(wanted, name.toLowerCase().replace(/[_-]/g, '')) }))
    .filter(({ far }) => far <= farthest)
    .sort((a, b) => a.far - b.far);
  return ranked[0]?.name;
}
