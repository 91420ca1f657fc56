/** The machine's flattened device tree, with the nodes and names that QEMU's `virt` has. Devicetree Specification v0.4. */
import type { Device } from '../devices/device.ts';
import { type FdtNode, hartIntcLabel, phandle, present, text, u32, u64 } from '../devices/fdt.ts';
import { TIMEBASE_HZ } from '../devices/timebase.ts';
import { isaProperties } from './isa-properties.ts';
import { MEMORY_MAP } from './memory-map.ts';

export interface DeviceTreeOptions {
  readonly harts: number;
  readonly isa: string;
  /** Bytes. */
  readonly ram: number;
  readonly devices: readonly Device[];
  /** Nodes beside /soc. */
  readonly rootNodes: readonly FdtNode[];
}

/** The tree, without what /chosen says about a start. */
export function deviceTree(options: DeviceTreeOptions): FdtNode {
  const { harts, isa, ram, devices, rootNodes } = options;
  const uart = `/soc/serial@${MEMORY_MAP.uart.base.toString(16)}`;
  return {
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
        properties: { 'stdout-path': text(uart) },
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
        children: [...Array.from({ length: harts }, (_, hart) => cpuNode(hart, isa)), cpuMap(harts)],
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
  };
}

const cpuLabel = (hart: number): string => `cpu${hart}`;

/** One cluster with all harts, each a core: Linux, Documentation/devicetree/bindings/cpu/cpu-topology.txt. */
function cpuMap(harts: number): FdtNode {
  const cores = Array.from({ length: harts }, (_, hart) => ({
    name: `core${hart}`,
    properties: { cpu: u32(phandle(cpuLabel(hart))) },
  }));
  return {
    name: 'cpu-map',
    properties: {},
    children: [{ name: 'cluster0', properties: {}, children: cores }],
  };
}

function cpuNode(hart: number, isa: string): FdtNode {
  return {
    name: `cpu@${hart.toString(16)}`,
    label: cpuLabel(hart),
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
