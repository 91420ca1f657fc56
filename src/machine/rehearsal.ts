/**
 * A machine like one that waits for its guest, in memory of its own, that runs a small program: V8 compiles what runs guests
 * while nobody waits for it. Both have the same code, of which V8 has one copy. Without this the first million instructions
 * of a guest that has arrived take 30 to 50 ms.
 */
import type { Clock } from '../clock.ts';
import type { Accelerator } from '../cpu/accelerator.ts';
import { createSharedMemory } from '../memory/layout.ts';
import type { MachinePlan } from './configuration.ts';
import { Machine } from './machine.ts';
import { machineLayout } from './machine-layout.ts';
import { MEMORY_MAP } from './memory-map.ts';

/**
 * Loads, stores and arithmetic in a loop, and on more pages than a hart's TLBs know; behind each of those the time is read, and a
 * byte goes to the serial port.
 */
const PROGRAM = Uint32Array.of(
  0x1000_02b7, //        lui   t0, 0x10000     the serial port
  0x0010_0317, //        auipc t1, 0x100       memory, 1 MiB behind this
  0x0000_1437, //        lui   s0, 1           a page
  0xc010_23f3, // outer: csrr  t2, time
  0x0003_0e13, //        mv    t3, t1
  0x2000_0e93, //        li    t4, 512
  0x000e_3f03, // inner: ld    t5, 0(t3)
  0x007f_4f33, //        xor   t5, t5, t2
  0x003f_1f93, //        slli  t6, t5, 3
  0x01ff_0f33, //        add   t5, t5, t6
  0x01ee_3023, //        sd    t5, 0(t3)
  0x040e_0e13, //        addi  t3, t3, 64
  0xfffe_8e93, //        addi  t4, t4, -1
  0xfe0e_92e3, //        bnez  t4, inner
  0x0003_0e13, //        mv    t3, t1
  0x4000_0e93, //        li    t4, 1024
  0x000e_3f03, // pages: ld    t5, 0(t3)
  0x01ee_3423, //        sd    t5, 8(t3)
  0x008e_0e33, //        add   t3, t3, s0
  0xfffe_8e93, //        addi  t4, t4, -1
  0xfe0e_98e3, //        bnez  t4, pages
  0x0002_8023, //        sb    zero, 0(t0)
  0xfb5f_f06f, //        j     outer
);

export class Rehearsal {
  readonly #machine: Machine;
  readonly #clock: Clock;
  #leftNs: number;
  #laps = 0;

  /** @param ns for how long the program is to run, in all. */
  constructor(configuration: MachinePlan, accel: Accelerator, clock: Clock, ns: number) {
    const plan = { ...configuration, devices: [] };
    this.#clock = clock;
    this.#leftNs = ns;
    this.#machine = new Machine(plan, createSharedMemory(machineLayout(plan)), {
      clock,
      accel,
      random: (bytes) => new Uint8Array(bytes),
      transmit: () => {
        this.#laps++;
      },
      powerOff() {},
      interrupted() {},
      resetRequested() {},
      debugStopped() {},
    });
    const { engine, memory } = this.#machine;
    engine.reset(BigInt(MEMORY_MAP.ram.base));
    memory.write(memory.block('ram').offset, new Uint8Array(PROGRAM.buffer));
    this.#machine.start();
  }

  /** How often the program has said that it has come round. */
  get laps(): number {
    return this.#laps;
  }

  /** Runs for a moment. @returns whether it is to be called again. */
  burst(ns: number): boolean {
    const startNs = this.#clock.nowNs();
    this.#machine.burst(() => this.#clock.nowNs() - startNs >= ns);
    this.#leftNs -= this.#clock.nowNs() - startNs;
    return this.#leftNs > 0;
  }
}
