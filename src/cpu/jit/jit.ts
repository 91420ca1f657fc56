/**
 * The JIT: decides which pages are worth a translation, has their regions written and compiled, and forgets them again
 * when their code changes or there are too many.
 */
import { type Clock, ManualClock } from '../../clock.ts';
import type { GuestMemory } from '../../memory/guest-memory.ts';
import { CONTROL, PAGE_SIZE, SLOT } from '../../memory/layout.ts';
import type { Tlbs } from '../../memory/tlb.ts';
import type { CodeCache } from '../code-cache.ts';
import type { DebugPoints } from '../debug-points.ts';
import type { Hart } from '../hart.ts';
import type { Predecode } from '../operations.ts';
import type { PagePredecoder } from '../page-predecoder.ts';
import type { MainMemory } from '../physical-memory.ts';
import { KeptTranslations, type TranslationStore } from './kept-translations.ts';
import { LiveRegion } from './live-region.ts';
import { PageHistory } from './page-history.ts';
import { findRegion, type RegionPage, survey } from './region.ts';
import { RepeatedCode } from './repeated-code.ts';
import { link, type RegionImports, type Translation, translate } from './translation.ts';

export interface JitOptions {
  /** Jumps into a page that make it hot. */
  readonly heat: number;
  /** Slices that a hot page waits: what runs in that time is translated, and with what else has waited. */
  readonly patience: number;
  /** Translate all that a page's first jump can reach before it is run, for tests: nothing is too cold. */
  readonly eager: boolean;
  /** To measure what translating costs. */
  readonly clock: Clock;
  /** Where translations come from that other machines have made, and go to. */
  readonly translations?: TranslationStore | undefined;
}

export const JIT_OPTIONS: JitOptions = {
  heat: 200_000,
  patience: 30,
  eager: false,
  clock: new ManualClock(),
};

/** After so much of the jumps that make a page hot it is lukewarm: a translation that was kept is used from then on. */
const LUKEWARM = 1 / 64;
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

