/** What every device guarantees, whatever it does. A new device is one more entry in DEVICES. */
import { expect, describe as suite, test } from 'vitest';
import { ManualClock } from '../../src/clock.ts';
import { Aclint } from '../../src/devices/aclint.ts';
import { AplicDomain } from '../../src/devices/aplic.ts';
import type { Device } from '../../src/devices/device.ts';
import { type DmaMemory, NO_MEMORY } from '../../src/devices/dma.ts';
import { E1000 } from '../../src/devices/e1000/e1000.ts';
import { writeFdt } from '../../src/devices/fdt.ts';
import { Finisher } from '../../src/devices/finisher.ts';
import { GoldfishRtc } from '../../src/devices/goldfish-rtc.ts';
import { Imsic } from '../../src/devices/imsic.ts';
import { NetworkCable } from '../../src/devices/network.ts';
import { PciBus } from '../../src/devices/pci/bus.ts';
import { PciHostBridge } from '../../src/devices/pci/host-bridge.ts';
import { Plic } from '../../src/devices/plic.ts';
import { Sswi } from '../../src/devices/sswi.ts';
import { ClockTimebase } from '../../src/devices/timebase.ts';
import { TimerQueue } from '../../src/devices/timers.ts';
import { Uart16550 } from '../../src/devices/uart16550.ts';
import { virtioMmio } from '../../src/devices/virtio/mmio.ts';
import { virtioRng } from '../../src/devices/virtio/rng.ts';
import { GodwitError } from '../../src/error.ts';
import { AddressSpace } from '../../src/memory/address-space.ts';
import { decodeSections, encodeSections } from '../../src/vmstate/codec.ts';
import type { Description } from '../../src/vmstate/description.ts';
import type { FieldDescription } from '../../src/vmstate/fields.ts';
import type { Migratable, SavedSection } from '../../src/vmstate/migratable.ts';
import { FlatMemory } from '../support/flat-memory.ts';
import { addRequest, BlkBench, REQUEST } from '../support/virtio-blk.ts';
import { ENTRIES, REG, VirtioDriver } from '../support/virtio-driver.ts';
import { COMMON, PciBench } from '../support/virtio-pci.ts';

interface Specimen {
  readonly device: Device;
  /** Fields that a reset leaves as they are: a battery keeps them. */
  readonly keeps?: readonly string[];
  /** Brings every field away from its reset value. */
  change(): void;
}

const quiet = (): void => {};

