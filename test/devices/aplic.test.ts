/** The APLIC as a driver sees it. RISC-V Advanced Interrupt Architecture 1.0, chapter 4; sections by test. */
import { beforeEach, expect, describe as suite, test } from 'vitest';
import { AplicDomain } from '../../src/devices/aplic.ts';

const DOMAINCFG = 0;
const [MMSIADDRCFG, MMSIADDRCFGH, SMSIADDRCFG, SMSIADDRCFGH] = [0x1bc0, 0x1bc4, 0x1bc8, 0x1bcc] as const;
const [SETIP, SETIPNUM, IN_CLRIP, CLRIPNUM] = [0x1c00, 0x1cdc, 0x1d00, 0x1ddc] as const;
const [SETIE, SETIENUM, CLRIE, CLRIENUM] = [0x1e00, 0x1edc, 0x1f00, 0x1fdc] as const;
const [SETIPNUM_LE, SETIPNUM_BE, GENMSI] = [0x2000, 0x2004, 0x3000] as const;
const sourcecfg = (source: number) => 4 * source;
const target = (source: number) => 0x3000 + 4 * source;
const idc = (hart: number) => ({
  idelivery: 0x4000 + 32 * hart,
  iforce: 0x4004 + 32 * hart,
  ithreshold: 0x4008 + 32 * hart,
  topi: 0x4018 + 32 * hart,
  claimi: 0x401c + 32 * hart,
});
const [DETACHED, EDGE1, EDGE0, LEVEL1, LEVEL0] = [1, 4, 5, 6, 7] as const;
const DELEGATE = 0x400;
const IE = 0x100;

let root: AplicDomain;
let child: AplicDomain;
let lines: { machine: boolean[]; supervisor: boolean[] };
let messages: [address: number, data: number][];

function build(delivery: 'direct' | 'msi'): void {
  messages = [];
  lines = { machine: [false, false], supervisor: [false, false] };
  const wires = (level: 'machine' | 'supervisor') =>
    [0, 1].map((hart) => (on: boolean) => {
      lines[level][hart] = on;
    });
  const send = (address: number, data: number) => void messages.push([address, data]);
  const msi = (parent: string) => (delivery === 'msi' ? { msi: { send, parent } } : {});
  root = new AplicDomain({
    level: 'machine',
    base: 0xc00_0000,
    lines: wires('machine'),
    ...msi('imsic_m'),
  });
  child = new AplicDomain({
    level: 'supervisor',
    base: 0xd00_0000,
    lines: wires('supervisor'),
    parent: root,
    ...msi('imsic_s'),
  });
}

const handler = (domain: AplicDomain) => (domain.regions[0] as (typeof domain.regions)[0]).handler;
const read = (domain: AplicDomain, offset: number): number => handler(domain).read(offset, 4);
const write = (domain: AplicDomain, offset: number, value: number): void =>
  handler(domain).write(offset, 4, value);
const isPending = (domain: AplicDomain, source: number) =>
  ((read(domain, SETIP + 4 * (source >> 5)) >>> (source & 31)) & 1) === 1;

/** Source active in the root, enabled, for a hart and with this priority or identity. */
function route(domain: AplicDomain, source: number, mode: number, hart = 0, value = 1): void {
  write(domain, sourcecfg(source), mode);
  write(domain, target(source), (hart << 18) | value);
  write(domain, SETIENUM, source);
}

