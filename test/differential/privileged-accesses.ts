/** Steps of a privileged sequence that reach memory: the window, by loads, stores, AMOs and fetches; its PTEs; the PMP. */
import type { TableLine } from '../support/random-word.ts';
import { encoded } from './code.ts';
import {
  CSR,
  EVEN_FRAMES,
  FRAMES,
  MODES,
  PAGE,
  PAGES,
  SATP_MODES,
  WINDOW,
  WINDOW_PAGES,
} from './privileged-area.ts';
import { PrivilegedMemory } from './privileged-memory.ts';
import { linesOf } from './steps.ts';

export class PrivilegedAccesses extends PrivilegedMemory {
  /** rd ← a number below 2^31 − 2^11. */
  protected integer(rd: number, number: bigint): void {
    const low = Number(BigInt.asIntN(12, number));
    this.code.emit('lui', { rd, imm: Number(number) - low }).emit('addi', { rd, rs1: rd, imm: low });
  }

  protected memoryLines(atomics: boolean): readonly TableLine[] {
    const lines = [...linesOf('load'), ...linesOf('store')].filter(
      (line) => typeof line.compressed?.operands.rs1 !== 'number',
    );
    const lr = linesOf('reserved').filter((line) => line.instruction.action.kind === 'lr');
    return atomics && this.random.chance(0.2) ? [...linesOf('amo'), ...lr] : lines;
  }

  /**
   * An access at base + a small offset: aligned, or across the end of the page before base. Where nothing is in physical
   * memory there are no AMOs and no misaligned accesses; see `fault`.
   */
  protected accessAt(kind: string, address: () => bigint, max: number, edge: boolean, hole: boolean): void {
    const line = this.random.pick(this.memoryLines(!hole));
    const base = this.baseFor(line);
    if (base === undefined) return;
    const word = this.instance(line, { rs1: base });
    if (word === undefined) return;
    this.loadConstant(base, kind, address, max);
    this.useBase(line, word.bits, base, edge);
  }

  protected useBase(line: TableLine, bits: number, base: number, edge: boolean): void {
    if (!this.hasOperand(line, 'imm')) {
      this.with(line, bits, { rs1: base });
    } else if (edge && line.compressed === undefined) {
      this.with(line, bits, { rs1: base, imm: -this.random.between(1, 8) });
    } else {
      this.with(line, bits, { rs1: base, imm: 8 * this.random.below(8) });
    }
  }

  /**
   * Where a window access goes: the kind of its constants, how many, the address, what is there. Never to pages that are
   * fetched from (README.md: SUM).
   */
  protected windowTarget(): {
    kind: string;
    max: number;
    address: () => bigint;
    edge: boolean;
    hole: boolean;
  } {
    const { random } = this;
    const isHole = this.now.satpMode === SATP_MODES.bare || this.now.mode === MODES.machine;
    const window = (): bigint => random.pick([WINDOW.pages, WINDOW.pages, WINDOW.upper]);
    const inPage = (): bigint => 8n * BigInt(random.below(PAGE / 8 - 8));
    const page = (): bigint => BigInt(random.below(WINDOW_PAGES.data));
    const frame = (): bigint => this.page(PAGES.frames + random.pick(EVEN_FRAMES));
    return random.weighted([
      [
        10,
        {
          kind: 'window',
          max: 14,
          address: () => window() + 4096n * page() + inPage(),
          edge: false,
          hole: isHole,
        },
      ],
      [
        isHole ? 0 : 5,
        { kind: 'edge', max: 6, address: () => window() + 4096n * (page() | 1n), edge: true, hole: false },
      ],
      [
        1,
        {
          kind: 'unbacked',
          max: 2,
          address: () =>
            WINDOW.pages + 4096n * BigInt(random.pick([WINDOW_PAGES.invalid, WINDOW_PAGES.hole])),
          edge: false,
          hole: true,
        },
      ],
      [
        3,
        {
          kind: 'superpage',
          max: 4,
          address: () =>
            random.chance(0.5)
              ? WINDOW.megapage + (frame() & 0x1f_ffffn) + inPage()
              : WINDOW.gigapage + (frame() & 0x3fff_ffffn) + inPage(),
          edge: false,
          hole: isHole,
        },
      ],
      [
        1,
        {
          kind: 'malformed',
          max: 3,
          address: () =>
            random.pick([
              WINDOW.misaligned,
              WINDOW.badPointer,
              WINDOW.misalignedGigapage,
              // Not canonical in Sv39, nor in Sv48.
              1n << 38n,
              1n << 47n,
              (1n << 63n) | WINDOW.pages,
            ]) + inPage(),
          edge: false,
          hole: true,
        },
      ],
    ]);
  }

