/** -device and -global, as QEMU writes them. */
import { GodwitError } from '../error.ts';
import type { DeviceRequest } from '../machine/device-configuration.ts';
import { deviceModel, modelHelp } from '../machine/device-models.ts';
import type { DriveOption } from './drive-options.ts';
import { parseChoice, parseKeyValues, usageError } from './system-options-values.ts';

/** A device, or the lines of help that were asked for. */
export function parseDevice(option: string, text: string): DeviceRequest | { readonly list: string[] } {
  const values = new Map(parseKeyValues(option, text, 'any', 'driver'));
  const driver = values.get('driver') ?? '';
  if (driver === 'help' || driver === '?') return { list: modelHelp(undefined) };
  if (driver === '') throw usageError(option, 'a device model', `'${text}'`);
  values.delete('driver');
  if (values.has('help')) return { list: modelHelp(driver) };
  const where = `${option} ${text}`;
  deviceModel(where, driver);
  return { driver, values, where };
}

/** The devices that -drive adds by if=virtio, behind those that were asked for. */
export function driveDevices(drives: readonly DriveOption[]): DeviceRequest[] {
  return drives
    .filter((drive) => drive.interface === 'virtio')
    .map(({ spec }) => ({
      driver: 'virtio-blk-pci',
      values: new Map([['drive', spec.id]]),
      where: spec.where,
    }));
}

/** What -global can set: defaults of all devices of a kind. */
export interface Globals {
  virtioMmioLegacy?: boolean;
}

/** Reads "virtio-mmio.force-legacy=false", or the same as driver=,property=,value=. */
export function parseGlobal(option: string, text: string, globals: Globals): void {
  const [, short = '', shortValue] = /^([\w-]+\.[\w-]+)=(.*)$/.exec(text) ?? [];
  const long =
    shortValue === undefined ? parseKeyValues(option, text, ['driver', 'property', 'value']) : new Map();
  const name = shortValue === undefined ? `${long.get('driver')}.${long.get('property')}` : short;
  const value = shortValue ?? long.get('value') ?? '';
  if (name !== 'virtio-mmio.force-legacy') {
    throw new GodwitError('usage', `${option}: only virtio-mmio.force-legacy can be set, got '${name}'`);
  }
  const given = parseChoice(`${option} ${name}`, value, ['on', 'off', 'yes', 'no', 'true', 'false']);
  globals.virtioMmioLegacy = ['on', 'yes', 'true'].includes(given);
}
