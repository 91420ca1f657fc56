import { createRequire } from 'node:module';
import { expect, test } from 'vitest';
import { libc } from '../../src/host/libc.ts';
import { PAGE_SIZE } from '../../src/memory/layout.ts';

const { resolve } = createRequire(import.meta.url);

/** The package is optional; where it is installed, all declarations have to be to its liking. */
function isInstalled(): boolean {
  try {
    return resolve('koffi') !== '';
  } catch {
    return false;
  }
}

test.runIf(process.platform === 'linux' && isInstalled())(
  'the C library is there, and does what it says',
  () => {
    const c = libc();
    if (c === undefined) expect.fail('koffi is installed, and the C library is not there');
    expect(c.pageSize % PAGE_SIZE).toBe(0);
    const memory = new WebAssembly.Memory({ initial: 2, maximum: 2, shared: true });
    const bytes = new Uint8Array(memory.buffer).fill(7);
    // MADV_DONTNEED (madvise(2)).
    expect(c.madvise(c.addressOf(bytes.subarray(0x1_0000)), 0x1_0000, 4)).toBe(0);
    expect([bytes[0xffff], bytes[0x1_0000], bytes[0x1_ffff]]).toEqual([7, 0, 0]);
  },
);
