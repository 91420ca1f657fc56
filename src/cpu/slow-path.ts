/**
 * The host side of the engine: what generated code calls out for. Fetches that miss, entries not decoded yet, memory
 * accesses that are no plain RAM, CSRs and traps.
 */
import type { Helper, MemoryAccess } from '../isa/semantics.ts';
import { memoryAccess, usesFloat } from '../isa/semantics.ts';
import type { GuestMemory } from '../memory/guest-memory.ts';
import { HART, PAGE_SHIFT, PAGE_SIZE } from '../memory/layout.ts';
import type { Tlbs } from '../memory/tlb.ts';
import type { Bus, BusMemory } from './bus.ts';
import type { CodeCache } from './code-cache.ts';
import { accessibleCsr, type Csr, type CsrContext, type CsrHart } from './csr.ts';
import type { DebugPoints } from './debug-points.ts';
import { type Fault, type Faults, FETCH_FAULTS, faultsOf, NOT_HERE, STORE_FAULTS } from './faults.ts';
import { box32 } from './float/format.ts';
import { CAUSE, ENVCFG, type Hart, MSTATUS, PRIVILEGE } from './hart.ts';
import { END_WORD, ENTRY, OPERATIONS } from './operations.ts';
import type { PagePredecoder } from './page-predecoder.ts';
import type { Pmp } from './pmp.ts';
import { RESUME } from './resume.ts';
import { runFloat } from './run-float.ts';
import type { Trace } from './trace.ts';
import { ACCESS, FAULT } from './translate.ts';

/** Addresses from here on can't be numbers of JavaScript; nothing is there. */
const ADDRESS_LIMIT = 1n << 53n;

/** What an operation does with memory, by operation code. */
const ACCESSES: readonly (MemoryAccess | undefined)[] = OPERATIONS.map((operation) =>
  operation.kind === 'instruction' ? memoryAccess(operation.instruction.action) : undefined,
);

/** (hart's offset, address, ACCESS, WALK) → physical address or FAULT: generated code. */
export type Translate = (hart: number, address: bigint, access: number, walk: number) => bigint;

/** Whether an operation is illegal while mstatus.FS is off, by operation code. */
const USES_FLOAT: readonly boolean[] = OPERATIONS.map(
  (operation) => operation.kind === 'instruction' && usesFloat(operation.instruction.action),
);

/** An entry of the predecoded form, taken apart. */
interface Current {
  readonly hart: Hart;
  readonly word: number;
  readonly immediate: number;
  /** Distance to the next entry: RESUME's "done". */
  readonly step: number;
  /** Bytes. */
  readonly length: number;
}

export class SlowPath {
  readonly #memory: GuestMemory;
  readonly #tlbs: Tlbs;
  readonly #code: CodeCache;
  readonly #points: DebugPoints;
  readonly #bus: Bus;
  readonly #csrs: CsrContext;
  readonly #view: DataView;
  /**
   * An access to a page that may have no entry (an atomic's to one with code, or any while the page is watched) gets one
   * for one instruction: the slice is cut behind it, this many instructions are kept back, and the entry is flushed (see
   * `Engine.run`).
   */
  keptBack: number | undefined;
  trace: Trace = {};
  /** Told of a page that has got a slot, and where in it the hart is. */
  onNewCode: ((page: number, inPage: number) => void) | undefined;
  /** Set when the generated code is there. */
  translate: Translate = () => FAULT.access;
  readonly #pmps: readonly Pmp[];
  readonly #predecoder: PagePredecoder;

  constructor(
    memory: GuestMemory,
    tlbs: Tlbs,
    code: CodeCache,
    points: DebugPoints,
    bus: Bus,
    csrs: CsrContext,
    pmps: readonly Pmp[],
    predecoder: PagePredecoder,
  ) {
    this.#pmps = pmps;
    this.#predecoder = predecoder;
    this.#memory = memory;
    this.#tlbs = tlbs;
    this.#code = code;
    this.#points = points;
    this.#bus = bus;
    this.#csrs = csrs;
    this.#view = new DataView(memory.memory.buffer);
  }

