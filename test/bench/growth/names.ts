/** The measurements of growth, in the order in which they run. */
export const GROWTH_NAMES = ['deep', 'sizes', 'idle', 'steady'] as const;
export type GrowthName = (typeof GROWTH_NAMES)[number];
