import { Packr } from 'msgpackr';
import { expect, describe as suite, test } from 'vitest';
import { GodwitError } from '../../src/error.ts';
import { decodeSections, encodeSections, MAX_SECTIONS_BYTES } from '../../src/vmstate/codec.ts';
import { descriptor } from '../../src/vmstate/descriptor.ts';
import { arrayOf, u64 } from '../../src/vmstate/fields.ts';
import type { SavedSection } from '../../src/vmstate/migratable.ts';
import { migratable } from '../../src/vmstate/section.ts';

const packr = new Packr({ useRecords: false, variableMapSize: true });
const section = (name: string, fields: Record<string, unknown> = {}): SavedSection => ({
  name,
  version: 1,
  fields,
});

function refusal(bytes: Uint8Array, base = 0): GodwitError {
  try {
    decodeSections(bytes, base);
  } catch (error) {
    expect(error).toBeInstanceOf(GodwitError);
    expect((error as GodwitError).kind).toBe('format');
    expect((error as GodwitError).details.offset).toBeGreaterThanOrEqual(base);
    return error as GodwitError;
  }
  throw new Error('the bytes were taken');
}

/** A field `x` whose value is these bytes of MessagePack. */
function withValue(...value: number[]): Uint8Array {
  const whole = encodeSections([section('s', { x: 0 })]);
  const at = whole.length - 1; // x: 0 is the last byte
  return Uint8Array.from([...whole.subarray(0, at), ...value]);
}

suite('the codec', () => {
  test('brings every kind of value back as it was', () => {
    const values = {
      wide: [0n, 1n, 127n, 255n, 2n ** 31n, 2n ** 53n + 1n, 2n ** 63n - 1n, 2n ** 63n, 2n ** 64n - 1n],
      numbers: [0, 1, 127, 128, 255, 256, 65535, 65536, 2 ** 31, 2 ** 32 - 1, -1, -32, -33, -(2 ** 31)],
      bytes: [new Uint8Array(0), new Uint8Array(300).fill(7), new Uint8Array(70000).fill(9)],
      strings: ['', 'é', 'x'.repeat(40), 'y'.repeat(70000)],
      flags: [true, false, null],
      inner: { a: { b: [{ c: 1 }] } },
    };
    const sections = [
      section('one', values),
      { ...section('two'), subsections: { part: section('part', { a: 1n }) } },
    ];
    const decoded = decodeSections(encodeSections(sections));
    expect(decoded).toEqual(sections);
    const { wide, numbers } = (decoded[0] as SavedSection).fields as Record<string, unknown[]>;
    expect(wide?.every((value) => typeof value === 'bigint')).toBe(true);
    expect(numbers?.every((value) => typeof value === 'number')).toBe(true);
  });

  test('gives each encoding its own memory', () => {
    const first = encodeSections([section('a')]);
    const copy = Uint8Array.from(first);
    encodeSections([section('b')]);
    expect(first).toEqual(copy);
    expect(first.buffer.byteLength).toBe(first.length);
  });

  test('refuses to write two sections of one name', () => {
    expect(() => encodeSections([section('a'), section('a')])).toThrow(/"a" twice/);
  });
});

suite('refused with the offset', () => {
  test('an encoding cut at any byte', () => {
    const whole = encodeSections([section('one', { a: 1n, b: Uint8Array.of(1, 2), c: 'text' })]);
    for (let length = 0; length < whole.length; length++) {
      const { offset } = refusal(whole.subarray(0, length), 1000).details;
      expect(offset).toBeLessThanOrEqual(1000 + length);
    }
  });

  test('bytes after the end', () => {
    const whole = encodeSections([section('one')]);
    const { details } = refusal(Uint8Array.from([...whole, 0xc0]), 50);
    expect(details).toMatchObject({ got: '1 more bytes', offset: 50 + whole.length });
  });

  test('every single changed bit, unless what it says is still of the form', () => {
    const whole = encodeSections([section('one', { a: 1n, b: [1, 2], c: 'text' })]);
    let refused = 0;
    for (let bit = 0; bit < whole.length * 8; bit++) {
      const changed = Uint8Array.from(whole);
      changed[bit >> 3] = (changed[bit >> 3] as number) ^ (1 << (bit & 7));
      try {
        expect(encodeSections(decodeSections(changed))).not.toEqual(whole);
      } catch (error) {
        expect((error as GodwitError).kind).toBe('format');
        refused++;
      }
    }
    expect(refused).toBeGreaterThan(100);
  });

  test.each([
    ['an extension', [0xd4, 0x01, 0x00]],
    ['a record', [0xd4, 0x72, 0x40, 0x91, 0xa1, 0x61]],
    ['a date', [0xd6, 0xff, 0, 0, 0, 0]],
    ['the byte that is never used', [0xc1]],
    ['a map with a key that is no string', [0x81, 0x01, 0x01]],
    ['a map that has a key twice', [0x82, 0xa1, 0x61, 0x01, 0xa1, 0x61, 0x02]],
    ['a key that would reach a prototype', [0x81, 0xa9, ...Buffer.from('__proto__'), 0x80]],
    ['text that is not UTF-8', [0xa2, 0xc3, 0x28]],
    ['an array that promises more than there is', [0xdd, 0xff, 0xff, 0xff, 0xff]],
    ['bytes that promise more than there are', [0xc6, 0xff, 0xff, 0xff, 0xff, 0]],
    ['too many levels', [...new Array(40).fill(0x91), 0xc0]],
  ])('%s', (_, value) => {
    refusal(withValue(...value));
  });

  test('more values than a machine has', () => {
    const length = 1024 * 1024;
    const array = new Uint8Array(length + 5);
    array.set([0xdd, (length >>> 24) & 0xff, (length >>> 16) & 0xff, (length >>> 8) & 0xff, length & 0xff]);
    expect(refusal(withValue(...[])).message).toMatch(/got the end/);
    const head = withValue();
    const whole = new Uint8Array(head.length + array.length);
    whole.set(head);
    whole.set(array, head.length);
    expect(refusal(whole).message).toMatch(/expected at most 1048576 values/);
  });

  test('more bytes than a machine has', () => {
    expect(refusal(new Uint8Array(MAX_SECTIONS_BYTES + 1)).message).toMatch(/expected at most/);
  });

  test.each([
    ['no array', section('a')],
    ['a section that is no map', [1]],
    ['a section without a name', [{ version: 1, fields: {} }]],
    ['a section without a version', [{ name: 'a', fields: {} }]],
    ['a section without fields', [{ name: 'a', version: 1 }]],
    ['a section with something else', [{ ...section('a'), more: 1 }]],
    ['two sections of one name', [section('a'), section('b'), section('a')]],
    ['a subsection under another name', [{ ...section('a'), subsections: { b: section('c') } }]],
  ])('%s', (_, value) => {
    refusal(Uint8Array.from(packr.pack(value)));
  });

  test('a field that a part refuses, where its value stands in the stream', () => {
    const part = migratable(
      descriptor({ name: 't', version: 1, minimumVersion: 1, fields: { cmp: arrayOf(u64(), 2) } }),
      { get: () => ({ cmp: [1n, 2n] }), set: () => {} },
    );
    const bytes = encodeSections([section('t', { cmp: [1n, 77] })]);
    const [decoded] = decodeSections(bytes, 4096);
    const at = 4096 + bytes.lastIndexOf(77);
    expect(() => part.prepare(decoded)).toThrow(
      `t.cmp[1]: expected a u64 (64-bit, 0 to 2^64-1), got 77 (at byte ${at})`,
    );
  });
});
