import { expect, describe as suite, test } from 'vitest';
import {
  dumpRegisters,
  port,
  type RegisterBank,
  type RegisterHooks,
  type RegisterWrite,
  register,
  registerArray,
  registerFields,
  registerHandler,
  resetRegisters,
} from '../../src/devices/registers.ts';
import { describeFields } from '../../src/vmstate/fields.ts';

const BANK = {
  control: register({ offset: 0, width: 4, reset: 0x8000_0001, writable: 0xffff_00ff }),
  status: register({ offset: 4, width: 4, reset: 0xf0f0_f0f0, writable: 0, clears: 0xffff_0000 }),
  wide: register({ offset: 8, width: 8, reset: 0x0123_4567_89ab_cdefn, writable: 0xffff_ffff_ffff_0000n }),
  byte: register({ offset: 0x10, width: 1, page: 0 }),
  hidden: register({ offset: 0x10, width: 1, page: 1, reset: 9 }),
  lane: registerArray({ offset: 0x20, width: 2, count: 3, stride: 4 }),
  now: port({ offset: 0x30, width: 8 }),
  out: port({ offset: 0x38, width: 4, access: 'w' }),
  in: port({ offset: 0x38, width: 4, access: 'r' }),
} satisfies RegisterBank;

function bind(hooks: RegisterHooks<typeof BANK> = {}) {
  const device = { state: resetRegisters(BANK), page: 0 };
  const handler = registerHandler(BANK, { state: () => device.state, page: () => device.page, hooks });
  return { device, handler };
}

suite('a bank', () => {
  test('resets every register, arrays too, to the declared value', () => {
    expect(resetRegisters(BANK)).toEqual({
      control: 0x8000_0001,
      status: 0xf0f0_f0f0,
      wide: 0x0123_4567_89ab_cdefn,
      byte: 0,
      hidden: 9,
      lane: [0, 0, 0],
    });
    expect(resetRegisters(BANK).lane).not.toBe(resetRegisters(BANK).lane);
  });

  test('has a state field per register and none per port', () => {
    expect(describeFields(registerFields(BANK))).toEqual({
      control: { type: 'u32' },
      status: { type: 'u32' },
      wide: { type: 'u64' },
      byte: { type: 'u8' },
      hidden: { type: 'u8' },
      lane: { type: 'array', length: 3, of: { type: 'u16' } },
    });
  });

  test('dumps stored values at full width without a side effect', () => {
    const { device } = bind();
    expect(dumpRegisters(BANK, device.state).slice(0, 3)).toEqual([
      { name: 'control', offset: 0, value: '0x80000001' },
      { name: 'status', offset: 4, value: '0xf0f0f0f0' },
      { name: 'wide', offset: 8, value: '0x0123456789abcdef' },
    ]);
    expect(dumpRegisters(BANK, device.state).at(-1)).toEqual({
      name: 'lane[2]',
      offset: 0x28,
      value: '0x0000',
    });
  });

  test('has arrays of several rows, with indices that go on from row to row', () => {
    const rows = {
      cell: registerArray({ offset: 0x100, width: 4, count: 2, rows: 3, rowStride: 0x80 }),
    } satisfies RegisterBank;
    const state = resetRegisters(rows);
    const handler = registerHandler(rows, { state: () => state });
    for (const [index, offset] of [0x100, 0x104, 0x180, 0x184, 0x200, 0x204].entries()) {
      handler.write(offset, 4, index + 1);
    }
    handler.write(0x108, 4, 99);
    expect(state.cell).toEqual([1, 2, 3, 4, 5, 6]);
    expect(describeFields(registerFields(rows)).cell).toMatchObject({ type: 'array', length: 6 });
  });

  test('with two registers that answer one access is refused', () => {
    const overlapping = {
      a: register({ offset: 0, width: 4 }),
      b: register({ offset: 3, width: 1, access: 'r' }),
    } satisfies RegisterBank;
    expect(() => registerHandler(overlapping, { state: () => resetRegisters(overlapping) })).toThrow(
      'registers a and b overlap at 3',
    );
  });
});

