/**
 * The machine: harts, memory and devices, put together. It runs in one thread and in bursts; between two bursts is the
 * safe point where everything else (a reset, a saved state, the dirty log) happens.
 */
import type { Clock } from '../clock.ts';
import { ACCELERATORS, type Accelerator } from '../cpu/accelerator.ts';
import type { Bus } from '../cpu/bus.ts';
import { hasSupervisorTimer, updateSupervisorTimer } from '../cpu/csr.ts';
import { DebugAccess } from '../cpu/debug-access.ts';
import { Engine } from '../cpu/engine.ts';
import { type Hart, INTERRUPT, PRIVILEGE } from '../cpu/hart.ts';
import type { InterruptFile } from '../cpu/interrupt-file.ts';
import type { JitOptions } from '../cpu/jit/jit.ts';
import type { TranslationStore } from '../cpu/jit/kept-translations.ts';
import type { Pmp } from '../cpu/pmp.ts';
import type { Aclint } from '../devices/aclint.ts';
import type { Device } from '../devices/device.ts';
import type { DmaMemory } from '../devices/dma.ts';
import type { RealTime } from '../devices/goldfish-rtc.ts';
import type { InterruptController } from '../devices/interrupt-controller.ts';
import type { NetworkCable } from '../devices/network.ts';
import type { PciHostBridge } from '../devices/pci/host-bridge.ts';
import { ClockTimebase, TIMEBASE_HZ } from '../devices/timebase.ts';
import { TimerQueue } from '../devices/timers.ts';
import type { Uart16550 } from '../devices/uart16550.ts';
import { GodwitError } from '../error.ts';
import { extensionsOf } from '../isa/isa-string.ts';
import { AddressSpace, type Mapping } from '../memory/address-space.ts';
import { GuestMemory } from '../memory/guest-memory.ts';
import { PAGE_FLAG } from '../memory/layout.ts';
import { RunTime } from '../memory/run-time.ts';
import { decodeSections, encodeSections } from '../vmstate/codec.ts';
import type { Migratable } from '../vmstate/migratable.ts';
import { type Backends, createBoard, NO_BACKENDS } from './board.ts';
import { decodeBootImages } from './boot.ts';
import type { MachinePlan } from './configuration.ts';
import { DirtyLimit } from './dirty-limit.ts';
import { DirtyTracking } from './dirty-tracking.ts';
import { guestDma } from './guest-dma.ts';
import { hartState } from './hart-state.ts';
import { IcountClock, repeatableRandom } from './icount.ts';
import { machineLayout, translationKey } from './machine-layout.ts';
import { MEMORY_MAP } from './memory-map.ts';
import { Throttle } from './throttle.ts';
import { type DebugStop, RUN_ALL, type RunPlan, Turns } from './turns.ts';
import { WaitTimes } from './wait-times.ts';

/** Instructions that a hart runs before it is the next one's turn, and before timers are looked at. */
const SLICE = 100_000;

const NS_PER_TICK = 1e9 / TIMEBASE_HZ;

/** What the real-time clock starts from and follows. */
export interface RealTimeOptions {
  /** Its time at power-on, in ns since 1970. */
  readonly start: bigint;
  /** By default the time for which the machine has run. */
  readonly follows?: RealTime;
}

/** Without anything from the host, runs repeat: 2000-01-01. */
const REPEATABLE_START = 946_684_800n * 1_000_000_000n;

/** Where no memory is, and what a machine that is to be warm runs there. */
const NOWHERE = 0n;
const REHEARSED = 8;

