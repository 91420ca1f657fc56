/**
 * What the device tree tells a kernel about its start, in /chosen: Devicetree Specification v0.4, §3.6; Linux,
 * Documentation/devicetree/bindings/chosen.txt.
 */
import { type FdtNode, type FdtValue, raw, text, u32 } from '../devices/fdt.ts';
import type { FdtTree } from '../devices/fdt-reader.ts';

export interface StartInformation {
  /** The kernel's command line. */
  readonly append?: string;
  /** First address of the initrd, and the one behind it. */
  readonly initrd?: readonly [start: number, end: number];
}

/** Where the kernel finds its first entropy, and how many bytes. */
export const RNG_SEED = { node: 'chosen', property: 'rng-seed', bytes: 32 } as const;

/** A tree that was read, to be written again; values stay bytes. */
export function nodeOf({ name, properties, children }: FdtTree): FdtNode {
  return {
    name,
    properties: Object.fromEntries([...properties].map(([key, value]) => [key, raw(value)])),
    children: children.map(nodeOf),
  };
}

/** The tree with this start in its /chosen; what else stands there stays. */
export function withChosen(root: FdtNode, { append, initrd }: StartInformation): FdtNode {
  const start: Record<string, FdtValue> = {
    ...(append === undefined ? {} : { bootargs: text(append) }),
    ...(initrd === undefined
      ? {}
      : { 'linux,initrd-start': u32(initrd[0]), 'linux,initrd-end': u32(initrd[1]) }),
    [RNG_SEED.property]: raw(new Uint8Array(RNG_SEED.bytes)),
  };
  const children = root.children ?? [];
  const chosen = children.find(({ name }) => name === RNG_SEED.node) ?? {
    name: RNG_SEED.node,
    properties: {},
  };
  const written = { ...chosen, properties: { ...chosen.properties, ...start } };
  return { ...root, children: [written, ...children.filter((child) => child !== chosen)] };
}
