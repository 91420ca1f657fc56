/**
 * How generated code goes on after a call to the host side. Any other answer is the number of bytes of entries to
 * advance by: the instruction is done.
 */
export const RESUME = {
  /** Run the same entry again; it does not count twice. */
  retry: 0,
  /** Go on at the hart's pc. */
  jump: 1,
  /** Leave the slice; the hart's pc says where to go on. */
  exit: 2,
  /** Run the entry that was put in the hart's straddle slot; it does not count twice. */
  straddle: 3,
} as const;