/** What a machine tells its host. Called during a burst: the host acts when the burst is over. */
export interface MachineHost {
  readonly clock: Clock;
  /** How guest code is run; the first of ACCELERATORS by default. */
  readonly accel?: Accelerator;
  /** Other than the usual options of the JIT, for tests. */
  readonly jit?: Partial<JitOptions>;
  /** Where translations are kept for other machines of this description. */
  readonly translations?: (machine: string) => TranslationStore | undefined;
  /** Take time from retired instructions instead of the clock: 2^icount ns each. */
  readonly icount?: number;
  /** A fixed date and the machine's time by default. */
  readonly realTime?: RealTimeOptions | undefined;
  /** So many random bytes: the guest's entropy, unless its runs are to repeat (`icount`). */
  readonly random: (bytes: number) => Uint8Array;
  /** The host's ends of the devices that the configuration added; none by default. */
  readonly backends?: Backends;
  /** A byte from the serial port. */
  transmit(byte: number): void;
  /** The guest switched the machine off; code 0 is success. The machine stands still until a reset. */
  powerOff(code: number): void;
  /** The guest used a device as it can't be used; a line for the log. */
  guestError?(text: string): void;
  /** An interrupt came between two bursts: a hart that waited may run. */
  interrupted(): void;
  /** The guest asks for a reset. The machine stands still until it gets one. */
  resetRequested(): void;
  /** A debugger's breakpoint, watchpoint or step has stopped the machine. */
  debugStopped(stop: DebugStop): void;
}

/** What a burst ended with. */
export type BurstEnd =
  /** There is more to run. */
  | { readonly kind: 'busy' }
  /** Nothing runs before the timer (if one is set), an input, or the arrival of memory (see `wantsMemory`). */
  | { readonly kind: 'idle'; readonly timerInNs: number | undefined }
  /** Stopped, switched off, or waiting for a reset. */
  | { readonly kind: 'halted' };

export class Machine {
  readonly memory: GuestMemory;
  /** Memory as the devices reach it. */
  readonly dma: DmaMemory;
  readonly engine: Engine;
  readonly dirtyTracking: DirtyTracking;
  readonly throttle: Throttle;
  readonly dirtyLimit: DirtyLimit;
  /** Memory for debuggers; to be used between bursts. */
  readonly debug: DebugAccess;
  readonly uart: Uart16550;
  readonly pci: PciHostBridge;
  readonly interrupts: InterruptController;
  readonly cables: readonly NetworkCable[];
  readonly devices: readonly Device[];
  readonly configuration: MachinePlan;
  readonly #addressSpace = new AddressSpace();
  readonly #timebase: ClockTimebase;
  readonly #timers: TimerQueue;
  readonly #icount: IcountClock | undefined;
  readonly #aclint: Aclint;
  readonly #state: readonly Migratable[];
  readonly #random: (bytes: number) => Uint8Array;
  readonly #host: MachineHost;
  readonly #turns: Turns;
  readonly #runTime: RunTime;
  /** How long its harts waited for pages. */
  readonly waits: WaitTimes;
  #running = false;
  #halted = false;
  #inBurst = false;

