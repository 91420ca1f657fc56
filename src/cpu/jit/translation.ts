/**
 * A region as a WebAssembly module, with what it takes to use it. Nothing in it depends on where its pages are, or on what
 * has run: it is as good in another machine with the same memory layout and instructions that holds the same code.
 */
import { PAGE_SIZE } from '../../memory/layout.ts';
import { ModuleBuilder } from '../../wasm/module.ts';
import type { Region, RegionPage } from './region.ts';
import { emitRegion } from './region-code.ts';
import type { RegionCalls } from './region-frame.ts';

export interface Translation {
  /** Distances of its pages from the base page, in bytes; the base page's, 0, is the first. */
  readonly pages: readonly number[];
  /** Hashes of what they hold, in the same order: a translation is found by them. */
  readonly hashes: readonly number[];
  /** What it translates: addresses, less that of the base page, and instructions, one after the other. */
  readonly code: Int32Array;
  /** Where control may enter, likewise; the function's state is the place in this list, from 1 on. */
  readonly entries: readonly number[];
  /** Where jumps led when it was made, likewise: another translation of its pages has to know. */
  readonly reached: readonly number[];
  /** Instructions as often as they are translated, and one more for each block. */
  readonly size: number;
  /** WebAssembly. */
  readonly module: Uint8Array<ArrayBuffer>;
}

/** The engine's functions that regions import. */
export type RegionImports = Readonly<Record<keyof RegionCalls, (...args: never[]) => unknown>>;

/** The name of the module's function. */
const EXPORT = 'region';

/**
 * @param hashes of what its pages hold.
 * @param memoryPages size of the shared memory, in pages of WebAssembly.
 * @param direct see emitRegion.
 */
export function translate(
  view: DataView,
  region: Region,
  hashes: readonly number[],
  memoryPages: number,
  direct: number | undefined,
): Translation {
  const module = new ModuleBuilder(memoryPages);
  const calls = {
    read: module.importFunction('read', ['i32', 'i64', 'i32'], ['i32']),
    write: module.importFunction('write', ['i32', 'i64', 'i32', 'i64'], ['i32']),
    store: module.importFunction('store', ['i32', 'i64', 'i64', 'i32', 'i64'], ['i32']),
    sstatus: module.importFunction('sstatus', ['i32', 'i64', 'i32'], ['i64']),
    fence: module.importFunction('fence', ['i32', 'i64', 'i64'], ['i32']),
  };
  const links = {
    slots: region.pages.map((_, i) => module.importGlobal(slotName(i), 'i32')),
    index: module.importGlobal('index', 'i32'),
  };
  const f = module.function(['i32', 'i32', 'i32', 'i64'], ['i32'], EXPORT);
  emitRegion(f, calls, region, links, direct);
  return {
    pages: region.pages.map(({ delta }) => delta),
    hashes,
    code: codeOf(view, region),
    entries: region.entries,
    reached: region.reached,
    size: region.size,
    module: module.bytes(),
  };
}

/**
 * The function of a translation for its pages' slots.
 * @param index its place in the table of functions.
 */
export function link(
  module: WebAssembly.Module,
  memory: WebAssembly.Memory,
  imports: RegionImports,
  slots: readonly number[],
  index: number,
): unknown {
  const links = Object.fromEntries(slots.map((slot, i) => [slotName(i), slot]));
  const { exports } = new WebAssembly.Instance(module, { env: { memory, ...imports, ...links, index } });
  return exports[EXPORT];
}

const slotName = (page: number): string => `slot${page}`;

/** Whether an instruction has 4 bytes, not 2. */
export const isLong = (bits: number): boolean => (bits & 3) === 3;

/** Whether the instruction at `at` ends on the next page. */
export const straddles = (at: number, bits: number): boolean =>
  isLong(bits) && (at & (PAGE_SIZE - 1)) === PAGE_SIZE - 2;

/** The instructions of a region, each once. */
function codeOf(view: DataView, { blocks, pages }: Region): Int32Array {
  const hosts = new Map(pages.map((page: RegionPage) => [page.delta, page.host]));
  const halfword = (at: number): number => {
    const inPage = at & (PAGE_SIZE - 1);
    return view.getUint16((hosts.get(at - inPage) as number) + inPage, true);
  };
  const code = new Map<number, number>();
  for (const { instructions, end } of blocks) {
    for (const { at, length } of 'instruction' in end ? [...instructions, end.instruction] : instructions) {
      code.set(at, length === 2 ? halfword(at) : (halfword(at + 2) << 16) | halfword(at));
    }
  }
  return Int32Array.from([...code].flat());
}
