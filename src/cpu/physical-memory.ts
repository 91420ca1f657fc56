/** Where the engine finds the guest's RAM: one range of physical addresses backed by one block of the shared memory. */
import type { Layout } from '../memory/layout.ts';

export interface MainMemory {
  /** First guest-physical address. */
  readonly base: number;
  /** Bytes. */
  readonly size: number;
  /** Byte offset in the shared memory. */
  readonly offset: number;
  /** Page index of its first page. */
  readonly firstPage: number;
}

/** What generated code is specialised for. */
export interface EngineContext {
  readonly layout: Layout;
  readonly ram: MainMemory;
}
