/** The devices of the machine, at their addresses. */
import { Aclint, type AclintLines } from '../devices/aclint.ts';
import { Aia } from '../devices/aia.ts';
import type { BlockBackend } from '../devices/block.ts';
import type { Device, InterruptLine, MsiSink } from '../devices/device.ts';
import type { DmaMemory } from '../devices/dma.ts';
import type { FdtValue } from '../devices/fdt.ts';
import { Finisher } from '../devices/finisher.ts';
import { GoldfishRtc, type GoldfishRtcOptions } from '../devices/goldfish-rtc.ts';
import { type InterruptController, interruptProperties } from '../devices/interrupt-controller.ts';
import type { DeviceConfiguration } from '../devices/model.ts';
import type { NetworkBackend, NetworkCable } from '../devices/network.ts';
import { PciHostBridge } from '../devices/pci/host-bridge.ts';
import { type ExternalLines, Plic } from '../devices/plic.ts';
import { Sswi, type SswiLine } from '../devices/sswi.ts';
import type { Timebase } from '../devices/timebase.ts';
import type { Timers } from '../devices/timers.ts';
import { Uart16550 } from '../devices/uart16550.ts';
import { virtioMmio } from '../devices/virtio/mmio.ts';
import { GodwitError } from '../error.ts';
import type { AiaType } from './configuration.ts';
import { virtioMmioBus } from './device-configuration.ts';
import { MEMORY_MAP } from './memory-map.ts';
import { pciDevices } from './pci-devices.ts';
import { virtioFunction } from './virtio-devices.ts';

/** A hart's interrupt lines. */
export interface HartLines extends AclintLines, ExternalLines, SswiLine {}

/** The host's ends of devices, by the ids that the configuration names. */
export interface Backends {
  /** @throws GodwitError kind "internal" if there is none: a configuration is checked before. */
  drive(id: string): BlockBackend;
  netdev(id: string): NetworkBackend;
}

const noBackend = (id: string): never => {
  throw new GodwitError('internal', `no back end ${id}`);
};
export const NO_BACKENDS: Backends = { drive: noBackend, netdev: noBackend };

/** Where the devices' lines and effects go. */
export interface BoardWiring {
  readonly aia: AiaType;
  /** An ACLINT in the place of a CLINT. */
  readonly aclint: boolean;
  /** A message goes over the bus. */
  readonly msi: MsiSink;
  readonly timebase: Timebase;
  readonly timers: Timers;
  readonly realTime: Pick<GoldfishRtcOptions, 'start' | 'follows'>;
  /** By hart id. */
  readonly lines: readonly HartLines[];
  /** The guest's memory, for bus masters. */
  readonly dma: DmaMemory;
  /** What -device added. */
  readonly added: readonly DeviceConfiguration[];
  readonly virtioMmioLegacy: boolean;
  readonly backends: Backends;
  /** So many random bytes, for the guest. */
  readonly random: (bytes: number) => Uint8Array;
  /** The guest used a device as it can't be used; a line for the log. */
  guestError(text: string): void;
  /** A byte from the serial port. */
  transmit(byte: number): void;
  /** The finisher was told to end, with this exit code. */
  powerOff(code: number): void;
  /** The finisher was told to reset. */
  reset(): void;
}

/** An input of the interrupt controller, as a device has it. */
interface Wired {
  readonly interrupt: InterruptLine;
  readonly interruptProperties: Readonly<Record<string, FdtValue>>;
}

export interface Board {
  readonly finisher: Finisher;
  readonly aclint: Aclint;
  readonly uart: Uart16550;
  readonly interrupts: InterruptController;
  readonly pci: PciHostBridge;
  /** Of its network adapters. */
  readonly cables: readonly NetworkCable[];
  /**
   * All of them. The interrupt controller stands behind whatever interrupts it: in this order they are reset and
   * restored, and a device sets its lines in both.
   */
  readonly devices: readonly Device[];
}

export function createBoard(wiring: BoardWiring): Board {
  const { aclint: split, timebase, timers, realTime, lines, dma, msi, transmit, powerOff, reset } = wiring;
  const interrupts = createInterruptController(wiring);
  const wired = (source: number): Wired => ({
    interrupt: interrupts.line(source),
    interruptProperties: interruptProperties(interrupts, source),
  });
  const finisher = new Finisher({ ...MEMORY_MAP.finisher, powerOff, reset });
  const aclint = new Aclint({ ...MEMORY_MAP.aclint, timebase, lines, split });
  const sswi = split ? [new Sswi({ ...MEMORY_MAP.sswi, lines })] : [];
  const { uart: serial, rtc: clock } = MEMORY_MAP;
  const uart = new Uart16550({ base: serial.base, transmit, ...wired(serial.irq) });
  const rtc = new GoldfishRtc({ base: clock.base, timers, ...realTime, ...wired(clock.irq) });
  const { imsics } = interrupts;
  const messages = imsics === undefined ? {} : { msi, msiParent: imsics.supervisor.label };
  const pci = new PciHostBridge({ ...MEMORY_MAP.pcie, interrupts, dma, ...messages });
  const virtio = virtioTransports(wiring, wired);
  const { devices: plugged, cables } = pciDevices(wiring, pci.bus);
  const devices = [finisher, aclint, ...sswi, uart, rtc, ...virtio, ...plugged, pci, ...interrupts.devices];
  return { finisher, aclint, uart, interrupts, pci, cables, devices };
}

/** All transports, each with what was added at its bus. */
function virtioTransports(wiring: BoardWiring, wired: (source: number) => Wired): Device[] {
  const { added, dma, virtioMmioLegacy, guestError } = wiring;
  const { base, stride, irq, count } = MEMORY_MAP.virtioMmio;
  return Array.from({ length: count }, (_, index) => {
    const device = added.find(({ bus }) => bus === virtioMmioBus(index));
    return virtioMmio({
      ...{ index, base: base + index * stride, legacy: virtioMmioLegacy, dma, guestError },
      ...wired(irq + index),
      ...(device === undefined
        ? {}
        : { plugged: { function: virtioFunction(device, wiring), properties: device.properties } }),
    });
  });
}

function createInterruptController({ aia, lines, msi }: BoardWiring): InterruptController {
  const { plic, aplic, imsic } = MEMORY_MAP;
  if (aia === 'none') return new Plic({ ...plic, lines });
  return new Aia({ aplic, lines, ...(aia === 'aplic-imsic' ? { imsic: { bases: imsic, send: msi } } : {}) });
}
