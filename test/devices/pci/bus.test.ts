/** PCI Local Bus Specification 3.0, as software sees it through the host bridge. */
import { describe, expect, test } from 'vitest';
import type { DmaMemory } from '../../../src/devices/dma.ts';
import { type PciBar, PciFunction } from '../../../src/devices/pci/function.ts';
import { PciHostBridge } from '../../../src/devices/pci/host-bridge.ts';
import { MSIX_ENTRY_BYTES, Msix } from '../../../src/devices/pci/msix.ts';
import { AddressSpace } from '../../../src/memory/address-space.ts';

const ECAM = 0x3000_0000;
const PIO = 0x300_0000;
const MMIO = 0x4000_0000;
const HIGH = 0x4_0000_0000;
const COMMAND = 0x04;
const BAR0 = 0x10;
const INTERRUPT = 0x3c;
const IO = 1;
const MEMORY = 2;
const MASTER = 4;
const INTX_DISABLE = 0x400;

const RAM: DmaMemory = {
  read: (_, length) => new Uint8Array(length),
  readInto: () => true,
  write: () => true,
  holds: () => true,
  attempt: (_owner, step) => step(),
  require() {},
};

/** A host bridge in an address space, and what it does to the outside. */
function machine() {
  const lines: boolean[] = [];
  const messages: [number, number][] = [];
  const bridge = new PciHostBridge({
    ecam: { base: ECAM, size: 0x1000_0000 },
    pio: { base: PIO, size: 0x1_0000 },
    mmio: { base: MMIO, size: 0x4000_0000 },
    highMmio: { base: HIGH, size: 0x4_0000_0000 },
    irq: 32,
    interrupts: {
      line: (source) => (level) => {
        lines[source] = level;
      },
      label: 'plic',
      specifier: (source) => [source],
    },
    dma: RAM,
    msi: (address, data) => void messages.push([address, data]),
  });
  const space = new AddressSpace();
  for (const region of bridge.regions) space.add(region);
  const config = (slot: number, register: number): number => ECAM + slot * 0x8000 + register;
  return {
    bridge,
    space,
    messages,
    /** The interrupt numbers that are asserted. */
    asserted: () => lines.flatMap((level, source) => (level ? [source] : [])),
    read: (slot: number, register: number, size: 1 | 2 | 4 = 4) => space.read(config(slot, register), size),
    write: (slot: number, register: number, value: number, size: 1 | 2 | 4 = 4) =>
      space.write(config(slot, register), size, value),
  };
}

/** Answers every read with its offset. */
const ECHO = { read: (offset: number) => offset, write() {} };

function nic(bars: readonly PciBar[] = []): PciFunction {
  return new PciFunction({
    name: 'nic',
    identity: {
      vendor: 0x8086,
      device: 0x100e,
      revision: 3,
      classCode: 0x02_00_00,
      subsystemVendor: 0x1af4,
      subsystem: 0x1100,
    },
    interruptPin: 1,
    bars,
  });
}

const MEMORY_BAR: PciBar = { index: 0, space: 'memory', size: 0x2_0000, handler: ECHO };

describe('configuration space', () => {
  test('slot 0 is the host bridge, as QEMU’s; an empty slot reads as all ones', () => {
    const { read } = machine();
    expect(read(0, 0)).toBe(0x0008_1b36);
    expect(read(0, 8)).toBe(0x0600_0000);
    expect(read(0, 0x2c)).toBe(0x1100_1af4);
    expect(read(1, 0)).toBe(0xffff_ffff);
    expect(read(1, 0, 2)).toBe(0xffff);
    // Another bus.
    expect(read(32 * 7, 0)).toBe(0xffff_ffff);
  });

  test('a device gets the first free slot, or the one it asks for; a slot is taken once', () => {
    const { bridge, read } = machine();
    expect(bridge.bus.attach(nic())).toEqual({ slot: 1, function: 0 });
    expect(bridge.bus.attach(nic(), { slot: 31, function: 0 })).toEqual({ slot: 31, function: 0 });
    expect(bridge.bus.attach(nic())).toEqual({ slot: 2, function: 0 });
    expect(read(31, 0)).toBe(0x100e_8086);
    expect(() => bridge.bus.attach(nic(), { slot: 1, function: 0 })).toThrow(
      'PCI: slot 1 function 0 not available for nic, in use by nic',
    );
    for (let slot = 3; slot < 31; slot++) bridge.bus.attach(nic());
    expect(() => bridge.bus.attach(nic())).toThrow('all in use');
  });

  test('§6.2.1: functions of one slot say that they are several', () => {
    const { bridge, read, space } = machine();
    bridge.bus.attach(nic(), { slot: 4, function: 0 });
    expect(read(4, 0x0e, 1)).toBe(0);
    bridge.bus.attach(nic(), { slot: 4, function: 2 });
    expect(read(4, 0x0e, 1)).toBe(0x80);
    expect(space.read(ECAM + 4 * 0x8000 + 2 * 0x1000, 4)).toBe(0x100e_8086);
  });

  test('§6.2: identity is read only; command, cache line and interrupt line keep what is written', () => {
    const { bridge, read, write } = machine();
    bridge.bus.attach(nic());
    for (const register of [0x00, 0x08, 0x2c, 0x34]) write(1, register, 0xffff_ffff);
    expect([0x00, 0x08, 0x2c, 0x34].map((register) => read(1, register))).toEqual([
      0x100e_8086, 0x0200_0003, 0x1100_1af4, 0,
    ]);
    write(1, COMMAND, 0xffff, 2);
    expect(read(1, COMMAND, 2)).toBe(0x0507);
    write(1, INTERRUPT, 0xffff_ff21);
    expect(read(1, INTERRUPT)).toBe(0x0000_0121);
    write(1, 0x0c, 0x10, 1);
    expect(read(1, 0x0c)).toBe(0x10);
  });
});

