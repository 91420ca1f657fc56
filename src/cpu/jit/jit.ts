/**
 * The JIT: decides which pages are worth a translation, has their regions written and compiled, and forgets them again
 * when their code changes or there are too many.
 */
import { type Clock, ManualClock } from '../../clock.ts';
import { clearOf } from '../../memory/clear.ts';
import type { GuestMemory } from '../../memory/guest-memory.ts';
import { CONTROL, ENTRY_SIZE, PAGE_SIZE, SLOT } from '../../memory/layout.ts';
import type { Tlbs } from '../../memory/tlb.ts';
import { ModuleBuilder } from '../../wasm/module.ts';
import type { CodeCache } from '../code-cache.ts';
import type { DebugPoints } from '../debug-points.ts';
import type { Hart } from '../hart.ts';
import { ENTRY, type Predecode } from '../operations.ts';
import type { PagePredecoder } from '../page-predecoder.ts';
import type { MainMemory } from '../physical-memory.ts';
import { PageHistory } from './page-history.ts';
import { findRegion, type Region, type RegionPage, survey } from './region.ts';
import { emitRegion, regionStates } from './region-code.ts';
import type { RegionCalls } from './region-frame.ts';
import { RepeatedCode } from './repeated-code.ts';

export interface JitOptions {
  /** Jumps into a page that make it hot. */
  readonly heat: number;
  /** Slices that a hot page waits: what runs in that time is translated, and with what else has waited. */
  readonly patience: number;
  /** Translate all that a page's first jump can reach before it is run, for tests: nothing is too cold. */
  readonly eager: boolean;
  /** To measure what translating costs. */
  readonly clock: Clock;
}

export const JIT_OPTIONS: JitOptions = {
  heat: 200_000,
  patience: 30,
  eager: false,
  clock: new ManualClock(),
};

/** The engine's functions that regions import. */
export type RegionImports = Readonly<Record<keyof RegionCalls, (...args: never[]) => unknown>>;

/** Regions in one module: a module costs about a millisecond, however small it is. */
const MODULE_REGIONS = 16;
/** A hot page that waits is looked at this often in the time that made it hot. */
const LOOKS = 8;
/** Bounds of a region: pages, and guest instructions. */
const MAX_PAGES = 8;
const MAX_SIZE = 2000;
/** A page that has been translated more often does not join others any more. */
const MAX_JOINS = 4;
const MAX_DOUBLINGS = 12;
/** Regions that there can be at a time. */
export const MAX_REGIONS = 2048;
/** Bytes of WebAssembly that there can be at a time. */
const MAX_BYTES = 64 * 1024 * 1024;

interface LiveRegion extends Region {
  readonly index: number;
  /** Bytes of WebAssembly. */
  readonly bytes: number;
}

/** What `info jit` shows. */
export interface JitStatistics {
  /** Regions that are there now, their pages, guest instructions and bytes of WebAssembly, and the bounds. */
  readonly regions: number;
  readonly pages: number;
  readonly instructions: number;
  readonly bytes: number;
  readonly maxRegions: number;
  readonly maxBytes: number;
  /** Since the start: modules compiled, regions translated, forgotten because code changed, and for want of room. */
  readonly modules: number;
  readonly translated: number;
  readonly invalidated: number;
  readonly evicted: number;
  /** Nanoseconds spent writing and compiling. */
  readonly generateNs: number;
  readonly compileNs: number;
}

export class Jit {
  readonly #memory: GuestMemory;
  readonly #code: CodeCache;
  readonly #predecode: Predecode;
  readonly #points: DebugPoints;
  readonly #tlbs: Tlbs;
  /** Host address − physical address of RAM, as an i32. */
  readonly #direct: number;
  readonly #table: WebAssembly.Table;
  readonly #imports: RegionImports;
  readonly #options: JitOptions;
  readonly #view: DataView;
  readonly #control: Int32Array;
  /** By page index; oldest first. */
  readonly #regions = new Map<number, LiveRegion>();
  readonly #live = new Set<LiveRegion>();
  readonly #freeIndices = Array.from({ length: MAX_REGIONS }, (_, i) => MAX_REGIONS - 1 - i);
  readonly #history: PageHistory;
  readonly #repeated: RepeatedCode;
  /** Pages that are hot, and how many slices they have waited; oldest first. */
  readonly #hot = new Map<number, number>();
  /** Pages of which all was forgotten that ran before they got hot. */
  readonly #watched = new Set<number>();
  #modules = 0;
  #translated = 0;
  #invalidated = 0;
  #evicted = 0;
  #bytes = 0;
  #generateNs = 0;
  #compileNs = 0;