const DEVICES: Readonly<Record<string, () => Specimen>> = {
  uart16550: () => {
    const device = new Uart16550({
      base: 0x1000,
      transmit: quiet,
      interrupt: quiet,
      interruptProperties: {},
    });
    return {
      device,
      change() {
        const handler = handlerOf(device);
        for (const [offset, value] of [
          [3, 0x80],
          [0, 0x11],
          [1, 0x22],
          [3, 0x1b],
          [1, 0x07],
          [2, 0xc1],
          [4, 0x13],
          [7, 0x44],
        ] as const) {
          handler.write(offset, 1, value);
        }
        // Looped back: 16 bytes fill the FIFO, one overruns it, and what is typed waits.
        for (let byte = 0; byte <= 16; byte++) handler.write(0, 1, byte + 1);
        device.receive(Uint8Array.of(7, 8, 9));
      },
    };
  },
  aclint: () => {
    const timebase = new ClockTimebase(new ManualClock());
    const lines = [0, 1, 2].map(() => ({ msip: quiet, mtip: quiet }));
    const device = new Aclint({ base: 0x1000, lines, timebase });
    return {
      device,
      change() {
        const [mswi, mtimer] = device.regions;
        for (const hart of lines.keys()) {
          mswi?.handler.write(4 * hart, 4, 1);
          mtimer?.handler.write64?.(8 * hart, 2n ** 63n + BigInt(hart));
        }
        timebase.set(2n ** 40n);
      },
    };
  },
  plic: () => {
    const device = new Plic({ base: 0x1000, lines: [0, 1].map(() => ({ meip: quiet, seip: quiet })) });
    return {
      device,
      change() {
        const handler = handlerOf(device);
        const write = (offset: number, value: number): void => handler.write(offset, 4, value);
        for (const source of [10, 11, 96]) write(4 * source, 3);
        for (const word of [0, 3]) write(0x2080 + 4 * word, 0xffff_ffff);
        for (const context of [0, 3]) write(0x20_0000 + 0x1000 * context, 2);
        for (const source of [10, 96]) device.line(source)(true);
        handler.read(0x20_1004, 4);
      },
    };
  },
  gpex: () => {
    const device = new PciHostBridge({
      ecam: { base: 0x10_0000, size: 0x10_0000 },
      pio: { base: 0x1000, size: 0x1000 },
      mmio: { base: 0x2000, size: 0x1000 },
      highMmio: { base: 0x1_0000_0000, size: 0x1000 },
      irq: 32,
      interrupts: { line: () => quiet, label: 'cpu0_intc', specifier: (source) => [source] },
      dma: NO_MEMORY,
    });
    return {
      device,
      change() {
        const handler = handlerOf(device);
        for (const offset of [0x04, 0x0c, 0x10, 0x3c]) handler.write(offset, 4, 0xffff_ffff);
      },
    };
  },
  'aplic.m': () => {
    const send = quiet;
    const device = new AplicDomain({
      ...{ level: 'machine', base: 0x1000, lines: [quiet, quiet] },
      msi: { send, parent: 'msis' },
    });
    return {
      device,
      change() {
        const handler = handlerOf(device);
        const write = (offset: number, value: number): void => handler.write(offset, 4, value);
        for (const source of [10, 96]) {
          write(4 * source, 6);
          write(0x3000 + 4 * source, 0x4_0011);
          write(0x1edc, source);
          device.input(source, true);
        }
        write(0x3000, 0x4_0012);
        write(0x1bc0, 0x24000);
        write(0x1bc8, 0x28000);
        write(0x1bcc, 0x10_0001);
        write(0x1bc4, 0x8000_3000);
        // The messages go only now; a level that is asserted after is pending no more.
        write(0, 0x100);
        device.input(11, true);
        write(4 * 11, 4);
        write(0x1cdc, 11);
      },
    };
  },
  'aplic.s': () => {
    const device = new AplicDomain({ level: 'supervisor', base: 0x1000, lines: [quiet, quiet] });
    return {
      device,
      change() {
        const handler = handlerOf(device);
        const write = (offset: number, value: number): void => handler.write(offset, 4, value);
        write(0, 0x100);
        for (const source of [10, 96]) {
          write(4 * source, 6);
          write(0x3000 + 4 * source, 0x4_0003);
          write(0x1edc, source);
          device.input(source, true);
        }
        for (const register of [0, 4, 8]) for (const hart of [0, 1]) write(0x4000 + 32 * hart + register, 1);
      },
    };
  },
  'imsic.m': () => imsic('machine'),
  'imsic.s': () => imsic('supervisor'),
  'virtio-mmio-bus.3': () => ({
    device: virtioMmio({ ...TRANSPORT, index: 3, legacy: true, dma: NO_MEMORY }),
    change: quiet,
  }),
  'virtio-mmio-bus.1/virtio-rng': () => {
    const memory = new FlatMemory(0x1_0000);
    const device = virtioMmio({
      ...{ ...TRANSPORT, index: 1, legacy: true, dma: memory },
      plugged: { function: virtioRng((bytes) => new Uint8Array(bytes)), properties: { event_idx: true } },
    });
    return { device, change: () => breakQueue(new VirtioDriver(device, memory)) };
  },
  'virtio-mmio-bus.2/virtio-blk': () => {
    const bench = new BlkBench({ properties: { 'num-queues': 2 } });
    return {
      device: bench.device,
      change() {
        // A request is under way, the cache mode is another, and then the driver falsifies its rings.
        bench.disk.held = true;
        bench.driver.start(undefined, 2);
        bench.driver.handler.write(REG.config + 32, 1, 0);
        bench.request(REQUEST.in, 5, 512, 1);
        bench.driver.notify(1);
        breakQueue(bench.driver, false);
      },
    };
  },
  'goldfish-rtc': () => {
    const now = 2n ** 60n;
    const device = new GoldfishRtc({
      base: 0x1000,
      follows: { now: () => now, shared: true },
      start: now,
      timers: new TimerQueue(new ManualClock(), quiet),
      interrupt: quiet,
      interruptProperties: {},
    });
    return {
      device,
      keeps: ['time', 'ahead'],
      change() {
        const handler = handlerOf(device);
        const write = (offset: number, value: number): void => handler.write(offset, 4, value);
        write(0, 1);
        write(4, 2);
        handler.read(0, 4);
        for (const offset of [0x0c, 0x08, 0x10]) write(offset, 1);
        // It rang at once; another one is set for later.
        write(0x0c, 3);
        write(0x08, 4);
      },
    };
  },
  'e1000.0': () => {
    const clock = new ManualClock();
    const timers = new TimerQueue(clock, quiet);
    // Descriptors alternate: a context, and the first part of a frame.
    const descriptor = (address: number): number[] =>
      address & 0x10 ? [1, 0, 0x2010_0004, 0x1234_0300] : [1, 1, 0x2000_0000, 1];
    const dma: DmaMemory = {
      ...NO_MEMORY,
      read: (_, length) => new Uint8Array(length).fill(9),
      readInto(address, target) {
        target.set(new Uint8Array(Uint32Array.from(descriptor(address)).buffer));
        return true;
      },
    };
    const bus = new PciBus({ interrupts: [], dma, msi: quiet });
    const mac = Uint8Array.of(2, 0, 0, 0, 0, 1);
    const device = new E1000({ name: 'e1000.0', mac, timers, cable: new NetworkCable() });
    bus.attach(device.pci, { slot: 1, function: 0 });
    return {
      device,
      change() {
        const { config } = device.pci;
        for (const offset of [0x3c, 0x0c]) config.write(offset, 4, 0xffff_ffff);
        config.write(0x10, 4, 0x4000_0000);
        config.write(0x14, 4, 0x1000);
        config.write(0x04, 2, 0x0507);
        const mmio = bus.window('memory', 0x4000_0000);
        bus.window('io', 0x1000).write(0, 4, 0xc0);
        // Delays, an interval, a line that is up, a negotiation, a word that is being clocked out of the EEPROM.
        for (const [register, value] of [
          [0x00c4, 0xffff],
          [0x00d0, 0xffff_ffff],
          [0x00c8, 0x80],
          [0x0100, 0x2802_8002],
          [0x2820, 0xffff],
          [0x282c, 0xffff],
          [0x0010, 0x42],
          [0x0010, 0x47],
          [0x0014, 0x301],
          [0x0020, 0x0430_1234],
          [0x0020, 0x0420_1340],
          [0x2808, 0x1000],
          [0x2818, 5],
          [0x3808, 0x1000],
          [0x0400, 2],
          [0x3818, 5],
          [0x5404, 0x8000_ffff],
          [0x5200, 1],
        ] as const) {
          mmio.write(register, 4, value);
        }
      },
    };
  },
  'virtio-blk-pci@01.0': () => {
    const bench = new PciBench({ queues: 2 });
    return {
      device: bench.device,
      change() {
        bench.disk.held = true;
        bench.start(2);
        // Messages are enabled, and masked: the failure to come is pending.
        bench.useMessages(2);
        bench.config.write(bench.msixCapability() + 2, 2, 0xc000);
        bench.config.write(0x3c, 1, 7);
        for (const [offset, value] of [
          [4, 4],
          [8, 0x1000],
          [12, 4],
        ] as const) {
          bench.config.write(bench.structure(5).at + offset, 4, value);
        }
        bench.space.write(bench.structure(4).offset + 32, 1, 0);
        addRequest(bench, 0, REQUEST.in, 5, 512, 1);
        bench.notify(1);
        bench.put16(bench.avail() + 2, ENTRIES + 1);
        bench.notify(0);
        bench.set(COMMON.queueSelect, 2, 1);
      },
    };
  },
  'aclint-sswi': () => ({
    device: new Sswi({ base: 0x1000, lines: [0, 1].map(() => ({ ssip: quiet })) }),
    change: quiet,
  }),
  finisher: () => ({
    device: new Finisher({ base: 0x1000, powerOff: quiet, reset: quiet }),
    change: quiet,
  }),
};

