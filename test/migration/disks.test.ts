import { beforeAll, describe, expect, test } from 'vitest';
import {
  DISK_CHUNK,
  DISK_PIECE,
  DISK_RUN,
  readDiskTable,
  writeDiskTable,
} from '../../src/migration/disk-stream.ts';
import { HEADER_SIZE, OPENING_SIZE } from '../../src/migration/frame.ts';
import { frameName } from '../../src/migration/protocol.ts';
import { FakeDestinationDisk, FakeSourceDisk } from './fake-disks.ts';
import { FakeDestination, FakeSourceVm, giveBack } from './fake-vm.ts';
import { checkSafe, done, migrate, type Outcome, type Setting } from './harness.ts';
import type { Faults } from './memory-transport.ts';
import { VirtualTime } from './virtual-time.ts';

const SIZES = [2 * 1024 * 1024 + 3 * 512, 256 * 1024, 512] as const;

interface Options {
  readonly sizes?: readonly number[];
  readonly incremental?: boolean;
  readonly nsPerWrite?: number;
  /** What the destination has had, from what the source has. */
  readonly base?: (contents: Uint8Array) => Uint8Array;
}

/** A setting in which a guest moves with its disks. */
function withDisks({ sizes = SIZES, base, ...more }: Options = {}) {
  const time = new VirtualTime();
  const disks = sizes.map((size, i) => new FakeSourceDisk(time, `d${i}`, size, i + 7));
  const arriving = disks.map(
    (disk) => new FakeDestinationDisk(time, disk.id, disk.size, base?.(disk.contents)),
  );
  const source = new FakeSourceVm(time, { disks, ...more });
  const destination = new FakeDestination(arriving);
  return { time, source, destination };
}

function frames(bytes: Uint8Array): { name: string; at: number; length: number }[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const found = [];
  for (let at = OPENING_SIZE; at < bytes.length; ) {
    const length = view.getUint32(at + 8, true);
    found.push({ name: String(frameName(view.getUint16(at, true))), at, length });
    at += HEADER_SIZE + length;
  }
  return found;
}

const sent = ({ link }: Outcome) => frames(new Uint8Array(Buffer.concat(link.forward.log)));

function succeeded(outcome: Outcome): void {
  expect(outcome.sent).toBeUndefined();
  expect(outcome.received).toBeUndefined();
  checkSafe(outcome);
  expect(outcome.destination.running).toBe(true);
}

