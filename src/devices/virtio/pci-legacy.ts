/** The legacy interface of virtio over PCI: one range of ports. Virtual I/O Device 1.2, §4.1.4.10. */
import type { MmioHandler } from '../../memory/mmio.ts';
import { port, type RegisterBank, registerHandler } from '../registers.ts';
import { halfOf, type VirtioCore } from './virtio.ts';
import { LEGACY_ALIGN, placeLegacy } from './virtqueue.ts';

const PORTS = {
  deviceFeatures: port({ offset: 0x00, width: 4, access: 'r' }),
  driverFeatures: port({ offset: 0x04, width: 4 }),
  queueAddress: port({ offset: 0x08, width: 4 }),
  queueSize: port({ offset: 0x0c, width: 2, access: 'r' }),
  queueSelect: port({ offset: 0x0e, width: 2 }),
  queueNotify: port({ offset: 0x10, width: 2, access: 'w' }),
  deviceStatus: port({ offset: 0x12, width: 1 }),
  isr: port({ offset: 0x13, width: 1, access: 'r' }),
  /** Only while MSI-X is enabled; otherwise the device's configuration is here. */
  configMsixVector: port({ offset: 0x14, width: 2 }),
  queueMsixVector: port({ offset: 0x16, width: 2 }),
} satisfies RegisterBank;

const CONFIG = 0x14;
const CONFIG_BEHIND_VECTORS = 0x18;

/** Bytes of the range: a power of 2. */
export function legacyPortBytes(configBytes: number): number {
  return 2 ** Math.ceil(Math.log2(CONFIG_BEHIND_VECTORS + configBytes));
}

/** What is common to both interfaces. */
export interface LegacyPortsOptions {
  readonly core: () => VirtioCore;
  readonly msixEnabled: () => boolean;
  /** The queue that registers are about. */
  queueSelect: number;
  configVector: number;
  /** Of the selected queue. */
  queueVector: number;
  /** Reads and clears. */
  readIsr(): number;
  /** The driver resets the device. */
  reset(): void;
}

export function legacyPorts(device: LegacyPortsOptions): MmioHandler {
  const queue = () => device.core().queues[device.queueSelect]?.state;
  const ports = registerHandler(PORTS, {
    state: () => ({}),
    hooks: {
      deviceFeatures: { read: () => halfOf(device.core().features, 0) },
      driverFeatures: {
        read: () => halfOf(device.core().driverFeatures, 0),
        write: ({ value }) => device.core().setDriverFeatures(BigInt(value)),
      },
      queueAddress: {
        read: () => {
          const state = queue();
          return state?.ready ? Number(state.desc / BigInt(LEGACY_ALIGN)) : 0;
        },
        write: ({ value }) => {
          const state = queue();
          if (value === 0) device.reset();
          else if (state !== undefined) {
            state.desc = BigInt(value) * BigInt(LEGACY_ALIGN);
            state.align = LEGACY_ALIGN;
            state.ready = true;
            placeLegacy(state);
          }
        },
      },
      queueSize: { read: () => queue()?.num ?? 0 },
      queueSelect: {
        read: () => device.queueSelect,
        write: ({ value }) => {
          device.queueSelect = value;
        },
      },
      queueNotify: { write: ({ value }) => device.core().notify(value) },
      deviceStatus: {
        read: () => device.core().status,
        write: ({ value }) => {
          if (value === 0) device.reset();
          else device.core().setStatus(value);
        },
      },
      isr: { read: () => device.readIsr() },
      configMsixVector: {
        read: () => device.configVector,
        write: ({ value }) => {
          device.configVector = value;
        },
      },
      queueMsixVector: {
        read: () => device.queueVector,
        write: ({ value }) => {
          device.queueVector = value;
        },
      },
    },
  });
  const config = (): number => (device.msixEnabled() ? CONFIG_BEHIND_VECTORS : CONFIG);
  return {
    read: (offset, size) =>
      offset < config()
        ? ports.read(offset, size)
        : device.core().function.readConfig(offset - config(), size),
    write(offset, size, value) {
      if (offset < config()) ports.write(offset, size, value);
      else device.core().function.writeConfig(offset - config(), size, value);
    },
  };
}
