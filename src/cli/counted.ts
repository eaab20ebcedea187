/**
 * Numbers with their nouns: `1 delivery`, `2 deliveries`.
 */

/** `many` is left out where it is `one` with an s. */
export function counted(count: number, one: string, many = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`;
}

export function deliveries(count: number): string {
  return counted(count, 'delivery', 'deliveries');
}