suite('the control region (§4.5)', () => {
  beforeEach(() => build('direct'));

  test('domaincfg has IE alone to write, and shows its byte order and way of delivery', () => {
    expect(read(root, DOMAINCFG)).toBe(0x8000_0000);
    write(root, DOMAINCFG, 0xffff_ffff);
    expect(read(root, DOMAINCFG)).toBe(0x8000_0100);
    build('msi');
    expect(read(root, DOMAINCFG)).toBe(0x8000_0004);
  });

  test('sourcecfg takes the modes that there are, and delegates where there is a child', () => {
    const written = [1, 2, 3, 4, 5, 6, 7, 0x403, 0xffff_f806];
    const kept = (domain: AplicDomain) =>
      written.map((value) => {
        write(domain, sourcecfg(5), value);
        return read(domain, sourcecfg(5));
      });
    expect(kept(root)).toEqual([1, 0, 0, 4, 5, 6, 7, 0x400, 6]);
    write(root, sourcecfg(5), DELEGATE);
    expect(kept(child)).toEqual([1, 0, 0, 4, 5, 6, 7, 0, 6]);
    write(root, sourcecfg(97), LEVEL1);
    expect(read(root, sourcecfg(97))).toBe(0);
  });

  test('a source that is not delegated to the child is not there', () => {
    write(child, sourcecfg(5), LEVEL1);
    write(child, target(5), 3);
    write(child, SETIENUM, 5);
    write(child, SETIPNUM, 5);
    expect([sourcecfg(5), target(5), SETIE, SETIP].map((at) => read(child, at))).toEqual([0, 0, 0, 0]);
  });

  test('a source that becomes inactive loses pending bit, enable and target', () => {
    route(root, 5, DETACHED);
    write(root, SETIPNUM, 5);
    expect([isPending(root, 5), read(root, SETIE), read(root, target(5))]).toEqual([true, 0x20, 1]);
    write(root, sourcecfg(5), 0);
    expect([isPending(root, 5), read(root, SETIE), read(root, target(5))]).toEqual([false, 0, 0]);
    write(root, SETIE, 0xffff_ffff);
    write(root, SETIP, 0xffff_ffff);
    write(root, target(5), 0xffff_ffff);
    expect([read(root, SETIP), read(root, SETIE), read(root, target(5))]).toEqual([0, 0, 0]);
  });

  test('a source that is taken back from the child is inactive there, and delegated again it starts anew', () => {
    write(root, sourcecfg(5), DELEGATE);
    route(child, 5, LEVEL1);
    root.input(5, true);
    expect(isPending(child, 5)).toBe(true);
    write(root, sourcecfg(5), LEVEL1);
    expect([read(child, sourcecfg(5)), isPending(child, 5), isPending(root, 5)]).toEqual([0, false, true]);
    write(root, sourcecfg(5), DELEGATE);
    expect(read(child, sourcecfg(5))).toBe(0);
    write(child, sourcecfg(5), LEVEL1);
    expect(isPending(child, 5), 'the wire was high all the time').toBe(true);
  });

  test('enables are set and cleared by word and by number (§4.5.9 to §4.5.12)', () => {
    for (const source of [1, 31, 32, 96]) write(root, sourcecfg(source), DETACHED);
    for (const word of [0, 1, 2, 3]) write(root, SETIE + 4 * word, 0xffff_ffff);
    expect([0, 1, 2, 3].map((word) => read(root, SETIE + 4 * word))).toEqual([0x8000_0002, 1, 0, 1]);
    write(root, CLRIE, 0x8000_0000);
    write(root, CLRIENUM, 96);
    expect([read(root, SETIE), read(root, SETIE + 12), read(root, CLRIE)]).toEqual([2, 0, 0]);
    for (const value of [0, 97, 0xffff_ffff]) write(root, SETIENUM, value);
    expect(read(root, SETIE)).toBe(2);
  });

  test('target has a hart and a priority of three bits, never 0 (§4.5.16)', () => {
    write(root, sourcecfg(5), LEVEL1);
    write(root, target(5), 0xffff_ffff);
    expect(read(root, target(5))).toBe(0xfffc_0007);
    write(root, target(5), 0x4_0008);
    expect(read(root, target(5))).toBe(0x4_0001);
  });

  test('only aligned accesses of 32 bits count', () => {
    handler(root).write(sourcecfg(5), 1, LEVEL1);
    handler(root).write(sourcecfg(5), 2, LEVEL1);
    handler(root).write64?.(sourcecfg(4), 0x6_0000_0006n);
    expect([read(root, sourcecfg(4)), read(root, sourcecfg(5))]).toEqual([0, 0]);
  });
});

