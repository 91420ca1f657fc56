/**
 * Saves a described state as a section and builds a new state from one. Nothing in a section is ever skipped: what
 * the descriptor does not name is refused, and so is what it names and the section lacks.
 */

import { type Description, describe } from './description.ts';
import type { AnyDescriptor, Descriptor, StateOfParts, Subsections } from './descriptor.ts';
import { copyFields, type Fields } from './fields.ts';
import type { Migratable, SavedSection } from './migratable.ts';
import { isRecord, Place, shown } from './place.ts';

/** How the live state is reached; an object in a device, or numbers somewhere in memory. */
export interface StateAccess<State> {
  /** The present state; may be the live object itself. */
  get(): State;
  /** Takes a new, validated state as its own. Must not fail. */
  set(state: State): void;
}

/** A migratable that can tell the shape of its sections. */
export interface DescribedMigratable extends Migratable {
  readonly description: Description;
}

/**
 * Makes a described state migratable.
 * @param name the section's name where one descriptor serves several instances ("hart1"); the descriptor's by default.
 */
export function migratable<F extends Fields, S extends Subsections>(
  descriptor: Descriptor<F, S>,
  access: StateAccess<StateOfParts<F, S>>,
  name: string = descriptor.name,
): DescribedMigratable {
  return {
    name,
    description: { ...describe(descriptor), name },
    save: () => saveSection(descriptor, access.get(), name),
    prepare(section) {
      const state = loadSection(descriptor, section, name) as StateOfParts<F, S>;
      return () => access.set(state);
    },
  };
}

function saveSection(descriptor: AnyDescriptor, state: Record<string, unknown>, name: string): SavedSection {
  descriptor.beforeSave?.(state as never);
  const { fields, subsections: parts = {} } = descriptor;
  const place = new Place(name, undefined, descriptor.version, 'internal');
  const own = Object.fromEntries(Object.entries(state).filter(([key]) => !Object.hasOwn(parts, key)));
  const subsections: Record<string, SavedSection> = {};
  for (const [key, part] of Object.entries(parts as Subsections)) {
    const at = new Place(`${name}.${key}`, undefined, part.version, 'internal');
    const copied = copyFields(part.fields, state[key], at);
    if (part.needed(copied)) subsections[key] = { name: key, version: part.version, fields: copied };
  }
  return {
    name,
    version: descriptor.version,
    fields: copyFields(fields, own, place),
    ...(Object.keys(subsections).length === 0 ? {} : { subsections }),
  };
}

function loadSection(descriptor: AnyDescriptor, value: unknown, name: string): Record<string, unknown> {
  const place = new Place(name);
  const section = checkSection(value, place);
  if (section.name !== name) {
    throw place.field(section, 'name').unexpected(shown(name), shown(section.name));
  }
  const state = loadFields(descriptor, section, place);
  const parts: Subsections = descriptor.subsections ?? {};
  const saved = section.subsections ?? {};
  for (const [key, part] of Object.entries(parts)) {
    const found = Object.hasOwn(saved, key) ? saved[key] : undefined;
    state[key] = found === undefined ? part.absent() : loadFields(part, found, place.field(saved, key));
  }
  for (const key of Object.keys(saved)) {
    if (!Object.hasOwn(parts, key)) {
      const known = Object.keys(parts).join(', ') || 'none';
      throw place
        .field(saved, key)
        .unexpected(`only the subsections ${known}`, `the subsection ${shown(key)}`);
    }
  }
  descriptor.afterLoad?.(state as never, (field: string, expected: string, got: string) =>
    place.field(section.fields, field).unexpected(expected, got),
  );
  return state;
}

/** Fields of a section or subsection whose envelope is checked already. */
function loadFields(
  part: { readonly version: number; readonly minimumVersion: number; readonly fields: Fields },
  section: SavedSection,
  place: Place,
): Record<string, unknown> {
  const { version, minimumVersion, fields } = part;
  if (section.version < minimumVersion || section.version > version) {
    const expected =
      minimumVersion === version ? `version ${version}` : `version ${minimumVersion} to ${version}`;
    const offset = place.field(section, 'version').offset;
    throw new Place(place.path, offset).unexpected(expected, `version ${section.version}`);
  }
  return copyFields(fields, section.fields, place.inVersion(section.version));
}

const ENVELOPE = ['name', 'version', 'fields', 'subsections'];

/**
 * Checks the form that every section has, whatever device it belongs to; its fields' values are not looked at.
 * @throws GodwitError kind "format".
 */
export function checkSection(value: unknown, place: Place, nested = false): SavedSection {
  if (!isRecord(value)) throw place.unexpected('a section', shown(value));
  const { name, version, fields, subsections } = value;
  if (typeof name !== 'string' || name === '') {
    throw place.field(value, 'name').unexpected('a name', shown(name));
  }
  if (typeof version !== 'number' || !Number.isInteger(version) || version < 0) {
    throw place.field(value, 'version').unexpected('a version number', shown(version));
  }
  if (!isRecord(fields)) throw place.field(value, 'fields').unexpected('named fields', shown(fields));
  for (const key of Object.keys(value)) {
    if (!ENVELOPE.includes(key)) {
      throw place.field(value, key).unexpected(`only ${ENVELOPE.join(', ')}`, shown(key));
    }
  }
  if (subsections !== undefined) {
    const at = place.field(value, 'subsections');
    if (nested) throw at.unexpected('no subsections inside a subsection', shown(subsections));
    if (!isRecord(subsections)) throw at.unexpected('named subsections', shown(subsections));
    for (const [key, part] of Object.entries(subsections)) {
      const inside = place.field(subsections, key);
      const checked = checkSection(part, inside, true);
      if (checked.name !== key)
        throw inside.field(checked, 'name').unexpected(shown(key), shown(checked.name));
    }
  }
  return value as unknown as SavedSection;
}
