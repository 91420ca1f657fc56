/**
 * Which pages of a VM's memory nothing has touched yet: they are zero. To read one costs a page fault, which takes longer than
 * all else that a migration does with a page of zeros; Linux tells of all of them at once
 * (Documentation/admin-guide/mm/pagemap.rst). Elsewhere, and where anything is not as expected, all pages count as touched.
 */
import { closeSync, openSync, readFileSync, readSync } from 'node:fs';
import { type Layout, PAGE_SIZE } from '../memory/layout.ts';
import { PageBitmap } from '../migration/page-bitmap.ts';

/** An entry of pagemap: a u64, whose bits 63 and 62 say that the page is in memory, or swapped out. */
const ENTRY = 8;
const PRESENT_OR_SWAPPED = 30;
/** Entries that are read at a time. */
const BATCH = 128 * 1024;
/** getauxval(3): the type of the entry with the size of a page. */
const AT_PAGESZ = 6n;
const PROBE_BYTES = 32;

/**
 * What is touched later is in the dirty log, if that is on already.
 * @returns the indices of pages that have not been touched; undefined if the host does not tell.
 */
export function untouchedPages(memory: WebAssembly.Memory, layout: Layout): PageBitmap | undefined {
  try {
    if (pageSize() !== PAGE_SIZE) return undefined;
    const address = addressOf(memory, layout.scratch);
    return address === undefined ? undefined : absentPages(address + layout.blocksBase, layout.pages);
  } catch {
    return undefined;
  }
}

/** Of the host. */
function pageSize(): number {
  const bytes = readFileSync('/proc/self/auxv');
  const words = new BigUint64Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
  for (let i = 0; i < words.length; i += 2) if (words[i] === AT_PAGESZ) return Number(words[i + 1]);
  return 0;
}

/**
 * Where the memory is mapped: the mapping of its size in which what is written to it can be read.
 * @param scratch offset of PROBE_BYTES that nobody else needs now.
 */
function addressOf({ buffer }: WebAssembly.Memory, scratch: number): number | undefined {
  const probe = new Uint8Array(buffer, scratch, PROBE_BYTES);
  probe.set(crypto.getRandomValues(new Uint8Array(PROBE_BYTES)));
  const mem = openSync('/proc/self/mem', 'r');
  try {
    for (const line of readFileSync('/proc/self/maps', 'latin1').split('\n')) {
      // An anonymous mapping: of a file, an absent page would not be zero.
      const [, from, to] = /^([0-9a-f]+)-([0-9a-f]+) rw-p 0+ 00:00 0 *$/.exec(line) ?? [];
      if (from === undefined || to === undefined) continue;
      const address = Number.parseInt(from, 16);
      if (Number.parseInt(to, 16) - address !== buffer.byteLength) continue;
      const found = Buffer.alloc(PROBE_BYTES);
      readSync(mem, found, 0, PROBE_BYTES, address + scratch);
      if (found.equals(Uint8Array.from(probe))) return address;
    }
    return undefined;
  } finally {
    closeSync(mem);
  }
}

function absentPages(address: number, pages: number): PageBitmap | undefined {
  const absent = PageBitmap.create(pages);
  const words = new Uint32Array((Math.min(BATCH, pages) * ENTRY) / 4);
  const file = openSync('/proc/self/pagemap', 'r');
  try {
    for (let first = 0; first < pages; first += BATCH) {
      const count = Math.min(BATCH, pages - first);
      const at = (address / PAGE_SIZE + first) * ENTRY;
      if (readSync(file, words, 0, count * ENTRY, at) !== count * ENTRY) return undefined;
      for (let i = 0; i < count; i++) {
        if ((words[2 * i + 1] ?? 0) >>> PRESENT_OR_SWAPPED === 0)
          absent.addWord((first + i) >>> 5, 1 << (i & 31));
      }
    }
  } finally {
    closeSync(file);
  }
  return absent;
}
