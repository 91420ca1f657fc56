/** What a debugger reads and writes, and that the guest can't tell. */
import { beforeEach, expect, test } from 'vitest';
import { DebugAccess } from '../../src/cpu/debug-access.ts';
import { MSTATUS, PRIVILEGE } from '../../src/cpu/hart.ts';
import { PAGE_FLAG } from '../../src/memory/layout.ts';
import { assemble, RAM_BASE, ROM_BASE } from '../support/bare-machine.ts';
import { DATA, PagedMachine, PTE, ROOT, VIRTUAL } from '../support/paged-machine.ts';

let m: PagedMachine;
let debug: DebugAccess;

beforeEach(() => {
  m = new PagedMachine();
  debug = new DebugAccess(m.memory, m.bus);
});

test('without paging, and in machine mode, a virtual address is a physical one', () => {
  m.write64(DATA, 0x1234n);
  expect(debug.read(m.hart, BigInt(DATA), 2)).toEqual(Uint8Array.of(0x34, 0x12));
  m.paging(PTE.v);
  expect(debug.translate(m.hart, VIRTUAL)).toBe(VIRTUAL);
});

test.each([
  ['a page without permissions', PTE.v | PTE.x],
  ["a user's page", PTE.v | PTE.r | PTE.u],
])('through the tables %s can be read, and its A bit stays clear', (_what, bits) => {
  const entry = m.paging(bits);
  const before = m.read64(entry);
  m.write64(DATA + 8, 7n);
  m.hart.privilege = PRIVILEGE.supervisor;
  expect(debug.read(m.hart, VIRTUAL + 8n, 1)).toEqual(Uint8Array.of(7));
  expect(debug.write(m.hart, VIRTUAL + 8n, Uint8Array.of(9))).toBe(true);
  expect(m.read64(DATA + 8)).toBe(9n);
  expect(m.read64(entry)).toBe(before);
});

test('with MPRV, machine mode has the addresses of the previous mode (§3.1.6.3)', () => {
  m.paging(PTE.v | PTE.r);
  m.hart.setCsr('mstatus', MSTATUS.mprv | (1n << 11n));
  m.hart.updateContext();
  expect(debug.translate(m.hart, VIRTUAL + 5n)).toBe(BigInt(DATA) + 5n);
});

test('reading ends before the first byte that is not mapped; such a write changes nothing', () => {
  m.paging(PTE.v | PTE.r | PTE.w);
  m.hart.privilege = PRIVILEGE.supervisor;
  expect(debug.read(m.hart, VIRTUAL + 4090n, 16)).toHaveLength(6);
  expect(debug.write(m.hart, VIRTUAL + 4090n, new Uint8Array(16).fill(1))).toBe(false);
  expect(m.read64(DATA + 4088)).toBe(0n);
  expect(debug.read(undefined, 0xffff_ffff_ffff_fff8n, 16)).toHaveLength(0);
});

test('a device is not touched', () => {
  m.device.value = 0x55n;
  expect(debug.read(undefined, BigInt(m.device.base), 4)).toHaveLength(0);
  expect(debug.write(undefined, BigInt(m.device.base), Uint8Array.of(1))).toBe(false);
  expect(m.device.written).toEqual([]);
});

test('a debugger writes to ROM too', () => {
  expect(debug.write(undefined, BigInt(ROM_BASE), Uint8Array.of(1, 2))).toBe(true);
  expect(debug.read(undefined, BigInt(ROM_BASE), 2)).toEqual(Uint8Array.of(1, 2));
});

test('what is written over code runs, and is in the dirty log', () => {
  m.load(assemble(['addi', { rd: 7, imm: 1 }], ['jal', { rd: 0, imm: -4 }]));
  m.run(2);
  m.memory.dirtyLog.on = true;
  debug.write(m.hart, BigInt(RAM_BASE), assemble(['addi', { rd: 7, imm: 2 }]));
  m.run(1);
  expect(m.hart.x(7)).toBe(2n);
  const page = (m.at(RAM_BASE) - m.memory.layout.blocksBase) / 4096;
  expect(m.memory.pageFlags(page) & PAGE_FLAG.code).toBe(PAGE_FLAG.code);
  m.memory.dirtyLog.collect();
  const { pendingBitmap } = m.memory.layout;
  expect((m.memory.view(pendingBitmap + (page >> 3), 1)[0] ?? 0) & (1 << (page & 7))).not.toBe(0);
});

test('a page table is read as it stands in memory', () => {
  m.paging(PTE.v | PTE.r);
  expect(debug.entry(BigInt(ROOT + 8))).toBe(m.read64(ROOT + 8));
  expect(debug.entry(0x4000_0000n)).toBeUndefined();
});
