/** Makes a random sequence of instructions, out of steps that each are valid whatever the registers hold. */
import { decode } from '../../src/isa/decode.ts';
import type { Random } from '../support/random.ts';
import type { TableLine } from '../support/random-word.ts';
import { AT } from './block.ts';
import { Code, sizeOf, type Word } from './code.ts';
import { Draft } from './draft.ts';
import {
  CLOSED_OPCODES,
  CSR_RULES,
  type CsrRule,
  HOLES,
  isOpen,
  linesOf,
  NEEDS_LOW_WORD,
  NO_CSRS,
  READ_ONLY_CSRS,
} from './steps.ts';
import { value } from './values.ts';

export interface Sequence {
  /** Register that points to the context; the random part never writes it. */
  readonly contextRegister: number;
  readonly words: readonly Word[];
  /** The block as it stands in the image; it has addresses of its own, so it belongs where it was made for. */
  readonly block: Uint8Array;
}

/** @param at guest address of the sequence's block; @param size roughly how many instructions it gets. */
export function generate(random: Random, at: bigint, size: number): Sequence {
  return new Generator(random, at).sequence(size);
}

/** How deep branches and loops lie in each other. */
const MAX_DEPTH = 3;

export class Generator extends Draft {
  #units = 0;
  #depth = 0;

  sequence(size: number): Sequence {
    while (this.code.words.length < size) this.step();
    return {
      contextRegister: this.contextRegister,
      words: this.code.words,
      block: new Uint8Array(this.block.buffer),
    };
  }

