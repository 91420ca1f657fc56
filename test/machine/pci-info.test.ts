import { expect, test } from 'vitest';
import { NO_MEMORY } from '../../src/devices/dma.ts';
import { PciBus } from '../../src/devices/pci/bus.ts';
import { DEFAULT_SUBSYSTEM, PciFunction } from '../../src/devices/pci/function.ts';
import { pciLines } from '../../src/machine/pci-info.ts';

const handler = { read: () => 0, write() {} };

/** As `info pci` of QEMU 7.2 prints its e1000 (but for the ROM), before and after software has mapped it. */
test('info pci reads as QEMU’s', () => {
  const bus = new PciBus({ interrupts: [], dma: NO_MEMORY, msi() {} });
  const pci = new PciFunction({
    name: 'e1000',
    identity: { vendor: 0x8086, device: 0x100e, revision: 3, classCode: 0x02_00_00, ...DEFAULT_SUBSYSTEM },
    interruptPin: 1,
    bars: [
      { index: 0, space: 'memory', size: 0x2_0000, handler },
      { index: 1, space: 'io', size: 64, handler },
    ],
  });
  bus.attach(pci, { slot: 1, function: 0 });
  const head = [
    '  Bus  0, device   1, function 0:',
    '    Ethernet controller: PCI device 8086:100e',
    '      PCI subsystem 1af4:1100',
  ];
  expect(pciLines(bus)).toEqual([
    ...head,
    '      IRQ 0, pin A',
    '      BAR0: 32 bit memory at 0xffffffffffffffff [0x0001fffe].',
    '      BAR1: I/O at 0xffffffffffffffff [0x003e].',
    '      id ""',
  ]);
  for (const [register, value] of [
    [0x10, 0x4000_0000],
    [0x14, 0x1000],
    [0x3c, 33],
    [0x04, 3],
  ] as const) {
    pci.config.write(register, 4, value);
  }
  expect(pciLines(bus)).toEqual([
    ...head,
    '      IRQ 33, pin A',
    '      BAR0: 32 bit memory at 0x40000000 [0x4001ffff].',
    '      BAR1: I/O at 0x1000 [0x103f].',
    '      id ""',
  ]);
});
