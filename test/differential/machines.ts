/** The two machines that run an image: ours in this process, and QEMU. Both give RAM as the image left it. */
import { spawnSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, readSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Accelerator } from '../../src/cpu/accelerator.ts';
import type { EngineOptions } from '../../src/cpu/engine.ts';
import { cpuModel } from '../../src/machine/cpu-models.ts';
import { BareMachine } from '../support/bare-machine.ts';
import type { Random } from '../support/random.ts';
import { type Image, RAM_BASE, RAM_SIZE } from './image.ts';

export const QEMU = 'qemu-system-riscv64';

export interface Outcome {
  /** RAM from its first byte on, as many as the image has. */
  readonly ram: Uint8Array;
  /** Instructions run. */
  readonly instructions: number;
  /** False if it has lost its way. */
  readonly ended: boolean;
}

/** The ways to run guest code, by the name of the accelerator as `-accel` has it; no sequence is hot by itself. */
export const WAYS: Readonly<Record<Accelerator, readonly EngineOptions[]>> = {
  interp: [{ dispatch: 'tree' }, { dispatch: 'table' }],
  jit: [
    { accel: 'jit', jit: { eager: true, heat: 1, patience: 0 } },
    { accel: 'jit', jit: { heat: 3, patience: 0 } },
  ],
};

/** An image is done long before; one that is not has lost its way. */
const MAX_INSTRUCTIONS = 5_000_000;

/** Much more than an image takes on a busy machine. */
const QEMU_TIMEOUT_MS = 30_000;

/** Runs in slices of random length, because their ends must not show. */
export function runHere(image: Image, random: Random, options: EngineOptions): Outcome {
  const machine = new BareMachine(1, undefined, cpuModel('rv64').isa, RAM_SIZE, options);
  machine.load(image.bytes);
  let instructions = 0;
  while (machine.device.written.length === 0) {
    instructions += machine.run(random.between(1, 20_000));
    if (instructions > MAX_INSTRUCTIONS) break;
  }
  const from = machine.at(RAM_BASE);
  const memory = new Uint8Array(machine.memory.memory.buffer, from, image.bytes.length);
  return { ram: memory.slice(), instructions, ended: instructions <= MAX_INSTRUCTIONS };
}

/**
 * QEMU's RAM is a file, so that it is there after QEMU has gone, or has lost its way and is stopped.
 * @throws Error if QEMU fails.
 */
export function runQemu(image: Image, cpu: string): Uint8Array {
  const directory = mkdtempSync(join(tmpdir(), 'godwit-differential-'));
  try {
    const [bios, ram] = [join(directory, 'image.bin'), join(directory, 'ram')];
    writeFileSync(bios, image.bytes);
    const backend = `memory-backend-file,id=ram,size=${RAM_SIZE},mem-path=${ram},share=on`;
    const args = ['-object', backend, '-machine', 'virt,memory-backend=ram', '-m', `${RAM_SIZE >> 20}M`];
    const quiet = ['-display', 'none', '-serial', 'null', '-monitor', 'none', '-no-reboot'];
    const { status, stderr, error } = spawnSync(
      QEMU,
      [...args, '-smp', '2', '-cpu', cpu, '-bios', bios, ...quiet],
      { encoding: 'utf8', timeout: QEMU_TIMEOUT_MS, killSignal: 'SIGKILL' },
    );
    const late = (error as NodeJS.ErrnoException | undefined)?.code === 'ETIMEDOUT';
    if (status !== 0 && !late) throw new Error(`QEMU: ${error?.message ?? stderr ?? `status ${status}`}`);
    const bytes = new Uint8Array(image.bytes.length);
    const file = openSync(ram, 'r');
    readSync(file, bytes, 0, bytes.length, 0);
    closeSync(file);
    return bytes;
  } finally {
    rmSync(directory, { recursive: true });
  }
}
