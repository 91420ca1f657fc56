/** What somebody who watches the engine is told of. What nobody asks for costs nothing. */
import type { Hart } from './hart.ts';

export interface Trace {
  /**
   * An instruction was decoded: once, unless its page was written to or its predecoded form had to make room; one that
   * lies across two pages, each time. Whoever translates code in another way tells of it here as well.
   * @param bits its 16 or 32.
   */
  decoded?(hart: Hart, pc: bigint, bits: number): void;
  /**
   * The hart is about to run code that does not follow what it ran before: behind a jump, a trap, a return. The engine
   * goes instruction by instruction meanwhile.
   */
  block?(hart: Hart): void;
  /** An address was translated for a TLB or for an access. */
  translated?(hart: Hart, translation: Translation): void;
}

export interface Translation {
  /** Unsigned. */
  readonly address: bigint;
  /** An ACCESS. */
  readonly access: number;
  /** WALK bits. */
  readonly walk: number;
  /** The physical address, or a FAULT. */
  readonly result: bigint;
}
