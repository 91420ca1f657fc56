/**
 * Transmission: the descriptor ring, frames gathered from its buffers, checksums, segmentation and VLAN tags.
 * 8254x manual, §3.3 (descriptors and ring), §3.4 (transmit), §3.5 (TCP segmentation), §3.6 (checksum offload).
 */
import { arrayOf, bytesUpTo, type StateOfFields, struct, u8, u16, u32 } from '../../vmstate/fields.ts';
import type { DmaMemory } from '../dma.ts';
import { big16, onesSum, putBig16 } from '../internet-checksum.ts';
import type { Interrupts } from './interrupts.ts';
import {
  CAUSE,
  CTRL,
  count,
  DESCRIPTOR_BYTES,
  type E1000Registers,
  sizeStatistic,
  TCTL_ENABLE,
  TCTL_PAD,
} from './registers.ts';

/** DCMD, TUCMD and the command of a legacy descriptor, as far as they agree: in the top byte of the third word. */
const COMMAND = {
  endOfPacket: 0x01,
  /** Legacy: insert checksum. Context: TCP rather than UDP. */
  insertChecksum: 0x04,
  segment: 0x04,
  reportStatus: 0x08,
  extended: 0x20,
  vlan: 0x40,
  delay: 0x80,
} as const;
const TUCMD_TCP = 0x01;
const TUCMD_IPV4 = 0x02;
const TUCMD_SEGMENT = 0x04;

const TYPE_CONTEXT = 0;
const TYPE_DATA = 1;

/** POPTS: which checksums to insert. */
const INSERT_IP = 0x01;
const INSERT_TRANSPORT = 0x02;

const STATUS_DONE = 0x01;

const FCS_BYTES = 4;
const SHORTEST = 60;
/** What the adapter's buffer can hold as one frame, and as one that is to be segmented. */
const LONGEST_FRAME = 16_288;
const LONGEST_SEGMENTED = 256 * 1024;

const FIN_AND_PUSH = 0x09;

/** A context descriptor, §3.3.6: three words as they are. */
const contextFields = { ip: u32(), transport: u32(), command: u8(), headerAndMss: u32() };
type Context = StateOfFields<typeof contextFields>;

export const TRANSMIT_FIELDS = {
  /** Of checksum offload, and of segmentation: each is kept until the next of its kind. */
  contexts: arrayOf(struct(contextFields), 2),
  /** Of a frame whose last descriptor has not come yet: what has been gathered, and the first descriptor's say. */
  gathered: bytesUpTo(LONGEST_SEGMENTED),
  options: u8(),
  command: u8(),
  vlanTag: u16(),
};
export type TransmitState = StateOfFields<typeof TRANSMIT_FIELDS>;

export interface TransmitterOptions {
  readonly dma: DmaMemory;
  readonly interrupts: Interrupts;
  registers(): E1000Registers;
  /** Puts a frame on the cable; it is the receiver's own. */
  send(frame: Uint8Array): void;
}

export class Transmitter {
  readonly #options: TransmitterOptions;
  readonly #descriptor = new DataView(new ArrayBuffer(DESCRIPTOR_BYTES));
  readonly #descriptorBytes = new Uint8Array(this.#descriptor.buffer);
  #contexts: Context[] = [emptyContext(), emptyContext()];
  #gathered: Uint8Array[] = [];
  #gatheredBytes = 0;
  #popts = 0;
  #command = 0;
  #vlanTag = 0;

  constructor(options: TransmitterOptions) {
    this.#options = options;
  }

  reset(): void {
    this.#contexts = [emptyContext(), emptyContext()];
    this.#drop();
  }

