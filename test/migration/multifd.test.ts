import { deflateSync } from 'node:zlib';
import { beforeAll, describe, expect, test } from 'vitest';
import { unpackRam } from '../../src/host/ram-compression.ts';
import { FrameWriter } from '../../src/migration/frame-writer.ts';
import { Kernels } from '../../src/migration/kernels.ts';
import { encodeMessage, type ForwardFrame } from '../../src/migration/protocol.ts';
import type { Compression } from '../../src/migration/sender-channels.ts';
import { FakeDestination, giveBack } from './fake-vm.ts';
import { checkSafe, done, migrate, type Outcome } from './harness.ts';
import { type Faults, Link } from './memory-transport.ts';
import { flipAt, type Place, placesInside } from './places.ts';

const zlib: Compression = {
  frame: 'zlibRam',
  compress: (payload) => Promise.resolve(deflateSync(payload, { level: 1 })),
};

/** A second migration, to a fresh destination: what was left behind must not harm it. */
async function again({ source, time, destination }: Outcome): Promise<void> {
  giveBack(destination.memory);
  source.guest.running = true;
  source.stopped = false;
  const second = await migrate({ source, time, channels: [{}, {}] });
  expect(second.sent).toBeUndefined();
  checkSafe(second);
  done(second);
}

describe.each([1, 2, 5])('%i channels', (count) => {
  const channels = Array.from({ length: count }, () => ({}));

  test('a busy guest moves, memory over all of them and nothing of it over the main connection', async () => {
    const outcome = await migrate({ channels });
    expect(outcome.sent).toBeUndefined();
    expect(outcome.received).toBeUndefined();
    checkSafe(outcome);
    expect(outcome.destination.running).toBe(true);
    const { ram, passes } = outcome.sender.info();
    expect(passes?.length).toBeGreaterThan(2);
    expect(ram?.['multifd-bytes']).toBeGreaterThan(50 * 4096);
    const main = placesInside(outcome.link.forward.log).map(({ what }) => what);
    expect(main).not.toContain('before ram');
    for (const { forward } of outcome.channels) {
      const names = placesInside(forward.log).flatMap(({ what }) => /^before (.*)/.exec(what)?.[1] ?? []);
      expect(names.slice(0, 2)).toEqual(['anything', 'channel']);
      expect(names.filter((name) => name === 'sync')).toHaveLength(passes?.length ?? 0);
    }
    done(outcome);
  });

  test('compressed as well', async () => {
    const destination = Object.assign(new FakeDestination(), { unpackRam });
    const outcome = await migrate({ channels, destination, compression: zlib });
    expect(outcome.sent).toBeUndefined();
    expect(outcome.received).toBeUndefined();
    checkSafe(outcome);
    const { ram } = outcome.sender.info();
    expect(ram?.['multifd-bytes']).toBeLessThan((ram?.['normal-bytes'] ?? 0) * 0.9);
    done(outcome);
  });
});

describe('a channel that breaks', () => {
  let places: Place[];
  beforeAll(async () => {
    const clean = await migrate({ channels: [{}, {}] });
    places = placesInside(clean.channels[1]?.forward.log ?? []);
    expect(places.length).toBeGreaterThan(10);
    done(clean);
  });

  const eachPlace = async (
    faultsAt: (offset: number) => Faults,
    check: (outcome: Outcome, place: Place) => void,
  ): Promise<void> => {
    for (const place of places) {
      const outcome = await migrate({ channels: [{}, { forward: faultsAt(place.offset) }] });
      try {
        checkSafe(outcome);
        expect(outcome.destination.started).toBeUndefined();
        expect(outcome.source.running, 'the source runs').toBe(true);
        check(outcome, place);
        await again(outcome);
      } catch (error) {
        throw new Error(`${place.what} (byte ${place.offset}): ${(error as Error).message}`, {
          cause: error,
        });
      }
    }
  };

  test.each(['end', 'reset'] as const)('cut (%s) at and inside every frame: the guest stays', (cutAs) =>
    eachPlace(
      (cutAt) => ({ cutAt, cutAs }),
      ({ sent }) => expect(sent).toBeDefined(),
    ),
  );

  test('stalled at and inside every frame: given up after the time that was set', () =>
    eachPlace(
      (stallAt) => ({ stallAt }),
      ({ sent, time }) => {
        expect(sent?.message).toMatch(/the other side did not .* within 5000 ms|failed/);
        expect(time.nowNs()).toBeLessThan(15_000e6);
      },
    ));

  test('a flipped bit in every frame is found', () =>
    eachPlace(
      (offset) => ({ alter: flipAt(offset) }),
      ({ received, sent }, { what }) => {
        // A channel that does not say who it is is a stranger: the source waits for it in vain.
        if (/anything|opening|channel/.test(what)) expect(sent?.message).toMatch(/channel|within 5000 ms/);
        else expect(received?.message).toMatch(/expected .*, got .* \(at byte \d+\)/);
      },
    ));
});

