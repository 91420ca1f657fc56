/** The toy guests, and what must hold of what they print (guests/README.md). */
import { fileURLToPath } from 'node:url';
import { expect } from 'vitest';
import type { VmProcess } from './vm-process.ts';

export type GuestName = 'hello' | 'ticks' | 'ab' | 'dirty' | 'smp' | 'disk' | 'net';

export function guestImage(name: GuestName): string {
  return fileURLToPath(new URL(`../../guests/${name}/${name}.elf`, import.meta.url));
}

/** Options for a machine that runs a guest. */
export function guest(name: GuestName, settings = '', memory = '16M', ...more: string[]): string[] {
  const append = settings === '' ? [] : ['-append', settings];
  return ['-M', 'virt', '-bios', 'none', '-m', memory, '-kernel', guestImage(name), ...append, ...more];
}

/**
 * Checks that the numbered lines of `ticks`, `dirty`, `smp` or `disk` go from 1 on without a gap or a repetition, and that nothing
 * else was printed but the guest's opening line. An unfinished last line does not count.
 * @returns the last number.
 */
export function expectNumbered(text: string, name: 'tick' | 'dirty' | 'smp' | 'disk'): number {
  const lines = text.split(/\r?\n/).slice(0, -1);
  const unexpected = lines.filter(
    (line) =>
      !/^tick \d+ \d+\.\d{3} s$|^disk (virtio-mmio \d+ version \d+: \d+ sectors|\d+ \d+\.\d{3} s blocks \d+ passes \d+)$|^(dirty|smp) \d+ \d+\.\d{3} s pages \d+ (passes|tokens) \d+$|^(dirty|smp) 0x\S+ 0x\S+$/.test(
        line,
      ),
  );
  expect(unexpected).toEqual([]);
  const numbers = lines
    .filter((line) => new RegExp(`^${name} \\d+ `).test(line))
    .map((line) => Number(line.split(' ')[1]));
  expect(numbers).toEqual(numbers.map((_, i) => i + 1));
  return numbers.length;
}

/** The console of a guest that moved through these VMs, in this order. */
export function joinedConsole(...vms: readonly VmProcess[]): string {
  return vms.map(({ stdout }) => stdout.text).join('');
}

/** An ELF's loadable segments as one image from its lowest physical address on, as `objcopy -O binary` makes it. */
export function elfToRaw(elf: Uint8Array): Uint8Array {
  const view = new DataView(elf.buffer, elf.byteOffset, elf.byteLength);
  const u64 = (at: number): number => Number(view.getBigUint64(at, true));
  const segments = Array.from({ length: view.getUint16(56, true) }, (_, i) => u64(32) + 56 * i)
    .filter((at) => view.getUint32(at, true) === 1 && u64(at + 32) > 0)
    .map((at) => ({ offset: u64(at + 8), address: u64(at + 24), size: u64(at + 32) }));
  const base = Math.min(...segments.map(({ address }) => address));
  const raw = new Uint8Array(Math.max(...segments.map(({ address, size }) => address + size)) - base);
  for (const { offset, address, size } of segments)
    raw.set(elf.subarray(offset, offset + size), address - base);
  return raw;
}