suite('pending bits (§4.7)', () => {
  const SOURCE = 40;
  const setip = (way: 'word' | 'number' | 'le') =>
    way === 'word'
      ? write(root, SETIP + 4, 1 << 8)
      : write(root, way === 'number' ? SETIPNUM : SETIPNUM_LE, SOURCE);
  const clrip = (way: 'word' | 'number') =>
    way === 'word' ? write(root, IN_CLRIP + 4, 1 << 8) : write(root, CLRIPNUM, SOURCE);
  const input = (level: boolean) => root.input(SOURCE, level);
  const pending = () => isPending(root, SOURCE);
  const rectified = () => (read(root, IN_CLRIP + 4) >>> 8) & 1;

  test.each(['direct', 'msi'] as const)('detached: by writes alone (%s)', (delivery) => {
    build(delivery);
    write(root, sourcecfg(SOURCE), DETACHED);
    input(true);
    expect([pending(), rectified()]).toEqual([false, 0]);
    for (const way of ['word', 'number', 'le'] as const) {
      setip(way);
      expect(pending()).toBe(true);
      clrip(way === 'word' ? 'word' : 'number');
      expect(pending()).toBe(false);
    }
    write(root, SETIPNUM_BE, SOURCE << 24);
    expect(pending()).toBe(false);
  });

  test.each([
    ['direct', EDGE1, [false, true]],
    ['direct', EDGE0, [true, false]],
    ['msi', EDGE1, [false, true]],
    ['msi', EDGE0, [true, false]],
  ] as const)('edge-sensitive: by an edge, until cleared (%s, mode %i)', (delivery, mode, [low, high]) => {
    build(delivery);
    input(low);
    write(root, sourcecfg(SOURCE), mode);
    expect(rectified()).toBe(0);
    input(high);
    expect([pending(), rectified()]).toEqual([true, 1]);
    input(low);
    expect(pending()).toBe(true);
    clrip('number');
    expect(pending()).toBe(false);
    setip('number');
    expect(pending()).toBe(true);
  });

  test.each([
    [LEVEL1, [false, true]],
    [LEVEL0, [true, false]],
  ] as const)('level-sensitive, direct: what the input is (mode %i)', (mode, [low, high]) => {
    build('direct');
    input(high);
    write(root, sourcecfg(SOURCE), mode);
    expect(pending()).toBe(true);
    clrip('word');
    expect(pending()).toBe(true);
    input(low);
    expect(pending()).toBe(false);
    setip('word');
    expect(pending()).toBe(false);
  });

  test.each([
    [LEVEL1, [false, true]],
    [LEVEL0, [true, false]],
  ] as const)('level-sensitive, messages: set by an edge, never while low (mode %i)', (mode, [low, high]) => {
    build('msi');
    input(low);
    write(root, sourcecfg(SOURCE), mode);
    setip('number');
    expect(pending()).toBe(false);
    input(high);
    expect(pending()).toBe(true);
    clrip('number');
    expect(pending()).toBe(false);
    setip('number');
    expect(pending(), 'the input is high').toBe(true);
    input(low);
    expect(pending()).toBe(false);
  });
});