const TRANSPORT = { base: 0x1000, interrupt: quiet, interruptProperties: {}, guestError: quiet };

/** Sets the device up, unless that is done, and moves an index by more entries than there are. */
function breakQueue(driver: VirtioDriver, setUp = true): void {
  if (setUp) driver.start();
  for (const [register, value] of [
    [REG.featuresSel, 1],
    [REG.driverFeaturesSel, 1],
    [REG.queueSel, 1],
  ] as const) {
    driver.write(register, value);
  }
  driver.put16(driver.avail() + 2, ENTRIES + 1);
  driver.notify();
}

function imsic(level: 'machine' | 'supervisor'): Specimen {
  const device = new Imsic({ level, base: 0x1000, lines: [quiet, quiet] });
  return {
    device,
    change() {
      for (const hart of [0, 1]) {
        const file = device.file(hart);
        for (const register of [0x70, 0x72, 0xc0, 0xc6]) file.write(register, 0xffff_ffff_ffff_ffffn);
        for (const identity of [3, 255]) handlerOf(device).write(0x1000 * hart, 4, identity);
      }
    },
  };
}

function handlerOf(device: Device) {
  const [region] = device.regions;
  if (region === undefined) throw new Error('a device without a region');
  return region.handler;
}

/** The description that a device's state was made with. */
function descriptionOf(state: Migratable): Description {
  return (state as Migratable & { readonly description: Description }).description;
}

