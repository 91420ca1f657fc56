import { expect, test } from 'vitest';
import { GodwitError } from '../../src/error.ts';
import { HEADER_SIZE, OPENING_SIZE } from '../../src/migration/frame.ts';
import { type Frame, FrameReader } from '../../src/migration/frame-reader.ts';
import { FrameWriter } from '../../src/migration/frame-writer.ts';
import { Kernels } from '../../src/migration/kernels.ts';
import {
  decodeMessage,
  encodeMessage,
  FRAMES,
  MAX_MESSAGE,
  MAX_STATE,
} from '../../src/migration/protocol.ts';
import { MemoryFile } from './memory-transport.ts';

const kernels = Kernels.standalone();
const text = (s: string): Uint8Array => new TextEncoder().encode(s);

/** A small stream, and where its frames begin. */
async function stream(): Promise<{ bytes: Uint8Array; starts: number[] }> {
  const file = new MemoryFile();
  const writer = new FrameWriter(file.writer(), kernels, 'forward');
  const starts: number[] = [];
  const frame = async (write: Promise<void>): Promise<void> => {
    await write;
    starts.push(file.bytes().length);
  };
  await frame(writer.send('hello', text('hello, destination')));
  await frame(writer.send('checkState', text('a state')));
  await frame(writer.send('state', text('another state')));
  await frame(writer.send('go'));
  expect(writer.bytes).toBe(file.bytes().length);
  return { bytes: file.bytes(), starts: [OPENING_SIZE, ...starts] };
}

async function readAll(bytes: Uint8Array, chunk = 7): Promise<Frame[]> {
  const reader = new FrameReader(MemoryFile.reader(bytes, chunk), 'forward');
  const frames: Frame[] = [];
  for (;;) {
    const frame = await reader.next();
    if (frame === undefined) return frames;
    frames.push(frame);
  }
}

/** The error of reading these bytes; it must be of the form that names place, expected and got. */
async function damage(bytes: Uint8Array): Promise<GodwitError> {
  const error = await readAll(bytes).then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(GodwitError);
  const { kind, details } = error as GodwitError;
  expect(kind).toBe('format');
  expect(details).toMatchObject({
    where: expect.any(String),
    expected: expect.any(String),
    got: expect.any(String),
  });
  expect(details.offset).toBeTypeOf('number');
  return error as GodwitError;
}

test('another reader goes on between two frames, and only there', async () => {
  const { bytes, starts } = await stream();
  for (let read = 1; read < starts.length - 1; read++) {
    const at = starts[read] as number;
    // Pieces end where frames do, or not.
    const first = new FrameReader(MemoryFile.reader(bytes.subarray(0, at), 7), 'forward');
    expect(first.place).toBeUndefined();
    for (let i = 0; i < read; i++) await first.next();
    expect(first.place).toEqual({ channel: 0, sequence: read, offset: at });
    const greedy = new FrameReader(MemoryFile.reader(bytes, bytes.length), 'forward');
    for (let i = 0; i < read; i++) await greedy.next();
    expect(greedy.place, 'more has been read than that').toBeUndefined();
    const place = { channel: 0, sequence: read, offset: at };
    const second = FrameReader.from(MemoryFile.reader(bytes.subarray(at), 7), 'forward', place);
    const rest = [await second.next(), await second.next()];
    expect(rest[0]?.offset).toBe(at);
    expect(rest[0]?.type).toBe(['hello', 'checkState', 'state', 'go'][read]);
    const wrong = { ...place, sequence: read + 1 };
    const third = FrameReader.from(MemoryFile.reader(bytes.subarray(at), 7), 'forward', wrong);
    await expect(third.next()).rejects.toThrow('sequence number');
  }
});

test('frames arrive as they were sent, whatever the pieces they come in', async () => {
  const { bytes, starts } = await stream();
  for (const chunk of [1, 2, 23, 24, 25, 1000]) {
    const frames = await readAll(bytes, chunk);
    expect(frames.map(({ type }) => type)).toEqual(['hello', 'checkState', 'state', 'go']);
    expect(frames.map(({ offset }) => offset)).toEqual(starts.slice(0, 4));
    expect(new TextDecoder().decode(frames[2]?.payload)).toBe('another state');
    expect(frames[3]?.payload.length).toBe(0);
  }
});

