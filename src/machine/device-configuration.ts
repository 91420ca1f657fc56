/**
 * The devices that a user adds: from what was asked for to a configuration in which each stands at a place of its own,
 * and the checks of a configuration that arrives.
 */
import {
  type BackendFacts,
  type DeviceConfiguration,
  type DeviceModel,
  fitsProperty,
  type PropertyValue,
  parseProperty,
  propertyRange,
} from '../devices/model.ts';
import { GodwitError } from '../error.ts';
import { didYouMean } from '../suggest.ts';
import { deviceModel, findModel } from './device-models.ts';
import { MEMORY_MAP } from './memory-map.ts';

/** A -device option. */
export interface DeviceRequest {
  readonly driver: string;
  /** All that follows the driver, by key. */
  readonly values: ReadonlyMap<string, string>;
  /** The option as it was written, for errors. */
  readonly where: string;
}

const VIRTIO_MMIO_BUSES = MEMORY_MAP.virtioMmio.count;
export const PCI_BUS = 'pcie.0';
/** Device numbers on the PCI bus, of 8 functions each; 0 is the host bridge. */
const PCI_SLOTS = 32;

export const virtioMmioBus = (index: number): string => `virtio-mmio-bus.${index}`;

const PLACEMENT = ['id', 'bus', 'addr'];

/**
 * Gives every device its place, in the order of the options; those without a place of their own get what is free then:
 * the virtio-mmio transport with the highest number, the PCI device number with the lowest, as in QEMU.
 * @throws GodwitError kind "usage".
 */
export function configureDevices(
  requests: readonly DeviceRequest[],
  backends: readonly BackendFacts[],
): DeviceConfiguration[] {
  const devices: DeviceConfiguration[] = [];
  const usedBackends = new Set<BackendFacts>();
  for (const request of requests) {
    const { driver, values, where } = request;
    const model = deviceModel(where, driver);
    const settable = Object.keys(model.properties).filter((name) => !model.properties[name]?.derived);
    for (const key of values.keys()) {
      if (!settable.includes(key) && !PLACEMENT.includes(key)) {
        const hint = didYouMean(key, [...settable, ...PLACEMENT]);
        throw new GodwitError('usage', `${where}: Property '${driver}.${key}' not found${hint}`);
      }
    }
    const id = values.get('id') ?? '';
    if (id !== '' && devices.some((other) => other.id === id)) {
      throw new GodwitError('usage', `${where}: Duplicate device ID '${id}'`);
    }
    const backend = findBackend(request, model, backends);
    if (backend !== undefined) {
      if (usedBackends.has(backend)) {
        const kind = backend.kind === 'drive' ? 'Drive' : 'Netdev';
        throw new GodwitError(
          'usage',
          `${where}: ${kind} '${backend.id}' is already in use by another device`,
        );
      }
      usedBackends.add(backend);
    }
    const set = properties(request, model, backend);
    devices.push({
      driver,
      ...place(request, model, devices),
      id,
      properties: model.complete?.(set, values, devices) ?? set,
    });
  }
  return devices;
}

function findBackend(
  { driver, values, where }: DeviceRequest,
  { backend: use }: DeviceModel,
  backends: readonly BackendFacts[],
): BackendFacts | undefined {
  if (use === undefined) return undefined;
  const wanted = values.get(use.property) ?? '';
  if (wanted === '') {
    if (use.required) throw new GodwitError('usage', `${where}: ${use.property} property not set`);
    return undefined;
  }
  const found = backends.find(({ kind, id }) => kind === use.kind && id === wanted);
  if (found !== undefined) return found;
  const known = backends.filter(({ kind }) => kind === use.kind).map(({ id }) => id);
  throw new GodwitError(
    'usage',
    `${where}: Property '${driver}.${use.property}' can't find value '${wanted}'${didYouMean(wanted, known)}`,
  );
}

