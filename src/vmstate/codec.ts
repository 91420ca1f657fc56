/**
 * Sections to bytes and back: one MessagePack array of sections, field names included, so that the stream describes
 * itself. 64-bit numbers are bigints here and int64/uint64 there, whatever their size; other numbers never take those
 * forms, so both come back as what they were.
 */
import { Packr, Unpackr } from 'msgpackr';
import { errorMessage } from '../error.ts';
import type { SavedSection } from './migratable.ts';
import { isRecord, Place, recordOffsets, shown } from './place.ts';
import { type ScanLimits, type Scanned, scan } from './scan.ts';
import { checkSection } from './section.ts';

/** Names the bytes in errors. */
const WHERE = 'device state';

/** The most bytes a machine's sections may take; RAM and disks do not travel in them. */
export const MAX_SECTIONS_BYTES = 16 * 1024 * 1024;

const LIMITS: ScanLimits = { depth: 16, values: 1024 * 1024 };

const packr = new Packr({ useRecords: false, variableMapSize: true, moreTypes: false });
const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: true, int64AsType: 'bigint' });

/**
 * Encodes sections.
 * @throws GodwitError kind "internal" for what `decodeSections` would refuse: equal names, too many bytes.
 */
export function encodeSections(sections: readonly SavedSection[]): Uint8Array {
  checkNames(sections, new Place(WHERE, undefined, 0, 'internal'));
  // A copy: the packer's result is a view of a buffer that it goes on filling.
  const bytes = Uint8Array.from(packr.pack(sections));
  if (bytes.length > MAX_SECTIONS_BYTES) {
    throw new Place(WHERE, undefined, 0, 'internal').unexpected(
      `at most ${MAX_SECTIONS_BYTES} bytes`,
      `${bytes.length}`,
    );
  }
  return bytes;
}

/**
 * Decodes sections and checks the form that all sections have. What they mean is checked by each part's `prepare`,
 * whose errors name offsets too.
 * @param bytes exactly one encoding; not in shared memory.
 * @param baseOffset where `bytes` starts in its stream; added to the offsets that errors name.
 * @throws GodwitError kind "format".
 */
export function decodeSections(bytes: Uint8Array, baseOffset = 0): SavedSection[] {
  if (bytes.length > MAX_SECTIONS_BYTES) {
    throw new Place(WHERE, baseOffset).unexpected(`at most ${MAX_SECTIONS_BYTES} bytes`, `${bytes.length}`);
  }
  const scanned = scan(bytes, WHERE, baseOffset, LIMITS);
  let value: unknown;
  try {
    value = unpackr.unpack(bytes);
  } catch (error) {
    throw new Place(WHERE, baseOffset).unexpected('a MessagePack value', errorMessage(error));
  }
  attachOffsets(value, scanned);
  const place = new Place(WHERE, baseOffset);
  if (!Array.isArray(value)) throw place.unexpected('an array of sections', shown(value));
  const sections = value.map((section, index) => checkSection(section, place.element(value, index)));
  checkNames(sections, place);
  return sections;
}

function checkNames(sections: readonly SavedSection[], place: Place): void {
  const seen = new Set<string>();
  for (const [index, section] of sections.entries()) {
    if (seen.has(section.name)) {
      throw place.element(sections, index).unexpected('distinct sections', `${shown(section.name)} twice`);
    }
    seen.add(section.name);
  }
}

function attachOffsets(value: unknown, scanned: Scanned): void {
  if (Array.isArray(value)) {
    const items = scanned.items ?? [];
    recordOffsets(value, new Map(items.map((item, index) => [index, item.offset])));
    for (const [index, item] of items.entries()) attachOffsets(value[index], item);
  } else if (isRecord(value)) {
    const entries = [...(scanned.entries ?? [])];
    recordOffsets(value, new Map(entries.map(([key, entry]) => [key, entry.offset])));
    for (const [key, entry] of entries) attachOffsets(value[key], entry);
  }
}
