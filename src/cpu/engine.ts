/**
 * The CPU engine of one VM: its harts and the generated code that runs them. `run` is a function of the machine's state
 * and the budget alone, so a run can be repeated to the instruction.
 */
import { instructionsOf } from '../isa/isa-string.ts';
import type { GuestMemory } from '../memory/guest-memory.ts';
import { PAGE_SIZE } from '../memory/layout.ts';
import type { MissingPages } from '../memory/missing-pages.ts';
import { Tlbs } from '../memory/tlb.ts';
import { ModuleBuilder } from '../wasm/module.ts';
import type { Accelerator } from './accelerator.ts';
import type { Bus } from './bus.ts';
import { CodeCache } from './code-cache.ts';
import type { Csr, CsrContext, CsrHart } from './csr.ts';
import { DebugPoints } from './debug-points.ts';
import { Hart } from './hart.ts';
import { addInterpreter, type Dispatch } from './interpreter.ts';
import { JIT_OPTIONS, Jit, type JitOptions, MAX_REGIONS } from './jit/jit.ts';
import type { RegionImports } from './jit/translation.ts';
import { addMissHandlers } from './miss.ts';
import { predecoder } from './operations.ts';
import { PagePredecoder } from './page-predecoder.ts';
import type { MainMemory } from './physical-memory.ts';
import { Pmp } from './pmp.ts';
import { SlowPath, type Translate } from './slow-path.ts';
import { addSystemCode } from './system-code.ts';
import type { Trace } from './trace.ts';

type RunFunction = (hart: number, budget: number) => number;

export interface EngineOptions {
  /** "table" by default: bench/dispatch.mjs finds it 1.2 to 1.7 times as fast as the tree of compares. */
  readonly dispatch?: Dispatch;
  /** "jit" translates what is hot; by default everything is interpreted. */
  readonly accel?: Accelerator;
  readonly jit?: Partial<JitOptions>;
}

export class Engine {
  readonly harts: readonly Hart[];
  /** One per hart. */
  readonly pmps: readonly Pmp[];
  readonly tlbs: Tlbs;
  readonly code: CodeCache;
  /** Undefined if everything is interpreted. */
  readonly jit: Jit | undefined;
  readonly points: DebugPoints;
  /** Told when a hart waits for a page that has not arrived (perhaps again and again), and when it waits no longer. */
  onWait: (hart: Hart, waits: boolean) => void = () => {};
  readonly #csrs: CsrContext;
  readonly #missing: MissingPages;
  readonly #slow: SlowPath;
  readonly #run: RunFunction;
  #leave = false;
  /** Instructions of all slices that are over. */
  #instructions = 0;
  #running: Hart | undefined;
  /** While blocks are traced: where each hart's pc is if it runs straight on. */
  readonly #follows: (readonly bigint[] | undefined)[] = [];

