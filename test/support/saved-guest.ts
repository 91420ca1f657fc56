/** Looks into a guest's memory from outside: reads a migration file with the project's own reader. */
import { readFileSync } from 'node:fs';
import { checkConfiguration, type MachineConfiguration } from '../../src/machine/configuration.ts';
import { machineLayout } from '../../src/machine/machine-layout.ts';
import { MEMORY_MAP } from '../../src/machine/memory-map.ts';
import { createSharedMemory, PAGE_SIZE } from '../../src/memory/layout.ts';
import { HEADER_SIZE } from '../../src/migration/frame.ts';
import { FrameReader } from '../../src/migration/frame-reader.ts';
import { KERNEL_SCRATCH, Kernels } from '../../src/migration/kernels.ts';
import { decodeConfiguration, decodeMessage } from '../../src/migration/protocol.ts';
import { RamLoad } from '../../src/migration/ram-load.ts';
import type { Transport } from '../../src/migration/transport.ts';

export interface SavedGuest {
  readonly configuration: MachineConfiguration;
  /** RAM from its base on. */
  readonly ram: Uint8Array;
  /** Names of the frames, in order. */
  readonly frames: readonly string[];
}

/** Bytes of a file as a transport. */
function bytesTransport(bytes: Uint8Array): Transport {
  let at = 0;
  const never = () => Promise.reject(new Error('this transport can only be read'));
  return {
    duplex: false,
    live: false,
    write: never,
    end: never,
    destroy: () => {},
    async read() {
      if (at === bytes.length) return undefined;
      const chunk = bytes.subarray(at, at + 65536);
      at += chunk.length;
      return chunk;
    },
  };
}

export async function readSavedGuest(file: string): Promise<SavedGuest> {
  const reader = new FrameReader(bytesTransport(readFileSync(file)), 'forward');
  const hello = await reader.next();
  if (hello?.type !== 'hello') throw new Error(`${file} does not begin with hello`);
  const { configuration: encoded } = decodeMessage('hello', hello.payload, hello.offset);
  const configuration = checkConfiguration(decodeConfiguration(encoded, hello.offset));
  const layout = machineLayout(configuration);
  const memory = createSharedMemory(layout);
  const kernels = new Kernels(memory, layout.scratch);
  reader.land({ types: ['ram'], kernels, at: () => layout.scratch + KERNEL_SCRATCH + HEADER_SIZE });
  const load = new RamLoad(kernels, layout);
  const frames = ['hello'];
  for (let frame = await reader.next(); frame !== undefined; frame = await reader.next()) {
    frames.push(frame.type);
    const { type, payload, offset } = frame;
    if (type === 'ram') load.apply(frame);
    if (type === 'pass') load.endPass(decodeMessage('pass', payload, offset), offset);
    if (type === 'end') load.verifyComplete(decodeMessage('end', payload, offset), offset);
  }
  const block = layout.blocks.find(({ name }) => name === 'ram');
  if (block === undefined) throw new Error('no block ram');
  return { configuration, frames, ram: new Uint8Array(memory.buffer, block.offset, block.size) };
}

/**
 * The rule of `ab` over guest addresses [start, end): first bytes are equal but for at most one place where they drop
 * by 1, and no other byte was ever written.
 * @returns what breaks it, in words.
 */
export function abViolations({ ram }: SavedGuest, start: number, end: number): string[] {
  const violations: string[] = [];
  let steps = 0;
  const base = MEMORY_MAP.ram.base;
  for (let address = start; address < end; address += PAGE_SIZE) {
    const page = ram.subarray(address - base, address - base + PAGE_SIZE);
    if (page.subarray(1).some((byte) => byte !== 0))
      violations.push(`0x${address.toString(16)}: untouched bytes changed`);
    if (address === start) continue;
    const before = ram[address - base - PAGE_SIZE] as number;
    const value = page[0] as number;
    if (value === before) continue;
    if (((value + 1) & 0xff) !== before || ++steps > 1) {
      violations.push(`0x${address.toString(16)}: ${before} is followed by ${value}`);
    }
  }
  return violations;
}
