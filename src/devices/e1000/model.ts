/** `-device e1000`: its properties. */

import type { DeviceModel } from '../model.ts';
import { defaultMac, MAC_PATTERN } from '../network.ts';

const DRIVER = 'e1000';

export const E1000_MODEL: DeviceModel = {
  driver: DRIVER,
  bus: 'pci',
  help: 'Intel Gigabit Ethernet',
  properties: {
    mac: {
      type: 'string',
      default: defaultMac(0),
      maxLength: 17,
      pattern: MAC_PATTERN,
      form: 'six bytes as 52:54:00:12:34:56',
      help: 'Ethernet 6-byte MAC Address, example: 52:54:00:12:34:56',
    },
    netdev: { type: 'string', default: '', maxLength: 64, help: 'ID of a netdev to use as a backend' },
    romfile: {
      type: 'string',
      default: '',
      maxLength: 0,
      help: 'there is no ROM: taken when empty',
    },
  },
  backend: { kind: 'netdev', property: 'netdev', required: false },
  /** The first address that no other adapter has, unless one is given. */
  complete(properties, given, earlier) {
    const taken = new Set(earlier.map(({ properties: other }) => String(other.mac ?? '').toLowerCase()));
    let index = 0;
    while (taken.has(defaultMac(index))) index++;
    return {
      ...properties,
      mac: given.has('mac') ? String(properties.mac).toLowerCase() : defaultMac(index),
    };
  },
};
