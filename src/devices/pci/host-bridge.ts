/**
 * The PCI Express host bridge of QEMU's `virt` (its "gpex"): configuration space at one address (ECAM), windows for
 * memory and I/O, and four interrupt lines. Device tree: "PCI Bus Binding to Open Firmware" 2.1 and Linux's
 * host-generic-pci binding.
 */
import type { MmioRegion } from '../../memory/mmio.ts';
import { descriptor } from '../../vmstate/descriptor.ts';
import { struct } from '../../vmstate/fields.ts';
import { type DescribedMigratable, migratable } from '../../vmstate/section.ts';
import type { Device, MsiSink } from '../device.ts';
import type { DmaMemory } from '../dma.ts';
import { type FdtCell, type FdtNode, phandle, present, text, u32, u64 } from '../fdt.ts';
import type { InterruptController } from '../interrupt-controller.ts';
import { INTX_LINES, PciBus, swizzle } from './bus.ts';
import { DEFAULT_SUBSYSTEM, PCI_FIELDS, PciFunction } from './function.ts';

const STATE = descriptor({
  name: 'gpex',
  version: 1,
  minimumVersion: 1,
  fields: { pci: struct(PCI_FIELDS) },
});

const BUS_BYTES = 1 << 20;

/** "ranges": the space of a bus address, in its first cell. */
const SPACE_IO = 0x0100_0000;
const SPACE_MEMORY = 0x0200_0000;
const SPACE_MEMORY64 = 0x0300_0000;

interface Range {
  readonly base: number;
  /** Bytes. */
  readonly size: number;
}

export interface HostBridgeOptions {
  readonly ecam: Range;
  /** Ports: bus address 0 is at its base. */
  readonly pio: Range;
  /** Bus addresses equal the processors'. */
  readonly mmio: Range;
  readonly highMmio: Range;
  /** Interrupt number of the first of four lines. */
  readonly irq: number;
  readonly interrupts: Pick<InterruptController, 'line' | 'label' | 'specifier'>;
  readonly dma: DmaMemory;
  readonly msi?: MsiSink;
  /** Label of the node that takes messages, if there is one. */
  readonly msiParent?: string;
}

export class PciHostBridge implements Device {
  readonly name = STATE.name;
  readonly regions: readonly MmioRegion[];
  readonly state: DescribedMigratable;
  readonly bus: PciBus;
  readonly #options: HostBridgeOptions;
  /** The bridge itself is a function of its bus: 00.0. */
  readonly #function = new PciFunction({
    name: 'gpex-root',
    identity: { vendor: 0x1b36, device: 0x0008, revision: 0, classCode: 0x06_00_00, ...DEFAULT_SUBSYSTEM },
  });

  constructor(options: HostBridgeOptions) {
    this.#options = options;
    const { ecam, pio, mmio, highMmio, interrupts, irq, dma, msi = () => {} } = options;
    const lines = Array.from({ length: INTX_LINES }, (_, index) => interrupts.line(irq + index));
    this.bus = new PciBus({ interrupts: lines, dma, msi });
    this.bus.attach(this.#function);
    this.regions = [
      { name: 'pcie-ecam', ...ecam, handler: this.bus.ecam },
      { name: 'pcie-pio', ...pio, handler: this.bus.window('io', 0) },
      { name: 'pcie-mmio', ...mmio, handler: this.bus.window('memory', mmio.base) },
      { name: 'pcie-mmio-high', ...highMmio, handler: this.bus.window('memory', highMmio.base) },
    ];
    this.state = migratable(STATE, {
      get: () => ({ pci: this.#function.save() }),
      set: ({ pci }) => this.#function.load(pci),
    });
  }

  reset(): void {
    this.#function.reset();
  }

  fdt(): readonly FdtNode[] {
    const { ecam, pio, mmio, highMmio, msiParent } = this.#options;
    return [
      {
        name: `pci@${ecam.base.toString(16)}`,
        properties: {
          // Slots repeat their wiring every four.
          'interrupt-map-mask': u32((INTX_LINES - 1) << 11, 0, 0, 7),
          'interrupt-map': u32(...this.#interruptMap()),
          ranges: u32(
            ...[SPACE_IO, ...wide(0), ...wide(pio.base), ...wide(pio.size)],
            ...[SPACE_MEMORY, ...wide(mmio.base), ...wide(mmio.base), ...wide(mmio.size)],
            ...[SPACE_MEMORY64, ...wide(highMmio.base), ...wide(highMmio.base), ...wide(highMmio.size)],
          ),
          reg: u64(ecam.base, ecam.size),
          ...(msiParent === undefined ? {} : { 'msi-parent': u32(phandle(msiParent)) }),
          'dma-coherent': present,
          'bus-range': u32(0, ecam.size / BUS_BYTES - 1),
          'linux,pci-domain': u32(0),
          device_type: text('pci'),
          compatible: text('pci-host-ecam-generic'),
          '#size-cells': u32(2),
          '#interrupt-cells': u32(1),
          '#address-cells': u32(3),
        },
      },
    ];
  }

  #interruptMap(): FdtCell[] {
    const { interrupts, irq } = this.#options;
    const indices = Array.from({ length: INTX_LINES }, (_, index) => index);
    return indices.flatMap((slot) =>
      indices.flatMap((index) => {
        const pin = index + 1;
        const source = irq + swizzle(slot, pin);
        return [slot << 11, 0, 0, pin, phandle(interrupts.label), ...interrupts.specifier(source)];
      }),
    );
  }
}

/** A 64-bit number in two cells. */
function wide(value: number): [number, number] {
  return [Math.floor(value / 2 ** 32), value % 2 ** 32];
}