  /**
   * Fills the fetch entry of the hart's pc.
   * @returns false if it trapped, which costs one instruction of the slice, or was stopped, which ends the slice.
   */
  fetch(hart: Hart): boolean {
    const host = this.#codeAt(hart, hart.pc);
    if (typeof host !== 'number') {
      // A breakpoint may stand where nothing can be fetched: where a function that a debugger calls returns to.
      if (host === NOT_HERE || (this.#points.mayBreakAt(this.#inPage(hart)) && this.#points.breaks(hart))) {
        this.keptBack = hart.remaining;
        hart.remaining = 0;
        return false;
      }
      hart.takeException(host.cause, host.address);
      hart.remaining -= 1;
      return false;
    }
    const page = this.#pageIndex(host);
    const isNew = this.#code.slotAt(page) === 0;
    this.#tlbs.fill(hart.fetch.tlbs, 'fetch', hart.pc, this.#code.slotOf(page));
    if (isNew) this.onNewCode?.(page, host & (PAGE_SIZE - 1));
    return true;
  }

  /** Does what the entry's operation needs. @returns a RESUME. */
  run(hart: Hart, entry: number): number {
    const word = this.#view.getUint32(entry, true);
    const operation = OPERATIONS[word >>> ENTRY.operationShift];
    const immediate = this.#view.getInt32(entry + 4, true);
    if (operation === undefined || operation.kind === 'undecoded' || operation.kind === 'end') {
      return this.#decode(hart, entry);
    }
    if (operation.kind === 'illegal') {
      return this.#trap(hart, CAUSE.illegalInstruction, BigInt(immediate >>> 0));
    }
    const { length, instruction } = operation;
    const current = { hart, word, immediate, length, step: length * 4 };
    if (USES_FLOAT[operation.code] === true && (hart.csr('mstatus') & MSTATUS.fs) !== MSTATUS.fs) {
      if ((hart.csr('mstatus') & MSTATUS.fs) === 0n) return this.#illegal(hart);
      hart.touchFloat();
      return this.#again(hart, RESUME.retry);
    }
    const access = ACCESSES[operation.code];
    if (access !== undefined) return this.#access(current, access);
    if (instruction.action.kind === 'helper')
      return this.#help(current, instruction.action.helper, instruction.name);
    if (instruction.action.kind === 'float') {
      return runFloat(hart, word, immediate, instruction.action) ? current.step : this.#illegal(hart);
    }
    if (instruction.action.kind === 'zero') return this.#zero(current, instruction.action.size);
    throw new Error(`${instruction.name} needs no call`);
  }

  /** Zeroes a block that is no plain RAM, or has code. Unprivileged ISA §19.3.3: tval is rs1, not the block. */
  #zero(current: Current, size: number): number {
    const { hart, step } = current;
    if (!hart.enables(ENVCFG.cbze)) return this.#illegal(hart);
    const address = rs1Of(current);
    const { walk } = hart.data;
    if (this.#points.watches(hart, address & BigInt(-size), size, 'store'))
      return this.#again(hart, RESUME.exit);
    const at = this.#translated(hart, address & BigInt(-size), ACCESS.write, walk, STORE_FAULTS);
    if (typeof at !== 'number') return this.#trap(hart, at.cause, address);
    const memory = this.#bus.memoryAt(at);
    if (memory === undefined) return this.#trap(hart, STORE_FAULTS.access, address);
    const host = memory.hostOffset + at - memory.base;
    if (this.#waitsFor(hart, host)) return this.#again(hart, RESUME.exit);
    if (!memory.readonly) this.#memory.clear(host, size, hart);
    return step;
  }

  /** A management instruction (Unprivileged ISA §19.5.1): allowed where a load or a store is; there is no cache. */
  #cacheBlock(current: Current, enable: bigint): number {
    const { hart, step } = current;
    if (!hart.enables(enable)) return this.#illegal(hart);
    const address = rs1Of(current);
    const { walk } = hart.data;
    const at = this.#translated(hart, address, ACCESS.read, walk, STORE_FAULTS);
    // What can be written can be read (W without R is reserved), so a look at a store's permission would find no more.
    return typeof at === 'number' ? step : this.#trap(hart, at.cause, address);
  }

  #trap(hart: Hart, cause: number, tval: bigint): number {
    if (cause === NOT_HERE.cause) return this.#again(hart, RESUME.exit);
    hart.takeException(cause, tval);
    return RESUME.jump;
  }

