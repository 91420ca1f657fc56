/**
 * Migrations of a small machine that does nothing, from this thread to itself: V8 has run and partly compiled what moves
 * guests before one waits for it. Without this it takes 20 ms longer to begin, and a guest stands still for two or three
 * milliseconds more. In post-copy it waits for its first pages for less, and V8 optimizes nothing then that it has not before.
 */
import type { Clock } from '../clock.ts';
import { GodwitError } from '../error.ts';
import { CONTROL, createLayout, createSharedMemory, type Layout, PAGE_SIZE } from '../memory/layout.ts';
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
/** So many more are post-copies, of a guest that needs one page after the other. */
const POSTCOPIES = 8;

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

/** A guest that needs one page after the other. */
class Needs {
  wanted: (page: number) => void = () => {};
  readonly #control: Int32Array;
  readonly #received: Int32Array;
  #page = 0;

  constructor({ buffer }: WebAssembly.Memory, layout: Layout) {
    this.#control = new Int32Array(buffer, layout.control, CONTROL.hotSlots / 4);
    this.#received = new Int32Array(buffer, layout.receivedBitmap, PAGES / 32);
  }

  /** Asks for the next page that is not here. */
  next(): void {
    const isHere = (page: number): boolean =>
      ((Atomics.load(this.#received, page >>> 5) >>> (page & 31)) & 1) === 1;
    while (this.#page < PAGES && isHere(this.#page)) this.#page++;
    Atomics.store(this.#control, CONTROL.wanting / 4, this.#page < PAGES ? 1 : 0);
    if (this.#page < PAGES) this.wanted(this.#page);
  }
}

export class MigrationRehearsal {
  readonly #clock: Clock;
  readonly #timers: Timers;
  readonly #layout = createLayout(1, [{ name: 'ram', size: PAGES * PAGE_SIZE }]);
  readonly #from = createSharedMemory(this.#layout);
  readonly #to = createSharedMemory(this.#layout);
  #stopped = false;
  #asked = 0;

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
    while (migrations < MIGRATIONS + POSTCOPIES && !this.#stopped) {
      await this.#migrate(migrations >= MIGRATIONS);
      migrations++;
      await this.#timers.turn();
    }
    return migrations;
  }

  /** How many pages the guest has asked for in post-copies. */
  get asked(): number {
    return this.#asked;
  }

  /** There is something else to do. */
  stop(): void {
    this.#stopped = true;
  }

  async #migrate(postcopy: boolean): Promise<void> {
    const { bitmapSize, receivedBitmap } = this.#layout;
    new Uint8Array(this.#to.buffer, receivedBitmap, bitmapSize).fill(0);
    const [near, far] = Loop.pair();
    const [nearUrgent, farUrgent] = Loop.pair();
    const ends = [near, nearUrgent];
    const parts = {
      clock: this.#clock,
      timers: this.#timers,
      parameters: { postcopy, postcopyPreempt: postcopy },
    };
    const sender = new Sender({ ...parts, vm: this.#source(), open: async () => ends.shift() ?? near });
    const builder = { build: async () => this.#destination() };
    const channels = { next: async () => farUrgent, close() {} };
    const receiver = new Receiver({ ...parts, builder, transport: far, ...(postcopy ? { channels } : {}) });
    const sending = sender.run();
    if (postcopy) sender.startPostcopy();
    await Promise.all([sending, receiver.run()]);
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
    const needs = new Needs(this.#to, this.#layout);
    return {
      postcopy: {
        begin: async (wanted) => {
          needs.wanted = (page) => {
            this.#asked++;
            wanted(page);
          };
        },
        arrived: () => needs.next(),
        checkpoint: async () => undefined,
        setLink: nothing,
        end: nothing,
        beginDisks: nothing,
        disksArrived() {},
        endDisks: nothing,
      },
      memory: this.#to,
      layout: this.#layout,
      disks: [],
      checkState: nothing,
      loadState: nothing,
      nameDisks: nothing,
      start: async (running) => {
        if (!running) throw new GodwitError('internal', 'rehearsal: the guest was lost');
        needs.next();
      },
    };
  }
}