suite('direct delivery (§4.8)', () => {
  beforeEach(() => {
    build('direct');
    write(root, DOMAINCFG, IE);
    for (const hart of [0, 1]) write(root, idc(hart).idelivery, 1);
  });

  test('the lowest priority number comes first, then the lowest source; each hart has its own', () => {
    route(root, 9, LEVEL1, 0, 2);
    route(root, 7, LEVEL1, 0, 3);
    route(root, 40, LEVEL1, 0, 2);
    route(root, 3, LEVEL1, 1, 1);
    for (const source of [7, 40, 9]) root.input(source, true);
    expect(lines.machine).toEqual([true, false]);
    expect(read(root, idc(0).topi)).toBe((9 << 16) | 2);
    root.input(9, false);
    expect(read(root, idc(0).topi)).toBe((40 << 16) | 2);
    root.input(3, true);
    expect([lines.machine, read(root, idc(1).topi)]).toEqual([[true, true], (3 << 16) | 1]);
  });

  test('a claim clears the pending bit of an edge, and not that of a level', () => {
    route(root, 9, EDGE1, 0, 1);
    route(root, 10, LEVEL1, 0, 2);
    root.input(9, true);
    root.input(10, true);
    expect(read(root, idc(0).claimi)).toBe((9 << 16) | 1);
    expect(read(root, idc(0).claimi)).toBe((10 << 16) | 2);
    expect(read(root, idc(0).claimi)).toBe((10 << 16) | 2);
    root.input(10, false);
    expect([read(root, idc(0).claimi), lines.machine[0]]).toEqual([0, false]);
  });

  test('ithreshold holds back what is not above it; IE and idelivery hold back all, but not topi', () => {
    route(root, 9, LEVEL1, 0, 3);
    root.input(9, true);
    write(root, idc(0).ithreshold, 3);
    expect([lines.machine[0], read(root, idc(0).topi)]).toEqual([false, 0]);
    write(root, idc(0).ithreshold, 4);
    expect(lines.machine[0]).toBe(true);
    for (const [at, off, on] of [
      [idc(0).idelivery, 0, 1],
      [DOMAINCFG, 0, IE],
    ] as const) {
      write(root, at, off);
      expect([lines.machine[0], read(root, idc(0).topi)]).toEqual([false, (9 << 16) | 3]);
      write(root, at, on);
      expect(lines.machine[0]).toBe(true);
    }
  });

  test('iforce makes a spurious interrupt, which a claim of nothing ends (§4.8.1)', () => {
    write(root, idc(1).iforce, 1);
    expect(lines.machine).toEqual([false, true]);
    expect(read(root, idc(1).claimi)).toBe(0);
    expect([lines.machine[1], read(root, idc(1).iforce)]).toEqual([false, 0]);
  });

  test('a delegated source interrupts at supervisor level', () => {
    write(root, sourcecfg(10), DELEGATE);
    write(child, DOMAINCFG, IE);
    write(child, idc(1).idelivery, 1);
    route(child, 10, LEVEL1, 1, 1);
    root.input(10, true);
    expect(lines).toEqual({ machine: [false, false], supervisor: [false, true] });
    expect(read(child, idc(1).claimi)).toBe((10 << 16) | 1);
  });

  test('there are no registers of messages', () => {
    for (const at of [MMSIADDRCFG, MMSIADDRCFGH, SMSIADDRCFG, SMSIADDRCFGH, GENMSI]) {
      write(root, at, 0xffff_ffff);
      expect(read(root, at)).toBe(0);
    }
  });
});