describe('disks that travel', () => {
  test.each([1, 2, 3, 4, 5])(
    'are equal at the hand-over, and on disk, while the guest writes (%i ms)',
    async (ms) => {
      const outcome = await migrate(withDisks({ nsPerWrite: ms * 1e6 }));
      succeeded(outcome);
      const info = outcome.sender.info();
      const total = SIZES.reduce((a, b) => a + b);
      expect(info.disk).toMatchObject({ total, remaining: 0 });
      expect(info.disk?.transferred).toBeGreaterThan(total / 16);
      done(outcome);
    },
  );

  test('of a guest that its user has paused', async () => {
    const setting = withDisks();
    setting.source.paused = true;
    setting.source.guest.running = false;
    const outcome = await migrate(setting);
    expect(outcome.sent).toBeUndefined();
    checkSafe(outcome);
    done(outcome);
  });

  test('do not wait for RAM, nor RAM for them', async () => {
    const outcome = await migrate({
      ...withDisks({ sizes: [2 * 1024 * 1024], nsPerWrite: 1e9 }),
      parameters: { maxBandwidth: 200e3, downtimeLimitMs: 300 },
    });
    succeeded(outcome);
    const first = sent(outcome).filter(({ name }) => name === 'ram' || name === 'disk' || name === 'pass');
    const pass = first
      .slice(
        0,
        first.findIndex(({ name }) => name === 'pass'),
      )
      .map(({ name }) => name);
    expect(pass.indexOf('disk')).toBeLessThan(pass.lastIndexOf('ram'));
    expect(pass.indexOf('ram')).toBeLessThan(pass.lastIndexOf('disk'));
    done(outcome);
  });

  test('cost nothing where they are empty', async () => {
    const setting = withDisks({ sizes: [16 * 1024 * 1024], nsPerWrite: 1e15 });
    const [disk] = setting.source.fakeDisks as [FakeSourceDisk];
    disk.contents.fill(0, 100_000);
    const outcome = await migrate(setting);
    succeeded(outcome);
    expect(disk.reads).toBeLessThan(3);
    expect(outcome.sender.info().disk?.transferred).toBeLessThan(100_000);
    expect(setting.destination.disks[0]?.written).toBeLessThan(100_000);
    done(outcome);
  });

  test('whose zeros take no space are not written there', async () => {
    const setting = withDisks({ sizes: [1024 * 1024], nsPerWrite: 1e15 });
    const [disk] = setting.source.fakeDisks as [FakeSourceDisk];
    disk.contents.fill(0);
    for (let chunk = 0; chunk < 16; chunk += 3) disk.contents[chunk * DISK_CHUNK + 5000] = 1;
    const outcome = await migrate(setting);
    succeeded(outcome);
    expect(setting.destination.disks[0]?.written).toBe(6 * 4096);
    done(outcome);
  });

  test('are not sent where the destination has them already, but compared', async () => {
    const setting = withDisks({
      incremental: true,
      sizes: [4 * 1024 * 1024 + 512],
      nsPerWrite: 1e15,
      base(contents) {
        const old = contents.slice();
        const at = contents.findIndex((byte, i) => i > DISK_PIECE * 3 && byte !== 0);
        old[at] = (old[at] ?? 0) ^ 1;
        return old;
      },
    });
    const outcome = await migrate(setting);
    succeeded(outcome);
    const [disk] = setting.destination.disks as [FakeDestinationDisk];
    expect(disk.copied).toBeGreaterThan(2 * 1024 * 1024);
    expect(disk.written).toBeGreaterThan(0);
    expect(disk.written).toBeLessThanOrEqual(DISK_PIECE);
    expect(sent(outcome)[0]?.name).toBe('hello');
    done(outcome);
  });

  test.each([1, 3])('are right however little of the base is', async (ms) => {
    const bases: ((contents: Uint8Array) => Uint8Array)[] = [
      (contents) => new Uint8Array(contents.length),
      (contents) => contents.slice().fill(0xa5),
      (contents) => contents.slice().fill(0, 0, contents.length >> 1),
    ];
    for (const base of bases) {
      const outcome = await migrate(withDisks({ incremental: true, base, nsPerWrite: ms * 1e6 }));
      succeeded(outcome);
      done(outcome);
    }
  });

  test('that are written faster than the link carries arrive: the guest is held down', async () => {
    const setting = withDisks({ sizes: [2 * 1024 * 1024], nsPerWrite: 1e6 });
    const outcome = await migrate({ ...setting, link: { rate: 20e6 } });
    succeeded(outcome);
    expect(setting.source.writeLimit).toBeGreaterThan(0);
    expect(setting.source.writeLimit).toBeLessThanOrEqual(10e6);
    expect(outcome.sender.info().disk?.['write-limit']).toBe(setting.source.writeLimit);
    done(outcome);
  });

  test('are not announced by a guest that has none with it', async () => {
    const outcome = await migrate();
    succeeded(outcome);
    expect(sent(outcome).map(({ name }) => name)).not.toContain('disks');
    expect(outcome.sender.info()).not.toHaveProperty('disk');
    done(outcome);
  });
});

