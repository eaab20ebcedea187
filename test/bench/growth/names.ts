/** The measurements of growth, in the order in which they run. */
export const GROWTH_NAMES = ['deep', 'asks', 'sizes', 'idle', 'steady', 'redis'] as const;
export type GrowthName = (typeof GROWTH_NAMES)[number];
