/** virtio-rng: a source of entropy. Virtual I/O Device 1.2, §5.4. */
import type { DeviceModel } from '../model.ts';
import { scatter } from './buffers.ts';
import type { VirtioFunction, VirtioHost } from './virtio.ts';
import { VIRTIO_PROPERTIES, virtioModels } from './virtio-model.ts';

const DEVICE_ID = 4; // §5.4.1
/** Entries of its one queue, as in QEMU. */
const QUEUE_SIZE = 8;
/** A larger buffer gets no more at a time; the driver is told how much it got. */
const MOST_BYTES = 64 * 1024;

export const VIRTIO_RNG_MODELS: readonly DeviceModel[] = virtioModels('virtio-rng', {
  help: 'a source of random numbers',
  properties: VIRTIO_PROPERTIES,
});

/** @param random gives so many random bytes. */
export function virtioRng(random: (bytes: number) => Uint8Array): VirtioFunction {
  let host: VirtioHost;
  return {
    name: 'virtio-rng',
    deviceId: DEVICE_ID,
    features: 0n,
    queueSizes: [QUEUE_SIZE],
    configBytes: 0,
    readConfig: () => 0,
    writeConfig() {},
    connect(to) {
      host = to;
    },
    notified(index) {
      const queue = host.queues[index];
      if (queue === undefined) return;
      host.dma.attempt(queue, () => {
        for (let chain = queue.pop(); chain !== undefined; chain = host.live ? queue.pop() : undefined) {
          const bytes = random(Math.min(chain.writableBytes, MOST_BYTES));
          scatter(host.dma, chain.writable, 0, bytes);
          queue.push(chain.head, bytes.length);
        }
        host.signal(index, () => 0);
      });
    },
    started() {},
    reset() {},
    fields: {},
    save: () => ({}),
    load() {},
  };
}
