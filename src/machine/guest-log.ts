/** What the guest does, as text for the log: the items of QEMU's `-d` that are about harts, in QEMU's words. */
import type { DebugAccess } from '../cpu/debug-access.ts';
import type { Engine } from '../cpu/engine.ts';
import type { Hart } from '../cpu/hart.ts';
import { findMapping, PTE } from '../cpu/page-tables.ts';
import type { Trace, Translation } from '../cpu/trace.ts';
import { ACCESS, FAULT } from '../cpu/translate.ts';
import { instructionLength } from '../isa/decode.ts';
import { PAGE_SIZE, WALK } from '../memory/layout.ts';
import { codeLine } from './code-dump.ts';
import { registerLines } from './register-dump.ts';
import { trapLine } from './trap-text.ts';

/** QEMU's numbers of an access, and the bits of `prot`. */
const ACCESS_NUMBER: ReadonlyMap<number, number> = new Map([
  [ACCESS.read, 0],
  [ACCESS.write, 1],
  [ACCESS.execute, 2],
]);

export class GuestLog {
  readonly #engine: Engine;
  readonly #debug: DebugAccess;
  readonly #write: (text: string) => void;
  #items: ReadonlySet<string> = new Set();
  /** Of the last decoded instruction: a block of code that goes on behind it needs no heading. */
  #block: { readonly hart: Hart; readonly next: bigint } | undefined;
  /** Instructions across two pages that were shown, by address: they are decoded again and again. */
  readonly #straddling = new Map<bigint, number>();
  /** The last translation's lines: a look by several parts of the engine is one. */
  #lastTranslation = '';

  /** @param write takes whole lines. */
  constructor(engine: Engine, debug: DebugAccess, write: (text: string) => void) {
    this.#engine = engine;
    this.#debug = debug;
    this.#write = write;
  }

  /** Logs these of GUEST_LOG_ITEMS, and no others; other names are ignored. To be called between bursts. */
  setItems(items: ReadonlySet<string>): void {
    this.#items = items;
    this.#straddling.clear();
    const trace: Trace = {
      ...(items.has('in_asm') ? { decoded: (hart, pc, bits) => this.#decoded(hart, pc, bits) } : {}),
      ...(items.has('cpu') ? { block: (hart) => this.#registers(hart) } : {}),
      ...(items.has('mmu') ? { translated: (hart, translation) => this.#translated(hart, translation) } : {}),
    };
    this.#engine.trace = trace;
    for (const hart of this.#engine.harts) {
      hart.onTrap = items.has('int') ? (cause, tval) => this.#lines(trapLine(hart, cause, tval)) : undefined;
    }
  }

  #decoded(hart: Hart, pc: bigint, bits: number): void {
    const length = instructionLength(bits);
    if (Number(pc % BigInt(PAGE_SIZE)) + length > PAGE_SIZE) {
      if (this.#straddling.get(pc) === bits) return;
      this.#straddling.set(pc, bits);
    }
    if (this.#block?.hart !== hart || this.#block.next !== pc) {
      this.#lines('----------------', 'IN: ', `Priv: ${hart.privilege}; Virt: 0`);
    }
    this.#block = { hart, next: pc + BigInt(length) };
    this.#write(`${codeLine(pc, bits)}\n`);
  }

  #registers(hart: Hart): void {
    this.#lines(...registerLines(hart, { floats: this.#items.has('fpu') }));
  }

  #translated(hart: Hart, { address, access, walk, result }: Translation): void {
    const mode = (walk & WALK.machine) !== 0 ? 3 : (walk & WALK.user) !== 0 ? 0 : 1;
    const at = address.toString(16);
    const outcome = result === FAULT.page ? 1 : result === FAULT.access ? 2 : 0;
    const physical = (outcome === 0 ? result : 0n).toString(16).padStart(16, '0');
    const prot = outcome === 0 ? this.#permissions(hart, address, walk) : 0;
    const text =
      `riscv_cpu_tlb_fill ad ${at} rw ${ACCESS_NUMBER.get(access)} mmu_idx ${mode}\n` +
      `riscv_cpu_tlb_fill address=${at} ret ${outcome} physical ${physical} prot ${prot}`;
    if (text === this.#lastTranslation) return;
    this.#lastTranslation = text;
    this.#lines(text);
  }

  /** Read 1, write 2, execute 4; a page that is not dirty yet can't be written without another walk. */
  #permissions(hart: Hart, address: bigint, walk: number): number {
    if ((walk & WALK.paging) === 0) return 7;
    const flags = findMapping(hart.csr('satp'), address, this.#debug.entry)?.flags ?? 0n;
    const has = (bits: bigint): boolean => (flags & bits) === bits;
    return (has(PTE.read) ? 1 : 0) | (has(PTE.write | PTE.dirty) ? 2 : 0) | (has(PTE.execute) ? 4 : 0);
  }

  /** Lines that end a block of code. */
  #lines(...lines: readonly string[]): void {
    const end = this.#block === undefined ? '' : '\n';
    this.#block = undefined;
    this.#write(`${end}${lines.join('\n')}\n`);
  }
}