  protected step(): void {
    this.code.unit = ++this.#units;
    this.random.weighted(this.steps(this.#depth < MAX_DEPTH))();
  }

  /** The kinds of step by weight. @param nested whether a step may hold others. */
  protected steps(nested: boolean): (readonly [number, () => void])[] {
    return [
      [60, () => this.compute()],
      [40, () => this.float()],
      [9, () => this.load()],
      [9, () => this.store()],
      [4, () => this.amo()],
      [2, () => this.reservation()],
      [3, () => this.csr()],
      [0.5, () => this.trapVector()],
      [0.7, () => this.fault()],
      [0.4, () => this.fetchFault()],
      [0.8, () => this.trap()],
      [0.8, () => this.illegal()],
      [nested ? 7 : 0, () => this.branch()],
      [nested ? 3 : 0, () => this.jump()],
      [nested ? 0.5 : 0, () => this.trapReturn()],
      [nested ? 1 : 0, () => this.loop()],
    ];
  }

  protected compute(): void {
    const line = this.random.pick(linesOf('compute'));
    if (!NEEDS_LOW_WORD.has(line.name)) {
      this.place(line);
      return;
    }
    const source = this.free();
    this.code.emit('bseti', { rd: source, rs1: source, imm: this.random.below(32) });
    this.place(line, { rs1: source });
  }

  /** Any rounding mode, seldom a reserved one; special values are fetched again and again, for NaNs spread. */
  protected float(): void {
    if (this.random.chance(0.2)) {
      const imm = AT.floats + 8 * this.random.below(32);
      this.code.emit('fld', { frd: this.random.below(32), rs1: this.contextRegister, imm });
    }
    const line = this.random.pick(linesOf('float'));
    const rm = this.random.chance(0.05) ? this.random.below(8) : this.random.pick([0, 1, 2, 3, 4, 7]);
    this.place(line, this.hasOperand(line, 'rm') ? { rm } : {});
  }

  protected load(): void {
    this.arenaAccess(this.random.pick(linesOf('load')));
  }

  protected store(): void {
    this.arenaAccess(this.random.pick(linesOf('store')));
  }

  /** A load or store inside the arena, aligned or not, within a page or across two. */
  protected arenaAccess(line: TableLine): void {
    const fixed = line.compressed?.operands.rs1;
    const word = this.instance(line);
    if (word === undefined) return;
    const offset = word.operands.imm ?? 0;
    if (typeof fixed === 'number' ? fixed === this.contextRegister : this.random.chance(0.3)) {
      // The context register itself as the base: the immediate alone has to stay in the arena.
      const given = typeof fixed === 'number' ? {} : { rs1: this.contextRegister };
      if (offset <= AT.arenaEnd - 8 && this.with(line, word.bits, given)) return;
    }
    const base = typeof fixed === 'number' ? fixed : this.baseFor(line);
    if (base === undefined || this.kept.has(base)) return;
    const isNear = Math.abs(offset) < 0x600 && this.random.chance(0.4);
    const address = isNear ? this.nearPageEnd(offset) : this.arenaAddress();
    this.loadConstant(base, 'pointer', () => address);
    if (this.random.chance(0.3) && typeof fixed !== 'number' && line.compressed === undefined) {
      this.with(line, word.bits, { rs1: base, imm: this.random.between(-16, 16) });
    } else {
      this.with(line, word.bits, typeof fixed === 'number' ? {} : { rs1: base });
    }
  }

  protected amo(): void {
    const base = this.free();
    const aligned = !this.random.chance(0.1);
    this.loadConstant(base, aligned ? 'aligned' : 'odd', () =>
      aligned ? this.arenaAddress() & ~7n : this.arenaAddress() | BigInt(this.random.between(1, 7)),
    );
    this.place(this.random.pick(linesOf('amo')), { rs1: base }, base);
  }

  /**
   * LR and SC of one width to one address with nothing between that could store: whether an SC succeeds after a store of
   * its own hart, or after a trap, is up to the processor (QEMU compares the value; a trap ends the reservation). The
   * second SC always fails.
   */
  protected reservation(): void {
    const base = this.free();
    const other = this.free(base);
    const lines = linesOf('reserved');
    const lr = this.random.pick(lines.filter((line) => line.instruction.action.kind === 'lr'));
    const sc = lines.find((line) => line.name === lr.name.replace('lr', 'sc'));
    if (sc === undefined) return;
    const aligned = !this.random.chance(0.1);
    this.loadConstant(base, aligned ? 'aligned' : 'odd', () =>
      aligned ? this.arenaAddress() & ~7n : this.arenaAddress() | 1n,
    );
    this.code.emit('addi', { rd: other, rs1: base, imm: 8 * this.random.between(-4, 4) });
    this.kept.add(base).add(other);
    if (this.random.chance(0.9)) this.place(lr, { rs1: base });
    for (let i = this.random.below(3); i > 0; i--) this.compute();
    // A misaligned SC without a reservation may fail or trap; after an LR that trapped there is none.
    if (aligned) {
      this.place(sc, { rs1: this.random.chance(0.8) ? base : other });
      if (this.random.chance(0.3)) this.place(sc, { rs1: base });
    }
    this.kept.delete(base);
    this.kept.delete(other);
  }

  protected csr(): void {
    const line = this.random.pick(linesOf('csr'));
    const rd = this.random.chance(0.3) ? 0 : this.free();
    const isRead = !line.name.startsWith('csrrw');
    if (this.random.chance(0.15)) {
      const number = this.random.pick(isRead ? NO_CSRS : [...NO_CSRS, ...READ_ONLY_CSRS]);
      this.place(line, { imm: number });
      return;
    }
    const rule = this.random.pick(isRead ? CSR_RULES : CSR_RULES.filter((each) => each.writable !== 0n));
    this.csrAccess(line, rule, rd);
  }

  protected csrAccess(line: TableLine, rule: CsrRule, rd: number): void {
    const { number, writable } = rule;
    const name = line.name;
    if (name.endsWith('i')) {
      this.code.emit(name, { rd, imm: number, zimm: this.random.below(32) & Number(writable & 31n) });
    } else if (writable === 0n) {
      this.code.emit(name, { rd, imm: number, rs1: 0 });
    } else if (writable === -1n) {
      this.code.emit(name, { rd, imm: number, rs1: this.random.below(32) });
    } else {
      const source = this.free();
      this.loadConstant(source, `csr${number}`, () => value(this.random) & writable);
      this.code.emit(name, { rd, imm: number, rs1: source });
    }
    this.maskRead(rd, rule);
    // mstatus.FS may have been switched off: mostly floating point goes on.
    if (number === 0x300 && this.random.chance(0.8)) {
      const fs = this.free(rd);
      this.code.emit('lui', { rd: fs, imm: 0x6000 }).emit('csrrs', { imm: 0x300, rs1: fs });
    }
  }

  /** Leaves of what was read the bits that are compared. */
  protected maskRead(rd: number, { number, compared }: CsrRule): void {
    if (compared === -1n || rd === 0) return;
    const mask = this.free(rd);
    this.loadConstant(mask, `mask${number}`, () => compared);
    this.code.emit('and', { rd, rs1: rd, rs2: mask });
  }

  /** mtvec takes another value, is read back, and is restored before anything can trap. */
  protected trapVector(): void {
    const old = this.free();
    const next = this.free(old);
    // MODE 2 and 3 are reserved: what writing them does is up to the processor.
    this.loadConstant(next, 'vector', () => value(this.random) & ~2n);
    this.code.emit('csrrw', { rd: old, imm: 0x305, rs1: next });
    this.code.emit('csrrw', { rd: next, imm: 0x305, rs1: old });
  }

  /**
   * An access where nothing is. AMOs are left out: QEMU 7.2 reports cause 5 for their load, not 7. So are misaligned
   * ones: there it reports the address below, rounded down to the size.
   */
  protected fault(): void {
    const lines = [...linesOf('load'), ...linesOf('store')].filter(
      (line) => typeof line.compressed?.operands.rs1 !== 'number',
    );
    const lr = linesOf('reserved').filter((line) => line.instruction.action.kind === 'lr');
    const line = this.random.pick([...lines, ...lr]);
    const base = this.baseFor(line);
    const word = this.instance(line);
    if (base === undefined || word === undefined) return;
    const offset = (word.operands.imm ?? 0) & 7;
    this.loadConstant(base, `hole${offset}`, () => (this.random.pick(HOLES) & ~7n) - BigInt(offset));
    this.with(line, word.bits, { rs1: base });
  }

  /** A jump to where nothing is; the handler goes on at `resume`. */
  protected fetchFault(): void {
    const base = this.free();
    const line = this.random.pick(linesOf('jump').filter((each) => this.hasOperand(each, 'rs1')));
    const jump = this.instance(line, { rs1: base, ...(line.compressed === undefined ? { imm: 0 } : {}) });
    if (jump === undefined) return;
    this.jumpOrResume(base, jump, () => this.loadConstant(base, 'hole', () => this.random.pick(HOLES)));
  }

  /** A jump by `base` to where `load` points it; if its fetch faults, the handler goes on behind it. */
  protected jumpOrResume(base: number, jump: { bits: number; length: 2 | 4 }, load: () => void): void {
    const words = this.apart(() => {
      this.code.emit('sd', { rs1: this.contextRegister, rs2: base, imm: AT.resume });
      load();
      this.code.raw(jump);
    });
    this.code.addressOf(base, 8 + sizeOf(words));
    this.code.words.push(...words);
  }

  protected trap(): void {
    this.place(this.random.pick(linesOf('trap')));
  }

  protected illegal(): void {
    for (let attempt = 0; attempt < 100; attempt++) {
      const isShort = this.random.chance(0.4);
      const bits = isShort
        ? this.random.below(0x10000)
        : ((this.random.u32() & ~0x7f) | this.random.pick(CLOSED_OPCODES)) >>> 0;
      if (isShort !== ((bits & 3) !== 3) || isOpen(bits) || decode(bits) !== undefined) continue;
      this.code.raw({ bits, length: isShort ? 2 : 4 });
      return;
    }
  }

  /** Over some steps, or not. */
  protected branch(): void {
    const line = this.random.pick(linesOf('branch'));
    const unit = this.code.unit;
    const inner = this.inner(this.random.between(0, 4));
    this.code.unit = unit;
    this.place(line, { imm: line.encoding.length + sizeOf(inner) });
    this.code.words.push(...inner);
  }

  protected jump(): void {
    const line = this.random.pick(linesOf('jump'));
    const unit = this.code.unit;
    const inner = this.inner(this.random.between(0, 3));
    this.code.unit = unit;
    const skipped = line.encoding.length + sizeOf(inner);
    if (!this.hasOperand(line, 'rs1')) {
      this.place(line, { imm: skipped });
    } else {
      const base = this.free();
      this.code.emit('auipc', { rd: base });
      // JALR clears bit 0 of the sum (Unprivileged ISA §2.5.1).
      const odd = this.random.below(2);
      if (line.compressed === undefined) this.place(line, { rs1: base, imm: 4 + skipped + odd });
      else {
        this.code.emit('addi', { rd: base, rs1: base, imm: 8 + skipped + odd });
        this.place(line, { rs1: base });
      }
    }
    this.code.words.push(...inner);
  }

  /** MRET to a later step. QEMU has other modes, so MPP is set to M first. */
  protected trapReturn(): void {
    const unit = this.code.unit;
    const inner = this.inner(this.random.between(0, 2));
    this.code.unit = unit;
    const [target, mpp] = [this.free(), this.free()];
    const line = this.random.pick(linesOf('return'));
    this.code.emit('lui', { rd: mpp, imm: 0x2000 }).emit('addi', { rd: mpp, rs1: mpp, imm: -0x800 });
    this.code.emit('csrrs', { imm: 0x300, rs1: mpp });
    this.code.emit('auipc', { rd: target });
    this.code.emit('addi', { rd: target, rs1: target, imm: 12 + line.encoding.length + sizeOf(inner) });
    this.code.emit('csrrw', { imm: 0x341, rs1: target });
    this.place(line);
    this.code.words.push(...inner);
  }

  /** Some steps, up to four times. */
  protected loop(): void {
    const unit = this.code.unit;
    const counter = this.free();
    this.kept.add(counter);
    const inner = this.inner(this.random.between(1, 5));
    this.kept.delete(counter);
    this.code.unit = unit;
    this.code.emit('addi', { rd: counter, imm: this.random.between(1, 4) });
    this.code.words.push(...inner);
    this.code.emit('addi', { rd: counter, rs1: counter, imm: -1 });
    const back = -(sizeOf(inner) + 4);
    if (counter >= 8 && counter < 16 && back >= -256 && this.random.chance(0.5)) {
      this.code.emit('c.bnez', { rs1: counter, imm: back });
    } else {
      this.code.emit('bne', { rs1: counter, imm: back });
    }
  }

  /** Steps that are not yet placed. */
  protected inner(steps: number): Word[] {
    return this.apart(() => {
      this.#depth++;
      for (let i = 0; i < steps; i++) this.step();
      this.#depth--;
    });
  }

  /** Code that is not yet placed. */
  protected apart(make: () => void): Word[] {
    const outer = this.code;
    this.code = new Code();
    this.code.unit = outer.unit;
    make();
    const { words } = this.code;
    this.code = outer;
    return words;
  }
}
