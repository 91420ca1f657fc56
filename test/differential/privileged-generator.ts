/**
 * Makes privileged sequences: segments in machine, supervisor and user mode, each with a random set-up of paging, delegation,
 * memory protection and interrupts. Within a segment a step is valid whatever mode it really runs in, for returns to a
 * lower mode may have changed that: what the mode forbids traps, and the handler goes on behind it.
 *
 * What QEMU 7.2 does otherwise, and what is up to the implementation, is left out: see README.md.
 */
import type { Random } from '../support/random.ts';
import type { TableLine } from '../support/random-word.ts';
import { AT } from './block.ts';
import { sizeOf, type Word } from './code.ts';
import type { Sequence } from './generator.ts';
import { PrivilegedAccesses } from './privileged-accesses.ts';
import {
  AT_PRIVILEGED,
  CLINT,
  COUNTERS,
  CSR,
  DELEGABLE,
  MAX_SEGMENTS,
  MODES,
  type Mode,
  MSTATUS,
  PAGE,
  PAGES,
  PRIVILEGED_CSRS,
  type PrivilegedCsr,
  SATP_MODES,
  STCE,
  SUPERVISOR_INTERRUPTS,
} from './privileged-area.ts';
import { linesOf, NO_CSRS } from './steps.ts';
import { value } from './values.ts';

/** A piece of a sequence, and what machine mode sets up for it. */
export interface Segment {
  readonly mode: Mode;
  /** How many of the sequence's words are its own; those that end it included. */
  readonly words: number;
  /** Byte offset of its first instruction in its two pages of code. */
  readonly offset: number;
  /** CSRs to write, in this order. mtvec and stvec only say whether they are vectored. */
  readonly csrs: readonly (readonly [number: number, value: bigint])[];
  /** 8 bytes of memory to write: U bits of the identity's PTEs. */
  readonly memory: readonly (readonly [address: bigint, value: bigint])[];
}

export interface PrivilegedSequence extends Sequence {
  readonly segments: readonly Segment[];
}

/** @param at guest address of the sequence's area; @param size roughly how many instructions it gets. */
export function generatePrivileged(random: Random, at: bigint, size: number): PrivilegedSequence {
  return new PrivilegedGenerator(random, at).privilegedSequence(size);
}

class PrivilegedGenerator extends PrivilegedAccesses {
  privilegedSequence(size: number): PrivilegedSequence {
    this.tables();
    this.frames();
    const segments: Segment[] = [];
    for (let index = 0; index < MAX_SEGMENTS; index++) {
      const before = this.code.words.length;
      const { csrs, memory } = this.#setUp(index);
      while (this.code.words.length - before < size / MAX_SEGMENTS) this.step();
      this.code.unit = -1 - index;
      this.code
        .emit('sd', { rs1: this.contextRegister, rs2: this.contextRegister, imm: AT_PRIVILEGED.ending })
        .emit('ecall');
      const words = this.code.words.slice(before);
      // Often, some of its code lies on the second page.
      const offset = this.random.chance(0.5)
        ? 0
        : PAGE - 2 * this.random.below(Math.min(sizeOf(words), PAGE) / 2);
      segments.push({ mode: this.now.mode, words: words.length, offset, csrs, memory });
    }
    return {
      contextRegister: this.contextRegister,
      words: this.code.words,
      block: new Uint8Array(this.block.buffer),
      segments,
    };
  }

