/** An e1000 as a driver has it: mapped, a bus master, with memory of its own, a cable, and time that tests move. */
import { ManualClock } from '../../../src/clock.ts';
import type { DmaMemory } from '../../../src/devices/dma.ts';
import { E1000 } from '../../../src/devices/e1000/e1000.ts';
import { NetworkCable } from '../../../src/devices/network.ts';
import { PciBus } from '../../../src/devices/pci/bus.ts';
import { TimerQueue } from '../../../src/devices/timers.ts';
import { LateDma } from '../../support/late-dma.ts';

export const MAC = Uint8Array.of(0x52, 0x54, 0x00, 0x12, 0x34, 0x56);
export const BROADCAST = new Uint8Array(6).fill(0xff);
export const PEER = Uint8Array.of(0x52, 0x54, 0x00, 0xaa, 0xbb, 0xcc);

/** Registers by the manual's names. */
export const R = {
  CTRL: 0x0000,
  STATUS: 0x0008,
  EECD: 0x0010,
  EERD: 0x0014,
  MDIC: 0x0020,
  ICR: 0x00c0,
  ITR: 0x00c4,
  ICS: 0x00c8,
  IMS: 0x00d0,
  IMC: 0x00d8,
  RCTL: 0x0100,
  TCTL: 0x0400,
  RDBAL: 0x2800,
  RDLEN: 0x2808,
  RDH: 0x2810,
  RDT: 0x2818,
  RDTR: 0x2820,
  RADV: 0x282c,
  RSRPD: 0x2c00,
  TDBAL: 0x3800,
  TDLEN: 0x3808,
  TDH: 0x3810,
  TDT: 0x3818,
  TIDV: 0x3820,
  TADV: 0x382c,
  MPC: 0x4010,
  PRC64: 0x405c,
  GPRC: 0x4074,
  BPRC: 0x4078,
  MPRC: 0x407c,
  GPTC: 0x4080,
  GORCL: 0x4088,
  GORCH: 0x408c,
  RNBC: 0x40a0,
  ROC: 0x40ac,
  TPT: 0x40d4,
  PTC127: 0x40dc,
  TSCTC: 0x40f8,
  RXCSUM: 0x5000,
  MTA: 0x5200,
  RAL: 0x5400,
  RAH: 0x5404,
  VFTA: 0x5600,
} as const;

export const RX_RING = 0x1000;
export const TX_RING = 0x2000;
export const RX_BUFFERS = 0x1_0000;
const MEMORY_BYTES = 0x10_0000;

/** @param late its memory is not there at first, for the adapter. */
export function rig(late = false) {
  const clock = new ManualClock();
  const timers = new TimerQueue(clock, () => {});
  const cable = new NetworkCable();
  const sent: Uint8Array[] = [];
  const line = { level: false, rises: 0 };
  const memory = new Uint8Array(MEMORY_BYTES);
  const view = new DataView(memory.buffer);
  const inside = (address: number, length: number) => address + length <= MEMORY_BYTES;
  const all: DmaMemory = {
    read: (at, length) => (inside(at, length) ? memory.slice(at, at + length) : undefined),
    readInto(at, target) {
      if (!inside(at, target.length)) return false;
      target.set(memory.subarray(at, at + target.length));
      return true;
    },
    write(at, bytes) {
      if (!inside(at, bytes.length)) return false;
      memory.set(bytes, at);
      return true;
    },
    holds: inside,
    attempt: (_owner, step) => step(),
    require() {},
  };
  const dma = new LateDma(all);
  dma.late = late;
  const bus = new PciBus({
    interrupts: [0, 1, 2, 3].map(() => (level: boolean) => {
      if (level && !line.level) line.rises++;
      line.level = level;
    }),
    dma,
    msi() {},
  });
  const card = new E1000({ name: 'e1000.0', mac: MAC, timers, cable });
  bus.attach(card.pci);
  cable.plugBackend({
    id: 'n0',
    plugged() {},
    describe: () => '',
    send: (frame) => sent.push(frame) > 0,
    flow() {},
  });
  cable.hold(false);
  const config = card.pci.config;
  config.write(0x10, 4, 0x4000_0000);
  config.write(0x14, 4, 0x1000);
  config.write(0x04, 2, 7);
  const mmio = bus.window('memory', 0x4000_0000);
  const io = bus.window('io', 0x1000);
  const read = (register: number): number => mmio.read(register, 4);
  const write = (register: number, value: number): void => mmio.write(register, 4, value >>> 0);
  let tail = 0;
  return {
    card,
    cable,
    clock,
    sent,
    line,
    memory,
    dma,
    view,
    read,
    write,
    io,
    /** Time goes on. */
    pass(ns: number) {
      clock.advance(ns);
      timers.run();
    },
    /** A receive ring of this many descriptors, all but one of which are the adapter's, and reception on. */
    receiveRing(descriptors = 8, rctl = 0x0000_8002, bytes = 2048) {
      for (let i = 0; i < descriptors; i++) {
        view.setUint32(RX_RING + 16 * i, RX_BUFFERS + bytes * i, true);
        memory.fill(0, RX_RING + 16 * i + 4, RX_RING + 16 * i + 16);
      }
      write(R.RDBAL, RX_RING);
      write(R.RDLEN, 16 * descriptors);
      write(R.RDH, 0);
      write(R.RDT, descriptors - 1);
      write(R.RCTL, rctl);
    },
    /** What stands in a receive descriptor. */
    received(index: number) {
      const at = RX_RING + 16 * index;
      const buffer = view.getUint32(at, true);
      const length = view.getUint16(at + 8, true);
      return {
        length,
        bytes: memory.slice(buffer, buffer + length),
        checksum: view.getUint16(at + 10),
        status: memory[at + 12] as number,
        errors: memory[at + 13] as number,
        special: view.getUint16(at + 14, true),
      };
    },
    /** A transmit ring, and transmission on. */
    transmitRing(descriptors = 16) {
      write(R.TDBAL, TX_RING);
      write(R.TDLEN, 16 * descriptors);
      write(R.TCTL, 0x2);
      tail = 0;
    },
    /** Writes descriptors of four words each, without telling. */
    describe(...descriptors: readonly (readonly [number, number, number, number])[]) {
      for (const words of descriptors) {
        for (const [i, word] of words.entries())
          view.setUint32(TX_RING + 16 * tail + 4 * i, word >>> 0, true);
        tail++;
      }
    },
    /** Tells of all that has been described. */
    transmit: () => write(R.TDT, tail),
    /** Puts bytes into memory. */
    place(at: number, bytes: Uint8Array): number {
      memory.set(bytes, at);
      return at;
    },
  };
}

/** An Ethernet frame. */
export function frame(
  to: Uint8Array,
  {
    from = PEER,
    type = 0x88b5,
    payload = new Uint8Array(50).fill(7),
  }: {
    from?: Uint8Array;
    type?: number;
    payload?: Uint8Array;
  } = {},
): Uint8Array {
  return Uint8Array.of(...to, ...from, type >>> 8, type & 0xff, ...payload);
}
