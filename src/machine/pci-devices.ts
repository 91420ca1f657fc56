/** From a device's configuration to a device in its slot of the PCI bus. */
import type { Device } from '../devices/device.ts';
import { E1000 } from '../devices/e1000/e1000.ts';
import type { DeviceConfiguration } from '../devices/model.ts';
import { NetworkCable, parseMac } from '../devices/network.ts';
import { type PciBus, pciAddressText } from '../devices/pci/bus.ts';
import type { PciFunction } from '../devices/pci/function.ts';
import type { Timers } from '../devices/timers.ts';
import { VirtioPci } from '../devices/virtio/pci.ts';
import { GodwitError } from '../error.ts';
import type { Backends } from './board.ts';
import { PCI_BUS } from './device-configuration.ts';
import { virtioFunction } from './virtio-devices.ts';

/** What devices on the bus need of the machine. */
export interface PciNeeds {
  readonly added: readonly DeviceConfiguration[];
  readonly timers: Timers;
  readonly backends: Backends;
  readonly random: (bytes: number) => Uint8Array;
  guestError(text: string): void;
}

export interface PciDevices {
  readonly devices: readonly Device[];
  /** One of each network adapter. */
  readonly cables: readonly NetworkCable[];
}

interface PciDevice extends Device {
  readonly pci: PciFunction;
}

/** Makes what was added to the bus, and plugs it in. */
export function pciDevices(needs: PciNeeds, bus: PciBus): PciDevices {
  const { added, timers, backends } = needs;
  const cables: NetworkCable[] = [];
  const virtio = (device: DeviceConfiguration): PciDevice => {
    const { driver, id, addr, properties } = device;
    const name = `${driver}@${pciAddressText({ slot: addr >> 3, function: addr & 7 })}`;
    const plugged = virtioFunction(device, needs);
    return new VirtioPci({ name, id, function: plugged, properties, guestError: needs.guestError });
  };
  /** By driver: a device, with the number of those like it before. */
  const make: Readonly<Record<string, (device: DeviceConfiguration, index: number) => PciDevice>> = {
    e1000({ id, properties }, index) {
      const cable = new NetworkCable();
      cables.push(cable);
      if (properties.netdev !== '') cable.plugBackend(backends.netdev(String(properties.netdev)));
      return new E1000({
        name: `e1000.${index}`,
        id,
        mac: parseMac(String(properties.mac)),
        timers,
        cable,
      });
    },
    'virtio-blk-pci': virtio,
    'virtio-rng-pci': virtio,
  };
  const counts = new Map<string, number>();
  const devices = added
    .filter((device) => device.bus === PCI_BUS)
    .map((device) => {
      const { driver, addr } = device;
      const index = counts.get(driver) ?? 0;
      counts.set(driver, index + 1);
      const made = make[driver]?.(device, index);
      if (made === undefined) throw new GodwitError('internal', `${driver} is no PCI device`);
      bus.attach(made.pci, { slot: addr >> 3, function: addr & 7 });
      return made;
    });
  return { devices, cables };
}