  protected override steps(nested: boolean): (readonly [number, () => void])[] {
    const { mode, drops, wakes } = this.now;
    const machine = mode === MODES.machine ? 1 : 0;
    const supervisor = mode === MODES.supervisor ? 1 : 0;
    return [
      [25, () => this.compute()],
      [6, () => this.float()],
      [5, () => this.load()],
      [5, () => this.store()],
      [2, () => this.amo()],
      [1, () => this.reservation()],
      [1, () => this.fault()],
      [1, () => this.fetchFault()],
      [2, () => this.trap()],
      [1, () => this.illegal()],
      [nested ? 4 : 0, () => this.branch()],
      [nested ? 2 : 0, () => this.jump()],
      [nested ? 1 : 0, () => this.loop()],
      [12, () => this.windowAccess()],
      [4, () => this.frameAccess()],
      [4, () => this.windowFetch()],
      [6, () => this.#privilegedCsr()],
      [1.5, () => this.#counter()],
      [0.7, () => this.#floatOff()],
      [0.5, () => this.#vectored()],
      [supervisor + machine * 0.5 + 0.1, () => this.#satp()],
      [supervisor + 0.3, () => this.fence()],
      [1, () => this.#timer()],
      [(machine && !drops) || (supervisor && wakes) ? 0.5 : 0, () => this.#wait()],
      [mode === MODES.user ? 0.5 : 0, () => this.code.emit('wfi')],
      [machine * 5, () => this.pageTable()],
      [machine * 5, () => this.modified()],
      [machine * 2, () => this.protection()],
      [machine && !drops ? 1 : 0, () => this.#softwareInterrupt()],
      [nested ? machine * (drops ? 4 : 1) + 0.2 : 0, () => this.#machineReturn()],
      [nested && !(machine && !drops) ? supervisor * 2 + 0.7 : 0, () => this.#supervisorReturn()],
    ];
  }

  #setUp(index: number): Pick<Segment, 'csrs' | 'memory'> {
    const { random } = this;
    const mode = random.weighted<Mode>([
      [2, MODES.machine],
      [4, MODES.supervisor],
      [3, MODES.user],
    ]);
    const satpMode = random.weighted([
      [1, SATP_MODES.bare],
      [5, SATP_MODES.sv39],
      [3, SATP_MODES.sv48],
    ]);
    const drops = mode === MODES.machine && random.chance(0.6);
    const stce = random.chance(0.3);
    const tsr = mode === MODES.supervisor && random.chance(0.2);
    const tw = random.chance(0.2);
    const medeleg = tsr
      ? 0n
      : random.pick([0n, DELEGABLE, value(random) & DELEGABLE, value(random) & DELEGABLE]);
    const mideleg = tsr
      ? 0n
      : random.pick([0n, SUPERVISOR_INTERRUPTS, value(random) & SUPERVISOR_INTERRUPTS]);
    const wakes = (mideleg & 2n) !== 0n && !tw;
    this.now = { mode, satpMode, drops, wakes, stce };
    const some = (bits: bigint): bigint => value(random) & bits;
    // SPIE, SPP, SIE, MPIE, MXR; SUM lets the supervisor's handler reach the context of a segment in user mode.
    let mstatus = some(0xa2n) | some(1n << 8n) | some(1n << 19n) | (BigInt(mode) << 11n);
    mstatus |= mode === MODES.user ? MSTATUS.sum : some(MSTATUS.sum);
    mstatus |= random.chance(0.2) ? MSTATUS.tvm : 0n;
    mstatus |= (tw ? MSTATUS.tw : 0n) | (tsr ? MSTATUS.tsr : 0n) | (random.chance(0.9) ? MSTATUS.fs : 0n);
    const csrs: (readonly [number, bigint])[] = [
      [CSR.mstatus, mstatus],
      [0x302, medeleg],
      [0x303, mideleg],
      // Without STCE nothing says what a write of stimecmp does to a pending bit that software owns.
      [0x30a, STCE],
      [CSR.stimecmp, random.chance(0.5) ? -1n : 0n],
      [0x30a, stce ? STCE : 0n],
      [0x344, some(SUPERVISOR_INTERRUPTS)],
      [0x304, some(0xa2an)],
      [0x306, random.chance(0.5) ? COUNTERS : some(COUNTERS)],
      [0x106, random.chance(0.5) ? COUNTERS : some(COUNTERS)],
      [0x305, some(1n)],
      [0x105, some(1n)],
      [CSR.satp, this.satpValue(satpMode)],
      [CSR.sepc, some(~1n)],
      [0x142, some(-1n)],
      [0x143, some(-1n)],
      [0x342, some(-1n)],
      [0x343, some(-1n)],
      ...this.pmp(),
    ];
    const first = PAGES.code + 2 * index;
    const memory = [0, 1, 2, 3, first, first + 1].map((page) =>
      this.identityEntry(page, mode === MODES.user),
    );
    return { csrs, memory };
  }

  // CSRs.

  #privilegedCsr(): void {
    const line = this.random.pick(linesOf('csr'));
    const rd = this.random.chance(0.3) ? 0 : this.free();
    if (this.random.chance(0.1)) {
      this.place(line, { imm: this.random.pick(NO_CSRS) });
      return;
    }
    const isWrite = line.name.startsWith('csrrw');
    this.#accessCsr(
      line,
      this.random.pick(PRIVILEGED_CSRS.filter((each) => !isWrite || each.writable !== 0n)),
      rd,
    );
  }

  #accessCsr(line: TableLine, { number, writable, compared }: PrivilegedCsr, rd: number): void {
    const { name } = line;
    if (name.endsWith('i')) {
      const zimm = this.random.below(32) & Number(writable & 31n);
      this.code.emit(name, { rd, imm: number, zimm });
    } else if (writable === 0n) {
      this.code.emit(name, { rd, imm: number, rs1: 0 });
    } else if (writable === -1n) {
      this.code.emit(name, { rd, imm: number, rs1: this.random.below(32) });
    } else {
      const source = this.free();
      if (writable === ~1n) {
        this.code.emit('andi', { rd: source, rs1: this.random.below(32), imm: -2 });
      } else this.integer(source, value(this.random) & writable);
      this.code.emit(name, { rd, imm: number, rs1: source });
    }
    if (compared === -1n || rd === 0) return;
    const mask = this.free(rd);
    if (compared === ~0x3ffn) this.code.emit('andi', { rd, rs1: rd, imm: -1024 });
    else {
      this.integer(mask, compared);
      this.code.emit('and', { rd, rs1: rd, rs2: mask });
    }
  }

  /** What the counters say is another matter; here it is whether they may be read. QEMU 7.2 has no more than 16 mhpmcounters. */
  #counter(): void {
    this.code.emit('csrrs', { rd: 0, imm: 0xc00 + this.random.below(16) });
  }

  /** Floating point is off for a while, or to the end. */
  #floatOff(): void {
    const bits = this.free();
    this.integer(bits, MSTATUS.fs);
    const name = this.random.chance(0.3) ? 'csrrc' : 'csrrs';
    this.code.emit(name, { imm: CSR.sstatus, rs1: bits });
  }

  /** stvec or mtvec becomes vectored, or no longer is. */
  #vectored(): void {
    const name = this.random.pick(['csrrsi', 'csrrci']);
    this.code.emit(name, { imm: this.random.pick([0x105, 0x305]), zimm: 1 });
  }

  /** To the other mode, or to one that is reserved: then nothing changes (§12.1.11). Sv57 is no such in QEMU. */
  #satp(): void {
    const { satpMode } = this.now;
    if (satpMode === SATP_MODES.bare) return;
    const satp = this.free();
    this.loadConstant(
      satp,
      'satp',
      () => {
        const reserved = this.random.chance(0.2);
        return reserved
          ? BigInt(this.random.pick([1, 2, 7, 11, 15])) << 60n
          : this.satpValue(this.random.pick([SATP_MODES.sv39, SATP_MODES.sv48]));
      },
      3,
    );
    this.code.emit('csrrw', { rd: this.random.chance(0.5) ? 0 : this.free(satp), imm: CSR.satp, rs1: satp });
  }

  /** stimecmp: at once or never. */
  #timer(): void {
    if (this.now.mode === MODES.machine && !this.now.stce) return;
    const at = this.free();
    this.code.emit('addi', { rd: at, imm: -this.random.below(2) });
    this.code.emit('csrrw', { rd: this.random.chance(0.5) ? 0 : this.free(at), imm: CSR.stimecmp, rs1: at });
  }

  // Interrupts, and returns.

  /** WFI with an interrupt that is pending but not taken. */
  #wait(): void {
    const machine = this.now.mode === MODES.machine;
    const [status, enable, pending] = machine ? [CSR.mstatus, 0x304, 0x344] : [CSR.sstatus, 0x104, 0x144];
    this.code.emit('csrrci', { imm: status, zimm: machine ? 8 : 2 });
    this.code.emit('csrrsi', { imm: enable, zimm: 2 }).emit('csrrsi', { imm: pending, zimm: 2 });
    this.code.emit('wfi').emit('csrrci', { imm: pending, zimm: 2 });
  }

