/** One connection of the destination: what reads it, what answers, and what ends the waits on it. */
import { type Frame, FrameReader } from './frame-reader.ts';
import { FrameWriter } from './frame-writer.ts';
import { Interrupt } from './interrupt.ts';
import { Kernels } from './kernels.ts';
import type { Timers } from './timers.ts';
import type { Transport } from './transport.ts';

export class ReceiverLink {
  readonly transport: Transport;
  readonly interrupt: Interrupt;
  readonly reader: FrameReader;
  readonly writer: FrameWriter;
  /** The read that is under way, or the last one. */
  reading: Promise<Frame | undefined> = Promise.resolve(undefined);

  constructor(transport: Transport, timers: Timers) {
    this.transport = transport;
    this.interrupt = new Interrupt(timers);
    this.reader = new FrameReader(transport, 'forward');
    this.writer = new FrameWriter(transport, Kernels.standalone(), 'return');
  }
}
