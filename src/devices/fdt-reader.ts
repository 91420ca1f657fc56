/**
 * Reads a flattened device tree back into nodes, for `-dtb`, dumps and tests. Devicetree Specification v0.4, §5. The
 * blob is not trusted: every offset and length is checked.
 */
import { GodwitError } from '../error.ts';
import {
  FDT_BEGIN_NODE,
  FDT_END,
  FDT_END_NODE,
  FDT_HEADER_BYTES,
  FDT_MAGIC,
  FDT_NOP,
  FDT_PROP,
  FDT_VERSION,
} from './fdt.ts';

/** A node as it stands in a blob: values are views of its bytes, for what they mean is known only to who asks. */
export interface FdtTree {
  readonly name: string;
  readonly properties: ReadonlyMap<string, Uint8Array>;
  readonly children: readonly FdtTree[];
}

/** Nodes inside nodes that a reader follows. */
const MAX_DEPTH = 64;

/**
 * Reads a flattened device tree.
 * @param where names the blob in errors.
 * @throws GodwitError kind "format" with the byte offset.
 */
export function readFdt(blob: Uint8Array, where = 'device tree'): FdtTree {
  const view = new DataView(blob.buffer, blob.byteOffset, blob.byteLength);
  const fail = (expected: string, got: string, at: number): GodwitError =>
    GodwitError.unexpected('format', where, expected, got, at);
  if (blob.length < FDT_HEADER_BYTES) throw fail('a header of 40 bytes', `${blob.length} bytes`, 0);
  const header = (index: number): number => view.getUint32(4 * index);
  if (header(0) !== FDT_MAGIC) throw fail(hex(FDT_MAGIC), hex(header(0)), 0);
  const total = header(1);
  if (total < FDT_HEADER_BYTES || total > blob.length) throw fail(`${blob.length} bytes`, `${total}`, 4);
  if (header(6) > FDT_VERSION) throw fail(`version ${FDT_VERSION}`, `version ${header(6)}`, 24);
  const block = (what: string, offsetWord: number, sizeWord: number): [number, number] => {
    const start = header(offsetWord);
    const end = start + header(sizeWord);
    if (end > total) throw fail(`the ${what} block to end by ${total}`, `${end}`, 4 * offsetWord);
    return [start, end];
  };
  const [structStart, structEnd] = block('structure', 2, 9);
  const [stringsStart, stringsEnd] = block('strings', 3, 8);

  const utf8 = new TextDecoder();
  let at = structStart;
  const take = (count: number): number => {
    const start = at;
    const end = start + Math.ceil(count / 4) * 4;
    if (end > structEnd) throw fail(`${count} more bytes`, `${structEnd - start}`, start);
    at = end;
    return start;
  };
  const word = (): number => view.getUint32(take(4));
  /** The NUL-terminated bytes at `start`, without the NUL. */
  const cString = (start: number, limit: number): Uint8Array => {
    const end = blob.subarray(0, limit).indexOf(0, start);
    if (start >= limit || end < 0) throw fail('a string that ends', 'none', start);
    return blob.subarray(start, end);
  };
  const token = (): number => {
    let found = word();
    while (found === FDT_NOP) found = word();
    return found;
  };

  const node = (depth: number): FdtTree => {
    if (depth > MAX_DEPTH) throw fail(`at most ${MAX_DEPTH} levels`, 'more', at);
    const name = cString(at, structEnd);
    take(name.length + 1);
    const properties = new Map<string, Uint8Array>();
    const children: FdtTree[] = [];
    for (;;) {
      const found = token();
      if (found === FDT_END_NODE) {
        return { name: utf8.decode(name), properties, children };
      }
      if (found === FDT_BEGIN_NODE) children.push(node(depth + 1));
      else if (found === FDT_PROP) {
        const length = word();
        const key = utf8.decode(cString(stringsStart + word(), stringsEnd));
        if (properties.has(key)) throw fail('distinct properties', `${key} twice`, at);
        const start = take(length);
        properties.set(key, blob.subarray(start, start + length));
      } else throw fail('a token', hex(found), at - 4);
    }
  };
  const first = token();
  if (first !== FDT_BEGIN_NODE) throw fail('the root node', hex(first), structStart);
  const root = node(1);
  const last = token();
  if (last !== FDT_END) throw fail('the end', hex(last), at - 4);
  return root;
}

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}