describe('strangers', () => {
  const saying = (bytes: Uint8Array): ReturnType<Link['destination']> => {
    const link = new Link();
    void link.forward.write(bytes);
    return link.destination();
  };

  async function channelOf(id: Uint8Array, number: number): Promise<ReturnType<Link['destination']>> {
    const link = new Link();
    const writer = new FrameWriter(link.source(), Kernels.standalone(), 'forward', number);
    await writer.send('channel', encodeMessage('channel', { id }));
    return link.destination();
  }

  test('do no harm: garbage, silence, the wrong identifier, a number too many', async () => {
    const id = new Uint8Array(16).fill(7);
    const strangers = [
      saying(new TextEncoder().encode('GET / HTTP/1.1\r\n\r\n')),
      saying(new Uint8Array(1000)),
      new Link().destination(),
      await channelOf(new Uint8Array(16), 1),
      await channelOf(new Uint8Array(0), 1),
      await channelOf(id, 3),
      await channelOf(id, 255),
    ];
    const outcome = await migrate({ channels: [{}, {}], strangers });
    expect(outcome.sent).toBeUndefined();
    checkSafe(outcome);
    expect(outcome.destination.running).toBe(true);
    done(outcome);
  });
});

describe('what a channel may not say', () => {
  /** Rewrites the first frame that the channel sends after it has joined. */
  const instead = async (type: ForwardFrame, payload: Uint8Array): Promise<Outcome> => {
    const collected: Uint8Array[] = [];
    const writer = new FrameWriter(
      {
        write: async (chunks: readonly Uint8Array[]) => void collected.push(...chunks.map((c) => c.slice())),
      } as never,
      Kernels.standalone(),
      'forward',
      1,
    );
    await writer.send('channel', encodeMessage('channel', { id: new Uint8Array(16).fill(7) }));
    await writer.send(type, payload);
    const bytes = new Uint8Array(Buffer.concat(collected));
    const alter = (piece: Uint8Array, at: number): void => {
      for (let i = 0; i < piece.length; i++) piece[i] = bytes[at + i] ?? 0;
    };
    return migrate({ channels: [{ forward: { alter } }] });
  };

  test.each<[string, ForwardFrame, Uint8Array, RegExp]>([
    ['"go"', 'go', new Uint8Array(0), /channel 1: expected memory or "sync", got "go"/],
    [
      'a sync of another pass',
      'sync',
      encodeMessage('sync', { pass: 2 }),
      /frame "sync", pass: expected 1, got 2/,
    ],
    [
      'compressed memory that nobody can unpack',
      'zlibRam',
      new Uint8Array(8),
      /memory that is not compressed/,
    ],
    [
      'memory of another pass',
      'ram',
      Uint8Array.of(2, 0, 0, 0, 1, 0, 0, 0),
      /frame "ram", pass: expected 1, got 2/,
    ],
  ])('%s', async (_what, type, payload, message) => {
    const outcome = await instead(type, payload);
    checkSafe(outcome);
    expect(outcome.received?.message).toMatch(message);
    expect(outcome.sent?.message).toMatch(message);
    expect(outcome.source.running).toBe(true);
    done(outcome);
  });
});

describe('compressed memory', () => {
  test.each<[string, () => Uint8Array, RegExp]>([
    [
      'that is cut',
      () => deflateSync(new Uint8Array(4096)).subarray(0, 5),
      /compressed bytes, got unexpected end of file/,
    ],
    ['that is garbage', () => new Uint8Array(10).fill(9), /compressed bytes, got incorrect header check/],
    [
      'that becomes longer than it says',
      () => deflateSync(new Uint8Array(2 ** 20)),
      /compressed bytes, got Cannot create/,
    ],
    ['that becomes shorter than it says', () => deflateSync(new Uint8Array(8)), /bytes when unpacked, got 8/],
  ])('%s fails the migration', async (_what, bytes, message) => {
    const outcome = await migrate({
      channels: [{}],
      destination: Object.assign(new FakeDestination(), { unpackRam }),
      compression: { frame: 'zlibRam', compress: async () => bytes() },
    });
    checkSafe(outcome);
    expect(outcome.received?.message).toMatch(message);
    expect(outcome.sent?.message).toMatch(message);
    expect(outcome.source.running).toBe(true);
    await again(outcome);
  });
});

test('a destination without channels refuses before memory moves', async () => {
  const outcome = await migrate({
    channels: [{}],
    withoutChannels: true,
  });
  checkSafe(outcome);
  expect(outcome.sent?.message).toBe(
    'the destination refuses: the source has the capability multifd on, the destination has it off',
  );
  expect(outcome.source.calls).not.toContain('startDirtyLog');
  await again(outcome);
});
