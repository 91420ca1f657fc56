import { expect, describe as suite, test } from 'vitest';
import {
  checkAllCompatible,
  checkCompatible,
  type Description,
  describe,
} from '../../src/vmstate/description.ts';
import { descriptor, subsection } from '../../src/vmstate/descriptor.ts';
import {
  arrayOf,
  bytesUpTo,
  enumOf,
  type Fields,
  since,
  string,
  struct,
  u8,
  u16,
  u64,
} from '../../src/vmstate/fields.ts';

function shape(fields: Fields, version = 1, minimumVersion = 1): Description {
  return describe(descriptor({ name: 'd', version, minimumVersion, fields }));
}

suite('a description', () => {
  test('is a plain JSON tree of names, versions and types', () => {
    const part = {
      version: 1,
      minimumVersion: 1,
      fields: { z: u8() },
      needed: () => true,
      absent: () => ({ z: 0 }),
    };
    const described = describe(
      descriptor({
        name: 'd',
        version: 2,
        minimumVersion: 1,
        fields: { a: u8(), q: bytesUpTo(16), n: since(2, arrayOf(struct({ m: u64() }), 3), () => []) },
        subsections: { part: subsection(part) },
      }),
    );
    const expected = {
      name: 'd',
      version: 2,
      minimumVersion: 1,
      fields: {
        a: { type: 'u8' },
        q: { type: 'bytesUpTo', max: 16 },
        n: {
          type: 'array',
          length: 3,
          of: { type: 'struct', fields: { m: { type: 'u64' } } },
          since: 2,
        },
      },
      subsections: { part: { name: 'part', version: 1, minimumVersion: 1, fields: { z: { type: 'u8' } } } },
    };
    expect(JSON.parse(JSON.stringify(described))).toEqual(expected);
  });
});

suite('compatibility', () => {
  test('a description fits itself', () => {
    const same = shape({ a: u8(), b: struct({ c: enumOf('x') }), d: arrayOf(u16(), 2) });
    expect(checkCompatible(same, same)).toEqual([]);
  });

  test.each<[string, Fields, Fields, string[]]>([
    ['a missing field', { a: u8() }, { a: u8(), b: u8() }, ['d.b: missing, the reader needs it']],
    ['an unknown field', { a: u8(), b: u8() }, { a: u8() }, ['d.b: the field is not known to the reader']],
    ['another type', { a: u64() }, { a: u8() }, ['d.a: saved as u64, read as u8']],
    ['a narrower reader', { a: u16() }, { a: u8() }, ['d.a: saved as u16, read as u8']],
    ['a wider reader', { a: u8() }, { a: u16() }, []],
    [
      'a shorter queue',
      { a: bytesUpTo(16) },
      { a: bytesUpTo(8) },
      ['d.a: saved as bytesUpTo (16), read as bytesUpTo (8)'],
    ],
    ['a longer string', { a: string(8) }, { a: string(16) }, []],
    [
      'a longer array',
      { a: arrayOf(u8(), 2) },
      { a: arrayOf(u8(), 3) },
      ['d.a: saved as array (2), read as array (3)'],
    ],
    [
      'an array of another type',
      { a: arrayOf(u16(), 2) },
      { a: arrayOf(u8(), 2) },
      ['d.a[]: saved as u16, read as u8'],
    ],
    [
      'a struct inside',
      { a: struct({ b: u8() }) },
      { a: struct({}) },
      ['d.a.b: the field is not known to the reader'],
    ],
    [
      'an unknown value',
      { a: enumOf('x', 'y') },
      { a: enumOf('x') },
      ['d.a: the value y is not known to the reader'],
    ],
  ])('%s', (_, saver, loader, differences) => {
    expect(checkCompatible(shape(saver), shape(loader))).toEqual(differences);
  });

  test('all differences are listed at once', () => {
    expect(checkCompatible(shape({ a: u64(), b: u8() }), shape({ a: u8(), c: u8() }))).toHaveLength(3);
  });

  test('a version the reader does not know, and one it still knows', () => {
    const old = shape({ a: u8() }, 1);
    const current = shape({ a: u8(), b: since(2, u8(), () => 0) }, 2, 1);
    expect(checkCompatible(old, current)).toEqual([]);
    expect(checkCompatible(current, old)).toEqual(['d: saved as version 2, read are versions 1 to 1']);
  });

  test('sections that only one side has', () => {
    const a = shape({ a: u8() });
    expect(checkAllCompatible([a, { ...a, name: 'x' }], [a, { ...a, name: 'y' }])).toEqual([
      'x: not known to the reader',
      'y: missing, the reader needs it',
    ]);
  });

  test('a subsection that the reader does not know', () => {
    const plain = shape({});
    const part: Description = { name: 'p', version: 1, minimumVersion: 1, fields: {} };
    expect(checkCompatible({ ...plain, subsections: { p: part } }, plain)).toEqual([
      'd.p: the subsection is not known to the reader',
    ]);
    expect(checkCompatible(plain, { ...plain, subsections: { p: part } })).toEqual([]);
  });
});
