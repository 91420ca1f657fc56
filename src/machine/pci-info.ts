/** `info pci`: the functions of the bus, as QEMU 7.2's human monitor shows them. */
import type { PciBus } from '../devices/pci/bus.ts';
import type { MappedBar, PciFunction } from '../devices/pci/function.ts';

/** Base class and subclass in QEMU's words. */
const CLASSES: Readonly<Record<number, string>> = {
  256: 'SCSI controller',
  512: 'Ethernet controller',
  1536: 'Host bridge',
  1920: 'Communication controller',
};

export function pciLines(bus: PciBus): string[] {
  return bus.list().flatMap(({ address, pci }) => {
    const { vendor, device, classCode, subsystemVendor, subsystem } = pci.identity;
    const kind = CLASSES[classCode >>> 8] ?? `Class ${String(classCode >>> 8).padStart(4, '0')}`;
    const slot = String(address.slot).padStart(3);
    return [
      `  Bus  0, device ${slot}, function ${address.function}:`,
      `    ${kind}: PCI device ${hex(vendor, 4)}:${hex(device, 4)}`,
      `      PCI subsystem ${hex(subsystemVendor, 4)}:${hex(subsystem, 4)}`,
      ...interruptLine(pci),
      ...pci.mapped().map(barLine),
      `      id "${pci.id}"`,
    ];
  });
}

function interruptLine({ interruptPin, interruptLine }: PciFunction): string[] {
  return interruptPin === 0 ? [] : [`      IRQ ${interruptLine}, pin ${'ABCD'[interruptPin - 1]}`];
}

/** One that is not mapped is at -1, and ends beyond. */
function barLine({ index, space, wide = false, prefetchable = false, size, base = -1 }: MappedBar): string {
  const digits = space === 'io' ? 4 : 8;
  const at = (address: number): string => `0x${hex(BigInt.asUintN(64, BigInt(address)), digits)}`;
  const kind = space === 'io' ? 'I/O' : `${wide ? 64 : 32} bit${prefetchable ? ' prefetchable' : ''} memory`;
  return `      BAR${index}: ${kind} at ${at(base)} [${at(base + size - 1)}].`;
}

function hex(value: number | bigint, digits: number): string {
  return value.toString(16).padStart(digits, '0');
}
