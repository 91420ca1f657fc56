/** The machine's flattened device tree, with the nodes and names that QEMU's `virt` has. Devicetree Specification v0.4. */
import type { Device } from '../devices/device.ts';
import { type FdtNode, hartIntcLabel, present, text, u32, u64, writeFdt } from '../devices/fdt.ts';
import { TIMEBASE_HZ } from '../devices/timebase.ts';
import { isaProperties } from './isa-properties.ts';
import { MEMORY_MAP } from './memory-map.ts';

export interface DeviceTreeOptions {
  readonly harts: number;
  readonly isa: string;
  /** Bytes. */
  readonly ram: number;
  /** The kernel's command line. */
  readonly append?: string;
  readonly devices: readonly Device[];
  /** Nodes beside /soc. */
  readonly rootNodes: readonly FdtNode[];
}

export function deviceTree(options: DeviceTreeOptions): Uint8Array {
  const { harts, isa, ram, append, devices, rootNodes } = options;
  const uart = `/soc/serial@${MEMORY_MAP.uart.base.toString(16)}`;
  return writeFdt({
    name: '',
    properties: {
      '#address-cells': u32(2),
      '#size-cells': u32(2),
      compatible: text('riscv-virtio'),
      model: text('riscv-virtio,qemu'),
    },
    children: [
      {
        name: 'chosen',
        properties: {
          'stdout-path': text(uart),
          ...(append === undefined ? {} : { bootargs: text(append) }),
        },
      },
      {
        name: `memory@${MEMORY_MAP.ram.base.toString(16)}`,
        properties: { device_type: text('memory'), reg: u64(MEMORY_MAP.ram.base, ram) },
      },
      {
        name: 'cpus',
        properties: {
          '#address-cells': u32(1),
          '#size-cells': u32(0),
          'timebase-frequency': u32(TIMEBASE_HZ),
        },
        children: Array.from({ length: harts }, (_, hart) => cpuNode(hart, isa)),
      },
      ...rootNodes,
      {
        name: 'soc',
        properties: {
          '#address-cells': u32(2),
          '#size-cells': u32(2),
          compatible: text('simple-bus'),
          ranges: present,
        },
        children: devices.flatMap((device) => [...device.fdt()]),
      },
    ],
  });
}

function cpuNode(hart: number, isa: string): FdtNode {
  return {
    name: `cpu@${hart.toString(16)}`,
    properties: {
      device_type: text('cpu'),
      reg: u32(hart),
      status: text('okay'),
      compatible: text('riscv'),
      ...isaProperties(isa),
      'mmu-type': text('riscv,sv48'),
    },
    children: [
      {
        name: 'interrupt-controller',
        label: hartIntcLabel(hart),
        properties: {
          '#interrupt-cells': u32(1),
          'interrupt-controller': present,
          compatible: text('riscv,cpu-intc'),
        },
      },
    ],
  };
}
