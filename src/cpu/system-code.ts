/**
 * What generated code does itself of privileged instructions, for both engines: changes of sstatus that concern SIE
 * alone, with which a kernel guards its short sections, and SFENCE.VMA for one address. Whatever else these
 * instructions may have to do is the host side's (cpu/slow-path.ts). Privileged ISA §12.1.1, §12.2.1.
 */
import type { Instruction } from '../isa/instruction.ts';
import {
  HART,
  hartCsr,
  PAGE_SIZE,
  TLB,
  TLB_CONTEXT,
  TLB_FIELD,
  TLB_SET_SIZE,
  TLB_VICTIM,
} from '../memory/layout.ts';
import type { Callable, FunctionBuilder, Label, Local } from '../wasm/function.ts';
import type { ModuleBuilder } from '../wasm/module.ts';
import { SSTATUS, SSTATUS_READABLE, SSTATUS_WRITABLE } from './csr.ts';
import { MSTATUS, PRIVILEGE } from './hart.ts';
import { emitTlbOffset } from './lookup.ts';

export interface SystemCode {
  /** (hart, bits, 1 to set them or 0 to clear them) → what sstatus read before; NOT_DONE, and nothing has changed. */
  readonly sstatus: Callable;
  /** (hart, address, pc of the fence) → 1 if nothing is known of the address's page any more. */
  readonly fence: Callable;
}

/** No value of sstatus: some of its bits are always 0. */
export const NOT_DONE = -1n;

/** What may be quick about an instruction. */
export type QuickWay =
  /** Bits of sstatus are set or cleared: those of a register, or of the immediate that stands in rs1's place. */
  | { readonly kind: 'sstatus'; readonly set: boolean; readonly immediate: boolean }
  | { readonly kind: 'fence' };

/** The quick way of an instruction, if its operands allow it (`quickOperands`). */
export function quickWay({ action, name }: Instruction): QuickWay | undefined {
  if (action.kind !== 'helper') return undefined;
  switch (action.helper) {
    case 'csrrs':
    case 'csrrc':
      return { kind: 'sstatus', set: action.helper === 'csrrs', immediate: name.endsWith('i') };
    case 'sfence_vma':
      return { kind: 'fence' };
    default:
      return undefined;
  }
}

/** Whether an instruction with these operands has a quick way: the CSR is sstatus; the fence is for one address. */
export function quickOperands(way: QuickWay, operands: { rs1: number; immediate: number }): boolean {
  return way.kind === 'sstatus' ? operands.immediate === SSTATUS : operands.rs1 !== 0;
}

/** Adds the functions to a module, exported as "sstatus" and "fence". */
export function addSystemCode(module: ModuleBuilder): SystemCode {
  return { sstatus: sstatus(module), fence: fence(module) };
}

function sstatus(module: ModuleBuilder): Callable {
  const f = module.function(['i32', 'i64', 'i32'], ['i64'], 'sstatus');
  const [hart, bits, set] = [f.param(0), f.param(1), f.param(2)];
  const mstatus = f.local('i64');
  const no = f.block();
  emitBelowSupervisor(f, hart, no);
  // An interrupt that is pending may have to be taken.
  f.get(hart);
  f.load('i64.load', hartCsr('mip'));
  f.get(hart);
  f.load('i64.load', hartCsr('mie'));
  f.op('i64.and', 'i64.eqz', 'i32.eqz');
  f.brIf(no);
  // Of the bits that would change, none may be another one.
  f.get(hart);
  f.load('i64.load', hartCsr('mstatus'));
  f.tee(mstatus);
  f.i64(-1n);
  f.i64(0n);
  f.get(set);
  f.select();
  f.op('i64.xor');
  f.get(bits);
  f.op('i64.and');
  f.i64(SSTATUS_WRITABLE & ~MSTATUS.sie);
  f.op('i64.and', 'i64.eqz', 'i32.eqz');
  f.brIf(no);
  f.get(bits);
  f.i64(MSTATUS.sie);
  f.op('i64.and');
  f.tee(bits);
  f.get(mstatus);
  f.op('i64.or');
  // Set; or set and then flipped.
  f.i64(0n);
  f.get(bits);
  f.get(set);
  f.select();
  f.op('i64.xor');
  storeCsr(f, hart, 'mstatus');
  f.get(mstatus);
  f.i64(BigInt.asIntN(64, SSTATUS_READABLE));
  f.op('i64.and');
  f.return();
  f.end();
  f.i64(NOT_DONE);
  return f;
}

/** Stores the i64 on the stack. */
function storeCsr(f: FunctionBuilder, hart: Local, name: 'mstatus'): void {
  const value = f.local('i64');
  f.set(value);
  f.get(hart);
  f.get(value);
  f.store('i64.store', hartCsr(name));
  f.release(value);
}

function fence(module: ModuleBuilder): Callable {
  const f = module.function(['i32', 'i64', 'i64'], ['i32'], 'fence');
  const [hart, address, pc] = [f.param(0), f.param(1), f.param(2)];
  const set = f.local('i32');
  const empty = f.local('i64');
  const no = f.block();
  emitBelowSupervisor(f, hart, no);
  f.get(hart);
  f.load('i64.load', hartCsr('mstatus'));
  f.i64(MSTATUS.tvm);
  f.op('i64.and', 'i64.eqz', 'i32.eqz');
  f.brIf(no);
  // The page that runs may be another one behind the fence.
  f.get(address);
  f.i64(BigInt(-PAGE_SIZE));
  f.op('i64.and');
  f.tee(address);
  f.get(pc);
  f.op('i64.xor');
  f.i64(BigInt(PAGE_SIZE));
  f.op('i64.lt_u');
  f.brIf(no);
  // The pieces of a superpage stand in many entries.
  f.get(hart);
  f.load('i64.load', HART.superpages);
  f.get(address);
  f.i64(30n);
  f.op('i64.shr_u', 'i64.shr_u');
  f.i64(1n);
  f.op('i64.and', 'i64.eqz', 'i32.eqz');
  f.brIf(no);
  f.get(hart);
  emitTlbOffset(f, address);
  f.op('i32.add');
  f.set(set);
  // As Tlbs empties entries.
  f.get(address);
  f.i64(BigInt(PAGE_SIZE));
  f.op('i64.xor');
  f.set(empty);
  for (let context = 0; context < TLB_CONTEXT.physical; context++) {
    const kinds = Object.values(TLB).map((tlb) => HART.tlbs + context * TLB_SET_SIZE + tlb);
    for (const at of kinds.flatMap((tlb) => [tlb, tlb + TLB_VICTIM])) {
      f.get(set);
      f.load('i64.load', at);
      f.get(address);
      f.op('i64.eq');
      f.if();
      f.get(set);
      f.get(empty);
      f.store('i64.store', at);
      f.get(set);
      f.get(empty);
      f.store('i64.store32', at + TLB_FIELD.direct);
      f.end();
    }
  }
  f.i32(1);
  f.return();
  f.end();
  f.i32(0);
  return f;
}

/** Leaves to `no` in user mode. */
function emitBelowSupervisor(f: FunctionBuilder, hart: Local, no: Label): void {
  f.get(hart);
  f.load('i32.load', HART.privilege);
  f.i32(PRIVILEGE.supervisor);
  f.op('i32.lt_u');
  f.brIf(no);
}