  protected windowAccess(): void {
    const { kind, address, max, edge, hole } = this.windowTarget();
    this.accessAt(kind, address, max, edge, hole);
  }

  /** A frame at its physical address. */
  protected frameAccess(): void {
    const address = (): bigint =>
      this.page(PAGES.frames + this.random.below(FRAMES)) + 8n * BigInt(this.random.below(PAGE / 8 - 8));
    this.accessAt('frame', address, 6, false, false);
  }

  /** A call into the window, where nothing but returns is; a fetch that faults goes on behind the call. */
  protected windowFetch(): void {
    const base = this.free();
    const inPage = (): bigint =>
      this.random.chance(0.3) ? 4094n : 2n * BigInt(this.random.between(1, PAGE / 2 - 1));
    const jump = encoded('jalr', { rd: this.link, rs1: base });
    this.jumpOrResume(base, jump, () =>
      this.loadConstant(
        base,
        'exec',
        () =>
          this.random.pick([WINDOW.pages, WINDOW.upper]) +
          4096n * BigInt(WINDOW_PAGES.exec + this.random.below(WINDOW_PAGES.execs)) +
          inPage(),
        6,
      ),
    );
  }

  /** An access with MPRV, as some mode makes it. */
  protected modified(): void {
    const isPaging = this.now.satpMode !== SATP_MODES.bare;
    const { kind, address, max, edge } = this.windowTarget();
    const isHole = !isPaging || kind === 'unbacked' || kind === 'malformed';
    const line = this.random.pick(this.memoryLines(!isHole));
    const base = this.baseFor(line);
    if (base === undefined) return;
    const word = this.instance(line, { rs1: base });
    if (word === undefined) return;
    const bits = this.free(base);
    this.loadConstant(base, kind, address, max);
    this.integer(bits, 0x1800n);
    this.code.emit('csrrc', { imm: CSR.mstatus, rs1: bits });
    this.integer(bits, (1n << 17n) | (BigInt(this.random.pick([0, 0, 1, 1, 1])) << 11n));
    this.code.emit('csrrs', { imm: CSR.mstatus, rs1: bits });
    this.useBase(line, word.bits, base, edge && isPaging);
    this.integer(bits, 1n << 17n);
    this.code.emit('csrrc', { imm: CSR.mstatus, rs1: bits });
  }

  /** A PTE of the window changes. In a lower mode the store faults, or paging is off. */
  protected pageTable(): void {
    const at = this.free();
    const other = this.free(at);
    const table = this.page(PAGES.window0);
    const { random } = this;
    const choice = random.weighted([
      [6, 'data'],
      [3, 'exec'],
      [0.5, 'hole'],
      [1, 'mega'],
      [0.5, 'giga'],
    ]);
    const page = (): number =>
      choice === 'data'
        ? random.below(WINDOW_PAGES.data)
        : choice === 'exec'
          ? WINDOW_PAGES.exec + random.below(WINDOW_PAGES.execs)
          : WINDOW_PAGES.hole;
    if (choice === 'mega' || choice === 'giga') {
      const [of, index] =
        choice === 'mega' ? [PAGES.window1, WINDOW.megapage >> 21n] : [PAGES.root39, WINDOW.gigapage >> 30n];
      this.loadConstant(at, `${choice} entry`, () => this.page(of) + 8n * (index & 511n), 1);
      this.loadConstant(other, `${choice} value`, () => this.superEntry(choice === 'mega' ? 2 : 3), 1);
    } else {
      this.loadConstant(at, `${choice} entry`, () => table + 8n * BigInt(page()), choice === 'data' ? 4 : 2);
      this.loadConstant(other, `${choice} value`, () => this.windowEntry(page()), choice === 'data' ? 5 : 2);
    }
    this.code.emit('sd', { rs1: at, rs2: other });
    this.fence();
  }

  protected fence(): void {
    this.code.emit('sfence.vma', {
      rs1: this.random.chance(0.5) ? 0 : this.random.below(32),
      rs2: this.random.chance(0.5) ? 0 : this.random.below(32),
    });
  }

  /** Entries change; SFENCE.VMA makes what was cached of them go (§3.7.2). */
  protected protection(): void {
    const at = this.free();
    this.loadConstant(at, 'pmpaddr', () => this.pmpAddress(), 4);
    this.code.emit('csrrw', { imm: CSR.pmpaddr0 + this.random.below(4), rs1: at });
    this.integer(at, this.pmpConfiguration());
    this.code.emit('csrrw', { imm: CSR.pmpcfg0, rs1: at }).emit('sfence.vma');
  }
}
