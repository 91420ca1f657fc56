/**
 * virtio-blk: a disk. Virtual I/O Device 1.2, §5.2. Requests are done by the back end while the harts run on, several at
 * a time and in any order; what is under way is part of the state, so that it can be done again elsewhere.
 */
import type { AccessSize } from '../../memory/mmio.ts';
import type { Refuse } from '../../vmstate/descriptor.ts';
import { arrayUpTo, bool, type StateOfFields, struct, u16 } from '../../vmstate/fields.ts';
import { type BlockBackend, SECTOR_BYTES } from '../block.ts';
import type { PropertyValue } from '../model.ts';
import { blkConfig, CONFIG_WRITEBACK } from './blk-config.ts';
import {
  BLK_STATUS,
  type BlkStatus,
  type BlkTarget,
  isRequest,
  putStatus,
  runRequest,
} from './blk-request.ts';
import { readBytes } from './config-space.ts';
import { features, type QueueShape, type VirtioFunction, type VirtioHost } from './virtio.ts';
import type { Chain } from './virtqueue.ts';

const DEVICE_ID = 2; // §5.2.1

/** §5.2.3. */
const BLK_FEATURE = {
  segMax: 2n,
  geometry: 4n,
  readonly: 5n,
  blkSize: 6n,
  flush: 9n,
  topology: 10n,
  configWce: 11n,
  mq: 12n,
  discard: 13n,
  writeZeroes: 14n,
};

/** How many requests are under way at a time; the others wait in their queues. */
const MAX_UNDER_WAY = 64;

const FIELDS = {
  /** Writes may wait in a cache until a flush. */
  writeback: bool(),
  /** Requests that were taken and are not done: by queue and first descriptor. */
  requests: arrayUpTo(struct({ queue: u16(), head: u16() }), MAX_UNDER_WAY),
};
type BlkState = StateOfFields<typeof FIELDS>;

/** A request that was taken from a queue. */
interface Taken {
  readonly queue: number;
  /** Its first descriptor. */
  readonly head: number;
  /** The back end works at it. Otherwise it failed and the VM stops, or it was loaded and the VM has not run since. */
  begun: boolean;
}

export interface VirtioBlkOptions {
  readonly backend: BlockBackend;
  /** As blk-model.ts has them. */
  readonly properties: Readonly<Record<string, PropertyValue>>;
}

export class VirtioBlk implements VirtioFunction<typeof FIELDS> {
  readonly name = 'virtio-blk';
  readonly deviceId = DEVICE_ID;
  readonly features: bigint;
  readonly queueSizes: readonly number[];
  readonly configBytes: number;
  readonly fields = FIELDS;
  readonly #backend: BlockBackend;
  readonly #properties: VirtioBlkOptions['properties'];
  readonly #config: Uint8Array;
  #host!: VirtioHost;
  #writeback: boolean;
  #running = false;
  #taken = new Set<Taken>();
  /** Those that are to be begun again before anything else. */
  #toBegin: Taken[] = [];
  /** What the back end works at; a reset forgets a request, but does not end it. */
  readonly #working = new Set<Taken>();
  /** Requests from before a reset are under way: no other may overtake them. */
  #settling = false;
  /** Called when the back end works at nothing. */
  #whenIdle: (() => void)[] = [];

  constructor({ backend, properties }: VirtioBlkOptions) {
    this.#backend = backend;
    this.#properties = properties;
    const queues = Number(properties['num-queues']);
    this.queueSizes = new Array<number>(queues).fill(Number(properties['queue-size']));
    this.features = offered(properties, queues);
    this.#config = blkConfig(backend.size / SECTOR_BYTES, queues, this.queueSizes[0] as number);
    this.configBytes = this.#config.length;
    this.#writeback = properties.writeback === true;
  }

  connect(host: VirtioHost): void {
    this.#host = host;
  }

