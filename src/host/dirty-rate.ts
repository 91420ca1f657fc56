/**
 * Measures how fast the guest makes pages dirty, as QEMU's calc-dirty-rate does: by checksums of random pages taken before
 * and after ("page-sampling"), or by the dirty log, as a whole ("dirty-bitmap") or by hart ("dirty-ring"). With the log, a
 * page counts once, however often it is written meanwhile.
 */
import { randomInt } from 'node:crypto';
import { setImmediate, setTimeout } from 'node:timers/promises';
import { crc32 } from 'node:zlib';
import type { MachinePlan } from '../machine/configuration.ts';
import { machineLayout } from '../machine/machine-layout.ts';
import { DirtyLog, dirtiedPages } from '../memory/dirty-log.ts';
import { PAGE_SIZE } from '../memory/layout.ts';
import type { DirtyRateRequest } from '../monitor/dirty.ts';

const MB = 1024 * 1024;
/** Pages to look at before other events get a turn. */
const CHUNK = 256;

export interface DirtyRate {
  /** Whole MiB per second. */
  readonly rate: number;
  /** The same by hart; in the mode "dirty-ring". */
  readonly harts?: readonly number[];
}

export interface MeasuredMachine {
  readonly configuration: MachinePlan;
  readonly memory: WebAssembly.Memory;
  startLog(): Promise<void>;
  stopLog(): Promise<void>;
}

export function measureDirtyRate(machine: MeasuredMachine, request: DirtyRateRequest): Promise<DirtyRate> {
  return request.mode === 'page-sampling' ? sampled(machine, request) : logged(machine, request);
}

async function sampled(machine: MeasuredMachine, request: DirtyRateRequest): Promise<DirtyRate> {
  const ram = machineLayout(machine.configuration).blocks.find(({ name }) => name === 'ram');
  if (ram === undefined) return { rate: 0 };
  const megabytes = ram.size / MB;
  const samples = Math.max(1, Math.floor((megabytes * request.samplePages) / 1024));
  const offsets = Array.from({ length: samples }, () => ram.offset + randomInt(ram.pages) * PAGE_SIZE);
  const before = await checksums(machine.memory, offsets);
  const startNs = performance.now();
  await setTimeout(request.calcTime * 1000);
  const seconds = (performance.now() - startNs) / 1000;
  const after = await checksums(machine.memory, offsets);
  const dirty = after.filter((checksum, i) => checksum !== before[i]).length;
  return { rate: Math.floor(((dirty / samples) * megabytes) / seconds) };
}

/** Of copies: the guest writes meanwhile. */
async function checksums(memory: WebAssembly.Memory, offsets: readonly number[]): Promise<number[]> {
  const page = new Uint8Array(PAGE_SIZE);
  const sums: number[] = [];
  for (const [i, offset] of offsets.entries()) {
    if (i % CHUNK === CHUNK - 1) await setImmediate();
    page.set(new Uint8Array(memory.buffer, offset, PAGE_SIZE));
    sums.push(crc32(page));
  }
  return sums;
}

async function logged(machine: MeasuredMachine, request: DirtyRateRequest): Promise<DirtyRate> {
  const log = new DirtyLog(machine.memory, machineLayout(machine.configuration));
  await machine.startLog();
  try {
    const before = log.counts();
    const start = performance.now();
    await setTimeout(request.calcTime * 1000);
    const { harts, total } = dirtiedPages(before, log.counts());
    const seconds = (performance.now() - start) / 1000;
    const rate = (pages: number): number => Math.floor((pages * PAGE_SIZE) / MB / seconds);
    return { rate: rate(total), ...(request.mode === 'dirty-ring' ? { harts: harts.map(rate) } : {}) };
  } finally {
    await machine.stopLog();
  }
}
