/** A bare machine with page tables and trap handlers, that runs instructions in a mode: for tests of privileges. */

import type { EngineOptions } from '../../src/cpu/engine.ts';
import { assemble, BareMachine, type Line, RAM_BASE } from './bare-machine.ts';

export const MACHINE_HANDLER = RAM_BASE + 0x800;
export const SUPERVISOR_HANDLER = RAM_BASE + 0xc00;
/** Page tables, and a physical page for data. */
export const ROOT = RAM_BASE + 0x1_0000;
export const DATA = RAM_BASE + 0x2_0000;
/** A virtual page that tests map. */
export const VIRTUAL = 0x4000_0000n;

/** Bits of a page table entry (Privileged ISA §12.4.1). */
export const PTE = { v: 1n, r: 2n, w: 4n, x: 8n, u: 16n, g: 32n, a: 64n, d: 128n };
export const RWX = PTE.v | PTE.r | PTE.w | PTE.x | PTE.a | PTE.d;

export const pte = (physical: number, bits: bigint): bigint => (BigInt(physical >>> 12) << 10n) | bits;

export class PagedMachine extends BareMachine {
  /** Both trap handlers loop; the PMP gives the whole of memory to everybody. */
  constructor(isa?: string, options?: EngineOptions) {
    super(1, 'tree', isa, undefined, options);
    const spin = assemble(['jal', { rd: 0, imm: 0 }]);
    this.load(spin, MACHINE_HANDLER);
    this.load(spin, SUPERVISOR_HANDLER);
    this.hart.setCsr('mtvec', BigInt(MACHINE_HANDLER));
    this.hart.setCsr('stvec', BigInt(SUPERVISOR_HANDLER));
    this.engine.pmps[0]?.writeAddress(0, (1n << 54n) - 1n);
    this.engine.pmps[0]?.writeConfigurations(0, 0x1fn);
  }

  write64(address: number, value: bigint): void {
    const bytes = new Uint8Array(8);
    new DataView(bytes.buffer).setBigUint64(0, value, true);
    this.memory.write(this.at(address), bytes);
  }

  /**
   * Sv39: RAM mapped to itself as a gigapage with `ramBits`, VIRTUAL as a 4 KiB page onto DATA with `bits`.
   * @returns address of VIRTUAL's entry.
   */
  paging(bits: bigint, ramBits = RWX): number {
    this.write64(ROOT + 8 * 2, pte(RAM_BASE, ramBits));
    this.write64(ROOT + 8 * 1, pte(ROOT + 0x1000, PTE.v));
    this.write64(ROOT + 0x1000, pte(ROOT + 0x2000, PTE.v));
    this.write64(ROOT + 0x2000, pte(DATA, bits));
    this.hart.setCsr('satp', (8n << 60n) | BigInt(ROOT >>> 12));
    this.hart.updateContext();
    this.engine.tlbs.flushAll();
    return ROOT + 0x2000;
  }

  /** Runs these instructions in a mode, with x5 = VIRTUAL, and gives what trapped, if anything did. */
  step(privilege: number, ...lines: Line[]): { cause?: bigint; tval?: bigint } {
    this.load(assemble(...lines));
    this.hart.pc = BigInt(RAM_BASE);
    this.hart.setX(5, VIRTUAL);
    this.hart.setX(6, 0x55n);
    this.hart.setCsr('mcause', 99n);
    this.hart.privilege = privilege;
    this.run(lines.length);
    if (this.hart.csr('mcause') === 99n) return {};
    return { cause: this.hart.csr('mcause'), tval: this.hart.csr('mtval') };
  }
}