  readConfig(offset: number, size: AccessSize): number {
    this.#config[CONFIG_WRITEBACK] = this.#writeback ? 1 : 0;
    return readBytes(this.#config, offset, size);
  }

  /** §5.2.5: all but the cache mode is read only. */
  writeConfig(offset: number, _size: AccessSize, value: number): void {
    if (offset === CONFIG_WRITEBACK && this.#host.has(BLK_FEATURE.configWce)) {
      this.#writeback = (value & 0xff) !== 0;
    }
  }

  notified(): void {
    this.#serve();
  }

  /** §5.2.6.2: for a driver that can not flush, every write has to be safe when it is done. */
  started(): void {
    if (!this.#host.has(BLK_FEATURE.configWce) && !this.#host.has(BLK_FEATURE.flush)) this.#writeback = false;
  }

  reset(): void {
    this.#taken = new Set();
    this.#toBegin = [];
    this.#settling = this.#working.size > 0;
    this.#writeback = this.#properties.writeback === true;
  }

  save(): BlkState {
    const requests = [...this.#taken].map(({ queue, head }) => ({ queue, head }));
    return { writeback: this.#writeback, requests };
  }

  check({ requests }: BlkState, queues: readonly QueueShape[], refuse: Refuse): void {
    for (const { queue, head } of requests) {
      if (head >= (queues[queue]?.num ?? 0)) {
        throw refuse('device', 'requests of entries that its queues have', `entry ${head} of queue ${queue}`);
      }
    }
  }

  /** Its requests begin again when the machine runs: only then are their descriptors sure to be there. */
  load({ writeback, requests }: BlkState): void {
    this.#writeback = writeback;
    this.#taken = new Set(requests.map((request) => ({ ...request, begun: false })));
    this.#toBegin = [];
    this.#settling = this.#working.size > 0;
  }

  setRunning(running: boolean): void {
    this.#running = running;
    if (!running) return;
    this.#toBegin = [...this.#taken].filter(({ begun }) => !begun);
    this.#serve();
  }

  async drain(): Promise<void> {
    if (this.#working.size > 0) await new Promise<void>((resolve) => this.#whenIdle.push(resolve));
    // Somebody else may have the disk next.
    if (!this.#properties.readonly) await this.#backend.flush();
  }

  get busy(): boolean {
    return this.#working.size > 0;
  }

  /** Begins what is to be begun again, and takes what waits in the queues. */
  #serve(): void {
    this.#host.dma.attempt(this, () => this.#serveAll());
  }

  #serveAll(): void {
    if (!this.#running) return;
    for (let next = this.#toBegin[0]; next !== undefined; next = this.#toBegin[0]) {
      this.#begin(next);
      this.#toBegin.shift();
    }
    if (this.#settling) return;
    for (const [index, queue] of this.#host.queues.entries()) {
      while (this.#host.live && this.#taken.size < MAX_UNDER_WAY) {
        const chain = queue.pop();
        if (chain === undefined) break;
        const request = { queue: index, head: chain.head, begun: false };
        this.#taken.add(request);
        this.#begin(request, chain);
      }
    }
  }

  #begin(request: Taken, popped?: Chain): void {
    if (!this.#host.live) return;
    const chain = popped ?? this.#host.queues[request.queue]?.chainAt(request.head);
    if (chain === undefined) return;
    if (!isRequest(chain)) {
      this.#host.fail('a request without room for header or status');
      return;
    }
    request.begun = true;
    this.#working.add(request);
    void this.#run(request, chain);
  }

  async #run(request: Taken, chain: Chain): Promise<void> {
    const target: BlkTarget = {
      backend: this.#backend,
      dma: this.#host.dma,
      readonly: this.#properties.readonly === true,
      serial: String(this.#properties.serial),
      writeback: () => this.#writeback,
      current: () => this.#taken.has(request),
    };
    const result = await runRequest(chain, target);
    this.#working.delete(request);
    if (this.#taken.has(request)) {
      const action = 'failed' in result ? this.#backend.failed(result.failed, result.error) : undefined;
      if (!('failed' in result)) this.#finish(request, chain, result.status, result.written);
      else if (action === 'stop') request.begun = false;
      else this.#finish(request, chain, action === 'ignore' ? BLK_STATUS.ok : BLK_STATUS.ioError, 0);
    }
    if (this.#working.size === 0) {
      this.#settling = false;
      for (const resolve of this.#whenIdle.splice(0)) resolve();
    }
    this.#serve();
  }

  #finish(request: Taken, chain: Chain, status: BlkStatus, written: number): void {
    const { dma, queues } = this.#host;
    let given = false;
    dma.attempt(request, () => {
      if (!given) {
        // A reset has come in between.
        if (!this.#taken.has(request)) return;
        if (!putStatus(dma, chain, status)) {
          this.#taken.delete(request);
          this.#host.fail('the status of a request is not in memory');
          return;
        }
        queues[request.queue]?.push(request.head, written + 1);
        this.#taken.delete(request);
        given = true;
      }
      this.#host.signal(request.queue, () => this.#outstanding(request.queue));
    });
  }

  #outstanding(queue: number): number {
    return [...this.#taken].filter((request) => request.queue === queue).length;
  }
}

function offered(properties: VirtioBlkOptions['properties'], queues: number): bigint {
  const { segMax, geometry, blkSize, topology, configWce, flush, mq, readonly, discard, writeZeroes } =
    BLK_FEATURE;
  const wce = properties['config-wce'] === true;
  const when = (condition: unknown, bit: bigint): bigint => (condition === true ? features(bit) : 0n);
  return (
    features(segMax, geometry, blkSize, topology) |
    when(wce, configWce) |
    when(wce || properties.writeback, flush) |
    when(queues > 1, mq) |
    when(properties.readonly, readonly) |
    when(properties.discard, discard) |
    when(properties['write-zeroes'], writeZeroes)
  );
}
