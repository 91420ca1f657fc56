/** All models of devices that -device knows, by driver. */
import { E1000_MODEL } from '../devices/e1000/model.ts';
import type { DeviceModel } from '../devices/model.ts';
import { VIRTIO_BLK_MODELS } from '../devices/virtio/blk-model.ts';
import { VIRTIO_RNG_MODELS } from '../devices/virtio/rng.ts';
import { GodwitError } from '../error.ts';
import { didYouMean } from '../suggest.ts';

export const DEVICE_MODELS: readonly DeviceModel[] = [
  E1000_MODEL,
  ...VIRTIO_BLK_MODELS,
  ...VIRTIO_RNG_MODELS,
];

/** The model of a driver; undefined if there is none. */
export function findModel(driver: string): DeviceModel | undefined {
  return DEVICE_MODELS.find((model) => model.driver === driver);
}

/** @throws GodwitError kind "usage". */
export function deviceModel(where: string, driver: string): DeviceModel {
  const model = findModel(driver);
  if (model !== undefined) return model;
  const known = DEVICE_MODELS.map((candidate) => candidate.driver);
  throw new GodwitError(
    'usage',
    `${where}: '${driver}' is not a valid device model name${didYouMean(driver, known)}`,
  );
}

/** The lines of `-device help`, or of `-device DRIVER,help`. */
export function modelHelp(driver: string | undefined): string[] {
  if (driver === undefined) {
    return DEVICE_MODELS.map(({ driver: name, bus, help }) => `name "${name}", bus ${bus}, desc "${help}"`);
  }
  const { properties, bus } = deviceModel('-device', driver);
  const settable = Object.entries(properties).filter(([, spec]) => spec.derived !== true);
  return [
    `${driver} options:`,
    ...[
      ['bus=<str>', bus === 'pci' ? 'pcie.0' : 'virtio-mmio-bus.0 to virtio-mmio-bus.7'],
      ...(bus === 'pci' ? [['addr=<str>', 'device number, and .function (hexadecimal)']] : []),
      ['id=<str>', 'a name for it'],
      ...settable.map(([name, spec]) => [
        `${name}=<${spec.type === 'string' ? 'str' : spec.type}>`,
        `${spec.help}${spec.default === '' ? '' : ` (default: ${shownValue(spec.default)})`}`,
      ]),
    ].map(([left = '', right = '']) => `  ${left.padEnd(24)} - ${right}`),
  ];
}

function shownValue(value: string | number | boolean): string {
  return typeof value === 'boolean' ? (value ? 'on' : 'off') : String(value);
}
