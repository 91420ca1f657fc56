/**
 * Generates the interpreter: one wasm function that runs a hart for a slice, entry by entry of the predecoded form.
 *
 *     exit  ⊃ goto (pc → entry, through the fetch TLB) ⊃ next (count, load entry, dispatch) ⊃ one block per handler
 *
 * Handlers hold no calls: what leaves the fast path branches to a common tail that spills pc and count, calls out and
 * resumes as the call's answer says (`Resume`). Operands come from the entry; meaning comes from the ISA table alone.
 */
import { type Action, usesFloat } from '../isa/semantics.ts';
import { HART, PAGE_SIZE, TLB } from '../memory/layout.ts';
import type { Callable, FunctionBuilder, Label, Local } from '../wasm/function.ts';
import type { ModuleBuilder } from '../wasm/module.ts';
import { LOADS, type LoadOp, STORES, type StoreOp } from '../wasm/opcodes.ts';
import { emitTlbOffset, type MissHandlers } from './miss.ts';
import { DISPATCH_TREE, type DispatchTree, ENTRY, OPERATIONS, type Operation } from './operations.ts';

/**
 * How generated code goes on after a call to the host side. Any other answer is the number of bytes of entries to
 * advance by: the instruction is done.
 */
export const RESUME = {
  /** Run the same entry again; it does not count twice. */
  retry: 0,
  /** Go on at the hart's pc. */
  jump: 1,
  /** Leave the slice; the hart's pc says where to go on. */
  exit: 2,
  /** Run the entry that was put in the hart's straddle slot; it does not count twice. */
  straddle: 3,
} as const;

/** Upper half of a register that holds a single (Unprivileged ISA §21.2). */
const BOX = 0xffff_ffff_0000_0000n;

/** Which dispatcher to generate. */
export type Dispatch = 'tree' | 'table';

export interface HostCalls {
  /** (hart) → 1 if the fetch entry for the hart's pc was filled, 0 if a trap was taken instead. */
  readonly fetch: Callable;
  /** (hart, entry) → RESUME: whatever the entry's operation needs that generated code can't do. */
  readonly slow: Callable;
}

/** Adds `run(hart, budget) → instructions left` to a module, exported as "run". */
export function addInterpreter(
  module: ModuleBuilder,
  host: HostCalls,
  miss: MissHandlers,
  dispatch: Dispatch,
): void {
  const f = module.function(['i32', 'i32'], ['i32'], 'run');
  new Interpreter(f, host, miss).emit(dispatch);
}

class Interpreter {
  readonly #f: FunctionBuilder;
  readonly #host: HostCalls;
  readonly #miss: MissHandlers;
  readonly #hart: Local;
  /** Instructions left. */
  readonly #left: Local;
  /** The sets of TLBs for loads and stores, and for fetches. */
  readonly #dataTlbs: Local;
  readonly #fetchTlbs: Local;
  /** Address of the current entry. */
  readonly #entry: Local;
  /** Its first word. */
  readonly #word: Local;
  /** Address of the first entry of the page, and the guest address that it stands for. */
  readonly #slotBase: Local;
  readonly #slotPc: Local;
  /** As slotBase, but far away in the straddle slot, where no branch may stay inside. */
  readonly #pageBase: Local;
  /** Where `goto` goes. */
  readonly #target: Local;
  /** Guest address of a memory access. */
  readonly #address: Local;
  /** Of a store that missed: its bytes, the distance to the next entry, and the register's bits. */
  readonly #size: Local;
  readonly #step: Local;
  readonly #value: Local;
  readonly #scratch: Local;

  #exit!: Label;
  #goto!: Label;
  #next!: Label;
  #slow!: Label;
  /** As `slow`, for an access to `address`. */
  #access!: Label;
  #readMiss!: Label;
  #writeMiss!: Label;
  #storeMiss!: Label;

  constructor(f: FunctionBuilder, host: HostCalls, miss: MissHandlers) {
    this.#f = f;
    this.#host = host;
    this.#miss = miss;
    this.#hart = f.param(0);
    this.#left = f.param(1);
    this.#dataTlbs = f.local('i32');
    this.#fetchTlbs = f.local('i32');
    this.#entry = f.local('i32');
    this.#word = f.local('i32');
    this.#slotBase = f.local('i32');
    this.#slotPc = f.local('i64');
    this.#pageBase = f.local('i32');
    this.#target = f.local('i64');
    this.#address = f.local('i64');
    this.#size = f.local('i32');
    this.#step = f.local('i32');
    this.#value = f.local('i64');
    this.#scratch = f.local('i32');
  }

