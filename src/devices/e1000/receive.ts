/**
 * Reception: which frames are taken, and how they get into the buffers of the descriptor ring.
 * 8254x manual, §3.2 (receive), §9.3 (VLAN filter), §13.4.22 (RCTL), §13.5 (filters).
 */
import type { DmaMemory } from '../dma.ts';
import { big16, onesSum, verifyChecksums } from '../internet-checksum.ts';
import type { Interrupts } from './interrupts.ts';
import {
  CAUSE,
  CTRL,
  count,
  DESCRIPTOR_BYTES,
  type E1000Registers,
  RCTL,
  RXCSUM,
  sizeStatistic,
} from './registers.ts';
import { isBroadcast } from './transmit.ts';

const FCS_BYTES = 4;
/** Frames on a cable have at least this; back ends may leave out the padding. */
const SHORTEST = 60;
/** With FCS and a VLAN tag: longer ones need RCTL.LPE. */
const LONGEST = 1522;
const LONGEST_JUMBO = 16_384;

/** Descriptor status and errors, §3.2.3.1 and §3.2.3.2. */
const STATUS = {
  done: 0x01,
  endOfPacket: 0x02,
  ignoreChecksum: 0x04,
  vlan: 0x08,
  transportChecked: 0x20,
  ipChecked: 0x40,
  /** An address matched in part only: the hash of a multicast one. */
  inexact: 0x80,
} as const;
const ERROR_TRANSPORT = 0x20;
const ERROR_IP = 0x40;

const ADDRESS_VALID = 0x8000_0000;
/** By RCTL.MO: the lowest bit of the address that the hash takes. */
const HASH_SHIFT = [4, 3, 2, 0] as const;

export interface ReceiverOptions {
  readonly dma: DmaMemory;
  readonly interrupts: Interrupts;
  registers(): E1000Registers;
  /** What was refused may be offered again. */
  ready(): void;
}

/** How a frame passed the filters. */
type Match = 'exact' | 'inexact' | undefined;

export class Receiver {
  readonly #options: ReceiverOptions;
  /** The frame that found no room has been counted. */
  #refused = false;
  readonly #descriptor = new Uint8Array(DESCRIPTOR_BYTES);
  readonly #view = new DataView(this.#descriptor.buffer);

  constructor(options: ReceiverOptions) {
    this.#options = options;
  }