function properties(
  { values, where }: DeviceRequest,
  model: DeviceModel,
  backend: BackendFacts | undefined,
): Record<string, PropertyValue> {
  const all: Record<string, PropertyValue> = {};
  for (const [name, spec] of Object.entries(model.properties)) {
    const text = values.get(name);
    all[name] = backend?.facts[name] ?? spec.default;
    if (text !== undefined) all[name] = parseProperty(where, name, spec, text);
    if (!fitsProperty(spec, all[name])) {
      throw GodwitError.unexpected('usage', `${where}: ${name}`, propertyRange(spec), String(all[name]));
    }
  }
  return all;
}

type Place = Pick<DeviceConfiguration, 'bus' | 'addr'>;

function place(
  { driver, values, where }: DeviceRequest,
  model: DeviceModel,
  devices: readonly DeviceConfiguration[],
): Place {
  const free = ({ bus, addr }: Place): boolean =>
    !devices.some((other) => other.bus === bus && other.addr === addr);
  const bus = values.get('bus');
  const addr = values.get('addr');
  if (addr !== undefined && model.bus !== 'pci') {
    throw new GodwitError('usage', `${where}: Property '${driver}.addr' not found`);
  }
  const buses = busesOf(model);
  if (bus !== undefined && !buses.includes(bus)) {
    throw new GodwitError('usage', `${where}: Bus '${bus}' not found${didYouMean(bus, buses)}`);
  }
  if (model.bus === 'virtio-mmio') {
    const places = (bus === undefined ? buses : [bus]).map((name) => ({ bus: name, addr: 0 }));
    const found = places.find(free);
    if (found !== undefined) return found;
    const why =
      bus === undefined ? `No 'virtio-bus' bus found for device '${driver}'` : `Bus '${bus}' is full`;
    throw new GodwitError('usage', `${where}: ${why}`);
  }
  if (addr !== undefined) {
    const found = { bus: PCI_BUS, addr: parseAddr(where, addr) };
    if (free(found)) return found;
    throw new GodwitError('usage', `${where}: PCI: slot ${addr} is in use already`);
  }
  for (let slot = 1; slot < PCI_SLOTS; slot++) {
    // A slot of its own: no function of it is in use.
    if (!devices.some((other) => other.bus === PCI_BUS && other.addr >> 3 === slot)) {
      return { bus: PCI_BUS, addr: slot * 8 };
    }
  }
  throw new GodwitError('usage', `${where}: PCI: no slot is left`);
}

/** By the order in which they are given away. */
function busesOf(model: DeviceModel): readonly string[] {
  if (model.bus === 'pci') return [PCI_BUS];
  return Array.from({ length: VIRTIO_MMIO_BUSES }, (_, i) => virtioMmioBus(VIRTIO_MMIO_BUSES - 1 - i));
}

/** "3" or "3.1": device and function, in hexadecimal. */
function parseAddr(where: string, text: string): number {
  const [, slot = '', fn = '0'] = /^(?:0x)?([0-9a-f]{1,2})(?:\.([0-7]))?$/i.exec(text) ?? [];
  const number = Number.parseInt(slot, 16);
  if (slot === '' || number < 1 || number >= PCI_SLOTS) {
    throw GodwitError.unexpected(
      'usage',
      `${where}: addr`,
      '1 to 1f, with or without .FUNCTION',
      `'${text}'`,
    );
  }
  return number * 8 + Number(fn);
}

/**
 * Checks the devices of a configuration that came from outside.
 * @throws GodwitError kind "format" naming the place in it.
 */