/** What `info jit` shows. */
export interface JitStatistics {
  /** Regions that are there now, their pages, guest instructions and bytes of WebAssembly, and the bounds. */
  readonly regions: number;
  readonly pages: number;
  readonly instructions: number;
  readonly bytes: number;
  readonly maxRegions: number;
  readonly maxBytes: number;
  /** Since the start: regions translated, those whose translation was known, and those forgotten because code changed, or for want of room. */
  readonly translated: number;
  readonly recalled: number;
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
  readonly #predecoder: PagePredecoder;
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
  readonly #kept: KeptTranslations | undefined;
  /** Those of kept translations, whose code has not been predecoded. */
  readonly #unrun = new Set<LiveRegion>();
  /** Pages that have been lukewarm. */
  readonly #lukewarm = new Set<number>();
  /** Pages that are hot, and how many slices they have waited; oldest first. */
  readonly #hot = new Map<number, number>();
  /** Pages of which all was forgotten that ran before they got hot. */
  readonly #watched = new Set<number>();
  #translated = 0;
  #recalled = 0;
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
    this.#predecoder = predecoder;
    this.#points = points;
    this.#table = table;
    this.#imports = imports;
    this.#options = options;
    this.#history = new PageHistory(memory);
    this.#repeated = new RepeatedCode(memory, code, predecoder);
    this.#view = new DataView(memory.memory.buffer);
    this.#control = new Int32Array(memory.memory.buffer, memory.layout.control, PAGE_SIZE / 4);
    const { translations, heat } = options;
    if (translations !== undefined) this.#kept = new KeptTranslations(memory, points, translations);
    code.heat = translations === undefined ? heat : Math.ceil(LUKEWARM * heat);
    code.onTranslatedChange = (page) => this.#forget(page);
    code.onRelease = (page) => this.#lukewarm.delete(page);
  }

  /** To be called after a hart's slice: takes note of what got hot, and translates. */
  update(hart: Hart): void {
    const { patience } = this.#options;
    const count = this.#control[CONTROL.hotCount / 4] ?? 0;
    if (count === 0 && this.#hot.size === 0) return;
    for (let i = 0; i < count; i++) {
      const slot = this.#control[CONTROL.hotSlots / 4 + i] ?? 0;
      const page = this.#code.pageOfEntry(slot);
      if (page < 0 || (!this.#hot.has(page) && this.#isKnownOrLukewarm(page))) continue;
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
    this.#translate(ready, hart);
  }

  /** Whether a page need not be translated: its translation was known, or it is only lukewarm. */
  #isKnownOrLukewarm(page: number): boolean {
    if (this.#kept === undefined) return false;
    if (this.#recall(page)) return true;
    if (this.#lukewarm.has(page)) return false;
    this.#lukewarm.add(page);
    const slot = this.#code.slotAt(page);
    this.#view.setInt32(slot + SLOT.heat, Math.ceil((1 - LUKEWARM) * this.#options.heat), true);
    return true;
  }

  /** Uses a kept translation of what a page holds now, if it has more than what is there. */
  #recall(page: number): boolean {
    for (const { translation, base } of this.#kept?.find(page) ?? []) {
      const pages = translation.pages.map((delta) => base + delta / PAGE_SIZE);
      if (pages.some((member) => (this.#regions.get(member)?.translation.size ?? 0) >= translation.size))
        continue;
      const started = this.#options.clock.nowNs();
      for (const member of pages) this.#code.slotOf(member);
      const slots = pages.map((member) => this.#code.slotAt(member));
      // A slot that one page got may have been another one's.
      if (slots.includes(0)) return false;
      for (const member of pages) {
        if (this.#watched.delete(member)) this.#repeated.end(member);
        this.#forget(member);
      }
      for (const slot of slots) this.#cool(slot);
      this.#unrun.add(
        this.#install(translation, slots, (this.#kept as KeptTranslations).compile(translation)),
      );
      this.#recalled += 1;
      this.#compileNs += this.#options.clock.nowNs() - started;
      return true;
    }
    return false;
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
    for (const { translation } of this.#live) instructions += translation.size;
    return {
      regions: this.#live.size,
      pages: this.#regions.size,
      instructions,
      bytes: this.#bytes,
      maxRegions: MAX_REGIONS,
      maxBytes: MAX_BYTES,
      translated: this.#translated,
      recalled: this.#recalled,
      invalidated: this.#invalidated,
      evicted: this.#evicted,
      generateNs: this.#generateNs,
      compileNs: this.#compileNs,
    };
  }

  #translate(pages: readonly number[], hart: Hart): void {
    const direct = this.#tlbs.isMostlyDirect(hart.data.tlbs) ? this.#direct : undefined;
    const now = (): number => this.#options.clock.nowNs();
    const written = new Set<LiveRegion | undefined>();
    for (const page of pages) {
      if (this.#code.slotAt(page) === 0) continue;
      const known = this.#regions.get(page);
      if (known !== undefined && written.has(known)) continue;
      const started = now();
      const group = this.#group(page);
      for (const member of group) this.#cool(member.slot);
      const region = findRegion(this.#view, this.#predecode, group);
      if (region.entries.length === 0) continue;
      // The compiler gets better at what it has had for longer: a region with nothing new in it stays.
      const had = known?.translation;
      if (had?.size === region.size && had.entries.length === region.entries.length) continue;
      const members = group.map(({ slot }) => this.#code.pageOfEntry(slot));
      for (const member of members) this.#forget(member);
      const hashes = members.map((member) => this.#kept?.hash(member) ?? 0);
      const translation = translate(this.#view, region, hashes, this.#memory.layout.wasmPages, direct);
      const generated = now();
      const module = new WebAssembly.Module(translation.module);
      written.add(
        this.#install(
          translation,
          group.map(({ slot }) => slot),
          module,
        ),
      );
      this.#kept?.keep(translation, module);
      this.#translated += 1;
      this.#generateNs += generated - started;
      this.#compileNs += now() - generated;
    }
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
      this.#predecodeKept(next);
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

  /** What is translated again is to have what a kept translation had. */
  #predecodeKept(page: number): void {
    const region = this.#regions.get(page);
    if (region !== undefined && this.#unrun.delete(region)) region.predecode(this.#predecoder);
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
    if (this.#regions.has(page)) return true;
    if (this.#kept !== undefined && !this.#lukewarm.has(page)) return false;
    return this.#view.getInt32(slot + SLOT.heat, true) <= this.#options.heat / 2;
  }

  #install(translation: Translation, slots: readonly number[], module: WebAssembly.Module): LiveRegion {
    const { memory } = this.#memory;
    const region = new LiveRegion(memory, translation, slots, this.#takeIndex());
    for (const slot of slots) this.#regions.set(this.#code.pageOfEntry(slot), region);
    this.#table.set(region.index, link(module, memory, this.#imports, slots, region.index));
    region.mark();
    this.#live.add(region);
    this.#bytes += translation.module.length;
    return region;
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
    for (const slot of region.slots) this.#regions.delete(this.#code.pageOfEntry(slot));
    region.unmark();
    this.#table.set(region.index, null);
    this.#freeIndices.push(region.index);
    this.#live.delete(region);
    this.#unrun.delete(region);
    this.#bytes -= region.translation.module.length;
  }
}
