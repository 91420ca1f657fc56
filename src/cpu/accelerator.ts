/** How guest code can be run, by the names of the option `-accel`; the default first. */
export const ACCELERATORS = ['jit', 'interp'] as const;
export type Accelerator = (typeof ACCELERATORS)[number];
