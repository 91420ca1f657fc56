/**
 * A device tree as data, and its flattened form. Follows the Devicetree Specification v0.4: §2.2 (nodes and
 * properties), §5 (the flattened format, version 17).
 */
import { GodwitError } from '../error.ts';

/** A 32-bit cell, or the phandle of the node with this label. */
export type FdtCell = number | { readonly phandleOf: string };

/** A property's value, by its kind. */
export type FdtValue =
  | { readonly kind: 'cells'; readonly cells: readonly FdtCell[] }
  | { readonly kind: 'u64'; readonly values: readonly (number | bigint)[] }
  | { readonly kind: 'strings'; readonly strings: readonly string[] }
  | { readonly kind: 'bytes'; readonly bytes: Uint8Array }
  | { readonly kind: 'empty' };

/** A node of the tree. */
export interface FdtNode {
  /** With its unit address: "serial@10000000"; the root's is empty. */
  readonly name: string;
  readonly properties: Readonly<Record<string, FdtValue>>;
  readonly children?: readonly FdtNode[];
  /** A name for other nodes to refer to; a node with one is given a phandle. */
  readonly label?: string;
}

/** 32-bit cells. */
export const u32 = (...cells: FdtCell[]): FdtValue => ({ kind: 'cells', cells });
/** 64-bit numbers, two cells each. */
export const u64 = (...values: (number | bigint)[]): FdtValue => ({ kind: 'u64', values });
/** One string, or several in a list. */
export const text = (...strings: string[]): FdtValue => ({ kind: 'strings', strings });
/** Bytes as they are. */
export const raw = (bytes: Uint8Array): FdtValue => ({ kind: 'bytes', bytes });
/** A property whose presence is its meaning. */
export const present: FdtValue = { kind: 'empty' };
/** A reference, inside cells, to the node with this label. */
export const phandle = (label: string): FdtCell => ({ phandleOf: label });

/** Label of a hart's local interrupt controller ("riscv,cpu-intc"), by which devices refer to it. */
export const hartIntcLabel = (hart: number): string => `cpu${hart}_intc`;

/** Tokens and layout constants, §5.2 and §5.4. */
export const FDT_MAGIC = 0xd00dfeed;
export const FDT_VERSION = 17;
export const FDT_BEGIN_NODE = 1;
export const FDT_END_NODE = 2;
export const FDT_PROP = 3;
export const FDT_NOP = 4;
export const FDT_END = 9;
export const FDT_HEADER_BYTES = 40;

const LAST_COMPATIBLE_VERSION = 16;
/** One all-zero entry ends the memory reservation block, §5.3. */
const RESERVATIONS_BYTES = 16;

/**
 * Flattens a tree.
 * @param room bytes left free at the end, for whoever adds to it in place.
 * @throws GodwitError kind "machine" for a name that can't be, equal siblings or labels, a reference to no label, or a
 * value that does not fit its cell.
 */
export function writeFdt(root: FdtNode, room = 0): Uint8Array {
  const writer = new StructWriter(assignPhandles(root));
  writer.node(root, '');
  writer.word(FDT_END);
  const struct = Uint8Array.from(writer.bytes);
  const strings = new TextEncoder().encode(writer.strings);
  const structAt = FDT_HEADER_BYTES + RESERVATIONS_BYTES;
  const stringsAt = structAt + struct.length;
  const blob = new Uint8Array(stringsAt + strings.length + room);
  const header = [
    FDT_MAGIC,
    blob.length,
    structAt,
    stringsAt,
    FDT_HEADER_BYTES, // of the memory reservation block
    FDT_VERSION,
    LAST_COMPATIBLE_VERSION,
    0, // boot_cpuid_phys
    strings.length,
    struct.length,
  ];
  const view = new DataView(blob.buffer);
  for (const [index, word] of header.entries()) view.setUint32(4 * index, word);
  blob.set(struct, structAt);
  blob.set(strings, stringsAt);
  return blob;
}

/** Phandles by label, from 1 in the tree's order. */
function assignPhandles(root: FdtNode): ReadonlyMap<string, number> {
  const phandles = new Map<string, number>();
  const visit = (node: FdtNode): void => {
    if (node.label !== undefined) {
      if (phandles.has(node.label)) throw invalid(node.name, `the label ${node.label} stands twice`);
      phandles.set(node.label, phandles.size + 1);
    }
    for (const child of node.children ?? []) visit(child);
  };
  visit(root);
  return phandles;
}

