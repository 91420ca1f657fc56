/** Faults of a connection, at random places of what would travel over it. */
import type { Random } from '../support/random.ts';
import type { Faults } from './memory-transport.ts';
import type { Place } from './places.ts';

const WHATS = ['end', 'reset', 'stall', 'delay', 'repeat', 'flip', 'half'] as const;

/** Plain data, so that an error can show it. */
export interface LinkFault {
  readonly what: (typeof WHATS)[number];
  readonly at: number;
  /** Where the frame ends that comes twice; how long the delay is; which bit is flipped. */
  readonly end: number;
  readonly ms: number;
  readonly bit: number;
}

/** @param found the places of the stream, as it is without faults. */
export function linkFault(random: Random, found: readonly Place[]): LinkFault {
  const length = found.at(-1)?.offset ?? 0;
  const what = random.pick(WHATS);
  const frames = found.filter(({ end }) => end !== undefined);
  // At the end of a stream, where the guest changes sides, it matters most.
  const place = random.pick(random.chance(0.4) ? found.slice(-12) : found);
  const frame = random.pick(random.chance(0.4) ? frames.slice(-4) : frames);
  const at = what === 'repeat' ? frame.offset : random.chance(0.7) ? place.offset : random.below(length);
  return { what, at, end: frame.end ?? at, ms: random.between(1, 4000), bit: random.below(8) };
}

/** What does all of them to one direction of a link. */
export function linkFaults(faults: readonly LinkFault[]): Faults {
  const flips = faults.filter(({ what }) => what === 'flip');
  const alter = (bytes: Uint8Array, at: number): void => {
    for (const flip of flips) {
      const i = flip.at - at;
      if (i >= 0 && i < bytes.length) bytes[i] = (bytes[i] ?? 0) ^ (1 << flip.bit);
    }
  };
  const made = faults.map(({ what, at, end, ms }): Faults => {
    switch (what) {
      case 'end':
      case 'reset':
        return { cutAt: at, cutAs: what };
      case 'stall':
        return { stallAt: at };
      case 'delay':
        return { delay: { at, ms } };
      case 'repeat':
        return { repeat: [at, end] };
      case 'half':
        return { halfAt: at };
      case 'flip':
        return { alter };
      default:
        throw new Error(`no such fault: ${what satisfies never}`);
    }
  });
  return Object.assign({}, ...made) as Faults;
}
