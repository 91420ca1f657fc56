/**
 * Generates the interpreter: one wasm function that runs a hart for a slice, entry by entry of the predecoded form.
 *
 *     exit  ⊃ goto (pc → entry, through the fetch TLB) ⊃ next (count, load entry, dispatch) ⊃ one block per handler
 *
 * Handlers hold no calls: what leaves the fast path branches to a common tail that spills pc and count, calls out and
 * resumes as the call's answer says (`Resume`). Operands come from the entry; meaning comes from the ISA table alone.
 */
import type { Instruction } from '../isa/instruction.ts';
import { relativeTarget } from '../isa/semantics.ts';
import { ENTRY_SIZE, HART, PAGE_SIZE, TLB } from '../memory/layout.ts';
import type { Callable, FunctionBuilder, Label, Local } from '../wasm/function.ts';
import type { ModuleBuilder } from '../wasm/module.ts';
import { isStraight, lowerAction } from './action-lowering.ts';
import { SSTATUS } from './csr.ts';
import { InterpreterFrame } from './interpreter-frame.ts';
import { ARRIVAL, emitLanding, type JitHooks } from './jit/landing.ts';
import { emitTlbOffset } from './lookup.ts';
import type { MissHandlers } from './miss.ts';
import {
  DISPATCH_TREE,
  type DispatchTree,
  ENTRY,
  OPERATIONS,
  type Operation,
  type PairOperation,
} from './operations.ts';
import { RESUME } from './resume.ts';
import { emitStraddling, enterStraddle } from './straddle.ts';
import { NOT_DONE, type QuickWay, quickWay, type SystemCode } from './system-code.ts';

/** Which dispatcher to generate. */
export type Dispatch = 'tree' | 'table';

export interface HostCalls {
  /** (hart) → 1 if the fetch entry for the hart's pc was filled, 0 if a trap was taken instead. */
  readonly fetch: Callable;
  /** (hart, entry) → RESUME: whatever the entry's operation needs that generated code can't do. */
  readonly slow: Callable;
}

/**
 * Adds `run(hart, budget) → instructions left` to a module, exported as "run".
 * @param jit if given, the interpreter counts how hot pages are, and enters regions where jumps lead to them.
 */
export function addInterpreter(
  module: ModuleBuilder,
  host: HostCalls,
  miss: MissHandlers,
  system: SystemCode,
  dispatch: Dispatch,
  jit?: JitHooks,
): void {
  const f = module.function(['i32', 'i32'], ['i32'], 'run');
  new Interpreter(f, host, miss, system, jit).emit(dispatch);
}

class Interpreter {
  readonly #f: FunctionBuilder;
  readonly #host: HostCalls;
  readonly #miss: MissHandlers;
  readonly #system: SystemCode;
  readonly #frame: InterpreterFrame;
  readonly #jit: JitHooks | undefined;
  /** An ARRIVAL. */
  readonly #arrival: Local;
  /** Quick ways of privileged instructions; `value` and `size` are their operands. */
  #sstatus!: Label;
  #fence!: Label;

  constructor(
    f: FunctionBuilder,
    host: HostCalls,
    miss: MissHandlers,
    system: SystemCode,
    jit: JitHooks | undefined,
  ) {
    this.#f = f;
    this.#host = host;
    this.#miss = miss;
    this.#system = system;
    this.#frame = new InterpreterFrame(f);
    this.#jit = jit;
    this.#arrival = f.local('i32');
  }