  /**
   * Takes a frame: into memory, or, if it is not for us, nowhere. False if the ring has no room for it, or its memory has
   * not arrived yet.
   */
  receive(given: Uint8Array): boolean {
    let taken = false;
    let refused = false;
    this.#options.dma.attempt(this, () => {
      // Whoever offered it still has it, and offers it again.
      if (refused) this.#options.ready();
      else taken = this.#receive(given);
    });
    refused = !taken;
    return taken;
  }

  #receive(given: Uint8Array): boolean {
    const registers = this.#options.registers();
    const { rctl } = registers;
    if (!(rctl & RCTL.enable)) return true;
    const frame = given.length < SHORTEST ? padded(given) : given;
    const match = this.#accept(frame, registers);
    if (match === undefined) return true;
    const tag = this.#tagOf(frame, registers);
    const content = tag === undefined ? frame : untagged(frame);
    const bytes = content.length + (rctl & RCTL.stripCrc ? 0 : FCS_BYTES);
    const perBuffer = bufferBytes(rctl);
    const buffers = Math.ceil(bytes / perBuffer);
    const ring = registers.rdlen / DESCRIPTOR_BYTES;
    const free = freeDescriptors(registers);
    if (buffers > free) return this.#refuse(buffers, ring);
    this.#require(buffers, perBuffer);
    this.#refused = false;
    this.#store(content, bytes, perBuffer, this.#statusOf(content, match, tag));
    this.#count(frame);
    this.#interrupt(frame.length, ring);
    return true;
  }

  /** Makes sure that the next descriptors and their buffers have arrived. */
  #require(buffers: number, perBuffer: number): void {
    const { dma, registers } = this.#options;
    const { rdbah, rdbal, rdh, rdlen } = registers();
    const size = rdlen / DESCRIPTOR_BYTES;
    for (let i = 0; i < buffers; i++) {
      const at = rdbah * 2 ** 32 + rdbal + ((rdh + i) % size) * DESCRIPTOR_BYTES;
      if (!dma.readInto(at, this.#descriptor)) continue;
      dma.require(this.#view.getUint32(4, true) * 2 ** 32 + this.#view.getUint32(0, true), perBuffer);
    }
  }

  /** A frame that no ring of this size can take is lost; others wait. */
  #refuse(buffers: number, ring: number): boolean {
    const registers = this.#options.registers();
    if (!this.#refused) count(registers, 'rnbc');
    const lost = buffers >= ring;
    if (lost) {
      count(registers, 'mpc');
      this.#options.interrupts.raise(CAUSE.receiveOverrun);
    }
    this.#refused = !lost;
    return lost;
  }

  /** §13.4.22 and §13.5: the frame's size, VLAN and address. */
  #accept(frame: Uint8Array, registers: E1000Registers): Match {
    const { rctl, vet } = registers;
    const bytes = frame.length + FCS_BYTES;
    if (bytes > LONGEST_JUMBO || (bytes > LONGEST && !(rctl & RCTL.longPackets))) {
      count(registers, 'roc');
      return undefined;
    }
    if (rctl & RCTL.vlanFilter && big16(frame, 12) === vet) {
      const tag = big16(frame, 14);
      const word = registers.vfta[(tag >>> 5) & 0x7f] as number;
      if (!((word >>> (tag & 0x1f)) & 1)) return undefined;
      if (rctl & RCTL.cfiEnable && ((tag >>> 12) & 1) !== (rctl & RCTL.cfi ? 1 : 0)) return undefined;
    }
    if (isBroadcast(frame)) return rctl & RCTL.broadcast ? 'exact' : undefined;
    if (this.#isOurs(frame, registers)) return 'exact';
    const multicast = ((frame[0] as number) & 1) !== 0;
    if (rctl & (multicast ? RCTL.multicastPromiscuous : RCTL.unicastPromiscuous)) return 'exact';
    return multicast && inHashTable(frame, registers) ? 'inexact' : undefined;
  }

  #isOurs(frame: Uint8Array, { ral, rah }: E1000Registers): boolean {
    const low = (swapped(frame, 2) << 16) | swapped(frame, 0);
    const high = swapped(frame, 4);
    for (let i = 0; i < ral.length; i++) {
      const word = rah[i] as number;
      if (word & ADDRESS_VALID && (word & 0xffff) === high && ral[i] === low >>> 0) return true;
    }
    return false;
  }

  /** The tag that is stripped, if there is one and CTRL.VME says so. */
  #tagOf(frame: Uint8Array, { ctrl, vet }: E1000Registers): number | undefined {
    return ctrl & CTRL.vlanMode && big16(frame, 12) === vet ? big16(frame, 14) : undefined;
  }

  /** Status, errors and special of the last descriptor, as one word; §3.2.9 for checksums. */
  #statusOf(content: Uint8Array, match: Match, tag: number | undefined): number {
    const { rxcsum } = this.#options.registers();
    let status: number = STATUS.endOfPacket | (match === 'inexact' ? STATUS.inexact : 0);
    let errors = 0;
    if (rxcsum & (RXCSUM.ip | RXCSUM.transport)) {
      const { ip, transport } = verifyChecksums(content);
      if (ip !== undefined && rxcsum & RXCSUM.ip) {
        status |= STATUS.ipChecked;
        if (!ip) errors |= ERROR_IP;
      }
      if (transport !== undefined && rxcsum & RXCSUM.transport) {
        status |= STATUS.transportChecked;
        if (!transport) errors |= ERROR_TRANSPORT;
      }
    } else status |= STATUS.ignoreChecksum;
    if (tag !== undefined) status |= STATUS.vlan;
    return status | (errors << 8) | ((tag ?? 0) << 16);
  }

  #store(content: Uint8Array, bytes: number, perBuffer: number, lastStatus: number): void {
    const { dma, registers: live } = this.#options;
    const registers = live();
    const ring = registers.rdbah * 2 ** 32 + registers.rdbal;
    const size = registers.rdlen / DESCRIPTOR_BYTES;
    const start = registers.rxcsum & 0xff;
    const checksum = onesSum(content, start, content.length);
    for (let done = 0; done < bytes; done += perBuffer) {
      const at = ring + registers.rdh * DESCRIPTOR_BYTES;
      const part = Math.min(perBuffer, bytes - done);
      if (dma.readInto(at, this.#descriptor)) {
        const address = this.#view.getUint32(4, true) * 2 ** 32 + this.#view.getUint32(0, true);
        // Of the FCS, which software takes off, only the length is there.
        const piece = content.subarray(done, Math.min(done + part, content.length));
        if (piece.length > 0) dma.write(address, piece);
        const last = done + perBuffer >= bytes;
        this.#view.setUint16(8, part, true);
        this.#view.setUint16(10, ((checksum & 0xff) << 8) | (checksum >>> 8), true);
        this.#view.setUint32(12, STATUS.done | (last ? lastStatus : 0), true);
        dma.write(at + 8, this.#descriptor.slice(8));
      }
      registers.rdh = registers.rdh + 1 >= size ? 0 : registers.rdh + 1;
    }
  }

  #count(frame: Uint8Array): void {
    const registers = this.#options.registers();
    const bytes = frame.length + FCS_BYTES;
    count(registers, 'gprc');
    count(registers, 'tpr');
    count(registers, 'gorc', bytes);
    count(registers, 'tor', bytes);
    count(registers, sizeStatistic('prc', bytes));
    if ((frame[0] as number) & 1) count(registers, isBroadcast(frame) ? 'bprc' : 'mprc');
  }

  #interrupt(length: number, ring: number): void {
    const { interrupts, registers } = this.#options;
    const { rctl, rsrpd } = registers();
    // RDMTS: a half, a quarter or an eighth of the ring.
    const threshold = ring >>> (1 + ((rctl >>> 8) & 3));
    const low = freeDescriptors(registers()) <= threshold ? CAUSE.receiveMinimum : 0;
    const small = length + FCS_BYTES <= rsrpd ? CAUSE.smallReceive : 0;
    if (low | small) interrupts.raise(low | small);
    interrupts.received();
  }
}