describe('base address registers, §6.2.5', () => {
  test('tell their size, and are mapped where and when software says', () => {
    const { bridge, read, write, space } = machine();
    bridge.bus.attach(nic([MEMORY_BAR, { index: 1, space: 'io', size: 64, handler: ECHO }]));
    write(1, BAR0, 0xffff_ffff);
    write(1, BAR0 + 4, 0xffff_ffff);
    write(1, BAR0 + 8, 0xffff_ffff);
    expect([0, 4, 8].map((bar) => read(1, BAR0 + bar))).toEqual([0xfffe_0000, 0xffff_ffc1, 0]);
    write(1, BAR0, MMIO + 0x10_0000);
    write(1, BAR0 + 4, 0x1000);
    expect(space.read(MMIO + 0x10_0010, 4)).toBe(0xffff_ffff);
    write(1, COMMAND, IO | MEMORY, 2);
    expect(space.read(MMIO + 0x10_0010, 4)).toBe(0x10);
    expect(space.read64(MMIO + 0x10_0010)).toBe(0x14_0000_0010n);
    expect(space.read(PIO + 0x1004, 4)).toBe(4);
    // It moves.
    write(1, BAR0, MMIO + 0x20_0000);
    expect(space.read(MMIO + 0x10_0010, 4)).toBe(0xffff_ffff);
    expect(space.read(MMIO + 0x20_0020, 4)).toBe(0x20);
    // Past its end, and across it.
    expect(space.read(MMIO + 0x22_0000, 4)).toBe(0xffff_ffff);
    expect(space.read64(MMIO + 0x21_fffc)).toBe(0xffff_ffff_ffff_ffffn);
    bridge.bus.list()[1]?.pci.reset();
    expect(space.read(MMIO + 0x20_0020, 4)).toBe(0xffff_ffff);
  });

  test('a 64-bit one takes two registers and reaches the high window', () => {
    const { bridge, read, write, space } = machine();
    bridge.bus.attach(
      nic([{ index: 2, space: 'memory', wide: true, prefetchable: true, size: 0x4000, handler: ECHO }]),
    );
    write(1, BAR0 + 8, 0xffff_ffff);
    write(1, BAR0 + 12, 0xffff_ffff);
    expect([read(1, BAR0 + 8), read(1, BAR0 + 12)]).toEqual([0xffff_c00c, 0xffff_ffff]);
    write(1, BAR0 + 8, 0x8000);
    write(1, BAR0 + 12, 4);
    write(1, COMMAND, MEMORY, 2);
    expect(space.read(HIGH + 0x8100, 4)).toBe(0x100);
  });
});

describe('interrupt pins', () => {
  test('are swizzled over four lines and shared', () => {
    const { bridge, asserted } = machine();
    const nics = [1, 2, 3, 4, 5].map(() => nic());
    for (const one of nics) bridge.bus.attach(one);
    nics[0]?.setInterrupt(true);
    expect(asserted()).toEqual([33]);
    nics[4]?.setInterrupt(true);
    nics[3]?.setInterrupt(true);
    expect(asserted()).toEqual([32, 33]);
    nics[0]?.setInterrupt(false);
    expect(asserted()).toEqual([32, 33]);
    nics[4]?.setInterrupt(false);
    expect(asserted()).toEqual([32]);
  });

  test('§6.2.2 and §6.2.3: can be disabled; the status shows them all the same', () => {
    const { bridge, asserted, read, write } = machine();
    const pci = nic();
    bridge.bus.attach(pci);
    write(1, COMMAND, INTX_DISABLE, 2);
    pci.setInterrupt(true);
    expect(asserted()).toEqual([]);
    expect((read(1, COMMAND + 2, 2) as number) & 8).toBe(8);
    write(1, COMMAND, 0, 2);
    expect(asserted()).toEqual([33]);
  });
});