  emit(dispatch: Dispatch): void {
    const f = this.#f;
    this.#frame.loadContext();
    f.i64(1n); // no page begins there
    f.set(this.#frame.slotPc);
    f.i32(ARRIVAL.unmarked);
    f.set(this.#arrival);
    this.#frame.exit = f.block();
    this.#frame.goto = f.loop();
    this.#emitGoto();
    if (this.#jit !== undefined) emitLanding(this.#frame, this.#arrival, this.#jit);
    this.#frame.next = f.loop();
    this.#frame.callOut = f.block();
    this.#sstatus = f.block();
    this.#fence = f.block();
    this.#frame.access = f.block();
    this.#frame.storeMiss = f.block();
    this.#frame.writeMiss = f.block();
    this.#frame.readMiss = f.block();
    this.#emitHandlers(dispatch);
    f.end(); // readMiss
    this.#emitRefill(this.#miss.refillRead);
    f.end(); // writeMiss
    this.#emitRefill(this.#miss.refillWrite);
    f.end(); // storeMiss
    this.#emitStoreMiss();
    f.end(); // access
    f.get(this.#frame.hart);
    f.get(this.#frame.address);
    f.store('i64.store', HART.address);
    f.br(this.#frame.callOut);
    f.end(); // fence
    this.#emitFence();
    f.end(); // sstatus
    this.#emitSstatus();
    f.end(); // slow
    this.#emitSlow();
    f.end(); // next
    if (this.#jit !== undefined) f.end(); // landed
    f.end(); // goto
    f.end(); // exit
    f.get(this.#frame.hart);
    f.get(this.#frame.target);
    f.store('i64.store', HART.pc);
    f.get(this.#frame.left);
  }

  /** Finds the entry of the address in `target`. */
  #emitGoto(): void {
    const f = this.#f;
    const page = f.local('i64');
    // Nothing is fetched for a slice that is over.
    f.get(this.#frame.left);
    f.i32(0);
    f.op('i32.le_s');
    f.brIf(this.#frame.exit);
    f.get(this.#frame.target);
    f.i64(BigInt(-PAGE_SIZE));
    f.op('i64.and');
    f.tee(page);
    f.get(this.#frame.slotPc);
    f.op('i64.ne');
    f.if();
    f.get(this.#frame.fetchTlbs);
    emitTlbOffset(f, this.#frame.target);
    f.op('i32.add');
    f.tee(this.#frame.scratch);
    f.load('i64.load', TLB.fetch);
    f.get(page);
    f.op('i64.ne');
    f.ifUnlikely();
    f.get(this.#frame.hart);
    f.get(this.#frame.target);
    f.call(this.#miss.refillFetch);
    f.brIf(this.#frame.goto);
    this.#frame.spill(this.#frame.target);
    f.get(this.#frame.hart);
    f.call(this.#host.fetch);
    f.drop(); // either way: on from the hart's pc
    this.#frame.reload();
    f.br(this.#frame.goto);
    f.end();
    f.get(this.#frame.scratch);
    f.load('i32.load', TLB.fetch + 8);
    f.tee(this.#frame.slotBase);
    f.set(this.#frame.pageBase);
    f.get(page);
    f.set(this.#frame.slotPc);
    f.end();
    f.get(this.#frame.target);
    f.op('i32.wrap_i64');
    f.i32(PAGE_SIZE - 2);
    f.op('i32.and');
    f.i32(2);
    f.op('i32.shl');
    f.get(this.#frame.slotBase);
    f.op('i32.add');
    f.set(this.#frame.entry);
    f.release(page);
  }

  /** Counts, loads the entry's word and goes to its handler. */
  #emitHandlers(dispatch: Dispatch): void {
    const f = this.#f;
    const handlers = OPERATIONS.map(() => f.block()).reverse();
    f.get(this.#frame.left);
    f.i32(0);
    f.op('i32.le_s');
    f.ifUnlikely();
    this.#frame.pc();
    f.set(this.#frame.target);
    f.br(this.#frame.exit);
    f.end();
    this.#frame.count();
    const label = (operation: Operation): Label => handlers[operation.code] as Label;
    if (dispatch === 'table') {
      f.get(this.#frame.entry);
      f.load('i32.load');
      f.i32(ENTRY.operationShift);
      f.op('i32.shr_u');
      f.brTable(OPERATIONS.map(label), this.#frame.callOut);
    } else {
      this.#frame.loadWord();
      this.#emitTree(DISPATCH_TREE, label);
    }
    for (const operation of OPERATIONS) {
      f.end();
      this.#emitHandler(operation);
    }
  }

  #emitTree(tree: DispatchTree, label: (operation: Operation) => Label): void {
    const f = this.#f;
    if ('operation' in tree) {
      f.br(label(tree.operation));
      return;
    }
    f.get(this.#frame.word);
    f.i32(tree.split << ENTRY.operationShift);
    f.op('i32.lt_u');
    f.if();
    this.#emitTree(tree.left, label);
    f.else();
    this.#emitTree(tree.right, label);
    f.end();
    f.unreachable();
  }

  #emitHandler(operation: Operation): void {
    const f = this.#f;
    switch (operation.kind) {
      case 'undecoded':
        emitStraddling(this.#frame);
        this.#frame.slow();
        return;
      case 'illegal':
        this.#frame.slow();
        return;
      case 'end':
        this.#frame.uncount();
        this.#frame.pc();
        f.set(this.#frame.target);
        f.br(this.#frame.goto);
        return;
      case 'instruction':
        // Once more, as a register that lasts from the dispatch to here would have to be saved.
        this.#frame.loadWord();
        this.#frame.length = operation.length;
        if (operation.second === undefined) this.#emitAction(operation.instruction, operation.length);
        else this.#emitPair(operation);
    }
  }

  /** The second is done as if it had been dispatched; if it can't be, it is. */
  #emitPair({ instruction, length, second }: PairOperation): void {
    const f = this.#f;
    const frame = this.#frame;
    if (!isStraight(instruction.action)) throw new Error(`nothing follows ${instruction.name}`);
    lowerAction(frame, instruction.action);
    frame.move(length);
    frame.loadWord();
    f.get(frame.word);
    f.i32(ENTRY.operationShift);
    f.op('i32.shr_u');
    f.i32(second.code);
    f.op('i32.ne');
    f.brIf(frame.next);
    f.get(frame.left);
    f.op('i32.eqz');
    f.brIf(frame.next);
    frame.count();
    frame.length = second.length;
    this.#emitAction(second.instruction, second.length);
  }

  #emitAction(instruction: Instruction, length: 2 | 4): void {
    const f = this.#f;
    const frame = this.#frame;
    const { action } = instruction;
    if (isStraight(action)) {
      lowerAction(frame, action);
      frame.advance(length);
      return;
    }
    switch (action.kind) {
      case 'branch':
        frame.expr(action.condition);
        f.if();
        this.#relativeJump();
        f.end();
        frame.advance(length);
        return;
      case 'jump':
        if (action.target === relativeTarget) {
          frame.writeX(() => this.#link(length));
          this.#relativeJump();
          return;
        }
        frame.expr(action.target);
        f.set(frame.target);
        frame.writeX(() => this.#link(length));
        f.br(frame.goto);
        return;
      case 'helper': {
        const way = quickWay(instruction);
        if (way !== undefined) this.#emitQuickWay(way);
        else frame.slow();
      }
    }
  }

  /** Goes the quick way if the operands allow it. */
  #emitQuickWay(way: QuickWay): void {
    const f = this.#f;
    const frame = this.#frame;
    if (way.kind === 'fence') {
      frame.field(ENTRY.rs1Shift);
      f.op('i32.eqz');
      frame.slowIf();
      frame.leaf('rs1');
      f.set(frame.address);
      frame.leave(this.#fence);
      return;
    }
    frame.leaf('imm');
    f.i64(SSTATUS);
    f.op('i64.ne');
    frame.slowIf();
    if (way.immediate) {
      frame.field(ENTRY.rs1Shift);
      f.i32(3);
      f.op('i32.shr_u', 'i64.extend_i32_u');
    } else frame.leaf('rs1');
    f.set(frame.value);
    f.i32(way.set ? 1 : 0);
    f.set(frame.size);
    frame.leave(this.#sstatus);
  }

  #emitFence(): void {
    const f = this.#f;
    const frame = this.#frame;
    f.get(frame.hart);
    f.get(frame.address);
    frame.pc();
    f.call(this.#system.fence);
    f.op('i32.eqz');
    frame.slowIf();
    frame.advance(4);
  }

  #emitSstatus(): void {
    const f = this.#f;
    const frame = this.#frame;
    f.get(frame.hart);
    f.get(frame.value);
    f.get(frame.size);
    f.call(this.#system.sstatus);
    f.tee(frame.value);
    f.i64(NOT_DONE);
    f.op('i64.eq');
    frame.slowIf();
    frame.writeX(() => f.get(frame.value));
    frame.advance(4);
  }

  /** Address of the next instruction. */
  #link(length: 2 | 4): void {
    const f = this.#f;
    this.#frame.pc();
    f.i64(length);
    f.op('i64.add');
  }

  /** Goes to entry + imm halfwords when that stays on the page, else through `goto`. */
  #relativeJump(): void {
    const f = this.#f;
    const frame = this.#frame;
    f.get(frame.entry);
    f.get(frame.entry);
    f.load('i32.load', 4);
    f.i32(2);
    f.op('i32.shl', 'i32.add');
    f.tee(frame.scratch);
    f.get(frame.pageBase);
    f.op('i32.sub');
    f.i32((PAGE_SIZE / 2) * ENTRY_SIZE);
    f.op('i32.lt_u');
    f.if();
    f.get(frame.scratch);
    f.set(frame.entry);
    f.br(this.#jit === undefined ? frame.next : frame.landed);
    f.end();
    frame.pc();
    frame.leaf('imm');
    f.op('i64.add');
    f.set(frame.target);
    f.br(frame.goto);
  }

  #emitRefill(refill: Callable): void {
    const f = this.#f;
    f.get(this.#frame.hart);
    f.get(this.#frame.address);
    if (refill === this.#miss.refillWrite) this.#frame.pc();
    f.call(refill);
    f.if();
    this.#frame.uncount();
    f.br(this.#frame.next);
    f.end();
    f.br(this.#frame.access);
  }

  #emitStoreMiss(): void {
    const f = this.#f;
    f.get(this.#frame.hart);
    f.get(this.#frame.address);
    f.get(this.#frame.value);
    f.get(this.#frame.size);
    this.#frame.pc();
    f.call(this.#miss.store);
    f.if();
    this.#frame.advanceBy(this.#frame.step);
    f.end();
    f.br(this.#frame.access);
  }

  /** Spills, calls out, and resumes as told. */
  #emitSlow(): void {
    const f = this.#f;
    this.#frame.pc();
    f.set(this.#frame.target);
    this.#frame.spill(this.#frame.target);
    f.get(this.#frame.hart);
    f.get(this.#frame.entry);
    f.call(this.#host.slow);
    f.set(this.#frame.scratch);
    this.#frame.reload();
    const is = (answer: number): void => {
      f.get(this.#frame.scratch);
      f.i32(answer);
      f.op('i32.eq');
    };
    is(RESUME.jump);
    f.brIf(this.#frame.goto);
    is(RESUME.exit);
    f.brIf(this.#frame.exit);
    is(RESUME.straddle);
    f.if();
    enterStraddle(this.#frame);
    f.end();
    // Retry adds nothing, anything else is the distance to the next entry.
    if (this.#jit === undefined) {
      this.#frame.advanceBy(this.#frame.scratch);
      return;
    }
    f.get(this.#frame.scratch);
    f.op('i32.eqz');
    f.brIf(this.#frame.next);
    f.get(this.#frame.entry);
    f.get(this.#frame.scratch);
    f.op('i32.add');
    f.set(this.#frame.entry);
    // A region may go on behind what it could not do.
    this.#frame.pc();
    f.set(this.#frame.target);
    f.br(this.#frame.goto);
  }
}