suite('messages (§4.9)', () => {
  beforeEach(() => {
    build('msi');
    write(root, DOMAINCFG, IE);
    write(child, DOMAINCFG, IE);
    // Harts at 4 KiB steps from 0x24000000 and, for supervisor level, at 8 KiB steps from 0x28000000.
    write(root, MMSIADDRCFG, 0x24000);
    write(root, MMSIADDRCFGH, 3 << 12);
    write(root, SMSIADDRCFG, 0x28000);
    write(root, SMSIADDRCFGH, 1 << 20);
  });

  test('a level is told once, until it falls and rises, or software asks', () => {
    route(root, 10, LEVEL1, 1, 77);
    root.input(10, true);
    expect([messages, isPending(root, 10)]).toEqual([[[0x2400_1000, 77]], false]);
    root.input(10, true);
    expect(messages.length).toBe(1);
    write(root, SETIPNUM, 10);
    expect(messages.length).toBe(2);
    root.input(10, false);
    write(root, SETIPNUM, 10);
    expect(messages.length).toBe(2);
    root.input(10, true);
    expect(messages.length).toBe(3);
  });

  test('what is not enabled waits, and so does everything without IE', () => {
    write(root, sourcecfg(10), EDGE1);
    write(root, target(10), 5);
    root.input(10, true);
    expect([messages, isPending(root, 10)]).toEqual([[], true]);
    write(root, DOMAINCFG, 0);
    write(root, SETIENUM, 10);
    expect(messages).toEqual([]);
    write(root, DOMAINCFG, IE);
    expect(messages).toEqual([[0x2400_0000, 5]]);
  });

  test('the child’s go where the root says, at supervisor level', () => {
    write(root, sourcecfg(10), DELEGATE);
    route(child, 10, LEVEL1, 2, 0x7ff);
    root.input(10, true);
    expect(messages).toEqual([[0x2800_4000, 0x7ff]]);
  });

  test('groups of harts have their bits in the address (§4.9.1)', () => {
    // HHXS 3, HHXW 1, LHXW 2: hart index 0b101 is hart 1 of group 1.
    write(root, MMSIADDRCFGH, (3 << 24) | (1 << 16) | (2 << 12));
    route(root, 10, EDGE1, 0b101, 9);
    root.input(10, true);
    expect(messages).toEqual([[0x2c00_1000, 9]]);
  });

  test('genmsi sends at once, without IE (§4.5.15)', () => {
    write(root, DOMAINCFG, 0);
    write(root, GENMSI, (1 << 18) | 33);
    expect([messages, read(root, GENMSI)]).toEqual([[[0x2400_1000, 33]], (1 << 18) | 33]);
  });

  test('the lock holds all four address registers (§4.5.3)', () => {
    write(root, MMSIADDRCFGH, 0x8000_3000);
    for (const at of [MMSIADDRCFG, MMSIADDRCFGH, SMSIADDRCFG, SMSIADDRCFGH]) write(root, at, 0);
    expect([MMSIADDRCFG, MMSIADDRCFGH, SMSIADDRCFG, SMSIADDRCFGH].map((at) => read(root, at))).toEqual([
      0x24000, 0x8000_3000, 0x28000, 0x10_0000,
    ]);
    expect(
      [MMSIADDRCFG, SMSIADDRCFG].map((at) => read(child, at)),
      'the root’s alone',
    ).toEqual([0, 0]);
  });

  test('a target has an identity of eleven bits and no guest; there are no IDC structures', () => {
    write(root, sourcecfg(10), LEVEL1);
    write(root, target(10), 0xffff_ffff);
    expect(read(root, target(10))).toBe(0xfffc_07ff);
    write(root, idc(0).idelivery, 1);
    expect(read(root, idc(0).idelivery)).toBe(0);
  });

  test('a restored state sends nothing again', () => {
    route(root, 10, LEVEL1, 1, 77);
    root.input(10, true);
    const saved = root.state.save();
    root.state.prepare(saved)();
    root.input(10, true);
    expect(messages.length).toBe(1);
  });
});

suite('a description', () => {
  test('of direct delivery', () => {
    build('direct');
    for (const source of [1, 2, 3, 7]) write(root, sourcecfg(source), DELEGATE);
    write(root, DOMAINCFG, IE);
    write(root, idc(1).idelivery, 1);
    route(root, 9, LEVEL1, 1, 2);
    root.input(9, true);
    expect(root.describe()).toEqual([
      'aplic.m: direct delivery on',
      '  source 9: level1, raised, pending, enabled; to hart 1, priority 2',
      '  delegated: 1-3 7',
      '  hart 0: idelivery 0, iforce 0, ithreshold 0, first none',
      '  hart 1: idelivery 1, iforce 0, ithreshold 0, first 9',
    ]);
  });

  test('of messages', () => {
    build('msi');
    route(root, 9, EDGE0, 1, 77);
    expect(root.describe()).toEqual([
      'aplic.m: msi delivery off',
      '  source 9: edge0, enabled; to hart 1, identity 77',
    ]);
  });
});

suite('a damaged state', () => {
  test.each([
    ['direct', 'domaincfg', 0x100],
    ['direct', 'sourcecfg', new Array(96).fill(2)],
    ['direct', 'target', new Array(96).fill(8)],
    ['msi', 'target', new Array(96).fill(0x800)],
    ['msi', 'pending', [1, 0, 0, 0]],
    ['msi', 'wires', [0, 0, 0, 2]],
  ] as const)('is refused (%s, %s)', (delivery, field, value) => {
    build(delivery);
    const saved = root.state.save();
    const damaged = { ...saved, fields: { ...saved.fields, [field]: value } };
    expect(() => root.state.prepare(damaged)).toThrow(new RegExp(`^aplic.m.${field}: `));
  });
});
