import { expect, describe as suite, test } from 'vitest';
import { GodwitError } from '../../src/error.ts';
import { descriptor, type StateOf, subsection } from '../../src/vmstate/descriptor.ts';
import {
  arrayOf,
  arrayUpTo,
  bool,
  bytes,
  bytesUpTo,
  enumOf,
  i32,
  since,
  string,
  struct,
  u8,
  u16,
  u32,
  u64,
} from '../../src/vmstate/fields.ts';
import type { SavedSection } from '../../src/vmstate/migratable.ts';
import { migratable } from '../../src/vmstate/section.ts';

const TIMER = descriptor({
  name: 'timer',
  version: 2,
  minimumVersion: 1,
  fields: {
    small: u8(),
    half: u16(),
    word: u32(),
    signed: i32(),
    wide: u64(),
    flag: bool(),
    mode: enumOf('idle', 'running'),
    label: string(8),
    key: bytes(4),
    queue: bytesUpTo(4),
    ring: arrayOf(u8(), 3),
    list: arrayUpTo(u64(), 2),
    inner: struct({ a: u8(), later: since(2, u8(), () => 7) }),
    added: since(2, u16(), () => 99),
  },
  subsections: {
    extra: subsection({
      version: 1,
      minimumVersion: 1,
      fields: { level: u8() },
      needed: (part) => part.level !== 0,
      absent: () => ({ level: 0 }),
    }),
  },
  afterLoad(state, refuse) {
    if (state.mode === 'idle' && state.flag) throw refuse('flag', 'false while idle', 'true');
  },
});

type State = StateOf<typeof TIMER>;

function sample(): State {
  return {
    small: 255,
    half: 65535,
    word: 0xffff_ffff,
    signed: -(2 ** 31),
    wide: 0xffff_ffff_ffff_ffffn,
    flag: true,
    mode: 'running',
    label: 'timer',
    key: Uint8Array.of(1, 2, 3, 4),
    queue: Uint8Array.of(5),
    ring: [1, 2, 3],
    list: [0n],
    inner: { a: 1, later: 2 },
    added: 3,
    extra: { level: 4 },
  };
}

function holder(state: State = sample(), name?: string) {
  const box = { state, swaps: 0 };
  const access = {
    get: () => box.state,
    set: (next: State) => {
      box.state = next;
      box.swaps++;
    },
  };
  return { box, part: migratable(TIMER, access, name) };
}

function refusal(section: unknown): GodwitError {
  const { box, part } = holder();
  const before = box.state;
  try {
    part.prepare(section);
  } catch (error) {
    expect(box.state).toBe(before);
    expect(box.state).toEqual(sample());
    expect(error).toBeInstanceOf(GodwitError);
    expect((error as GodwitError).kind).toBe('format');
    return error as GodwitError;
  }
  throw new Error('the section was taken');
}

const saved = (): SavedSection => holder().part.save();
const withField = (name: string, value: unknown) => {
  const section = saved();
  return { ...section, fields: { ...section.fields, [name]: value } };
};

suite('a described state', () => {
  test('comes back equal, and only when the swap is called', () => {
    const { box, part } = holder({ ...sample(), small: 1, extra: { level: 0 } });
    const swap = part.prepare(saved());
    expect(box.state.small).toBe(1);
    swap();
    expect(box.state).toEqual(sample());
    expect(box.swaps).toBe(1);
  });

  test('shares nothing with its snapshot, nor with what was restored from it', () => {
    const { box, part } = holder();
    const section = part.save();
    box.state.key[0] = 77;
    box.state.ring[0] = 77;
    box.state.inner.a = 77;
    part.prepare(section)();
    expect(box.state).toEqual(sample());
    box.state.key[0] = 88;
    expect((section.fields.key as Uint8Array)[0]).toBe(1);
  });

  test('has a section of another name per instance', () => {
    const { part } = holder(sample(), 'timer1');
    expect(part.save().name).toBe('timer1');
    expect(part.description.name).toBe('timer1');
    expect(() => part.prepare(saved())).toThrow('timer1.name: expected "timer1", got "timer"');
  });

  test('is not saved while the live state is not what the descriptor says', () => {
    const bad = holder({ ...sample(), small: 300 });
    expect(() => bad.part.save()).toThrow(
      expect.objectContaining({
        kind: 'internal',
        details: expect.objectContaining({ where: 'timer.small' }),
      }),
    );
    const extra = holder({ ...sample(), unsaved: 1 } as State);
    expect(() => extra.part.save()).toThrow(/timer\.unsaved: expected only the fields/);
  });

  test('runs the hook before a save on the state', () => {
    const box = { count: 1 };
    const counting = descriptor({
      name: 'c',
      version: 1,
      minimumVersion: 1,
      fields: { count: u8() },
      beforeSave(state) {
        state.count++;
      },
    });
    const part = migratable(counting, { get: () => box, set: () => {} });
    expect(part.save().fields.count).toBe(2);
  });
});