/** Names of nodes and properties, §2.2.1 and §2.2.4.1. */
const NODE_NAME = /^[0-9a-zA-Z,._+-]{1,31}(@[0-9a-zA-Z,._+-]+)?$/;
const PROPERTY_NAME = /^[0-9a-zA-Z,._+?#-]{1,31}$/;

class StructWriter {
  readonly bytes: number[] = [];
  /** The strings block: NUL-terminated property names. */
  strings = '';
  readonly #nameOffsets = new Map<string, number>();
  readonly #phandles: ReadonlyMap<string, number>;
  readonly #utf8 = new TextEncoder();

  constructor(phandles: ReadonlyMap<string, number>) {
    this.#phandles = phandles;
  }

  /** @param path the node's full name; the root's is empty. */
  node(node: FdtNode, path: string): void {
    if (path === '' ? node.name !== '' : !NODE_NAME.test(node.name)) throw invalid(path, 'not a node name');
    this.word(FDT_BEGIN_NODE);
    this.#padded([...this.#utf8.encode(node.name), 0]);
    for (const [name, value] of Object.entries(node.properties)) {
      this.#property(name, this.#encode(value, `${path}:${name}`), path);
    }
    if (node.label !== undefined) {
      if (Object.hasOwn(node.properties, 'phandle')) throw invalid(path, 'a label and a phandle of its own');
      this.#property('phandle', this.#encode(u32(phandle(node.label)), path), path);
    }
    const names = new Set<string>();
    for (const child of node.children ?? []) {
      const below = `${path}/${child.name}`;
      if (names.has(child.name)) throw invalid(below, 'stands twice');
      names.add(child.name);
      this.node(child, below);
    }
    this.word(FDT_END_NODE);
  }

  word(value: number): void {
    this.bytes.push(...wordBytes(value));
  }

  #property(name: string, value: readonly number[], path: string): void {
    if (!PROPERTY_NAME.test(name)) throw invalid(`${path}:${name}`, 'not a property name');
    let offset = this.#nameOffsets.get(name);
    if (offset === undefined) {
      offset = this.strings.length;
      this.#nameOffsets.set(name, offset);
      this.strings += `${name}\0`;
    }
    this.word(FDT_PROP);
    this.word(value.length);
    this.word(offset);
    this.#padded(value);
  }

  #padded(bytes: readonly number[]): void {
    for (const byte of bytes) this.bytes.push(byte);
    while (this.bytes.length % 4 !== 0) this.bytes.push(0);
  }

  #encode(value: FdtValue, where: string): number[] {
    switch (value.kind) {
      case 'empty':
        return [];
      case 'bytes':
        return [...value.bytes];
      case 'strings':
        if (value.strings.some((string) => string.includes('\0'))) throw invalid(where, 'a NUL in a string');
        return value.strings.flatMap((string) => [...this.#utf8.encode(string), 0]);
      case 'cells':
        return value.cells.flatMap((cell) => wordBytes(this.#cell(cell, where)));
      case 'u64':
        return value.values.flatMap((number) => {
          const wide = BigInt(number);
          if (wide < 0n || wide >> 64n !== 0n) throw invalid(where, `${wide} does not fit 64 bits`);
          return [...wordBytes(Number(wide >> 32n)), ...wordBytes(Number(wide & 0xffff_ffffn))];
        });
    }
  }

  #cell(cell: FdtCell, where: string): number {
    if (typeof cell === 'object') {
      const found = this.#phandles.get(cell.phandleOf);
      if (found === undefined) throw invalid(where, `no node is labelled ${cell.phandleOf}`);
      return found;
    }
    if (!Number.isInteger(cell) || cell < 0 || cell > 0xffff_ffff) {
      throw invalid(where, `${cell} does not fit a cell`);
    }
    return cell;
  }
}

function wordBytes(value: number): number[] {
  return [value >>> 24, (value >>> 16) & 0xff, (value >>> 8) & 0xff, value & 0xff];
}

function invalid(where: string, what: string): GodwitError {
  return new GodwitError('machine', `device tree, ${where || '/'}: ${what}`, { where });
}