describe('what goes wrong with disks', () => {
  async function fails(setting: Setting & { source: FakeSourceVm }, message: RegExp): Promise<void> {
    const outcome = await migrate(setting);
    checkSafe(outcome);
    expect(outcome.sent?.message).toMatch(message);
    expect(outcome.source.running).toBe(true);
    giveBack(outcome.destination.memory);
    // And then to a destination that is well.
    const arriving = setting.source.fakeDisks.map(
      ({ id, size }) => new FakeDestinationDisk(outcome.time, id, size),
    );
    for (const disk of setting.source.fakeDisks) disk.failAtRead = Infinity;
    const again = await migrate({
      source: setting.source,
      time: outcome.time,
      destination: new FakeDestination(arriving),
    });
    succeeded(again);
    done(again);
  }

  test('a destination with other disks refuses before anything moves', async () => {
    const setting = withDisks();
    const [first] = setting.destination.disks as [FakeDestinationDisk];
    const destination = new FakeDestination([first]);
    await fails({ ...setting, destination }, /refuses: disks: expected d0 \d+, got d0 \d+, d1/);
    expect(first.written).toBe(0);
  });

  test('a destination that is full', async () => {
    const setting = withDisks();
    const [first] = setting.destination.disks as [FakeDestinationDisk];
    first.room = 100_000;
    await fails(setting, /the destination failed: No space left on device/);
  });

  test('a source that can not be read, at any read', async () => {
    for (const read of [1, 2, 5, 12]) {
      const setting = withDisks();
      (setting.source.fakeDisks[0] as FakeSourceDisk).failAtRead = read;
      await fails(setting, /drive 'd0' can't be read/);
    }
  });

  test('a cancel at any pass', async () => {
    for (const pass of [1, 2]) {
      const setting = withDisks();
      const outcome = await migrate({
        ...setting,
        prepare: ({ sender, link }) => {
          const write = link.forward.write.bind(link.forward);
          let disks = 0;
          link.forward.write = (bytes) => {
            if (frameName(new DataView(bytes.buffer, bytes.byteOffset).getUint16(0, true)) === 'disk') {
              if (++disks === pass * 4) sender.cancel();
            }
            return write(bytes);
          };
        },
      });
      checkSafe(outcome);
      expect(outcome.statuses.at(-1)).toBe('cancelled');
      expect(outcome.source.running).toBe(true);
      done(outcome);
    }
  });
});

describe('a line that breaks while disks travel', () => {
  let whole: { forward: Uint8Array; back: Uint8Array };
  const setting = (): ReturnType<typeof withDisks> =>
    withDisks({
      sizes: [1024 * 1024 + 512],
      incremental: true,
      base: (contents) => contents.slice().fill(0, 300_000),
    });

  beforeAll(async () => {
    const outcome = await migrate(setting());
    succeeded(outcome);
    const joined = (pieces: Uint8Array[]): Uint8Array => new Uint8Array(Buffer.concat(pieces));
    whole = { forward: joined(outcome.link.forward.log), back: joined(outcome.link.back.log) };
    done(outcome);
    const names = (direction: 'forward' | 'back') =>
      new Set(frames(whole[direction]).map(({ name }) => name));
    expect([...names('forward')]).toEqual(expect.arrayContaining(['disks', 'disk', 'ram', 'pass', 'go']));
    expect([...names('back')]).toContain('diskDigests');
  });

  const KINDS: Record<string, (at: number, length: number) => Faults> = {
    'cut before': (at) => ({ cutAt: at, cutAs: 'reset' }),
    'cut in the middle of': (at, length) => ({ cutAt: at + HEADER_SIZE + (length >> 1), cutAs: 'end' }),
    'flipped in': (at, length) => ({
      alter(bytes, offset) {
        const i = at + HEADER_SIZE + (length >> 1) - offset;
        if (i >= 0 && i < bytes.length) bytes[i] = (bytes[i] ?? 0) ^ 4;
      },
    }),
    'stalled in': (at, length) => ({ stallAt: at + HEADER_SIZE + (length >> 1) }),
  };

  test.each(
    (['forward', 'back'] as const).flatMap((direction) =>
      Object.keys(KINDS).map((kind) => [direction, kind] as const),
    ),
  )(
    '%s, %s every frame: one side has the guest, and its disk',
    { timeout: 120_000 },
    async (direction, kind) => {
      for (const { name, at, length } of frames(whole[direction])) {
        const faults = (KINDS[kind] as (at: number, length: number) => Faults)(at, length);
        const outcome = await migrate({
          ...setting(),
          link: direction === 'forward' ? { forward: faults } : { back: faults },
        });
        try {
          checkSafe(outcome);
          if (outcome.destination.started === undefined && !outcome.source.stopped) {
            expect(outcome.source.running).toBe(true);
          }
          done(outcome);
        } catch (error) {
          throw new Error(`${kind} ${name} at ${at}: ${(error as Error).message}`, { cause: error });
        }
      }
    },
  );
});

describe('the table of a disk frame', () => {
  const SIZE = 10 * DISK_CHUNK + 512;
  const expectations = { pass: 2, base: false, sizes: [SIZE, 4096] };

  function payload(
    runs: readonly { block: number; count: number; kind: number }[],
    { pass = 2, disk = 0, data = 0, cut = 0 } = {},
  ): Uint8Array {
    const bytes = new Uint8Array(4096 + data * 4096);
    const table = { pass, disk, runs } as Parameters<typeof writeDiskTable>[2];
    const length = writeDiskTable(new DataView(bytes.buffer), 4096, table);
    return bytes.subarray(4096 - length, bytes.length - cut);
  }
  const { zero, data, base } = DISK_RUN;

  test('is read back as it was written', () => {
    const runs = [
      { block: 16, count: 3, kind: zero },
      { block: 19, count: 2, kind: data },
      { block: 21, count: 11, kind: zero },
      { block: 160, count: 1, kind: data },
    ];
    expect(readDiskTable(payload(runs, { data: 3 }), expectations, 0)).toMatchObject({
      pass: 2,
      disk: 0,
      runs,
    });
  });

  test.each<[string, Uint8Array, RegExp]>([
    [
      'of another pass',
      payload([{ block: 0, count: 16, kind: zero }], { pass: 1 }),
      /pass: expected 2, got 1/,
    ],
    [
      'of no disk',
      payload([{ block: 0, count: 16, kind: zero }], { disk: 2 }),
      /disk: expected 0 to 1, got 2/,
    ],
    ['without runs', payload([]), /runs: expected 1 to 128/],
    ['beyond the end', payload([{ block: 160, count: 2, kind: zero }]), /count: expected 1 to 1, got 2/],
    ['behind the end', payload([{ block: 161, count: 1, kind: zero }]), /block: expected 0 to 160, got 161/],
    ['far behind the end', payload([{ block: 2 ** 50, count: 1, kind: zero }]), /block: expected 0 to 160/],
    ['of nothing', payload([{ block: 0, count: 0, kind: zero }]), /count: expected 1 to 161, got 0/],
    ['of half a chunk', payload([{ block: 0, count: 8, kind: zero }]), /whole chunks, got 8/],
    ['that begins in a chunk', payload([{ block: 8, count: 8, kind: zero }]), /whole chunks, got 8/],
    [
      'with a gap in a chunk',
      payload([
        { block: 0, count: 8, kind: zero },
        { block: 16, count: 16, kind: zero },
      ]),
      /whole chunks, got 16/,
    ],
    [
      'that goes back',
      payload([
        { block: 16, count: 16, kind: zero },
        { block: 0, count: 16, kind: zero },
      ]),
      /run 1, block: expected 32 to 160, got 0/,
    ],
    [
      'of an unknown kind',
      payload([{ block: 0, count: 16, kind: 3 }]),
      /kind: expected zero \(0\) or data \(1\), got 3/,
    ],
    [
      'of a base that nobody has',
      payload([{ block: 0, count: 16, kind: base }]),
      /kind: expected zero \(0\) or data/,
    ],
    [
      'with bytes too many',
      payload([{ block: 0, count: 16, kind: zero }], { data: 1 }),
      /length: expected 32 bytes/,
    ],
    [
      'with bytes too few',
      payload([{ block: 0, count: 16, kind: data }], { data: 16, cut: 1 }),
      /length: expected/,
    ],
    ['of a header alone', new Uint8Array(15), /length: expected at least 16 bytes, got 15/],
  ])('%s is refused', (_, bytes, message) => {
    expect(() => readDiskTable(bytes, expectations, 5)).toThrow(message);
  });
});