  constructor(configuration: MachinePlan, memory: WebAssembly.Memory, host: MachineHost) {
    this.configuration = configuration;
    this.#random = host.icount === undefined ? host.random : repeatableRandom();
    this.#host = host;
    this.memory = new GuestMemory(memory, machineLayout(configuration));
    this.#icount =
      host.icount === undefined ? undefined : new IcountClock(host.icount, () => this.engine.instructions);
    this.#timebase = new ClockTimebase(this.#icount ?? host.clock);
    const ram = this.memory.block('ram');
    const bus = this.#bus();
    this.debug = new DebugAccess(this.memory, bus);
    const translations = host.translations?.(translationKey(configuration));
    this.engine = new Engine(
      this.memory,
      { base: MEMORY_MAP.ram.base, size: ram.size, offset: ram.offset, firstPage: ram.firstPage },
      bus,
      {
        time: () => this.#timebase.now(),
        extensions: extensionsOf(configuration.isa),
        interruptFile: (hart, privilege) => this.#interruptFile(hart, privilege),
      },
      { accel: host.accel ?? ACCELERATORS[0], jit: { clock: host.clock, translations, ...host.jit } },
    );
    this.dirtyTracking = new DirtyTracking(this.memory.dirtyLog, this.engine.tlbs, host.clock);
    this.#runTime = new RunTime(memory, this.memory.layout);
    this.throttle = new Throttle(configuration.harts, host.clock, host.icount !== undefined);
    this.dirtyLimit = new DirtyLimit(
      configuration.harts,
      this.memory.dirtyLog,
      this.dirtyTracking,
      this.throttle,
      host.clock,
    );
    this.#turns = new Turns(this.engine, this.throttle, host.icount !== undefined);
    this.waits = new WaitTimes(host.clock, this.engine.harts.length);
    this.engine.onWait = (hart, waits) => (waits ? this.waits.began(hart.id) : this.waits.ended(hart.id));
    this.dma = guestDma(this.#addressSpace, this.memory, () => {
      for (const hart of this.engine.harts) hart.reservation = -1n;
    });
    this.#timers = new TimerQueue(this.#timebase.clock, () => {
      if (!this.#inBurst) host.interrupted();
    });
    const line =
      (hart: Hart, number: number) =>
      (level: boolean): void => {
        hart.setInterrupt(number, level);
        // During a burst the harts look at their interrupts by themselves.
        if (level && !this.#inBurst) host.interrupted();
      };
    const halt = (then: () => void): void => {
      this.#halted = true;
      this.engine.leave();
      then();
    };
    const board = createBoard({
      aia: configuration.aia,
      aclint: configuration.aclint,
      msi: (address, data) => this.#store32(address, data),
      timebase: this.#timebase,
      timers: this.#timers,
      realTime: {
        start: host.realTime?.start ?? REPEATABLE_START,
        follows: host.realTime?.follows ?? {
          now: () => BigInt(Math.floor(this.#timebase.clock.nowNs())),
          shared: false,
        },
      },
      lines: this.engine.harts.map((hart) => ({
        msip: line(hart, INTERRUPT.machineSoftware),
        mtip: line(hart, INTERRUPT.machineTimer),
        meip: line(hart, INTERRUPT.machineExternal),
        seip: line(hart, INTERRUPT.supervisorExternal),
        ssip: () => line(hart, INTERRUPT.supervisorSoftware)(true),
      })),
      dma: this.dma,
      added: configuration.devices,
      virtioMmioLegacy: configuration.virtioMmioLegacy,
      backends: host.backends ?? NO_BACKENDS,
      random: this.#random,
      guestError: (text) => host.guestError?.(text),
      transmit: (byte) => host.transmit(byte),
      powerOff: (code) => halt(() => host.powerOff(code)),
      reset: () => halt(() => host.resetRequested()),
    });
    this.#aclint = board.aclint;
    this.uart = board.uart;
    this.pci = board.pci;
    this.interrupts = board.interrupts;
    this.cables = board.cables;
    this.devices = board.devices;
    this.#mapMemory();
    for (const device of this.devices) for (const region of device.regions) this.#addressSpace.add(region);
    this.#state = [
      ...this.devices.map((device) => device.state),
      ...this.engine.harts.map((hart, i) => hartState(hart, this.engine.pmps[i] as Pmp)),
    ];
  }

  /** What stands where in the guest's physical address space, by rising address. */
  get mappings(): readonly Mapping[] {
    return this.#addressSpace.list();
  }

  /** Whether the harts may run and time goes on. */
  get running(): boolean {
    return this.#running;
  }

  /** @param plan what a debugger lets each hart do. */
  start(plan: RunPlan = RUN_ALL): void {
    this.#running = true;
    this.#turns.plan = plan;
    if (plan.time) this.#timebase.start();
    for (const device of this.devices) device.setRunning?.(true);
  }

  /** Harts and time stand still; what the host does for devices may go on (see `drained`). */
  stop(): void {
    this.#running = false;
    this.#timebase.stop();
    for (const device of this.devices) device.setRunning?.(false);
  }

  /**
   * Resolves when nothing that the host does for the devices of a stopped machine is under way any more; rejects then,
   * if a disk could not be flushed.
   */
  async drained(): Promise<void> {
    const ends = await Promise.allSettled(this.devices.map((device) => device.drain?.()));
    for (const end of ends) if (end.status === 'rejected') throw end.reason;
  }

  /** Whether the host does something for a device now. */
  get busy(): boolean {
    return this.devices.some((device) => device.busy === true);
  }

  /** Whether a hart or a device waits for a page that has not arrived. */
  get wantsMemory(): boolean {
    return this.memory.missing.waiting || this.engine.harts.some((hart) => hart.missing !== undefined);
  }

  /**
   * Power-on: images in RAM, devices and harts as the specifications say. RAM that no image covers stays as it is.
   * @throws MissingPage, with nothing changed, if memory that it needs has not arrived.
   */
  reset(): void {
    const boot = this.memory.block('boot');
    const ram = this.memory.block('ram');
    this.memory.missing.require(boot.offset, boot.size);
    const images = decodeBootImages(this.memory.view(boot.offset, boot.size), this.configuration.ram);
    const hostOf = (address: number): number => ram.offset + address - MEMORY_MAP.ram.base;
    for (const { address, memorySize } of images) this.memory.missing.require(hostOf(address), memorySize);
    for (const image of images) {
      const at = hostOf(image.address);
      this.memory.write(at, image.bytes);
      const [rest, restSize] = [at + image.bytes.length, image.memorySize - image.bytes.length];
      if (image.fill === 'random') this.memory.write(rest, this.#random(restSize));
      else this.memory.clear(rest, restSize);
    }
    this.engine.reset(BigInt(MEMORY_MAP.rom.base));
    for (const device of this.devices) device.reset();
    this.#turns.restart();
    this.#halted = false;
  }

  /**
   * Runs the harts in turn until `enough` says so (asked after each round of slices), nothing is left to run, or the
   * machine halts.
   */
  burst(enough: () => boolean): BurstEnd {
    this.#inBurst = true;
    try {
      return this.#burst(enough);
    } finally {
      this.#inBurst = false;
    }
  }

  #burst(enough: () => boolean): BurstEnd {
    const { missing } = this.memory;
    if (missing.any) missing.deliver();
    while (this.#running && !this.#halted) {
      if (!this.#turns.inRound) this.#updateTimers();
      const startNs = this.#host.clock.nowNs();
      const ran = this.#turns.round(
        () => this.#slice(),
        () => this.#halted,
      );
      this.#runTime.add(this.#host.clock.nowNs() - startNs);
      if (this.#halted) return { kind: 'halted' };
      if (ran === 'missing') return { kind: 'idle', timerInNs: undefined };
      const throttledNs = this.throttle.active ? this.throttle.pauseNs : 0;
      if (ran === 'throttled') {
        if (throttledNs > 0) return { kind: 'idle', timerInNs: throttledNs };
        continue;
      }
      if (typeof ran !== 'number') {
        this.stop();
        this.#host.debugStopped(ran);
        return { kind: 'halted' };
      }
      if (ran === 0) {
        // The deadline is taken before the lines are looked at again: one that passes in between is seen there.
        const timerInNs = this.#timerInNs();
        this.#updateTimers();
        // A hart that owed time when its turn came may have paid by now, and does not wait for an interrupt.
        const canRun = (hart: Hart): boolean =>
          (hart.wakes || !hart.waiting) && hart.missing === undefined && !this.throttle.waits(hart.id);
        if (!this.#turns.active.some(canRun)) {
          if (throttledNs > 0) {
            return { kind: 'idle', timerInNs: Math.min(throttledNs, timerInNs ?? throttledNs) };
          }
          if (this.#icount === undefined || timerInNs === undefined) return { kind: 'idle', timerInNs };
          // Virtual time stands still until the host is done.
          if (this.busy || this.wantsMemory) return { kind: 'idle', timerInNs: undefined };
          this.#icount.skip(timerInNs);
        }
      }
      if (enough()) return { kind: 'busy' };
    }
    return { kind: 'halted' };
  }

  /**
   * Runs instructions that can't be fetched, so that the code that runs guests is compiled. To be called while the machine
   * stands still; hart 0 is another then, and nothing else has changed. Does nothing where somebody would notice.
   */
  rehearse(): void {
    const [hart] = this.engine.harts;
    const watchers = [hart?.onTrap, ...Object.values(this.engine.trace)];
    const watched = watchers.some((watcher) => watcher !== undefined);
    if (hart === undefined || this.#running || this.#icount !== undefined || watched) return;
    hart.pc = NOWHERE;
    this.engine.run(hart, REHEARSED, false);
  }

  /** All state but RAM, encoded. */
  saveState(): Uint8Array {
    return encodeSections(this.#state.map((part) => part.save()));
  }

  /**
   * Validates a saved state as a whole; nothing changes before the returned function is called.
   * @throws GodwitError kind "format" naming path, expected, got and offset.
   */
  prepareState(bytes: Uint8Array): () => void {
    const sections = new Map(decodeSections(bytes).map((section) => [section.name, section]));
    const apply = this.#state.map((part) => {
      const section = sections.get(part.name);
      sections.delete(part.name);
      if (section === undefined) {
        throw GodwitError.unexpected('format', 'device state', `a section ${part.name}`, 'none');
      }
      return part.prepare(section);
    });
    const [extra] = sections.keys();
    if (extra !== undefined) {
      throw GodwitError.unexpected(
        'format',
        'device state',
        'only what this machine has',
        `a section ${extra}`,
      );
    }
    return () => {
      for (const swap of apply) swap();
      // RAM has arrived by another way than through the engine's stores.
      this.engine.forgetMemory();
      for (const hart of this.engine.harts) hart.missing = undefined;
      this.#turns.restart();
      this.#halted = false;
    };
  }

  /** Runs the devices' timers that are due, and sets the harts' timer interrupts of both kinds to what they are now. */
  #updateTimers(): void {
    this.#timers.run();
    this.#aclint.update();
    const now = this.#timebase.now();
    for (const hart of this.engine.harts) updateSupervisorTimer(hart, now);
  }

  /** With virtual time, a slice ends where a timer is due: interrupts come at the same instruction in every run. */
  #slice(): number {
    if (this.#icount === undefined) return SLICE;
    const timerInNs = this.#timerInNs();
    return timerInNs === undefined ? SLICE : Math.min(SLICE, this.#icount.instructionsIn(timerInNs));
  }

  #timerInNs(): number | undefined {
    const now = this.#timebase.now();
    let first = this.#aclint.nextDeadline();
    for (const hart of this.engine.harts.filter(hasSupervisorTimer)) {
      const deadline = hart.csr('stimecmp');
      if (deadline > now && (first === undefined || deadline < first)) first = deadline;
    }
    const hartsIn = first === undefined ? undefined : Math.max(Number(first - now) * NS_PER_TICK, 0);
    const devicesIn = this.#timers.nextInNs();
    if (hartsIn === undefined || devicesIn === undefined) return hartsIn ?? devicesIn;
    return Math.min(hartsIn, devicesIn);
  }

  /** A hart's interrupt file at a privilege level, if it has an IMSIC. */
  #interruptFile(hart: number, privilege: number): InterruptFile | undefined {
    const level = privilege === PRIVILEGE.machine ? 'machine' : 'supervisor';
    return this.interrupts.imsics?.[level].file(hart);
  }

  /** What a device other than a hart stores: a message, as a rule. */
  #store32(address: number, value: number): void {
    if (this.#addressSpace.write(address, 4, value)) return;
    const bytes = new Uint8Array(4);
    new DataView(bytes.buffer).setUint32(0, value, true);
    this.dma.attempt(bytes, () => void this.dma.write(address, bytes));
  }

  #mapMemory(): void {
    const [rom, ram] = [this.memory.block('rom'), this.memory.block('ram')];
    this.#addressSpace.add({
      name: 'rom',
      base: MEMORY_MAP.rom.base,
      size: rom.size,
      hostOffset: rom.offset,
      readonly: true,
    });
    this.#addressSpace.add({
      name: 'ram',
      base: MEMORY_MAP.ram.base,
      size: ram.size,
      hostOffset: ram.offset,
      readonly: false,
    });
    for (let page = 0; page < rom.pages; page++) {
      this.memory.setPageFlag(rom.firstPage + page, PAGE_FLAG.readonly, true);
    }
  }

  #bus(): Bus {
    const space = this.#addressSpace;
    return {
      memoryAt(address) {
        const mapping = space.lookup(address);
        return mapping?.kind === 'ram' ? mapping.region : undefined;
      },
      read(address, size) {
        if (size === 8) return space.read64(address);
        const value = space.read(address, size);
        return value === undefined ? undefined : BigInt(value);
      },
      write(address, size, value) {
        return size === 8 ? space.write64(address, value) : space.write(address, size, Number(value));
      },
    };
  }
}
