/** A benchmark program in this process and thread, on the engine alone: for what must see inside. */
import { load } from './bench.mjs';
import { programImage } from './programs.mjs';

/** As the machine does: so many instructions, then a look at the timers. */
export const SLICE = 100_000;
const RAM = 128 * 1024 * 1024;
const TICKS_PER_MS = 10_000;
const UART = 0x1000_0000;
const UART_LSR = 5;
const LSR_IDLE = 0x60n;
const FINISHER = 0x10_0000;

/**
 * A machine with RAM, a serial port and a power switch.
 * @param workload of WORKLOADS; `settings` are further words of the program's command line.
 * @param options for the engine, such as its dispatcher.
 */
export async function programMachine(workload, settings, options = {}) {
  const { setCompilerFlags } = await load('host/compiler-flags.js');
  const { newMachine } = await load('host/new-machine.js');
  const { decodeBootImages } = await load('machine/boot.js');
  const { installBoot } = await load('machine/boot-contents.js');
  const { machineLayout } = await load('machine/machine-layout.js');
  const { MEMORY_MAP } = await load('machine/memory-map.js');
  const { GuestMemory } = await load('memory/guest-memory.js');
  const { createSharedMemory } = await load('memory/layout.js');
  const { Engine } = await load('cpu/engine.js');
  const { extensionsOf } = await load('isa/isa-string.js');

  const { configuration, boot } = newMachine({
    bios: { kind: 'none' },
    harts: 1,
    ram: RAM,
    cpu: 'rv64',
    kernel: programImage(workload.program),
    append: [...workload.settings, ...settings].join(' '),
  });
  const layout = machineLayout(configuration);
  const memory = new GuestMemory(createSharedMemory(layout), layout);
  const [rom, ram] = [memory.block('rom'), memory.block('ram')];
  installBoot(memory, boot);
  const { offset, size } = memory.block('boot');
  for (const { address, bytes } of decodeBootImages(memory.view(offset, size), RAM)) {
    memory.write(ram.offset + address - MEMORY_MAP.ram.base, bytes);
  }
  let text = '';
  let off = false;
  const within = (address, base, size) => address >= base && address < base + size;
  const bus = {
    memoryAt(address) {
      if (within(address, MEMORY_MAP.ram.base, RAM)) {
        return { base: MEMORY_MAP.ram.base, hostOffset: ram.offset, readonly: false };
      }
      if (within(address, MEMORY_MAP.rom.base, rom.size)) {
        return { base: MEMORY_MAP.rom.base, hostOffset: rom.offset, readonly: true };
      }
      return undefined;
    },
    read: (address) => (address === UART + UART_LSR ? LSR_IDLE : 0n),
    write(address, _size, value) {
      if (address === UART && off === false) text += String.fromCharCode(Number(value));
      if (address === FINISHER) {
        off = true;
        engine.leave();
      }
      return true;
    },
  };
  const main = { base: MEMORY_MAP.ram.base, size: ram.size, offset: ram.offset, firstPage: ram.firstPage };
  const time = () => BigInt(Math.round(performance.now() * TICKS_PER_MS));
  const csrs = { time, extensions: extensionsOf(configuration.isa) };
  setCompilerFlags();
  const engine = new Engine(memory, main, bus, csrs, options);
  const hart = engine.harts[0];
  engine.reset(BigInt(MEMORY_MAP.rom.base));
  return {
    /** Runs about `instructions`, or to the guest's end. @returns how many it really ran. */
    run(instructions = Number.POSITIVE_INFINITY) {
      let ran = 0;
      while (ran < instructions && !off) ran += engine.run(hart, Math.min(SLICE, instructions - ran));
      return ran;
    },
    engine,
    /** Where the program is. */
    get pc() {
      return Number(hart.pc);
    },
    /** Whether the guest has switched the machine off. */
    get off() {
      return off;
    },
    /** What `info jit` shows; undefined if everything is interpreted. */
    get jit() {
      return engine.jit?.statistics;
    },
    /** What the guest printed. */
    get text() {
      return text;
    },
  };
}
