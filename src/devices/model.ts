/**
 * Models of devices that a user can add with -device: their names, their properties and what of the host they need.
 * What a guest can see of a device stands in its configuration, which travels with a migration; of the host it holds
 * nothing but the id of a back end.
 */
import { GodwitError } from '../error.ts';

export type PropertyValue = string | number | boolean;

/** One property of a model. */
export type PropertySpec = {
  /** For `-device DRIVER,help`. */
  readonly help: string;
  /** It follows from the back end, and can't be set by a user. */
  readonly derived?: true;
} & (
  | {
      readonly type: 'string';
      readonly default: string;
      readonly maxLength: number;
      /** What it must look like, and that in words. */
      readonly pattern?: RegExp;
      readonly form?: string;
    }
  | {
      readonly type: 'number';
      readonly default: number;
      readonly min: number;
      readonly max: number;
      readonly powerOf2?: true;
    }
  | { readonly type: 'bool'; readonly default: boolean }
);

/** What a back end is asked for by. */
export type BackendKind = 'drive' | 'netdev';

/** Where a device can be plugged in. */
export type BusKind = 'virtio-mmio' | 'pci';

export interface DeviceModel {
  /** Its name for -device. */
  readonly driver: string;
  readonly bus: BusKind;
  readonly help: string;
  readonly properties: Readonly<Record<string, PropertySpec>>;
  readonly backend?: BackendUse;
  /**
   * Gives properties their values that follow from the devices before it.
   * @param given what the user said, by name.
   */
  complete?(
    properties: Readonly<Record<string, PropertyValue>>,
    given: ReadonlyMap<string, string>,
    earlier: readonly DeviceConfiguration[],
  ): Readonly<Record<string, PropertyValue>>;
}

/** That a model has a back end. */
export interface BackendUse {
  readonly kind: BackendKind;
  /** The property (a string) that holds its id; empty if there is none. */
  readonly property: string;
  readonly required: boolean;
}

/** A back end as the machine's configuration sees it. */
export interface BackendFacts {
  readonly kind: BackendKind;
  readonly id: string;
  /** Values of the properties that follow from it. */
  readonly facts: Readonly<Record<string, PropertyValue>>;
}

/** A device of a machine, as it is the same at both ends of a migration. */
export interface DeviceConfiguration {
  readonly driver: string;
  /** "virtio-mmio-bus.7", "pcie.0" */
  readonly bus: string;
  /** On PCI: device number × 8 + function number; 0 elsewhere. */
  readonly addr: number;
  /** The user's name for it; may be empty. */
  readonly id: string;
  /** Every property of the model. */
  readonly properties: Readonly<Record<string, PropertyValue>>;
}

/** Whether a value is one that the property may have. */
export function fitsProperty(spec: PropertySpec, value: unknown): value is PropertyValue {
  if (typeof value !== (spec.type === 'bool' ? 'boolean' : spec.type)) return false;
  if (spec.type === 'string') {
    return (value as string).length <= spec.maxLength && spec.pattern?.test(value as string) !== false;
  }
  if (spec.type === 'bool') return true;
  const number = value as number;
  if (!Number.isInteger(number) || number < spec.min || number > spec.max) return false;
  return spec.powerOf2 !== true || Number.isInteger(Math.log2(number));
}

/** What a property may be, for people. */
export function propertyRange(spec: PropertySpec): string {
  if (spec.type === 'string' && spec.form !== undefined) return spec.form;
  if (spec.type === 'string') return `a text of at most ${spec.maxLength} characters`;
  if (spec.type === 'bool') return 'on or off';
  return `a ${spec.powerOf2 ? 'power of 2' : 'number'} from ${spec.min} to ${spec.max}`;
}

/**
 * A property's value as a user writes it.
 * @param where names the option in errors.
 * @throws GodwitError kind "usage".
 */
export function parseProperty(where: string, name: string, spec: PropertySpec, text: string): PropertyValue {
  let value: unknown = text;
  if (spec.type === 'bool')
    value = { on: true, yes: true, true: true, off: false, no: false, false: false }[text];
  if (spec.type === 'number') value = /^(0x[0-9a-f]+|\d+)$/i.test(text) ? Number(text) : undefined;
  if (fitsProperty(spec, value)) return value;
  throw GodwitError.unexpected('usage', `${where}: ${name}`, propertyRange(spec), `'${text}'`);
}