function changedSection(make: () => Specimen): SavedSection {
  const specimen = make();
  specimen.change();
  return specimen.device.state.save();
}

/** Checks that the section is refused at this path and that the device is what it was. */
function expectRefusal(make: () => Specimen, section: unknown, path: string): void {
  const { device, change } = make();
  change();
  const before = device.state.save();
  let refusal: unknown;
  try {
    device.state.prepare(section);
  } catch (error) {
    refusal = error;
  }
  expect(refusal, `${path} was taken`).toBeInstanceOf(GodwitError);
  const { kind, details } = refusal as GodwitError;
  expect(kind).toBe('format');
  expect(details.where).toBe(path);
  expect(details.expected).toBeTruthy();
  expect(details.got).toBeTruthy();
  expect(device.state.save()).toEqual(before);
}

/** Values that a field of this type must refuse, each with the path below the field where it must say so. */
function mutations(field: FieldDescription, value: unknown): [unknown, string][] {
  const never: [unknown, string][] = [undefined, null, {}, 'no such value', Number.NaN].map((v) => [v, '']);
  switch (field.type) {
    case 'u8':
    case 'u16':
    case 'u32': {
      const beyond = 2 ** Number(field.type.slice(1));
      return [...never, ...[-1, 0.5, beyond, 1n].map((v): [unknown, string] => [v, ''])];
    }
    case 'u64':
      return [...never, ...[-1n, 1n << 64n, 1].map((v): [unknown, string] => [v, ''])];
    case 'bool':
      return [...never, [1, '']];
    case 'arrayUpTo': {
      const values = value as unknown[];
      const tooMany = new Array<unknown>(field.max + 1).fill(values[0]);
      return [
        ...never,
        [tooMany, ''],
        ...mutations(field.of, values[0]).map(([bad, path]): [unknown, string] => [
          [...values, bad],
          `[${values.length}]${path}`,
        ]),
      ];
    }
    case 'bytesUpTo':
      return [...never, [new Uint8Array(field.max + 1), ''], [[1], '']];
    case 'array': {
      const values = value as unknown[];
      return [
        ...never,
        [values.slice(1), ''],
        [[...values, values[0]], ''],
        ...mutations(field.of, values[0]).map(([bad, path]): [unknown, string] => [
          [...values.slice(0, -1), bad],
          `[${values.length - 1}]${path}`,
        ]),
      ];
    }
    case 'struct': {
      const values = value as Record<string, unknown>;
      const outside: [unknown, string][] = [undefined, null, [], 'no such value', 1].map((v) => [v, '']);
      const inside = Object.entries(field.fields).flatMap(([name, of]) =>
        mutations(of, values[name]).map(([bad, path]): [unknown, string] => [
          { ...values, [name]: bad },
          `.${name}${path}`,
        ]),
      );
      return [...outside, [{ ...values, nosuch: 1 }, '.nosuch'], ...inside];
    }
    default:
      throw new Error(`say here how to mutate a ${field.type}`);
  }
}