/** Whether the ring has a descriptor for hardware. */
export function freeDescriptors({ rdt, rdh, rdlen }: E1000Registers): number {
  const size = rdlen / DESCRIPTOR_BYTES;
  return size === 0 || rdh >= size || rdt >= size ? 0 : (rdt - rdh + size) % size;
}

/** RCTL's BSIZE and BSEX. */
function bufferBytes(rctl: number): number {
  const bytes = 2048 >>> ((rctl >>> 16) & 3);
  // Sixteen times as much; 32 KiB is not offered.
  return rctl & RCTL.bufferExtension && bytes < 2048 ? bytes * 16 : bytes;
}

/** §13.5.1: twelve bits of the address choose a bit of the table. */
function inHashTable(frame: Uint8Array, { rctl, mta }: E1000Registers): boolean {
  const shift = HASH_SHIFT[(rctl >>> 12) & 3] as number;
  const hash = (swapped(frame, 4) >>> shift) & 0xfff;
  return (((mta[hash >>> 5] as number) >>> (hash & 31)) & 1) === 1;
}

/** A 16-bit number, first byte lowest, as the adapter sees addresses. */
function swapped(bytes: Uint8Array, at: number): number {
  return (bytes[at] as number) | ((bytes[at + 1] as number) << 8);
}

function padded(frame: Uint8Array): Uint8Array {
  const longer = new Uint8Array(SHORTEST);
  longer.set(frame);
  return longer;
}

/** The frame without its VLAN tag. */
function untagged(frame: Uint8Array): Uint8Array {
  const shorter = new Uint8Array(frame.length - 4);
  shorter.set(frame.subarray(0, 12));
  shorter.set(frame.subarray(16), 12);
  return shorter;
}