  /** Stops the hart before its instruction if the page at this offset of the shared memory has not arrived. */
  #waitsFor(hart: Hart, host: number): boolean {
    const { missing } = this.#memory;
    if (!missing.any) return false;
    const page = this.#pageIndex(host);
    if (missing.isMissing(page)) this.#stop(hart, page);
    return hart.missing !== undefined;
  }

  #stop(hart: Hart, page: number): void {
    hart.missing = page;
    this.#memory.missing.want(page);
  }

  /** The count was taken for an entry that has not run. */
  #again(hart: Hart, how: number): number {
    hart.remaining += 1;
    return how;
  }

  /** Offset of the hart's pc in its page. */
  #inPage(hart: Hart): number {
    return this.#view.getUint32(hart.offset + HART.pc, true) & (PAGE_SIZE - 1);
  }

  #decode(hart: Hart, entry: number): number {
    const inPage = this.#inPage(hart);
    const page = this.#code.pageOfEntry(entry);
    const breakable = this.#points.mayBreakAt(inPage);
    if (breakable && this.#points.breaks(hart)) return this.#again(hart, RESUME.exit);
    const bits = this.#predecoder.bitsAt(page, inPage);
    const { trace } = this;
    if (bits !== undefined) {
      trace.decoded?.(hart, hart.pc, bits);
      if (!breakable) {
        this.#predecoder.predecode(entry, bits);
        this.#predecoder.predecodeRun(
          page,
          inPage,
          trace.decoded && ((distance, next) => trace.decoded?.(hart, hart.pc + BigInt(distance), next)),
        );
        return this.#again(hart, RESUME.retry);
      }
      // Not kept, so that the next pass comes here, too.
      const { word, immediate } = this.#predecoder.decode(bits);
      hart.setStraddle(word, immediate, END_WORD);
      return this.#again(hart, RESUME.straddle);
    }
    const { pc } = hart;
    const { blocksBase } = this.#memory.layout;
    const low = this.#view.getUint16(blocksBase + page * PAGE_SIZE + inPage, true);
    // The second half lies on the next page, which may be another one by the next time: generated code looks.
    const second = this.#codeAt(hart, pc + 2n);
    if (typeof second !== 'number') return this.#trap(hart, second.cause, second.address);
    const both = ((this.#view.getUint16(second, true) << 16) | low) >>> 0;
    trace.decoded?.(hart, pc, both);
    const { word, immediate } = this.#predecoder.decode(both);
    if (!breakable && trace.decoded === undefined) this.#code.keepStraddle(page, both, word, immediate);
    hart.setStraddle(word, immediate, END_WORD);
    return this.#again(hart, RESUME.straddle);
  }

  #access(current: Current, access: MemoryAccess): number {
    const { hart } = current;
    const address = hart.accessAddress;
    const isLoad = access.kind === 'load';
    if (access.aligned && address % BigInt(access.size) !== 0n) {
      return this.#trap(hart, isLoad ? CAUSE.loadMisaligned : CAUSE.storeMisaligned, address);
    }
    if (this.#points.watches(hart, address, access.size, access.kind)) return this.#again(hart, RESUME.exit);
    const inPage = Number(address & BigInt(PAGE_SIZE - 1));
    if (inPage + access.size > PAGE_SIZE) return this.#acrossPages(current, access, address);
    const at = this.#physical(hart, address, access);
    if (typeof at !== 'number') return this.#trap(hart, at.cause, address);
    const memory = this.#bus.memoryAt(at);
    if (memory !== undefined) {
      const host = memory.hostOffset + at - memory.base;
      if (this.#waitsFor(hart, host)) return this.#again(hart, RESUME.exit);
      return this.#inMemory(current, access, address, host, memory);
    }
    const fault = isLoad ? CAUSE.loadAccessFault : CAUSE.storeAccessFault;
    if (access.kind === 'amo' || (isLoad && access.aligned)) return this.#trap(hart, fault, address);
    if (isLoad) {
      const value = this.#bus.read(at, access.size);
      if (value === undefined) return this.#trap(hart, fault, address);
      return this.#finishLoad(current, access, value);
    }
    if (!this.#bus.write(at, access.size, this.#storeValue(current, access)))
      return this.#trap(hart, fault, address);
    return this.#leave(current);
  }

  /** @param host where the bytes stand in the shared memory. */
  #inMemory(
    current: Current,
    access: MemoryAccess,
    address: bigint,
    host: number,
    memory: BusMemory,
  ): number {
    const { hart, step } = current;
    const addend = host - Number(BigInt.asUintN(32, address));
    const watched = this.#points.watching && this.#points.watchesPage(address);
    if (access.kind === 'load') {
      this.#tlbs.fill(hart.data.tlbs, 'read', address, addend);
      return watched ? this.#once(hart) : this.#again(hart, RESUME.retry);
    }
    // A store to a ROM is lost, as on QEMU's virt; an atomic can't be done halfway.
    if (memory.readonly) {
      return access.kind === 'store' ? step : this.#trap(hart, CAUSE.storeAccessFault, address);
    }
    this.#memory.wrote(host, access.size, hart);
    // Code keeps the entry away, if it is not that data is watched somewhere.
    const mayStay = this.#points.watching && !watched && this.#memory.pageFlags(this.#pageIndex(host)) === 0;
    if (access.kind === 'amo' || mayStay) this.#tlbs.fill(hart.data.tlbs, 'write', address, addend);
    if (access.kind === 'store') {
      this.#write(host, access.size, this.#storeValue(current, access));
      return step;
    }
    return mayStay ? this.#again(hart, RESUME.retry) : this.#once(hart);
  }

  /** Lets the instruction use an entry that must be gone behind it. */
  #once(hart: Hart): number {
    this.keptBack = hart.remaining;
    hart.remaining = 1;
    return RESUME.retry;
  }

  #write(host: number, size: number, value: bigint): void {
    if (size === 1) this.#view.setUint8(host, Number(value));
    else if (size === 2) this.#view.setUint16(host, Number(value), true);
    else if (size === 4) this.#view.setUint32(host, Number(value), true);
    else this.#view.setBigUint64(host, value, true);
  }

  /** A load or store whose bytes lie on two pages: both are checked before either is touched. */
  #acrossPages(current: Current, access: MemoryAccess, address: bigint): number {
    const { hart } = current;
    const second = (address | BigInt(PAGE_SIZE - 1)) + 1n;
    const hosts: number[] = [];
    for (let i = 0; i < access.size; i++) {
      const byte = address + BigInt(i);
      const at = this.#physical(hart, byte, access);
      const fault = byte < second ? address : BigInt.asUintN(64, second);
      if (typeof at !== 'number') return this.#trap(hart, at.cause, fault);
      const memory = this.#bus.memoryAt(at);
      if (memory === undefined) return this.#trap(hart, faultsOf(access).access, fault);
      if (access.kind === 'load' || !memory.readonly) hosts.push(at - memory.base + memory.hostOffset);
    }
    if (hosts.some((host) => this.#waitsFor(hart, host))) return this.#again(hart, RESUME.exit);
    if (access.kind === 'load') {
      const value = hosts.reduceRight((sum, host) => (sum << 8n) | BigInt(this.#view.getUint8(host)), 0n);
      return this.#finishLoad(current, access, value);
    }
    let value = this.#storeValue(current, access);
    for (const host of hosts) {
      this.#memory.write(host, Uint8Array.of(Number(value & 0xffn)), hart);
      value >>= 8n;
    }
    return current.step;
  }

  /** The physical address of a byte that a load or store wants. */
  #physical(hart: Hart, address: bigint, access: MemoryAccess): number | Fault {
    const kind = access.kind === 'load' ? ACCESS.read : ACCESS.write;
    return this.#translated(hart, address, kind, hart.data.walk, faultsOf(access));
  }

  #translated(hart: Hart, address: bigint, access: number, walk: number, faults: Faults): number | Fault {
    const physical = this.translate(hart.offset, BigInt.asIntN(64, address), access, walk);
    if (physical === FAULT.missing) {
      this.#stop(hart, hart.missingTable);
      return NOT_HERE;
    }
    if (physical === FAULT.page) return { cause: faults.page, address };
    if (physical < 0n || physical >= ADDRESS_LIMIT) return { cause: faults.access, address };
    return Number(physical);
  }

  #finishLoad({ hart, word, step }: Current, access: MemoryAccess, value: bigint): number {
    const rd = (word & ENTRY.rdMask) >> 3;
    if (access.float) hart.setF(rd, access.size === 4 ? box32(value) : value);
    else hart.setX(rd, access.signed ? BigInt.asIntN(access.size * 8, value) : value);
    return step;
  }

  #storeValue({ hart, word }: Current, access: MemoryAccess): bigint {
    const rs2 = (word >>> ENTRY.rs2Shift) & 31;
    return BigInt.asUintN(access.size * 8, access.float ? hart.f(rs2) : hart.x(rs2));
  }

  /** Done, but interrupts have to be looked at before the next instruction. */
  #leave({ hart, length }: Current): number {
    hart.pc += BigInt(length);
    return RESUME.exit;
  }

  #help(current: Current, helper: Helper, name: string): number {
    const { hart } = current;
    switch (helper) {
      case 'ecall':
        return this.#trap(hart, CAUSE.userEcall + hart.privilege, 0n);
      case 'ebreak':
        return this.#trap(hart, CAUSE.breakpoint, hart.pc);
      case 'mret':
        if (hart.privilege < PRIVILEGE.machine) return this.#illegal(hart);
        hart.returnFromMachineTrap();
        return RESUME.exit;
      case 'sret':
        if (!this.#supervisorMay(hart, MSTATUS.tsr)) return this.#illegal(hart);
        hart.returnFromSupervisorTrap();
        return RESUME.exit;
      case 'wfi':
        if (!this.#supervisorMay(hart, MSTATUS.tw)) return this.#illegal(hart);
        hart.waiting = !hart.wakes;
        return this.#leave(current);
      case 'sfence_vma':
        if (!this.#supervisorMay(hart, MSTATUS.tvm)) return this.#illegal(hart);
        // All ASIDs are the same; x0 stands for all addresses.
        if (((current.word >>> ENTRY.rs1Shift) & 31) === 0) this.#tlbs.flushVirtual(hart.id);
        else this.#tlbs.flushAddress(hart.id, rs1Of(current));
        // The page that runs may be another one now.
        return this.#leave(current);
      case 'sfence_order':
        return hart.privilege >= PRIVILEGE.supervisor ? current.step : this.#illegal(hart);
      case 'cbo_inval':
        return this.#cacheBlock(current, ENVCFG.cbie);
      case 'cbo_clean':
      case 'cbo_flush':
        return this.#cacheBlock(current, ENVCFG.cbcfe);
      case 'csrrw':
      case 'csrrs':
      case 'csrrc':
        return this.#csr(current, helper, name.endsWith('i'));
    }
  }

  /** Unprivileged ISA §7.1: which forms read and which write. */
  #csr(current: Current, helper: 'csrrw' | 'csrrs' | 'csrrc', isImmediate: boolean): number {
    const { hart, word, immediate: number } = current;
    const rs1 = (word >>> ENTRY.rs1Shift) & 31;
    const rd = (word & ENTRY.rdMask) >> 3;
    const operand = isImmediate ? BigInt(rs1) : hart.x(rs1);
    const writes = helper === 'csrrw' || rs1 !== 0;
    const csr = accessibleCsr(number, hart, this.#csrs, writes);
    const pmp = this.#pmps[hart.id];
    if (csr === undefined || pmp === undefined) return this.#illegal(hart);
    const of = { hart, pmp, context: this.#csrs };
    const reads = helper !== 'csrrw' || rd !== ENTRY.sink;
    const old = reads ? csr.read(of) : 0n;
    if (writes) {
      const base = csr.readToModify?.(of) ?? old;
      this.writeCsr(
        csr,
        of,
        helper === 'csrrw' ? operand : helper === 'csrrs' ? base | operand : base & ~operand,
      );
    }
    hart.setX(rd, old);
    if (!writes || csr.effects === undefined || csr.effects.length === 0) return current.step;
    return this.#leave(current);
  }

  /** Writes a CSR and does what follows from it, but for a look at the interrupts. */
  writeCsr(csr: Csr, of: CsrHart, value: bigint): void {
    const { hart } = of;
    const mxr = hart.csr('mstatus') & MSTATUS.mxr;
    csr.write?.(of, value);
    if (csr.effects?.includes('context')) hart.updateContext();
    // With another MXR, loads may read other pages than the TLBs were filled for.
    const mxrChanged = mxr !== (hart.csr('mstatus') & MSTATUS.mxr);
    if (csr.effects?.includes('translation') || mxrChanged) this.#tlbs.flushVirtual(hart.id);
  }

  /** Whether an instruction of supervisor level may run: not in user mode, nor where this mstatus bit traps it. */
  #supervisorMay(hart: Hart, trapBit: bigint): boolean {
    if (hart.privilege === PRIVILEGE.machine) return true;
    return hart.privilege === PRIVILEGE.supervisor && (hart.csr('mstatus') & trapBit) === 0n;
  }

  #illegal(hart: Hart): number {
    return this.#trap(hart, CAUSE.illegalInstruction, this.#bitsAt(hart, hart.pc));
  }

  /** The word of the instruction at pc, for mtval: read from where it was fetched. */
  #bitsAt(hart: Hart, pc: bigint): bigint {
    const low = this.#codeAt(hart, pc);
    if (typeof low !== 'number') return 0n;
    const half = this.#view.getUint16(low, true);
    if ((half & 3) !== 3) return BigInt(half);
    const high = this.#codeAt(hart, pc + 2n);
    if (typeof high !== 'number') return 0n;
    return BigInt(half) | (BigInt(this.#view.getUint16(high, true)) << 16n);
  }

  /** Where the code at a guest address stands in the shared memory. */
  #codeAt(hart: Hart, address: bigint): number | Fault {
    const at = this.#translated(hart, address, ACCESS.execute, hart.fetch.walk, FETCH_FAULTS);
    if (typeof at !== 'number') return at;
    const memory = this.#bus.memoryAt(at);
    if (memory === undefined) return { cause: FETCH_FAULTS.access, address };
    const host = at - memory.base + memory.hostOffset;
    return this.#waitsFor(hart, host) ? NOT_HERE : host;
  }

  #pageIndex(host: number): number {
    return (host - this.#memory.layout.blocksBase) >>> PAGE_SHIFT;
  }
}

function rs1Of({ hart, word }: Current): bigint {
  return hart.x((word >>> ENTRY.rs1Shift) & 31);
}