suite('a write', () => {
  test('changes writable bits only', () => {
    const { device, handler } = bind();
    handler.write(0, 4, 0xffff_ffff);
    expect(device.state.control).toBe(0xffff_00ff);
    handler.write(0, 4, 0);
    expect(device.state.control).toBe(0);
    handler.write64(8, 0n);
    expect(device.state.wide).toBe(0xcdefn);
  });

  test('of ones clears the bits that ones clear, and zeros leave them', () => {
    const { device, handler } = bind();
    handler.write(4, 4, 0x0010_ffff);
    expect(device.state.status).toBe(0xf0e0_f0f0);
  });

  test('that is narrow leaves the other bytes', () => {
    const { device, handler } = bind();
    handler.write(3, 1, 0x12);
    expect(device.state.control).toBe(0x1200_0001);
    handler.write(12, 4, 0xdead_beef);
    expect(device.state.wide).toBe(0xdead_beef_89ab_cdefn);
    handler.write(10, 2, 0xffff);
    expect(device.state.wide).toBe(0xdead_beef_ffff_cdefn);
    handler.write(7, 1, 0xff);
    expect(device.state.status).toBe(0x00f0_f0f0);
  });

  test('that is wide touches the one register it starts in', () => {
    const { device, handler } = bind();
    handler.write64(0x10, 0xffff_ffff_ffff_ff55n);
    expect(device.state.byte).toBe(0x55);
    handler.write64(0, 0xffff_ffff_0000_0002n);
    expect(device.state).toMatchObject({ control: 2, status: 0xf0f0_f0f0 });
  });

  test('to an array reaches the element, and the gap between elements nothing', () => {
    const { device, handler } = bind();
    handler.write(0x24, 2, 7);
    handler.write(0x26, 2, 8);
    expect(device.state.lane).toEqual([0, 7, 0]);
  });

  test('tells its hook the value, the one before, what was written, and the index', () => {
    const seen: [string, RegisterWrite<number | bigint>][] = [];
    const note = (name: string) => ({
      write: (change: RegisterWrite<number> | RegisterWrite<bigint>) => {
        seen.push([name, change as RegisterWrite<number | bigint>]);
      },
    });
    const { handler } = bind({
      control: note('control'),
      lane: note('lane'),
      out: note('out'),
      now: note('now'),
    });
    handler.write(0, 4, 0xffff_ffff);
    handler.write(0x28, 2, 5);
    handler.write(0x38, 4, 0x8000_0000);
    handler.write64(0x30, 1n << 63n);
    expect(seen).toEqual([
      ['control', { value: 0xffff_00ff, previous: 0x8000_0001, written: 0xffff_ffff, index: 0 }],
      ['lane', { value: 5, previous: 0, written: 5, index: 2 }],
      ['out', { value: 0x8000_0000, previous: 0, written: 0x8000_0000, index: 0 }],
      ['now', { value: 1n << 63n, previous: 0n, written: 1n << 63n, index: 0 }],
    ]);
  });

  test('of half a port keeps what the other half reads as', () => {
    let now = 0x1111_1111_2222_2222n;
    const { handler } = bind({
      now: {
        read: () => now,
        write: ({ value }) => {
          now = value;
        },
      },
    });
    handler.write(0x34, 4, 0x3333_3333);
    expect(now).toBe(0x3333_3333_2222_2222n);
  });
});

suite('a read', () => {
  test('of any width inside a register gives its bytes, unsigned', () => {
    const { handler } = bind();
    expect(handler.read(0, 4)).toBe(0x8000_0001);
    expect(handler.read(3, 1)).toBe(0x80);
    expect(handler.read(6, 2)).toBe(0xf0f0);
    expect(handler.read(8, 4)).toBe(0x89ab_cdef);
    expect(handler.read(12, 4)).toBe(0x0123_4567);
    expect(handler.read(13, 1)).toBe(0x45);
    expect(handler.read64(8)).toBe(0x0123_4567_89ab_cdefn);
  });

  test('beyond a register is zero, and of nothing is zero', () => {
    const { handler } = bind();
    expect(handler.read64(0)).toBe(0x8000_0001n);
    expect(handler.read(0x11, 1)).toBe(0);
    expect(handler.read64(0x100)).toBe(0n);
  });

  test('comes from the page that is selected', () => {
    const { device, handler } = bind();
    device.page = 1;
    expect(handler.read(0x10, 1)).toBe(9);
    handler.write(0x10, 1, 3);
    expect(device.state).toMatchObject({ byte: 0, hidden: 3 });
    expect(handler.read(0, 4)).toBe(0x8000_0001);
  });

  test('asks the hook, which sees the stored value and the index', () => {
    const { device, handler } = bind({
      lane: { read: (value, index) => value + 100 * index },
      in: { read: (value) => value + 5 },
    });
    device.state.lane = [1, 2, 3];
    expect([handler.read(0x20, 2), handler.read(0x24, 2), handler.read(0x28, 2)]).toEqual([1, 102, 203]);
    expect(handler.read(0x38, 4)).toBe(5);
  });

  test('follows a state that was replaced', () => {
    const { device, handler } = bind();
    device.state = { ...resetRegisters(BANK), control: 42 };
    expect(handler.read(0, 4)).toBe(42);
  });
});