suite.each(Object.entries(DEVICES))('%s', (name, make) => {
  test('is saved under its own name', () => {
    const { device } = make();
    expect(device.name).toBe(name);
    expect(device.state.name).toBe(name);
    expect(device.state.save().name).toBe(name);
  });

  test('a change moves every field, and a reset brings every field back', () => {
    const { device, change, keeps = [] } = make();
    const fresh = device.state.save();
    change();
    const changed = device.state.save();
    for (const field of Object.keys(fresh.fields)) {
      expect(changed.fields[field], field).not.toEqual(fresh.fields[field]);
    }
    device.reset();
    const kept = Object.fromEntries(keeps.map((field) => [field, changed.fields[field]]));
    expect(device.state.save()).toEqual({ ...fresh, fields: { ...fresh.fields, ...kept } });
  });

  test('save, change, restore is equal, through the codec and in another instance', () => {
    const section = changedSection(make);
    const [decoded] = decodeSections(encodeSections([section]));
    const { device } = make();
    const before = device.state.save();
    const swap = device.state.prepare(decoded);
    expect(device.state.save()).toEqual(before);
    swap();
    expect(device.state.save()).toEqual(section);
    if (make().keeps !== undefined) return;
    device.reset();
    expect(device.state.save()).toEqual(before);
  });

  test('a snapshot does not change when the device does', () => {
    const { device, change } = make();
    const section = device.state.save();
    const copy = encodeSections([section]);
    change();
    expect(encodeSections([section])).toEqual(copy);
  });

  test('a state from the future, from the past, of another name, or with anything unknown is refused', () => {
    const section = changedSection(make);
    expectRefusal(make, { ...section, version: section.version + 1 }, name);
    expectRefusal(make, { ...section, version: descriptionOf(make().device.state).minimumVersion - 1 }, name);
    expectRefusal(make, { ...section, name: `${name}x` }, `${name}.name`);
    expectRefusal(make, { ...section, fields: { ...section.fields, nosuch: 1 } }, `${name}.nosuch`);
    expectRefusal(make, { ...section, nosuch: 1 }, `${name}.nosuch`);
    const subsections = { nosuch: { name: 'nosuch', version: 1, fields: {} } };
    expectRefusal(make, { ...section, subsections }, `${name}.nosuch`);
  });

  test('a state without any one of its fields is refused', () => {
    const section = changedSection(make);
    for (const field of Object.keys(section.fields)) {
      const { [field]: _, ...fields } = section.fields;
      expectRefusal(make, { ...section, fields }, `${name}.${field}`);
    }
  });

  test('a state with any one field of another type or out of range is refused', () => {
    const section = changedSection(make);
    for (const [field, description] of Object.entries(descriptionOf(make().device.state).fields)) {
      for (const [value, below] of mutations(description, section.fields[field])) {
        const fields = { ...section.fields, [field]: value };
        expectRefusal(make, { ...section, fields }, `${name}.${field}${below}`);
      }
    }
  });

  test('a state that was cut at any byte is refused', () => {
    const bytes = encodeSections([changedSection(make)]);
    for (let length = 0; length < bytes.length; length++) {
      expect(() => decodeSections(bytes.subarray(0, length))).toThrow(
        expect.objectContaining({ kind: 'format' }),
      );
    }
  });

  test('its regions stand in one address space and answer any access without a host error', () => {
    const { device, change } = make();
    const space = new AddressSpace();
    for (const region of device.regions) space.add(region);
    change();
    for (const { base, size } of device.regions) {
      for (const offset of [...Array(Math.min(size, 64)).keys(), size - 8, size - 1]) {
        for (const width of [1, 2, 4] as const) {
          const whole = offset + width <= size;
          const value = space.read(base + offset, width);
          if (whole) expect(value).toBe(((value as number) >>> 0) % 2 ** (8 * width));
          for (const written of [0, 2 ** (8 * width) - 1]) {
            if (whole) expect(space.write(base + offset, width, written)).toBe(true);
          }
        }
        if (offset + 8 <= size) {
          const wide = space.read64(base + offset) as bigint;
          expect(wide).toBe(BigInt.asUintN(64, wide));
          expect(space.write64(base + offset, 2n ** 64n - 1n)).toBe(true);
        }
      }
    }
    // Whatever the guest did, the state is still one that can be saved and restored.
    make().device.state.prepare(device.state.save())();
  });

  test('its nodes stand in a device tree', () => {
    const { device } = make();
    const labels = ['cpu0_intc', 'cpu1_intc', 'cpu2_intc', 'msis'];
    const harts = labels.map((label) => ({ name: label.replace('_', '-'), label, properties: {} }));
    const tree = { name: '', properties: {}, children: [...harts, ...device.fdt()] };
    expect(writeFdt(tree).length).toBeGreaterThan(0);
  });
});
