/** Interrupt files. RISC-V Advanced Interrupt Architecture 1.0, chapter 3; sections by test. */
import { beforeEach, expect, describe as suite, test } from 'vitest';
import { Imsic } from '../../src/devices/imsic.ts';

const [EIDELIVERY, EITHRESHOLD, EIP0, EIE0] = [0x70, 0x72, 0x80, 0xc0] as const;
const ALL = 2n ** 64n - 1n;

let imsic: Imsic;
let lines: boolean[];

beforeEach(() => {
  lines = [false, false];
  const outputs = [0, 1].map((hart) => (level: boolean) => {
    lines[hart] = level;
  });
  imsic = new Imsic({ level: 'supervisor', base: 0x2800_0000, lines: outputs });
});

const page = () => (imsic.regions[0] as (typeof imsic.regions)[0]).handler;
const message = (hart: number, identity: number) => page().write(0x1000 * hart, 4, identity);
const top = (identity: number) => (identity << 16) | identity;

/** Hart 1, delivering, everything enabled. */
function open() {
  const file = imsic.file(1);
  file.write(EIDELIVERY, 1n);
  for (const register of [0, 2, 4, 6]) file.write(EIE0 + register, ALL);
  return file;
}

suite('a message (§3.5)', () => {
  test('makes its identity pending in the file of its page', () => {
    message(1, 3);
    message(1, 255);
    expect([imsic.file(1).read(EIP0), imsic.file(1).read(EIP0 + 6)]).toEqual([8n, 1n << 63n]);
    expect(imsic.file(0).read(EIP0)).toBe(0n);
    expect(page().read(0x1000, 4)).toBe(0);
  });

  test('of no identity, of another size or at another place is ignored', () => {
    for (const identity of [0, 256, 0xffff_ffff]) message(0, identity);
    page().write(0, 1, 3);
    page().write(0, 2, 3);
    page().write64?.(0, 3n);
    page().write(4, 4, 3 << 24);
    page().write(8, 4, 3);
    for (const register of [0, 2, 4, 6]) expect(imsic.file(0).read(EIP0 + register)).toBe(0n);
  });
});

suite('the file (§3.8)', () => {
  test('has registers of 64 bits, without identity 0; what lies beyond reads as zero', () => {
    const file = imsic.file(0);
    for (const register of [EIP0, EIP0 + 6, EIE0, EIE0 + 6]) file.write(register, ALL);
    expect([EIP0, EIP0 + 6, EIE0, EIE0 + 6].map((register) => file.read(register))).toEqual([
      ALL - 1n,
      ALL,
      ALL - 1n,
      ALL,
    ]);
    for (const register of [0x71, 0x73, 0x7e, EIP0 + 8, EIE0 + 8, 0xfe]) {
      file.write(register, ALL);
      expect(file.read(register)).toBe(0n);
    }
  });

  test('delivers when it is told to (§3.8.1)', () => {
    const file = open();
    file.write(EIDELIVERY, 0n);
    message(1, 9);
    expect([lines[1], file.topei]).toEqual([false, top(9)]);
    file.write(EIDELIVERY, 1n);
    expect(lines).toEqual([false, true]);
    file.write(EIDELIVERY, 0x4000_0000n);
    expect([file.read(EIDELIVERY), lines[1]]).toEqual([0n, false]);
  });

  test('holds back the threshold and what is above it (§3.8.2)', () => {
    const file = open();
    message(1, 9);
    file.write(EITHRESHOLD, 9n);
    expect([file.topei, lines[1]]).toEqual([0, false]);
    file.write(EITHRESHOLD, 10n);
    expect([file.topei, lines[1]]).toEqual([top(9), true]);
  });

  test('shows the lowest identity that is pending and enabled, and a claim clears it (§3.9)', () => {
    const file = open();
    for (const identity of [200, 33, 7]) message(1, identity);
    file.write(EIE0, ALL ^ (1n << 7n));
    expect(file.topei).toBe(top(33));
    file.claim();
    expect([file.topei, lines[1]]).toEqual([top(200), true]);
    file.claim();
    expect([file.topei, lines[1]]).toEqual([0, false]);
    file.claim();
    expect(file.read(EIP0)).toBe(1n << 7n);
  });
});

test('describes what is configured and pending', () => {
  open();
  imsic.file(1).write(EIE0, 0b1110n);
  for (const register of [2, 4, 6]) imsic.file(1).write(EIE0 + register, 1n);
  message(1, 9);
  message(1, 255);
  expect(imsic.describe()).toEqual([
    'imsic.s',
    '  hart 0: eidelivery 0, eithreshold 0; enabled: none; pending: none',
    '  hart 1: eidelivery 1, eithreshold 0; enabled: 1-3 64 128 192; pending: 9 255',
  ]);
});

suite('state', () => {
  test('pending messages travel', () => {
    open();
    message(1, 9);
    const saved = imsic.state.save();
    imsic.reset();
    expect([lines[1], imsic.file(1).topei]).toEqual([false, 0]);
    imsic.state.prepare(saved)();
    expect([lines[1], imsic.file(1).topei]).toEqual([true, top(9)]);
  });

  test.each([
    ['eidelivery', [0, 2]],
    ['eithreshold', [256, 0]],
    ['eip', [new Array(8).fill(1), new Array(8).fill(0)]],
    ['eie', [new Array(8).fill(0), new Array(8).fill(3)]],
  ])('%s that can’t be is refused', (field, value) => {
    const saved = imsic.state.save();
    const damaged = { ...saved, fields: { ...saved.fields, [field]: value } };
    expect(() => imsic.state.prepare(damaged)).toThrow(new RegExp(`^imsic.s.${field}: `));
  });
});