test('a stream cut at any byte ends early or is an error, and never gives a frame that was not whole', async () => {
  const { bytes, starts } = await stream();
  for (let length = 0; length < bytes.length; length++) {
    const cut = bytes.subarray(0, length);
    if (length === 0 || starts.includes(length)) {
      expect(await readAll(cut)).toHaveLength(Math.max(0, starts.indexOf(length)));
    } else {
      expect((await damage(cut)).message).toContain('the end of the stream');
    }
  }
});

test('every single flipped bit is found', async () => {
  const { bytes } = await stream();
  for (let bit = 0; bit < bytes.length * 8; bit++) {
    const flipped = bytes.slice();
    flipped[bit >> 3] = (flipped[bit >> 3] ?? 0) ^ (1 << (bit & 7));
    await damage(flipped);
  }
});

test('a header that is damaged is found before its payload is waited for', async () => {
  const { bytes, starts } = await stream();
  const at = starts[1] as number;
  const cut = bytes.slice(0, at + HEADER_SIZE);
  cut[at + 8] = 200; // a longer payload
  expect((await damage(cut)).message).toContain('header check');
});

test('frames that are lost, repeated or swapped are found', async () => {
  const { bytes, starts } = await stream();
  const [a, b, c, d] = starts as [number, number, number, number];
  const piece = (from: number, to: number): Uint8Array => bytes.subarray(from, to);
  const join = (...pieces: Uint8Array[]): Uint8Array =>
    new Uint8Array(Buffer.concat([piece(0, a), ...pieces]));
  const variants = {
    lost: join(piece(a, b), piece(c, d)),
    repeated: join(piece(a, b), piece(a, b)),
    swapped: join(piece(b, c), piece(a, b)),
  };
  for (const [what, variant] of Object.entries(variants)) {
    expect((await damage(variant)).message, what).toContain('sequence number');
  }
});

test('a payload longer than its type allows is refused before a byte of it is read', async () => {
  const file = new MemoryFile();
  const writer = new FrameWriter(file.writer(), kernels, 'forward');
  await writer.send('go', new Uint8Array(1));
  expect((await damage(file.bytes().slice(0, -1))).message).toMatch(
    /"go" length: expected at most 0 bytes, got 1/,
  );
  // The largest is a state with a message around it.
  for (const { max } of Object.values(FRAMES)) expect(max).toBeLessThanOrEqual(MAX_STATE + MAX_MESSAGE);
});

test('frames of the other direction, and another version, are refused by name', async () => {
  const file = new MemoryFile();
  await new FrameWriter(file.writer(), kernels, 'forward').send('running');
  expect((await damage(file.bytes())).message).toMatch(/type: expected one of hello, .*, got running/);
  const back = new MemoryFile();
  await new FrameWriter(back.writer(), kernels, 'return').send('running');
  expect((await damage(back.bytes())).message).toBe(
    'stream direction: expected a source, got a destination (at byte 10)',
  );
  const { bytes } = await stream();
  bytes[8] = 9;
  expect((await damage(bytes)).message).toBe('protocol version: expected 1, got 9 (at byte 8)');
});

test('messages are validated field by field', () => {
  const pass = { number: 1, pages: 2, zeroPages: 0, final: false };
  expect(decodeMessage('pass', encodeMessage('pass', pass), 0)).toEqual(pass);
  const passed = encodeMessage('passed', { number: 1 });
  expect(() => decodeMessage('pass', passed, 100)).toThrow(
    /frame "pass"\.pages: expected a u32 .*, got nothing/,
  );
  expect(() => decodeMessage('passed', encodeMessage('pass', pass), 100)).toThrow(
    /expected only the fields number/,
  );
  expect(() => decodeMessage('pass', text('garbage'), 100)).toThrow(GodwitError);
  expect(() => encodeMessage('passed', { number: -1 })).toThrow(GodwitError);
});
