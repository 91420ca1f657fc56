/**
 * The shape of a state as plain JSON: what `vmstate dump` prints, and what two programs compare before a state moves
 * between them.
 */
import type { AnyDescriptor, Subsections } from './descriptor.ts';
import { describeFields, type FieldDescription } from './fields.ts';

/** Names, versions and field types of a section or subsection. */
export interface Description {
  readonly name: string;
  readonly version: number;
  readonly minimumVersion: number;
  readonly fields: Readonly<Record<string, FieldDescription>>;
  readonly subsections?: Readonly<Record<string, Description>>;
}

/** The description of a descriptor. */
export function describe(descriptor: AnyDescriptor): Description {
  const { name, version, minimumVersion, fields } = descriptor;
  const parts: Subsections = descriptor.subsections ?? {};
  const subsections = Object.fromEntries(
    Object.entries(parts).map(([key, part]) => [
      key,
      {
        name: key,
        version: part.version,
        minimumVersion: part.minimumVersion,
        fields: describeFields(part.fields),
      },
    ]),
  );
  return {
    name,
    version,
    minimumVersion,
    fields: describeFields(fields),
    ...(Object.keys(subsections).length === 0 ? {} : { subsections }),
  };
}

/** All differences that would make `loader` refuse what `saver` writes, one sentence each; none if it fits. */
export function checkCompatible(saver: Description, loader: Description, path = saver.name): string[] {
  if (saver.name !== loader.name) return [`${path}: saved as ${saver.name}, read as ${loader.name}`];
  const { version } = saver;
  if (version < loader.minimumVersion || version > loader.version) {
    return [
      `${path}: saved as version ${version}, read are versions ${loader.minimumVersion} to ${loader.version}`,
    ];
  }
  const differences = differingFields(saver.fields, loader.fields, version, path);
  for (const [name, part] of Object.entries(saver.subsections ?? {})) {
    const known = loader.subsections?.[name];
    if (known === undefined) differences.push(`${path}.${name}: the subsection is not known to the reader`);
    else differences.push(...checkCompatible(part, known, `${path}.${name}`));
  }
  return differences;
}

/** The same for all sections of a machine; also names sections that only one side has. */
export function checkAllCompatible(
  savers: readonly Description[],
  loaders: readonly Description[],
): string[] {
  const byName = new Map(loaders.map((loader) => [loader.name, loader]));
  const saved = new Set(savers.map((saver) => saver.name));
  return [
    ...savers.flatMap((saver) => {
      const loader = byName.get(saver.name);
      return loader === undefined
        ? [`${saver.name}: not known to the reader`]
        : checkCompatible(saver, loader);
    }),
    ...loaders
      .filter((loader) => !saved.has(loader.name))
      .map((loader) => `${loader.name}: missing, the reader needs it`),
  ];
}

type FieldTable = Readonly<Record<string, FieldDescription>>;

function differingFields(saver: FieldTable, loader: FieldTable, version: number, path: string): string[] {
  const differences: string[] = [];
  const present = (field: FieldDescription | undefined): field is FieldDescription =>
    field !== undefined && (field.since ?? 0) <= version;
  for (const name of new Set([...Object.keys(saver), ...Object.keys(loader)])) {
    const written = saver[name];
    const read = loader[name];
    const at = `${path}.${name}`;
    if (present(written) && present(read)) differences.push(...differingTypes(written, read, version, at));
    else if (present(written)) differences.push(`${at}: the field is not known to the reader`);
    else if (present(read)) differences.push(`${at}: missing, the reader needs it`);
  }
  return differences;
}

/** Differences by which a value of the written type could be refused by the reading type. */
function differingTypes(
  written: FieldDescription,
  read: FieldDescription,
  version: number,
  path: string,
): string[] {
  if (written.type === 'struct' && read.type === 'struct') {
    return differingFields(written.fields, read.fields, version, path);
  }
  const sizes = [longest(written), longest(read)] as const;
  if ('of' in written && 'of' in read && fits(written, read)) {
    return differingTypes(written.of, read.of, version, `${path}[]`);
  }
  if (fits(written, read)) {
    if (written.type !== 'enum' || read.type !== 'enum') return [];
    const unknown = written.values.filter((value) => !read.values.includes(value));
    return unknown.map((value) => `${path}: the value ${value} is not known to the reader`);
  }
  const [from, to] = sizes.map((size) => (size === undefined ? '' : ` (${size})`));
  return [`${path}: saved as ${written.type}${from}, read as ${read.type}${to}`];
}

const ALSO_FITS: Readonly<Record<string, readonly string[]>> = {
  u8: ['u16', 'u32', 'i32'],
  u16: ['u32', 'i32'],
  bytes: ['bytesUpTo'],
  array: ['arrayUpTo'],
};

/** Whether the outer type and its length fit; what an array holds is compared apart. */
function fits(written: FieldDescription, read: FieldDescription): boolean {
  if (written.type !== read.type && !ALSO_FITS[written.type]?.includes(read.type)) return false;
  const from = longest(written);
  const to = longest(read);
  if (from === undefined || to === undefined) return true;
  return 'length' in read ? from === to : from <= to;
}

function longest(field: FieldDescription): number | undefined {
  if ('length' in field) return field.length;
  return 'max' in field ? field.max : undefined;
}
