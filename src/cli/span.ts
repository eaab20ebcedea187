/**
 * How long something took or takes, for people.
 */

/** The two largest units that are not zero: `3 d 4 h`, `12 min`. */
export function formatSpan(seconds: number): string {
  const units = [
    ['d', 86_400],
    ['h', 3600],
    ['min', 60],
    ['s', 1],
  ] as const;
  let rest = Math.max(0, Math.floor(seconds));
  const parts: string[] = [];
  for (const [unit, size] of units) {
    const count = Math.floor(rest / size);
    rest %= size;
    if (count > 0 || parts.length > 0) parts.push(count > 0 ? `${count} ${unit}` : '');
  }
  return (
    parts
      .slice(0, 2)
      .filter((part) => part !== '')
      .join(' ') || '0 s'
  );
}