export function checkDevices(value: unknown): DeviceConfiguration[] {
  const at = 'machine configuration: devices';
  const bad = (where: string, expected: string, got: unknown): GodwitError =>
    GodwitError.unexpected('format', where, expected, JSON.stringify(got) ?? 'nothing');
  if (!Array.isArray(value) || value.length > VIRTIO_MMIO_BUSES + PCI_SLOTS * 8) {
    throw bad(at, 'a list of devices', value);
  }
  const devices: DeviceConfiguration[] = [];
  for (const [index, given] of value.entries()) {
    const where = `${at}[${index}]`;
    if (typeof given !== 'object' || given === null) throw bad(where, 'a device', given);
    const { driver, bus, addr, id, properties: set, ...rest } = given as Record<string, unknown>;
    const model = typeof driver === 'string' ? findModel(driver) : undefined;
    if (model === undefined) throw bad(`${where}.driver`, 'a device that this version has', driver);
    if (Object.keys(rest).length > 0)
      throw bad(where, 'driver, bus, addr, id, properties', Object.keys(rest));
    if (typeof bus !== 'string' || !busesOf(model).includes(bus)) {
      throw bad(`${where}.bus`, `one of ${busesOf(model).join(', ')}`, bus);
    }
    const [first, last] = model.bus === 'pci' ? [8, PCI_SLOTS * 8 - 1] : [0, 0];
    if (typeof addr !== 'number' || !Number.isInteger(addr) || addr < first || addr > last) {
      throw bad(`${where}.addr`, `${first} to ${last}`, addr);
    }
    if (devices.some((other) => other.bus === bus && other.addr === addr)) {
      throw bad(`${where}.addr`, 'a place of its own', addr);
    }
    if (typeof id !== 'string' || id.length > 64) throw bad(`${where}.id`, 'a short text', id);
    devices.push({
      driver: model.driver,
      bus,
      addr,
      id,
      properties: checkProperties(model, set, where, bad),
    });
  }
  return devices;
}

function checkProperties(
  model: DeviceModel,
  value: unknown,
  where: string,
  bad: (where: string, expected: string, got: unknown) => GodwitError,
): Record<string, PropertyValue> {
  if (typeof value !== 'object' || value === null) throw bad(`${where}.properties`, 'properties', value);
  const given = value as Record<string, unknown>;
  for (const name of Object.keys(given)) {
    if (!Object.hasOwn(model.properties, name)) {
      throw bad(`${where}.properties.${name}`, 'no such property', given[name]);
    }
  }
  return Object.fromEntries(
    Object.entries(model.properties).map(([name, spec]) => {
      const property = given[name];
      if (!fitsProperty(spec, property))
        throw bad(`${where}.properties.${name}`, propertyRange(spec), property);
      return [name, property];
    }),
  );
}

/** Where a device is, for people: "virtio-blk-device on virtio-mmio-bus.7". */
export function deviceName({ driver, bus, addr }: DeviceConfiguration): string {
  return `${driver} on ${bus}${addr === 0 ? '' : ` ${(addr >> 3).toString(16)}.${addr & 7}`}`;
}

/** What differs between the devices a destination was asked for and those that arrive; ids are the user's own. */
export function deviceDifferences(
  wanted: readonly DeviceConfiguration[],
  incoming: readonly DeviceConfiguration[],
): string[] {
  const incomingBy = new Map(incoming.map((device) => [deviceName(device), device]));
  const here = new Set(wanted.map(deviceName));
  return [
    ...wanted.flatMap((device) => {
      const name = deviceName(device);
      const other = incomingBy.get(name);
      if (other === undefined) return [`${name}: not at the source`];
      return Object.keys(device.properties)
        .filter((key) => device.properties[key] !== other.properties[key])
        .map(
          (key) => `${name}: ${key}: here ${device.properties[key]}, at the source ${other.properties[key]}`,
        );
    }),
    ...incoming
      .map(deviceName)
      .filter((name) => !here.has(name))
      .map((name) => `${name}: not here`),
  ];
}

/** What of a machine's back ends is missing here, or is another than its devices need: one sentence each. */
export function missingBackends(
  devices: readonly DeviceConfiguration[],
  backends: readonly BackendFacts[],
): string[] {
  return devices.flatMap((device) => {
    const { backend: use } = deviceModel('-device', device.driver);
    const id = use === undefined ? '' : String(device.properties[use.property]);
    if (use === undefined || id === '') return [];
    const found = backends.find((backend) => backend.kind === use.kind && backend.id === id);
    if (found === undefined) {
      return [
        `${deviceName(device)} needs the ${use.kind} '${id}', which is not here: give -${use.kind} id=${id},…`,
      ];
    }
    return Object.entries(found.facts)
      .filter(([key, value]) => key in device.properties && device.properties[key] !== value)
      .map(
        ([key, value]) =>
          `${use.kind} '${id}': ${key}: here ${value}, at the source ${device.properties[key]}`,
      );
  });
}
