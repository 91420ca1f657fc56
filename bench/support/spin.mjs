/** Runs the `spin` guest in this process, on the engine alone: to count its instructions, and to time the engine. */
import { guestImage, load } from './bench.mjs';

export const KINDS = ['alu', 'fib', 'memset', 'sieve'];

/** As the machine does: so many instructions, then a look at the timers. */
const SLICE = 25_000;
const UART = 0x1000_0000;
const UART_LSR = 5;
const LSR_IDLE = 0x60n;
const FINISHER = 0x10_0000;

/**
 * A machine with RAM, a serial port and a power switch. Time stands still: runs are equal to the instruction.
 * @param options for the engine, such as its dispatcher.
 */
export async function spinMachine({ kind, loops }, options = {}) {
  const { newMachine } = await load('host/new-machine.js');
  const { decodeBootImages } = await load('machine/boot.js');
  const { machineLayout } = await load('machine/machine.js');
  const { MEMORY_MAP } = await load('machine/memory-map.js');
  const { GuestMemory } = await load('memory/guest-memory.js');
  const { createSharedMemory } = await load('memory/layout.js');
  const { Engine } = await load('cpu/engine.js');
  const { extensionsOf } = await load('isa/isa-string.js');

  const ramSize = 128 * 1024 * 1024;
  const { configuration, boot } = newMachine({
    bios: { kind: 'none' },
    harts: 1,
    ram: ramSize,
    cpu: 'rv64',
    kernel: guestImage('spin'),
    append: `kind=${kind} loops=${loops}`,
  });
  const layout = machineLayout(configuration);
  const memory = new GuestMemory(createSharedMemory(layout), layout);
  const [rom, ram] = [memory.block('rom'), memory.block('ram')];
  memory.write(rom.offset, boot.rom);
  for (const { address, bytes } of decodeBootImages(boot.boot, ramSize)) {
    memory.write(ram.offset + address - MEMORY_MAP.ram.base, bytes);
  }
  let text = '';
  let off = false;
  const within = (address, base, size) => address >= base && address < base + size;
  const bus = {
    memoryAt(address) {
      if (within(address, MEMORY_MAP.ram.base, ramSize)) {
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
  const main = {
    base: MEMORY_MAP.ram.base,
    size: ram.size,
    offset: ram.offset,
    firstPage: ram.firstPage,
  };
  const engine = new Engine(
    memory,
    main,
    bus,
    { time: () => 0n, extensions: extensionsOf(configuration.isa) },
    options,
  );
  const hart = engine.harts[0];
  engine.reset(BigInt(MEMORY_MAP.rom.base));
  return {
    /** Runs about `instructions`, or to the guest's end. @returns how many it really ran. */
    run(instructions = Number.POSITIVE_INFINITY) {
      let ran = 0;
      while (ran < instructions && !off) ran += engine.run(hart, SLICE);
      return ran;
    },
    /** What the guest printed. */
    get text() {
      return text;
    },
  };
}

/**
 * Instructions that one loop takes, counted by the engine: the difference between two runs. It is off by one or two,
 * for printing a longer result takes longer.
 */
export async function instructionsPerLoop(kind) {
  const counts = [];
  for (const loops of [10, 60]) counts.push((await spinMachine({ kind, loops })).run());
  return Math.round((counts[1] - counts[0]) / 50);
}