  /**
   * The hart raises its own software interrupt. When it is taken after a store is up to the implementation (§3.1.9: in
   * bounded time); after a CSR access that enables it, it is before the next instruction. FENCE.I has QEMU look at it.
   */
  #softwareInterrupt(): void {
    const at = this.free();
    const level = this.free(at);
    this.code.emit('csrrci', { imm: CSR.mstatus, zimm: 8 });
    this.code.emit('lui', { rd: at, imm: CLINT }).emit('addi', { rd: level, imm: 1 });
    this.code
      .emit('sw', { rs1: at, rs2: level })
      .emit('fence.i')
      .emit('csrrsi', { imm: CSR.mstatus, zimm: 8 });
  }

  #innerSteps(): Word[] {
    const { unit } = this.code;
    const inner = this.inner(this.random.between(0, 2));
    this.code.unit = unit;
    return inner;
  }

  /** MRET to a later step, in this mode or, if the segment drops, in any. Where that can't run the code, its handler goes there. */
  #machineReturn(): void {
    const mpp = this.now.drops
      ? this.random.pick([MODES.user, MODES.supervisor, MODES.supervisor, MODES.machine])
      : 3;
    this.#returnBy('mret', CSR.mepc, (bits) => {
      this.integer(bits, 0x1800n);
      this.code.emit('csrrc', { imm: CSR.mstatus, rs1: bits });
      this.integer(bits, BigInt(mpp) << 11n);
      this.code.emit('csrrs', { imm: CSR.mstatus, rs1: bits });
    });
  }

  #supervisorReturn(): void {
    const name = this.random.chance(0.7) ? 'csrrs' : 'csrrc';
    this.#returnBy('sret', CSR.sepc, (bits) => {
      this.integer(bits, 0x100n);
      this.code.emit(name, { imm: CSR.sstatus, rs1: bits });
    });
  }

  #returnBy(name: 'mret' | 'sret', epc: number, prepare: (register: number) => void): void {
    const inner = this.#innerSteps();
    const target = this.free();
    const bits = this.free(target);
    const words = this.apart(() => {
      this.code.emit('sd', { rs1: this.contextRegister, rs2: target, imm: AT.resume });
      this.code.emit('csrrw', { imm: epc, rs1: target });
      prepare(bits);
      this.code.emit(name);
    });
    this.code.addressOf(target, 8 + sizeOf(words) + sizeOf(inner));
    this.code.words.push(...words, ...inner);
  }
}
