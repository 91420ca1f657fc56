/**
 * Migrations of a small machine that does nothing, from this thread to itself: V8 has run and partly compiled what moves
 * guests before one waits for it. Without this it takes 20 ms longer to begin, and a guest stands still for two or three
 * milliseconds more.
 */
import type { Clock } from '../clock.ts';
import { GodwitError } from '../error.ts';
import { createLayout, createSharedMemory, PAGE_SIZE } from '../memory/layout.ts';
import type { DestinationVm, SourceVm } from './migratable-vm.ts';
import { Receiver } from './receiver.ts';
import { Sender } from './sender.ts';
import type { Timers } from './timers.ts';
import type { Transport } from './transport.ts';

const PAGES = 256;
/** Pages that are not zero, and of these, those that are written again in each pass. */
const USED = 128;
const WRITTEN = 32;
const MIGRATIONS = 8;

/** One end of a connection within this thread. */
class Loop implements Transport {
  readonly duplex = true;
  readonly live = true;
  readonly #chunks: Uint8Array[] = [];
  #ended = false;
  #wake: () => void = () => {};
  #peer: Loop | undefined;

  static pair(): [Loop, Loop] {
    const [one, other] = [new Loop(), new Loop()];
    one.#peer = other;
    other.#peer = one;
    return [one, other];
  }

  async write(chunks: readonly Uint8Array[]): Promise<void> {
    this.#peer?.arrive(chunks);
  }

  arrive(chunks: readonly Uint8Array[]): void {
    for (const chunk of chunks) this.#chunks.push(chunk.slice());
    this.#wake();
  }

  async read(): Promise<Uint8Array | undefined> {
    while (this.#chunks.length === 0 && !this.#ended) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    return this.#chunks.shift();
  }

  async end(): Promise<void> {
    this.#peer?.destroy();
  }

  destroy(): void {
    this.#ended = true;
    this.#wake();
  }
}

export class MigrationRehearsal {
  readonly #clock: Clock;
  readonly #timers: Timers;
  readonly #layout = createLayout(1, [{ name: 'ram', size: PAGES * PAGE_SIZE }]);
  readonly #from = createSharedMemory(this.#layout);
  readonly #to = createSharedMemory(this.#layout);
  #stopped = false;

  constructor(clock: Clock, timers: Timers) {
    this.#clock = clock;
    this.#timers = timers;
    new Uint8Array(this.#from.buffer, this.#layout.blocksBase, USED * PAGE_SIZE).fill(1);
  }

  /**
   * Resolves with how many there have been, when that is enough or `stop` was called.
   * @throws GodwitError for a migration that fails, which can't be.
   */
  async run(): Promise<number> {
    let migrations = 0;
    while (migrations < MIGRATIONS && !this.#stopped) {
      await this.#migrate();
      migrations++;
      await this.#timers.turn();
    }
    return migrations;
  }

  /** There is something else to do. */
  stop(): void {
    this.#stopped = true;
  }

  async #migrate(): Promise<void> {
    const { bitmapSize, receivedBitmap } = this.#layout;
    new Uint8Array(this.#to.buffer, receivedBitmap, bitmapSize).fill(0);
    const [near, far] = Loop.pair();
    const parts = { clock: this.#clock, timers: this.#timers };
    const sender = new Sender({ ...parts, vm: this.#source(), open: async () => near });
    const builder = { build: async () => this.#destination() };
    const receiver = new Receiver({ ...parts, builder, transport: far });
    await Promise.all([sender.run(), receiver.run()]);
  }

  #source(): SourceVm {
    const nothing = async (): Promise<void> => {};
    const save = async (): Promise<Uint8Array> => new Uint8Array(USED);
    const { pendingBitmap } = this.#layout;
    const sync = async (): Promise<void> => {
      new Uint8Array(this.#from.buffer, pendingBitmap, WRITTEN / 8).fill(0xff);
    };
    return {
      memory: this.#from,
      layout: this.#layout,
      configuration: {},
      instructions: () => 0,
      startDirtyLog: nothing,
      syncDirtyLog: sync,
      stopDirtyLog: nothing,
      setThrottle: nothing,
      setDirtyLimit: nothing,
      saveState: save,
      stop: async () => {
        await sync();
        return { ran: true, state: await save() };
      },
      resume: nothing,
      release() {},
      checkState: nothing,
      rescue: nothing,
    };
  }

  #destination(): DestinationVm {
    const nothing = async (): Promise<void> => {};
    return {
      memory: this.#to,
      layout: this.#layout,
      disks: [],
      checkState: nothing,
      loadState: nothing,
      nameDisks: nothing,
      start: async (running) => {
        if (!running) throw new GodwitError('internal', 'rehearsal: the guest was lost');
      },
    };
  }
}