  emit(dispatch: Dispatch): void {
    const f = this.#f;
    this.#loadContext();
    f.i64(1n); // no page begins there
    f.set(this.#slotPc);
    this.#exit = f.block();
    this.#goto = f.loop();
    this.#emitGoto();
    this.#next = f.loop();
    this.#slow = f.block();
    this.#access = f.block();
    this.#storeMiss = f.block();
    this.#writeMiss = f.block();
    this.#readMiss = f.block();
    this.#emitHandlers(dispatch);
    f.end(); // readMiss
    this.#emitRefill(this.#miss.refillRead);
    f.end(); // writeMiss
    this.#emitRefill(this.#miss.refillWrite);
    f.end(); // storeMiss
    this.#emitStoreMiss();
    f.end(); // access
    f.get(this.#hart);
    f.get(this.#address);
    f.store('i64.store', HART.address);
    f.end(); // slow
    this.#emitSlow();
    f.end(); // next
    f.end(); // goto
    f.end(); // exit
    f.get(this.#hart);
    f.get(this.#target);
    f.store('i64.store', HART.pc);
    f.get(this.#left);
  }

  /** Finds the entry of the address in `target`. */
  #emitGoto(): void {
    const f = this.#f;
    const page = f.local('i64');
    f.get(this.#target);
    f.i64(BigInt(-PAGE_SIZE));
    f.op('i64.and');
    f.tee(page);
    f.get(this.#slotPc);
    f.op('i64.ne');
    f.if();
    f.get(this.#fetchTlbs);
    emitTlbOffset(f, this.#target);
    f.op('i32.add');
    f.tee(this.#scratch);
    f.load('i64.load', TLB.fetch);
    f.get(page);
    f.op('i64.ne');
    f.if();
    f.get(this.#hart);
    f.get(this.#target);
    f.call(this.#miss.refillFetch);
    f.brIf(this.#goto);
    this.#spill(this.#target);
    f.get(this.#hart);
    f.call(this.#host.fetch);
    f.drop(); // either way: on from the hart's pc, unless the trap used up the slice
    this.#reload();
    f.get(this.#left);
    f.i32(0);
    f.op('i32.le_s');
    f.brIf(this.#exit);
    f.br(this.#goto);
    f.end();
    f.get(this.#scratch);
    f.load('i32.load', TLB.fetch + 8);
    f.tee(this.#slotBase);
    f.set(this.#pageBase);
    f.get(page);
    f.set(this.#slotPc);
    f.end();
    f.get(this.#target);
    f.op('i32.wrap_i64');
    f.i32(PAGE_SIZE - 2);
    f.op('i32.and');
    f.i32(2);
    f.op('i32.shl');
    f.get(this.#slotBase);
    f.op('i32.add');
    f.set(this.#entry);
    f.release(page);
  }

  /** Counts, loads the entry's word and goes to its handler. */
  #emitHandlers(dispatch: Dispatch): void {
    const f = this.#f;
    const handlers = OPERATIONS.map(() => f.block()).reverse();
    f.get(this.#left);
    f.i32(0);
    f.op('i32.le_s');
    f.if();
    this.#emitPc();
    f.set(this.#target);
    f.br(this.#exit);
    f.end();
    f.get(this.#left);
    f.i32(1);
    f.op('i32.sub');
    f.set(this.#left);
    f.get(this.#entry);
    f.load('i32.load');
    f.set(this.#word);
    const label = (operation: Operation): Label => handlers[operation.code] as Label;
    if (dispatch === 'table') {
      f.get(this.#word);
      f.i32(ENTRY.operationShift);
      f.op('i32.shr_u');
      f.brTable(OPERATIONS.map(label), this.#slow);
    } else {
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
    f.get(this.#word);
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
      case 'illegal':
        f.br(this.#slow);
        return;
      case 'end':
        this.#uncount();
        this.#emitPc();
        f.set(this.#target);
        f.br(this.#goto);
        return;
      case 'instruction':
        this.#emitAction(operation.instruction.action, operation.length);
    }
  }

  #emitAction(action: Action, length: 2 | 4): void {
    const f = this.#f;
    if (usesFloat(action)) {
      f.get(this.#hart);
      f.load('i32.load', HART.floatOn);
      f.op('i32.eqz');
      f.brIf(this.#slow);
    }
    switch (action.kind) {
      case 'nothing':
        this.#advance(length);
        return;
      case 'set':
        this.#destination();
        this.#expr(action.value);
        f.store('i64.store', HART.x);
        this.#advance(length);
        return;
      case 'load': {
        this.#expr(action.address);
        f.set(this.#address);
        const size = LOADS[action.op][2];
        this.#lookup(TLB.read, size, false, () => {
          this.#leaveIfCrossing(size);
          f.br(this.#readMiss);
        });
        this.#destination();
        this.#hostAddress(TLB.read);
        f.load(action.op);
        if (action.float === true && size === 4) {
          f.i64(BOX);
          f.op('i64.or');
        }
        f.store('i64.store', action.float === true ? HART.f : HART.x);
        this.#advance(length);
        return;
      }
      case 'fset':
        this.#destination();
        this.#expr(action.value);
        f.store('i64.store', HART.f);
        this.#advance(length);
        return;
      case 'float':
        this.#emitFloat(action, length);
        return;
      case 'store': {
        this.#expr(action.address);
        f.set(this.#address);
        const size = STORES[action.op][2];
        this.#lookup(TLB.write, size, false, () => {
          f.i32(size);
          f.set(this.#size);
          f.i32(length * 4);
          f.set(this.#step);
          this.#expr(action.value);
          f.set(this.#value);
          f.br(this.#storeMiss);
        });
        this.#hostAddress(TLB.write);
        this.#expr(action.value);
        f.store(action.op);
        this.#advance(length);
        return;
      }
      case 'amo':
        this.#emitAmo(action.load, action.store, action.value);
        this.#advance(length);
        return;
      case 'lr':
        this.#atomicAddress();
        this.#lookupAligned(TLB.read, LOADS[action.load][2], this.#readMiss);
        f.get(this.#hart);
        f.get(this.#address);
        f.store('i64.store', HART.reservation);
        this.#destination();
        this.#hostAddress(TLB.read);
        f.load(action.load);
        f.store('i64.store', HART.x);
        this.#advance(length);
        return;
      case 'sc':
        this.#emitStoreConditional(action.store);
        this.#advance(length);
        return;
      case 'branch':
        this.#expr(action.condition);
        f.if();
        this.#relativeJump();
        f.end();
        this.#advance(length);
        return;
      case 'jump':
        this.#expr(action.target);
        f.set(this.#target);
        this.#destination();
        this.#emitPc();
        f.i64(BigInt(length));
        f.op('i64.add');
        f.store('i64.store', HART.x);
        f.br(this.#goto);
        return;
      case 'helper':
        f.br(this.#slow);
    }
  }

  #emitAmo(load: LoadOp, store: StoreOp, value: Parameters<FunctionBuilder['expr']>[0]): void {
    const f = this.#f;
    const found = f.local('i64');
    const hostAddress = f.local('i32');
    this.#atomicAddress();
    this.#lookupAligned(TLB.write, STORES[store][2], this.#writeMiss);
    this.#hostAddress(TLB.write);
    f.tee(hostAddress);
    f.load(load);
    f.set(found);
    f.get(hostAddress);
    this.#expr(value, found);
    f.store(store);
    this.#destination();
    f.get(found);
    f.store('i64.store', HART.x);
    f.release(found, hostAddress);
  }

  /** The fast way, if there is one and it may be taken; else the host side's. */
  #emitFloat(action: Extract<Action, { kind: 'float' }>, length: 2 | 4): void {
    const f = this.#f;
    if (action.fast === undefined) {
      f.br(this.#slow);
      return;
    }
    const value = f.local('i64');
    this.#expr(action.fast.value);
    f.set(value);
    this.#expr(action.fast.when, value);
    f.op('i32.eqz');
    f.brIf(this.#slow);
    this.#destination();
    f.get(value);
    f.store('i64.store', action.toInteger ? HART.x : HART.f);
    f.release(value);
    this.#advance(length);
  }

  /** The write permission is checked only if the reservation holds; either way it is gone afterwards. */
  #emitStoreConditional(store: StoreOp): void {
    const f = this.#f;
    this.#atomicAddress();
    f.get(this.#hart);
    f.load('i64.load', HART.reservation);
    f.get(this.#address);
    f.op('i64.eq');
    f.if();
    this.#lookupAligned(TLB.write, STORES[store][2], this.#writeMiss);
    this.#hostAddress(TLB.write);
    this.#emitLeaf('rs2');
    f.store(store);
    this.#destination();
    f.i64(0n);
    f.store('i64.store', HART.x);
    f.else();
    this.#destination();
    f.i64(1n);
    f.store('i64.store', HART.x);
    f.end();
    f.get(this.#hart);
    f.i64(-1n);
    f.store('i64.store', HART.reservation);
  }

  /** Goes to entry + imm halfwords when that stays on the page, else through `goto`. */
  #relativeJump(): void {
    const f = this.#f;
    f.get(this.#entry);
    f.get(this.#entry);
    f.load('i32.load', 4);
    f.i32(2);
    f.op('i32.shl', 'i32.add');
    f.tee(this.#scratch);
    f.get(this.#pageBase);
    f.op('i32.sub');
    f.i32((PAGE_SIZE / 2) * 8);
    f.op('i32.lt_u');
    f.if();
    f.get(this.#scratch);
    f.set(this.#entry);
    f.br(this.#next);
    f.end();
    this.#emitPc();
    this.#emitLeaf('imm');
    f.op('i64.add');
    f.set(this.#target);
    f.br(this.#goto);
  }

  #atomicAddress(): void {
    this.#emitLeaf('rs1');
    this.#f.set(this.#address);
  }

  /**
   * Looks `address` up; leaves the entry's address in `scratch`. A hit needs the same page, and that the access ends on
   * it, or (`aligned`) that it is naturally aligned: each is one compare with the tag.
   */
  #lookup(tlb: number, size: number, aligned: boolean, onMiss: () => void): void {
    const f = this.#f;
    f.get(this.#address);
    f.get(this.#dataTlbs);
    emitTlbOffset(f, this.#address);
    f.op('i32.add');
    f.tee(this.#scratch);
    f.load('i64.load', tlb);
    f.op('i64.xor');
    if (aligned) {
      f.i64(BigInt(-PAGE_SIZE) | BigInt(size - 1));
      f.op('i64.and', 'i64.eqz', 'i32.eqz');
    } else {
      f.i64(BigInt(PAGE_SIZE + 1 - size));
      f.op('i64.ge_u');
    }
    f.if();
    onMiss();
    f.end();
  }

  #lookupAligned(tlb: number, size: number, miss: Label): void {
    const f = this.#f;
    this.#lookup(tlb, size, true, () => {
      f.get(this.#address);
      f.i64(BigInt(size - 1));
      f.op('i64.and', 'i64.eqz', 'i32.eqz');
      f.brIf(this.#access);
      f.br(miss);
    });
  }

  /** No refill makes an access across two pages hit: it is the host side's. */
  #leaveIfCrossing(size: number): void {
    const f = this.#f;
    f.get(this.#address);
    f.op('i32.wrap_i64');
    f.i32(PAGE_SIZE - 1);
    f.op('i32.and');
    f.i32(PAGE_SIZE - size);
    f.op('i32.gt_u');
    f.brIf(this.#access);
  }

  #hostAddress(tlb: number): void {
    const f = this.#f;
    f.get(this.#address);
    f.op('i32.wrap_i64');
    f.get(this.#scratch);
    f.load('i32.load', tlb + 8);
    f.op('i32.add');
  }

  /** @param bound what the leaf `memory`, or `result`, stands for. */
  #expr(expr: Parameters<FunctionBuilder['expr']>[0], bound?: Local): void {
    this.#f.expr(expr, (name) => {
      if ((name === 'memory' || name === 'result') && bound !== undefined) this.#f.get(bound);
      else this.#emitLeaf(name);
    });
  }

  #emitLeaf(name: string): void {
    const f = this.#f;
    switch (name) {
      case 'rs1':
        this.#register(ENTRY.rs1Shift, HART.x);
        return;
      case 'rs2':
        this.#register(ENTRY.rs2Shift, HART.x);
        return;
      case 'frs1':
        this.#register(ENTRY.rs1Shift, HART.f);
        return;
      case 'frs2':
        this.#register(ENTRY.rs2Shift, HART.f);
        return;
      case 'nearest':
        // (floatNearest >> rm) & 1; a shift takes its amount modulo 32, so frs3 has to go.
        f.get(this.#hart);
        f.load('i32.load', HART.floatNearest);
        f.get(this.#entry);
        f.load('i32.load', 4);
        f.i32(7);
        f.op('i32.and', 'i32.shr_u');
        f.i32(1);
        f.op('i32.and');
        return;
      case 'imm':
        f.get(this.#entry);
        f.load('i64.load32_s', 4);
        return;
      case 'pc':
        this.#emitPc();
        return;
      default:
        throw new Error(`the interpreter has no operand ${name}`);
    }
  }

  /** A register of the file at `file`, by the field at `shift` of the entry's word. */
  #register(shift: number, file: number): void {
    const f = this.#f;
    f.get(this.#hart);
    f.get(this.#word);
    f.i32(shift - 3);
    f.op('i32.shr_u');
    f.i32(0xf8);
    f.op('i32.and', 'i32.add');
    f.load('i64.load', file);
  }

  /** Address of the destination register; a store at HART.x follows. */
  #destination(): void {
    const f = this.#f;
    f.get(this.#hart);
    f.get(this.#word);
    f.i32(ENTRY.rdMask);
    f.op('i32.and', 'i32.add');
  }

  /** Guest address of the current entry. */
  #emitPc(): void {
    const f = this.#f;
    f.get(this.#slotPc);
    f.get(this.#entry);
    f.get(this.#slotBase);
    f.op('i32.sub');
    f.i32(2);
    f.op('i32.shr_u', 'i64.extend_i32_u', 'i64.add');
  }

  #advance(length: 2 | 4): void {
    const f = this.#f;
    f.get(this.#entry);
    f.i32(length * 4);
    f.op('i32.add');
    f.set(this.#entry);
    f.br(this.#next);
  }

  #uncount(): void {
    const f = this.#f;
    f.get(this.#left);
    f.i32(1);
    f.op('i32.add');
    f.set(this.#left);
  }

  #emitRefill(refill: Callable): void {
    const f = this.#f;
    f.get(this.#hart);
    f.get(this.#address);
    f.call(refill);
    f.if();
    this.#uncount();
    f.br(this.#next);
    f.end();
    f.br(this.#access);
  }

  #emitStoreMiss(): void {
    const f = this.#f;
    f.get(this.#hart);
    f.get(this.#address);
    f.get(this.#value);
    f.get(this.#size);
    f.call(this.#miss.store);
    f.if();
    this.#advanceBy(this.#step);
    f.end();
    f.br(this.#access);
  }

  /** Spills, calls out, and resumes as told. */
  #emitSlow(): void {
    const f = this.#f;
    this.#emitPc();
    f.set(this.#target);
    this.#spill(this.#target);
    f.get(this.#hart);
    f.get(this.#entry);
    f.call(this.#host.slow);
    f.set(this.#scratch);
    this.#reload();
    const is = (answer: number): void => {
      f.get(this.#scratch);
      f.i32(answer);
      f.op('i32.eq');
    };
    is(RESUME.jump);
    f.brIf(this.#goto);
    is(RESUME.exit);
    f.brIf(this.#exit);
    is(RESUME.straddle);
    f.if();
    f.get(this.#hart);
    f.i32(HART.straddle);
    f.op('i32.add');
    f.tee(this.#entry);
    f.set(this.#slotBase);
    // 2 GiB away: no branch stays within a page of it.
    f.get(this.#slotBase);
    f.i32(-0x8000_0000);
    f.op('i32.add');
    f.set(this.#pageBase);
    f.get(this.#target);
    f.set(this.#slotPc);
    f.br(this.#next);
    f.end();
    // Retry adds nothing, anything else is the distance to the next entry.
    this.#advanceBy(this.#scratch);
  }

  #advanceBy(step: Local): void {
    const f = this.#f;
    f.get(this.#entry);
    f.get(step);
    f.op('i32.add');
    f.set(this.#entry);
    f.br(this.#next);
  }

  #spill(pc: Local): void {
    const f = this.#f;
    f.get(this.#hart);
    f.get(pc);
    f.store('i64.store', HART.pc);
    f.get(this.#hart);
    f.get(this.#left);
    f.store('i32.store', HART.remaining);
  }

  #reload(): void {
    const f = this.#f;
    f.get(this.#hart);
    f.load('i32.load', HART.remaining);
    f.set(this.#left);
    this.#loadContext();
  }

  /** What a trap, a return or a CSR may have changed. */
  #loadContext(): void {
    const f = this.#f;
    f.get(this.#hart);
    f.load('i64.load', HART.pc);
    f.set(this.#target);
    f.get(this.#hart);
    f.load('i32.load', HART.dataTlbs);
    f.set(this.#dataTlbs);
    f.get(this.#hart);
    f.load('i32.load', HART.fetchTlbs);
    f.set(this.#fetchTlbs);
  }
}