  constructor(memory: GuestMemory, ram: MainMemory, bus: Bus, csrs: CsrContext, options: EngineOptions = {}) {
    const { layout } = memory;
    this.#csrs = csrs;
    this.#missing = memory.missing;
    const svadu = csrs.extensions.has('Svadu');
    this.harts = Array.from({ length: layout.harts }, (_, id) => new Hart(id, memory.memory, layout, svadu));
    this.tlbs = new Tlbs(memory.memory, layout);
    this.tlbs.flushAll();
    this.code = new CodeCache(memory, this.tlbs);
    this.points = new DebugPoints(memory, this.code, this.tlbs);
    this.pmps = this.harts.map((hart) => new Pmp(hart, () => this.tlbs.flushHart(hart.id)));
    const predecode = predecoder(instructionsOf(csrs.extensions), csrs.extensions.has('C'));
    const pages = new PagePredecoder(memory, this.code, this.points, predecode);
    this.#slow = new SlowPath(memory, this.tlbs, this.code, this.points, bus, csrs, this.pmps, pages);
    const byOffset = new Map(this.harts.map((hart) => [hart.offset, hart]));
    const hartAt = (offset: number): Hart => byOffset.get(offset) as Hart;
    const module = new ModuleBuilder(layout.wasmPages);
    const calls = {
      fetch: module.importFunction('fetch', ['i32'], ['i32']),
      slow: module.importFunction('slow', ['i32', 'i32'], ['i32']),
    };
    const host = {
      forget: module.importFunction('forget', ['i32', 'i32', 'i32'], []),
      traced: module.importFunction('traced', ['i32', 'i64', 'i32', 'i32', 'i64'], []),
    };
    const region = module.type(['i32', 'i32', 'i32', 'i64'], ['i32']);
    if (options.accel === 'jit') module.importTable('regions', MAX_REGIONS);
    const hooks = options.accel === 'jit' ? { region, layout } : undefined;
    const miss = addMissHandlers(module, { layout, ram }, host);
    const system = addSystemCode(module);
    addInterpreter(module, calls, miss, system, options.dispatch ?? 'table', hooks);
    const table = new WebAssembly.Table({ element: 'anyfunc', initial: MAX_REGIONS });
    const instance = new WebAssembly.Instance(new WebAssembly.Module(module.bytes()), {
      env: {
        memory: memory.memory,
        fetch: (hart: number): number => (this.#slow.fetch(hartAt(hart)) ? 1 : 0),
        slow: (hart: number, entry: number): number => this.#slow.run(hartAt(hart), entry),
        forget: (page: number, offset: number, size: number): void =>
          this.code.forget(page, offset & (PAGE_SIZE - 1), size),
        regions: table,
        traced: (hart: number, address: bigint, access: number, walk: number, result: bigint): void =>
          this.trace.translated?.(hartAt(hart), {
            address: BigInt.asUintN(64, address),
            access,
            walk,
            result,
          }),
      },
    });
    const { regionRead, regionWrite, regionStore, sstatus, fence } = instance.exports;
    if (options.accel === 'jit') {
      const imports = {
        ...{ read: regionRead, write: regionWrite, store: regionStore },
        ...{ sstatus, fence },
      } as RegionImports;
      const jit = new Jit(memory, ram, this.tlbs, this.code, predecode, this.points, pages, table, imports, {
        ...JIT_OPTIONS,
        ...options.jit,
      });
      this.jit = jit;
      if (options.jit?.eager === true) {
        this.#slow.onNewCode = (page, inPage) => {
          pages.explore(page, inPage);
          jit.translateNow(page, this.#running as Hart);
        };
      }
    }
    this.#run = instance.exports.run as RunFunction;
    this.#slow.translate = instance.exports.translate as Translate;
  }

  /** Who watches. */
  get trace(): Trace {
    return this.#slow.trace;
  }

  set trace(trace: Trace) {
    this.#slow.trace = trace;
    for (const hart of this.harts) hart.traced = trace.translated !== undefined;
    this.#follows.fill(undefined);
  }

  /** Power-on: every hart starts at `vector`. */
  reset(vector: bigint): void {
    for (const hart of this.harts) hart.reset(vector);
    for (const pmp of this.pmps) pmp.reset();
    this.tlbs.flushAll();
  }

  /**
   * Instructions run by all harts since the engine was made, those that trapped included. During a call out of generated
   * code, the present one counts.
   */
  get instructions(): number {
    const hart = this.#running;
    return this.#instructions + (hart === undefined ? 0 : hart.budget - hart.remaining);
  }

  /** Makes the `run` that is under way return after the present instruction. */
  leave(): void {
    this.#leave = true;
  }

  /**
   * Runs a hart for at most `budget` instructions; interrupts are taken at the start and wherever an instruction may
   * have changed what is pending or enabled. An instruction that traps counts, so the budget bounds any guest.
   * @param interrupts false: none is taken, for a debugger's step.
   * @returns how many it ran; fewer than the budget if it waits for an interrupt or for a page that has not arrived, `leave`
   * was called, or one of `points` has stopped it.
   */
  run(hart: Hart, budget: number, interrupts = true): number {
    let left = budget;
    this.#leave = false;
    if (hart.missing !== undefined && !this.#missing.isMissing(hart.missing)) {
      hart.missing = undefined;
      this.onWait(hart, false);
    }
    while (left > 0 && !this.#leave && !this.points.stopped && hart.missing === undefined) {
      if (interrupts) hart.takeInterrupt();
      if (hart.waiting) break;
      const piece = this.#beginPiece(hart, left);
      hart.budget = piece;
      hart.remaining = piece;
      this.#running = hart;
      let remaining = this.#run(hart.offset, piece);
      this.jit?.update(hart);
      this.#running = undefined;
      if (this.#slow.keptBack !== undefined) {
        remaining += this.#slow.keptBack;
        this.#slow.keptBack = undefined;
        this.tlbs.flush('read');
        this.tlbs.flush('write');
      }
      if (remaining < piece && !this.points.stopped) this.points.moved(hart);
      this.#instructions += piece - remaining;
      const ran = BigInt(piece - remaining);
      hart.setCsr('mcycle', hart.csr('mcycle') + ran);
      hart.setCsr('minstret', hart.csr('minstret') + ran);
      left -= piece - remaining;
    }
    if (hart.missing !== undefined) this.onWait(hart, true);
    return budget - left;
  }

  /** How many instructions may run at once: one, and those who watch are told, while blocks are traced. */
  #beginPiece(hart: Hart, left: number): number {
    const { block } = this.trace;
    if (block === undefined) return left;
    const { pc } = hart;
    // Two and four bytes behind the last instruction began.
    if (this.#follows[hart.id]?.includes(pc) !== true) block(hart);
    this.#follows[hart.id] = [pc + 2n, pc + 4n];
    return 1;
  }

  /** A hart's CSRs, for debuggers. */
  csrsOf(hart: Hart): CsrHart {
    return { hart, pmp: this.pmps[hart.id] as Pmp, context: this.#csrs };
  }

  /** Writes a CSR as a debugger does: whatever the hart's mode, and between two instructions. */
  writeCsr(hart: Hart, csr: Csr, value: bigint): void {
    this.#slow.writeCsr(csr, this.csrsOf(hart), value);
  }

  /** RAM was replaced as a whole: nothing derived from it is kept. */
  forgetMemory(): void {
    this.code.clear();
  }
}
