import { expect, describe as suite, test } from 'vitest';
import type { EngineOptions } from '../../src/cpu/engine.ts';
import { guestDma } from '../../src/machine/guest-dma.ts';
import { AddressSpace } from '../../src/memory/address-space.ts';
import { assemble, BareMachine, RAM_BASE, ROM_BASE } from '../support/bare-machine.ts';

function dmaMachine(options: EngineOptions = {}) {
  const machine = new BareMachine(2, 'table', undefined, undefined, options);
  const space = new AddressSpace();
  for (const [name, base, readonly] of [
    ['rom', ROM_BASE, true],
    ['ram', RAM_BASE, false],
  ] as const) {
    const { size, offset } = machine.memory.block(name);
    space.add({ name, base, size, hostOffset: offset, readonly });
  }
  const handler = { read: () => 0, write() {} };
  space.add({ name: 'device', base: 0x1000_0000, size: 0x1000, handler });
  const dma = guestDma(space, machine.memory, () => {
    for (const hart of machine.engine.harts) hart.reservation = -1n;
  });
  const { size } = machine.memory.block('ram');
  return { machine, dma, end: RAM_BASE + size };
}

suite("a device's access to memory", () => {
  test.each([1, 31, 33, 5000])('%i bytes go and come', (length) => {
    const { dma, end } = dmaMachine();
    const bytes = Uint8Array.from({ length }, (_, i) => i * 7 + 1);
    expect(dma.write(end - length, bytes)).toBe(true);
    expect(dma.read(end - length, length)).toEqual(bytes);
    const target = new Uint8Array(length);
    expect(dma.readInto(end - length, target)).toBe(true);
    expect(target).toEqual(bytes);
  });

  test('is refused as a whole where any byte is not memory, or not writable', () => {
    const { dma, end } = dmaMachine();
    const four = Uint8Array.of(1, 2, 3, 4);
    for (const address of [end - 3, end, RAM_BASE - 1, 0x1000_0000, 2 ** 60, -4, Number.NaN]) {
      expect(dma.write(address, four)).toBe(false);
      expect(dma.read(address, 4)).toBeUndefined();
      expect(dma.readInto(address, new Uint8Array(4))).toBe(false);
      expect(dma.holds(address, 4, false)).toBe(false);
    }
    expect(dma.read(end - 3, 3)).toEqual(new Uint8Array(3));
    expect(dma.write(ROM_BASE, four)).toBe(false);
    expect(dma.holds(ROM_BASE, 4, true)).toBe(false);
    expect(dma.read(ROM_BASE, 4)).toEqual(new Uint8Array(4));
  });

  test('marks every page that it hits while the dirty log is on', () => {
    const { machine, dma } = dmaMachine();
    const { layout } = machine.memory;
    machine.memory.dirtyLog.on = true;
    dma.write(RAM_BASE + 0x1fff, new Uint8Array(0x1002));
    machine.memory.dirtyLog.collect();
    const words = new Uint32Array(machine.memory.memory.buffer, layout.pendingBitmap, layout.bitmapSize / 4);
    const { firstPage } = machine.memory.block('ram');
    const marked = Array.from({ length: layout.pages }, (_, page) => page).filter(
      (page) => ((words[page >> 5] ?? 0) >>> (page & 31)) & 1,
    );
    expect(marked).toEqual([1, 2, 3].map((page) => firstPage + page));
  });

  test('changes code that has run before', () => {
    const { machine, dma } = dmaMachine();
    const { hart } = machine;
    const loop = (imm: number) => assemble(['addi', { rd: 5, rs1: 5, imm }], ['jal', { rd: 0, imm: -4 }]);
    machine.load(loop(1));
    machine.run(4);
    expect(hart.x(5)).toBe(2n);
    dma.write(RAM_BASE, loop(100));
    machine.run(4);
    expect(hart.x(5)).toBe(202n);
  });

  test('changes code that has been translated', () => {
    const { machine, dma } = dmaMachine({ accel: 'jit', jit: { heat: 3, patience: 0 } });
    const { hart } = machine;
    const loop = (imm: number) => assemble(['addi', { rd: 5, rs1: 5, imm }], ['jal', { rd: 0, imm: -4 }]);
    machine.load(loop(1));
    for (let slice = 0; slice < 20; slice++) machine.run(1000);
    expect(hart.translated.instructions).toBeGreaterThan(10_000);
    dma.write(RAM_BASE, loop(100));
    machine.run(4);
    expect(hart.x(5)).toBe(10_200n);
  });

  test('breaks the reservations of LR', () => {
    const { machine, dma } = dmaMachine();
    const { hart } = machine;
    machine.load(
      assemble(
        ['lr.w', { rd: 6, rs1: 10 }],
        ['addi', { rd: 7, rs1: 0, imm: 1 }],
        ['sc.w', { rd: 8, rs1: 10, rs2: 7 }],
      ),
    );
    hart.setX(10, BigInt(RAM_BASE + 0x4000));
    machine.run(2);
    dma.write(RAM_BASE + 0x4000, Uint8Array.of(9, 0, 0, 0));
    machine.run(1);
    expect(hart.x(8)).toBe(1n);
    expect(machine.read64(RAM_BASE + 0x4000)).toBe(9n);
  });
});