test('§6.2.2: only a bus master reaches memory', () => {
  const { bridge, write } = machine();
  const pci = nic();
  bridge.bus.attach(pci);
  expect(pci.dma.read(0, 4)).toBeUndefined();
  expect(pci.dma.write(0, new Uint8Array(4))).toBe(false);
  write(1, COMMAND, MASTER, 2);
  expect(pci.dma.read(0, 4)).toEqual(new Uint8Array(4));
  expect(pci.dma.write(0, new Uint8Array(4))).toBe(true);
});

describe('MSI-X, §6.8.2', () => {
  function withMsix() {
    const all = machine();
    const msix = new Msix({ vectors: 3, bar: 0, tableOffset: 0, pendingOffset: 0x800 });
    const handler = {
      read: (offset: number, size: 1 | 2 | 4) =>
        offset < 0x800 ? msix.table.read(offset, size) : msix.pendingBits.read(offset - 0x800, size),
      write: (offset: number, size: 1 | 2 | 4, value: number) =>
        offset < 0x800 ? msix.table.write(offset, size, value) : undefined,
    };
    const pci = new PciFunction({
      name: 'disk',
      identity: { vendor: 1, device: 2, revision: 0, classCode: 0, subsystemVendor: 0, subsystem: 0 },
      interruptPin: 1,
      bars: [{ index: 0, space: 'memory', size: 0x1000, handler }],
      capabilities: [{ id: 9, length: 5, handler: { read: () => 0xaaaa_aaaa, write() {} } }, msix.capability],
    });
    msix.connect(pci);
    all.bridge.bus.attach(pci);
    all.write(1, BAR0, MMIO);
    all.write(1, COMMAND, MEMORY | MASTER, 2);
    const program = (vector: number, address: number, data: number, control: number): void => {
      const entry = MMIO + vector * MSIX_ENTRY_BYTES;
      for (const [i, value] of [address, 1, data, control].entries())
        all.space.write(entry + 4 * i, 4, value);
    };
    return { ...all, msix, pci, program };
  }
  const MSIX = 0x48;
  const ENABLE = 0x8000;
  const MASK_ALL = 0x4000;

  test('stands in the list of capabilities, behind what else there is', () => {
    const { read } = withMsix();
    expect((read(1, COMMAND + 2, 2) as number) & 0x10).toBe(0x10);
    expect(read(1, 0x34, 1)).toBe(0x40);
    expect(read(1, 0x40)).toBe(0xaaaa_4809);
    expect(read(1, 0x44, 1)).toBe(0xaaaa_aaaa);
    expect(read(1, MSIX, 2)).toBe(0x0011);
    expect(read(1, MSIX + 2, 2)).toBe(2);
    expect([read(1, MSIX + 4), read(1, MSIX + 8)]).toEqual([0, 0x800]);
  });

  test('a vector is a store; a masked one waits until it is unmasked', () => {
    const { msix, messages, program, write, space } = withMsix();
    program(0, 0x2800_0000, 7, 0);
    program(2, 0x2800_1000, 9, 1);
    msix.notify(0);
    expect(messages).toEqual([]);
    write(1, MSIX + 2, ENABLE, 2);
    msix.notify(0);
    msix.notify(2);
    msix.notify(3);
    expect(messages).toEqual([[0x1_2800_0000, 7]]);
    expect(space.read(MMIO + 0x800, 4)).toBe(4);
    space.write(MMIO + 2 * MSIX_ENTRY_BYTES + 12, 4, 0);
    expect(messages[1]).toEqual([0x1_2800_1000, 9]);
    expect(space.read(MMIO + 0x800, 4)).toBe(0);
    write(1, MSIX + 2, ENABLE | MASK_ALL, 2);
    msix.notify(0);
    expect(messages.length).toBe(2);
    write(1, MSIX + 2, ENABLE, 2);
    expect(messages[2]).toEqual([0x1_2800_0000, 7]);
  });

  test('while it is enabled the pin is silent', () => {
    const { pci, write, asserted } = withMsix();
    pci.setInterrupt(true);
    expect(asserted()).toEqual([33]);
    write(1, MSIX + 2, ENABLE, 2);
    expect(asserted()).toEqual([]);
    write(1, MSIX + 2, 0, 2);
    expect(asserted()).toEqual([33]);
  });

  test('its state restores: enabled, masked, pending', () => {
    const one = withMsix();
    one.program(1, 0x2800_0000, 5, 1);
    one.write(1, MSIX + 2, ENABLE, 2);
    one.msix.notify(1);
    const two = withMsix();
    two.pci.load(structuredClone(one.pci.save()));
    two.msix.load(structuredClone(one.msix.save()));
    expect(two.space.read(MMIO + 0x800, 4)).toBe(2);
    two.space.write(MMIO + MSIX_ENTRY_BYTES + 12, 4, 0);
    expect(two.messages).toEqual([[0x1_2800_0000, 5]]);
  });
});