  save(): TransmitState {
    return {
      contexts: this.#contexts,
      gathered: concatenate(this.#gathered, this.#gatheredBytes),
      options: this.#popts,
      command: this.#command,
      vlanTag: this.#vlanTag,
    };
  }

  load({ contexts, gathered, options, command, vlanTag }: TransmitState): void {
    this.#contexts = contexts;
    this.#gathered = gathered.length > 0 ? [gathered] : [];
    this.#gatheredBytes = gathered.length;
    this.#popts = options;
    this.#command = command;
    this.#vlanTag = vlanTag;
  }

  /** Transmits what stands between head and tail. */
  run(): void {
    this.#options.dma.attempt(this, () => this.#run());
  }

  #run(): void {
    const { dma, interrupts, registers: live } = this.#options;
    const registers = live();
    if (!(registers.tctl & TCTL_ENABLE)) return;
    const size = registers.tdlen / DESCRIPTOR_BYTES;
    if (size === 0 || registers.tdh === registers.tdt) return;
    const ring = registers.tdbah * 2 ** 32 + registers.tdbal;
    // A tail beyond the ring is never met: one round is all there can be.
    for (let done = 0; registers.tdh !== registers.tdt && done < size; done++) {
      const at = ring + registers.tdh * DESCRIPTOR_BYTES;
      if (!dma.readInto(at, this.#descriptorBytes)) break;
      this.#process(at);
      registers.tdh = registers.tdh + 1 >= size ? 0 : registers.tdh + 1;
    }
    interrupts.raise(CAUSE.transmitQueueEmpty);
  }

  #process(at: number): void {
    const { dma, interrupts } = this.#options;
    const word = this.#descriptor.getUint32(8, true);
    const command = word >>> 24;
    const type = (word >>> 20) & 0xf;
    if (!(command & COMMAND.extended)) this.#legacy(word);
    else if (type === TYPE_CONTEXT) this.#context(word);
    else if (type === TYPE_DATA) this.#data(word);
    if (!(command & COMMAND.reportStatus)) return;
    this.#descriptor.setUint32(12, this.#descriptor.getUint32(12, true) | STATUS_DONE, true);
    dma.write(at + 12, this.#descriptorBytes.slice(12));
    interrupts.writtenBack((command & COMMAND.delay) !== 0);
  }

  /** §3.3.3: CSO, CSS and special. */
  #legacy(word: number): void {
    const upper = this.#descriptor.getUint32(12, true);
    if (this.#gatheredBytes === 0) {
      this.#popts = 0;
      this.#command = (word >>> 24) & ~COMMAND.segment;
      this.#vlanTag = upper >>> 16;
    }
    this.#gather(word & 0xffff);
    if (!((word >>> 24) & COMMAND.endOfPacket)) return;
    const frame = this.#take();
    if ((word >>> 24) & COMMAND.insertChecksum) {
      insertChecksum(frame, (word >>> 16) & 0xff, (upper >>> 8) & 0xff, 0);
    }
    this.#sendTagged(frame, (word >>> 24) & COMMAND.vlan, upper >>> 16);
  }

  #context(word: number): void {
    const command = word >>> 24;
    this.#contexts[command & TUCMD_SEGMENT ? 1 : 0] = {
      ip: this.#descriptor.getUint32(0, true),
      transport: this.#descriptor.getUint32(4, true),
      command,
      headerAndMss: this.#descriptor.getUint32(12, true),
    };
  }

  /** §3.3.7: the first descriptor's options and tag are the frame's. */
  #data(word: number): void {
    if (this.#gatheredBytes === 0) {
      const upper = this.#descriptor.getUint32(12, true);
      this.#popts = (upper >>> 8) & 0xff;
      this.#command = word >>> 24;
      this.#vlanTag = upper >>> 16;
    }
    this.#gather(word & 0xf_ffff);
    if (!((word >>> 24) & COMMAND.endOfPacket)) return;
    const popts = this.#popts;
    const tagged = this.#command & COMMAND.vlan;
    const tag = this.#vlanTag;
    const segmented = (this.#command & COMMAND.segment) !== 0;
    const context = this.#contexts[segmented ? 1 : 0] as Context;
    const whole = this.#take();
    for (const frame of segmented ? this.#segments(whole, context, popts) : [whole]) {
      this.#insertChecksums(frame, context, popts);
      this.#sendTagged(frame, tagged, tag);
    }
  }

  /** Appends the descriptor's buffer: zeros, if it is not in memory; of a frame that is too long, no more. */
  #gather(length: number): void {
    const { dma } = this.#options;
    if (length === 0) return;
    const address = this.#descriptor.getUint32(4, true) * 2 ** 32 + this.#descriptor.getUint32(0, true);
    if (this.#gatheredBytes + length > LONGEST_SEGMENTED) return;
    this.#gathered.push(dma.read(address, length) ?? new Uint8Array(length));
    this.#gatheredBytes += length;
  }

  #take(): Uint8Array {
    const frame = concatenate(this.#gathered, this.#gatheredBytes);
    this.#drop();
    return frame;
  }

  #drop(): void {
    this.#gathered = [];
    this.#gatheredBytes = 0;
    this.#popts = 0;
    this.#command = 0;
    this.#vlanTag = 0;
  }

  /** §3.5.6: every segment has the header, with its own lengths, identification, sequence number and flags. */
  #segments(whole: Uint8Array, context: Context, popts: number): Uint8Array[] {
    const headerBytes = (context.headerAndMss >>> 8) & 0xff;
    const mss = context.headerAndMss >>> 16;
    const ip = context.ip & 0xff;
    const transport = context.transport & 0xff;
    const tcp = (context.command & TUCMD_TCP) !== 0;
    const transportHeader = tcp ? 20 : 8;
    if (
      mss === 0 ||
      headerBytes > whole.length ||
      ip + 20 > headerBytes ||
      transport + transportHeader > headerBytes
    ) {
      return [];
    }
    count(this.#options.registers(), 'tsctc');
    const segments: Uint8Array[] = [];
    const payload = whole.length - headerBytes;
    for (let sent = 0, index = 0; sent < payload || index === 0; sent += mss, index++) {
      const part = Math.min(mss, payload - sent);
      const frame = new Uint8Array(headerBytes + part);
      frame.set(whole.subarray(0, headerBytes));
      frame.set(whole.subarray(headerBytes + sent, headerBytes + sent + part), headerBytes);
      if (context.command & TUCMD_IPV4) {
        putBig16(frame, ip + 2, frame.length - ip);
        putBig16(frame, ip + 4, big16(frame, ip + 4) + index);
      } else putBig16(frame, ip + 4, frame.length - ip - 40);
      const length = frame.length - transport;
      if (tcp) {
        const at = transport + 4;
        const sequence = big16(frame, at) * 0x1_0000 + big16(frame, at + 2) + sent;
        putBig16(frame, at, Math.floor(sequence / 0x1_0000));
        putBig16(frame, at + 2, sequence);
        if (sent + part < payload) (frame[transport + 13] as number) &= ~FIN_AND_PUSH;
      } else putBig16(frame, transport + 4, length);
      // The driver has left the pseudo-header's sum there, without the length.
      if (popts & INSERT_TRANSPORT) {
        const at = (context.transport >>> 8) & 0xff;
        putBig16(frame, at, onesSum(frame, at, at + 2, length));
      }
      segments.push(frame);
    }
    return segments;
  }

  #insertChecksums(frame: Uint8Array, { ip, transport }: Context, popts: number): void {
    for (const [bit, word] of [
      [INSERT_TRANSPORT, transport],
      [INSERT_IP, ip],
    ] as const) {
      if (popts & bit) insertChecksum(frame, (word >>> 8) & 0xff, word & 0xff, word >>> 16);
    }
  }

  /** §9.2: with CTRL.VME, a descriptor that asks for it has its tag inserted. */
  #sendTagged(frame: Uint8Array, tagged: number, tag: number): void {
    const { ctrl, vet } = this.#options.registers();
    if (tagged === 0 || !(ctrl & CTRL.vlanMode) || frame.length < 14) {
      this.#send(frame);
      return;
    }
    const longer = new Uint8Array(frame.length + 4);
    longer.set(frame.subarray(0, 12));
    putBig16(longer, 12, vet);
    putBig16(longer, 14, tag);
    longer.set(frame.subarray(12), 16);
    this.#send(longer);
  }

  #send(frame: Uint8Array): void {
    const registers = this.#options.registers();
    if (frame.length < 14 || frame.length > LONGEST_FRAME) return;
    const padded = frame.length < SHORTEST && registers.tctl & TCTL_PAD;
    const sent = padded ? concatenate([frame], SHORTEST) : frame;
    const bytes = sent.length + FCS_BYTES;
    count(registers, 'gptc');
    count(registers, 'tpt');
    count(registers, 'gotc', bytes);
    count(registers, 'tot', bytes);
    count(registers, sizeStatistic('ptc', bytes));
    if ((sent[0] as number) & 1) count(registers, isBroadcast(sent) ? 'bptc' : 'mptc');
    this.#options.send(sent);
  }
}

export function isBroadcast(frame: Uint8Array): boolean {
  for (let i = 0; i < 6; i++) if (frame[i] !== 0xff) return false;
  return true;
}

/**
 * §3.6: writes the sum of the bytes from `start` to `last` (0: to the end) to `at`. What stands there counts, too: the
 * driver leaves the pseudo-header's sum.
 */
function insertChecksum(frame: Uint8Array, at: number, start: number, last: number): void {
  const end = last === 0 ? frame.length : Math.min(last + 1, frame.length);
  if (at + 2 > end || start >= end) return;
  const sum = ~onesSum(frame, start, end) & 0xffff;
  // Zero says "none" in UDP; both stand for the same number.
  putBig16(frame, at, sum === 0 ? 0xffff : sum);
}

function concatenate(parts: readonly Uint8Array[], bytes: number): Uint8Array {
  const [first] = parts;
  if (parts.length === 1 && first?.length === bytes) return first;
  const all = new Uint8Array(bytes);
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

function emptyContext(): Context {
  return { ip: 0, transport: 0, command: 0, headerAndMss: 0 };
}