  constructor(
    memory: GuestMemory,
    ram: MainMemory,
    tlbs: Tlbs,
    code: CodeCache,
    predecode: Predecode,
    points: DebugPoints,
    predecoder: PagePredecoder,
    table: WebAssembly.Table,
    imports: RegionImports,
    options: JitOptions,
  ) {
    this.#memory = memory;
    this.#tlbs = tlbs;
    this.#direct = (ram.offset - ram.base) | 0;
    this.#code = code;
    this.#predecode = predecode;
    this.#points = points;
    this.#table = table;
    this.#imports = imports;
    this.#options = options;
    this.#history = new PageHistory(memory);
    this.#repeated = new RepeatedCode(memory, code, predecoder);
    this.#view = new DataView(memory.memory.buffer);
    this.#control = new Int32Array(memory.memory.buffer, memory.layout.control, PAGE_SIZE / 4);
    code.heat = options.heat;
    code.onTranslatedChange = (page) => this.#forget(page);
  }

  /** To be called after a hart's slice: takes note of what got hot, and translates. */
  update(hart: Hart): void {
    const { patience } = this.#options;
    const count = this.#control[CONTROL.hotCount / 4] ?? 0;
    if (count === 0 && this.#hot.size === 0) return;
    for (let i = 0; i < count; i++) {
      const slot = this.#control[CONTROL.hotSlots / 4 + i] ?? 0;
      const page = this.#code.pageOfEntry(slot);
      if (page < 0) continue;
      if (patience > 0) this.#view.setInt32(slot + SLOT.heat, Math.ceil(this.#options.heat / LOOKS), true);
      if (this.#hot.has(page)) {
        this.#repeated.look(page);
        continue;
      }
      this.#hot.set(page, 0);
      if (patience > 0) this.#watch(page);
    }
    this.#control[CONTROL.hotCount / 4] = 0;
    for (const [page, waited] of this.#hot) this.#hot.set(page, waited + 1);
    const [longest = 0] = this.#hot.values();
    if (longest <= patience) return;
    const ready = [...this.#hot].filter(([, waited]) => waited > patience / 2).map(([page]) => page);
    for (const page of ready) this.#hot.delete(page);
    for (const page of this.#watched) this.#repeated.end(page);
    if (this.#hot.size === 0) this.#watched.clear();
    for (let i = 0; i < ready.length; i += MODULE_REGIONS)
      this.#translate(ready.slice(i, i + MODULE_REGIONS), hart);
  }

  /**
   * Forgets what has run on a page, and on those that would be translated with it: what matters is what runs while it
   * waits. Programs begin with much that is never run again, and a region that has it takes longer to compile.
   */
  #watch(page: number): void {
    for (const { slot } of this.#group(page)) {
      const member = this.#code.pageOfEntry(slot);
      if (this.#watched.has(member) || this.#regions.has(member) || this.#history.times(member) > 0) continue;
      this.#watched.add(member);
      this.#repeated.begin(member);
    }
  }

  /** Translates one page at once, on which a hart has come. */
  translateNow(page: number, hart: Hart): void {
    this.#translate([page], hart);
  }

  get statistics(): JitStatistics {
    let instructions = 0;
    for (const region of this.#live) instructions += region.size;
    return {
      regions: this.#live.size,
      pages: this.#regions.size,
      instructions,
      bytes: this.#bytes,
      maxRegions: MAX_REGIONS,
      maxBytes: MAX_BYTES,
      modules: this.#modules,
      translated: this.#translated,
      invalidated: this.#invalidated,
      evicted: this.#evicted,
      generateNs: this.#generateNs,
      compileNs: this.#compileNs,
    };
  }

  #translate(pages: readonly number[], hart: Hart): void {
    const direct = this.#tlbs.isMostlyDirect(hart.data.tlbs) ? this.#direct : undefined;
    const started = this.#options.clock.nowNs();
    const module = new ModuleBuilder(this.#memory.layout.wasmPages);
    const calls = {
      read: module.importFunction('read', ['i32', 'i64', 'i32'], ['i32']),
      write: module.importFunction('write', ['i32', 'i64', 'i32', 'i64'], ['i32']),
      store: module.importFunction('store', ['i32', 'i64', 'i64', 'i32', 'i64'], ['i32']),
      sstatus: module.importFunction('sstatus', ['i32', 'i64', 'i32'], ['i64']),
      fence: module.importFunction('fence', ['i32', 'i64', 'i64'], ['i32']),
    };
    const written: LiveRegion[] = [];
    for (const page of pages) {
      const slot = this.#code.slotAt(page);
      if (slot === 0) continue;
      if (written.some((region) => region.pages.some((other) => other.slot === slot))) continue;
      const group = this.#group(page);
      for (const member of group) this.#cool(member.slot);
      const region = findRegion(this.#view, this.#predecode, group);
      if (region.entries.length === 0) continue;
      const known = this.#regions.get(page);
      // The compiler gets better at what it has had for longer: a region with nothing new in it stays.
      if (known?.size === region.size && known.entries.length === region.entries.length) continue;
      for (const member of group) this.#forget(this.#code.pageOfEntry(member.slot));
      const index = this.#takeIndex();
      const f = module.function(['i32', 'i32', 'i32', 'i64'], ['i32'], `r${index}`);
      emitRegion(f, calls, region, index, direct);
      written.push({ ...region, index, bytes: f.size });
    }
    if (written.length === 0) return;
    const bytes = module.bytes();
    const generated = this.#options.clock.nowNs();
    const { exports } = new WebAssembly.Instance(new WebAssembly.Module(bytes), {
      env: { memory: this.#memory.memory, ...this.#imports },
    });
    for (const region of written) {
      this.#table.set(region.index, exports[`r${region.index}`]);
      this.#install(region);
    }
    this.#modules += 1;
    this.#generateNs += generated - started;
    this.#compileNs += this.#options.clock.nowNs() - generated;
  }

  /**
   * A page and those that its code jumps to and from, as far as they have been run and are not too much. Their virtual
   * addresses are taken to be as far apart as the physical ones; the region makes sure of it when it goes there.
   */
  #group(page: number): RegionPage[] {
    const { blocksBase, pages } = this.#memory.layout;
    const group: RegionPage[] = [];
    const seen = new Set([page]);
    const waiting = [page];
    let size = 0;
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      const slot = this.#code.slotAt(next);
      const delta = (next - page) * PAGE_SIZE;
      const mayStraddle = !this.#points.mayBreakAt(PAGE_SIZE - 2);
      const member = { slot, delta, host: blocksBase + next * PAGE_SIZE, mayStraddle };
      const surveyed = survey(this.#view, member);
      if (group.length > 0 && size + surveyed.size > MAX_SIZE) continue;
      group.push(member);
      size += surveyed.size;
      if (group.length === MAX_PAGES) break;
      for (const away of surveyed.neighbours) {
        const other = next + away / PAGE_SIZE;
        if (seen.has(other) || other < 0 || other >= pages) continue;
        seen.add(other);
        if (this.#isWarm(other)) waiting.push(other);
      }
    }
    return group;
  }

  /** Code that is not in the region yet may get hot as well, but each time it takes more to try again. */
  #cool(slot: number): void {
    const page = this.#code.pageOfEntry(slot);
    this.#hot.delete(page);
    const times = this.#history.count(page);
    const heat = this.#options.eager ? 1 : this.#options.heat * 2 ** Math.min(times, MAX_DOUBLINGS);
    this.#view.setInt32(slot + SLOT.heat, heat, true);
  }

  #isWarm(page: number): boolean {
    const slot = this.#code.slotAt(page);
    if (slot === 0 || this.#history.times(page) > MAX_JOINS) return false;
    return this.#regions.has(page) || this.#view.getInt32(slot + SLOT.heat, true) <= this.#options.heat / 2;
  }

  #install(region: LiveRegion): void {
    const view = this.#view;
    const states = regionStates(region);
    for (const { slot, delta } of region.pages) {
      this.#regions.set(this.#code.pageOfEntry(slot), region);
      view.setInt32(slot + SLOT.function, region.index, true);
      view.setBigInt64(slot + SLOT.delta, BigInt(delta), true);
    }
    const slots = new Map(region.pages.map(({ slot, delta }) => [delta, slot]));
    const place = (at: number): [slot: number, inPage: number] => {
      const inPage = at & (PAGE_SIZE - 1);
      return [slots.get(at - inPage) as number, inPage];
    };
    const mark = (at: number, bit: number): void => {
      const [slot, inPage] = place(at);
      const entry = slot + (inPage / 2) * ENTRY_SIZE;
      view.setUint8(entry, view.getUint8(entry) | bit);
    };
    for (const [at, state] of states) {
      const [slot, inPage] = place(at);
      view.setUint16(slot + SLOT.states + inPage, state, true);
      mark(at, ENTRY.begins);
    }
    for (const { instructions, end } of region.blocks) {
      for (const instruction of 'instruction' in end ? [...instructions, end.instruction] : instructions) {
        mark(instruction.at, ENTRY.translated);
        if (instruction.straddles) mark(instruction.at + 2, ENTRY.translated);
      }
    }
    this.#live.add(region);
    this.#translated += 1;
    this.#bytes += region.bytes;
  }

  /** An index for a new region; the oldest regions go if there is no room. */
  #takeIndex(): number {
    while (this.#freeIndices.length === 0 || this.#bytes > MAX_BYTES) {
      const [oldest] = this.#live;
      if (oldest === undefined) break;
      this.#drop(oldest);
      this.#evicted += 1;
    }
    return this.#freeIndices.pop() as number;
  }

  #forget(page: number): void {
    const region = this.#regions.get(page);
    if (region === undefined) return;
    this.#drop(region);
    this.#invalidated += 1;
  }

  #drop(region: LiveRegion): void {
    for (const { slot } of region.pages) {
      this.#regions.delete(this.#code.pageOfEntry(slot));
      clearOf(this.#memory.memory)(slot + SLOT.states, PAGE_SIZE);
      for (let entry = 0; entry < PAGE_SIZE / 2; entry++) {
        const at = slot + entry * ENTRY_SIZE;
        this.#view.setUint8(at, this.#view.getUint8(at) & ~(ENTRY.translated | ENTRY.begins));
      }
    }
    this.#table.set(region.index, null);
    this.#freeIndices.push(region.index);
    this.#live.delete(region);
    this.#bytes -= region.bytes;
  }
}
