/** The kinds of migration that all faults are tried on: a feature that is added is covered by a row. */
import type { Setting } from './harness.ts';

export const KINDS = {
  plain: {},
  // Deltas travel while the guest runs, and in the final pass.
  xbzrle: { parameters: { xbzrle: true }, nsPerPage: 5000, passes: 4 },
} as const satisfies Record<string, Setting>;

export type Kind = keyof typeof KINDS;
export const KIND_NAMES = Object.keys(KINDS) as Kind[];
