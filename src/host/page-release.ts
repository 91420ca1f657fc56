/** Memory of a VM goes back to the host. */
import { type Layout, PAGE_SIZE } from '../memory/layout.ts';
import type { SourceVm } from '../migration/migratable-vm.ts';
import { libc } from './libc.ts';

/** madvise(2): "subsequent accesses will result in zero-fill-on-demand pages", for memory that is no file's. */
const MADV_DONTNEED = 4;

/** Whether this host takes it. */
export function canRelease(): boolean {
  return libc()?.pageSize === PAGE_SIZE;
}

export function pageRelease(memory: WebAssembly.Memory, layout: Layout): NonNullable<SourceVm['release']> {
  const bytes = new Uint8Array(memory.buffer, layout.blocksBase);
  return (first, count) => {
    const c = libc();
    if (c === undefined) return;
    c.madvise(c.addressOf(bytes) + BigInt(first * PAGE_SIZE), count * PAGE_SIZE, MADV_DONTNEED);
  };
}