suite('a refused section names path, expected and got', () => {
  test.each([
    ['small', 256, 'timer.small', '256'],
    ['small', -1, 'timer.small', '-1'],
    ['small', 1.5, 'timer.small', '1.5'],
    ['small', 1n, 'timer.small', '1 (64-bit)'],
    ['small', Number.NaN, 'timer.small', 'NaN'],
    ['half', 65536, 'timer.half', '65536'],
    ['word', 2 ** 32, 'timer.word', '4294967296'],
    ['signed', 2 ** 31, 'timer.signed', '2147483648'],
    ['wide', 5, 'timer.wide', '5'],
    ['wide', -1n, 'timer.wide', '-1 (64-bit)'],
    ['wide', 1n << 64n, 'timer.wide', '18446744073709551616 (64-bit)'],
    ['flag', 1, 'timer.flag', '1'],
    ['mode', 'gone', 'timer.mode', '"gone"'],
    ['label', 'too long a label', 'timer.label', '16'],
    ['label', null, 'timer.label', 'null'],
    ['key', Uint8Array.of(1), 'timer.key', '1 bytes'],
    ['key', [1, 2, 3, 4], 'timer.key', 'an array of 4'],
    ['queue', new Uint8Array(5), 'timer.queue', '5 bytes'],
    ['ring', [1, 2], 'timer.ring', 'an array of 2'],
    ['ring', [1, 2, 'x'], 'timer.ring[2]', '"x"'],
    ['list', [0n, 0n, 0n], 'timer.list', 'an array of 3'],
    ['list', [0n, 0], 'timer.list[1]', '0'],
    ['inner', 3, 'timer.inner', '3'],
    ['inner', { a: 1 }, 'timer.inner.later', 'nothing'],
    ['inner', { a: 1, later: 1, b: 1 }, 'timer.inner.b', 'the field "b"'],
    ['added', undefined, 'timer.added', 'nothing'],
    ['other', 1, 'timer.other', 'the field "other"'],
  ])('field %s = %o', (field, value, where, got) => {
    const { details } = refusal(withField(field, value));
    expect(details.where).toBe(where);
    expect(details.got).toBe(got);
    expect(details.expected).not.toBe('');
  });

  test('each field that is missing', () => {
    for (const name of Object.keys(saved().fields)) {
      const { [name]: _, ...fields } = saved().fields;
      expect(refusal({ ...saved(), fields }).details).toMatchObject({
        where: `timer.${name}`,
        got: 'nothing',
      });
    }
  });

  test('a version from the future or from before the minimum', () => {
    expect(refusal({ ...saved(), version: 3 }).message).toBe('timer: expected version 1 to 2, got version 3');
    expect(refusal({ ...saved(), version: 0 }).details.got).toBe('version 0');
  });

  test('an unknown, newer or malformed subsection', () => {
    const level = { name: 'extra', version: 1, fields: { level: 4 } };
    const where = (subsections: unknown) => refusal({ ...saved(), subsections }).details.where;
    expect(where({ extra: level, other: { ...level, name: 'other' } })).toBe('timer.other');
    expect(where({ extra: { ...level, version: 2 } })).toBe('timer.extra');
    expect(where({ extra: { ...level, name: 'x' } })).toBe('timer.extra.name');
    expect(where({ extra: { ...level, fields: { level: 400 } } })).toBe('timer.extra.level');
    expect(where({ extra: { ...level, subsections: {} } })).toBe('timer.extra.subsections');
    expect(where([])).toBe('timer.subsections');
  });

  test('what is no section at all', () => {
    for (const value of [undefined, null, 1, 'timer', [], new Uint8Array(4)]) {
      expect(refusal(value).details.where).toBe('timer');
    }
    expect(refusal({ ...saved(), name: 7 }).details.where).toBe('timer.name');
    expect(refusal({ ...saved(), version: '2' }).details.where).toBe('timer.version');
    expect(refusal({ ...saved(), fields: [] }).details.where).toBe('timer.fields');
    expect(refusal({ ...saved(), more: 1 }).details.where).toBe('timer.more');
  });

  test('fields that do not fit together', () => {
    expect(refusal(withField('mode', 'idle')).message).toBe(
      'timer.flag: expected false while idle, got true',
    );
  });
});

suite('versions', () => {
  test('an older section gives later fields their value of before', () => {
    const section = saved();
    const { added, inner, ...fields } = section.fields;
    const { box, part } = holder();
    part.prepare({ ...section, version: 1, fields: { ...fields, inner: { a: 9 } } })();
    expect(box.state.added).toBe(99);
    expect(box.state.inner).toEqual({ a: 9, later: 7 });
    expect([added, inner]).toEqual([3, { a: 1, later: 2 }]);
  });

  test('an older section with a later field is refused', () => {
    expect(refusal({ ...saved(), version: 1 }).details).toMatchObject({
      where: 'timer.inner.later',
      expected: 'no such field before version 2',
    });
  });

  test('a subsection is written only when needed, and assumed when absent', () => {
    const plain = holder({ ...sample(), extra: { level: 0 } }).part.save();
    expect(plain).not.toHaveProperty('subsections');
    expect(saved().subsections?.extra?.fields).toEqual({ level: 4 });
    const { box, part } = holder();
    part.prepare(plain)();
    expect(box.state.extra).toEqual({ level: 0 });
  });
});
