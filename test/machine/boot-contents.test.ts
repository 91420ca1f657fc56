/** What a machine starts from stands where firmware and kernels look for it, as QEMU's `virt` has it. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { text, u32, writeFdt } from '../../src/devices/fdt.ts';
import { type FdtTree, readFdt } from '../../src/devices/fdt-reader.ts';
import { type BootImage, bootBlockSize, decodeBootImages, writeBootBlock } from '../../src/machine/boot.ts';
import { type BootRequest, bootContents } from '../../src/machine/boot-contents.ts';
import { bootFile, contentsOf } from '../../src/machine/boot-file.ts';

const MiB = 1024 * 1024;
const RAM = 0x8000_0000;
const ISA = 'rv64imac';

/** A Linux image's header: Linux, Documentation/arch/riscv/boot-image-header.rst. */
function linuxImage(memorySize: number, flags = 0): Uint8Array {
  const bytes = new Uint8Array(4096);
  const header = new DataView(bytes.buffer);
  header.setUint16(0, 0x5a4d, true); // "MZ", as EFI stubs have it
  header.setBigUint64(8, 0x20_0000n, true);
  header.setBigUint64(16, BigInt(memorySize), true);
  header.setBigUint64(24, BigInt(flags), true);
  header.setUint32(56, 0x0543_5352, true);
  return bytes;
}

const file = (bytes: Uint8Array, name = 'f') => ({ ...bootFile(name, bytes), bytes });
const firmware = file(Uint8Array.of(1, 2, 3, 4), 'fw');

function contents(request: Partial<BootRequest>) {
  const ram = request.ram ?? 512 * MiB;
  const made = bootContents({ harts: 1, isa: ISA, aia: 'none', ram, ...request });
  const boot = new Uint8Array(made.bootSize);
  made.writeBoot(boot);
  return { ...made, boot, images: decodeBootImages(boot, ram), rom: new DataView(made.rom.buffer) };
}

const at = (images: readonly BootImage[], address: number) =>
  images.find((image) => image.address === address);

function chosen(fdt: Uint8Array): FdtTree['properties'] {
  const node = readFdt(fdt).children.find(({ name }) => name === 'chosen');
  return node?.properties ?? new Map();
}

const word = (value: Uint8Array | undefined): number =>
  value === undefined ? -1 : new DataView(value.buffer, value.byteOffset).getUint32(0);

describe('the boot ROM', () => {
  test('has the addresses and the fw_dynamic information that OpenSBI reads behind its code', () => {
    const { rom, fdt } = contents({ firmware, kernel: file(linuxImage(4096)) });
    const at = (offset: number): number => Number(rom.getBigUint64(offset, true));
    expect(at(24)).toBe(RAM);
    expect(at(32)).toBe(0x9fe0_0000);
    expect(fdt.length).toBeLessThan(2 * MiB);
    // magic "OSBI", version, next address, next mode (supervisor), options, boot hart
    expect([40, 48, 56, 64, 72, 80].map(at)).toEqual([0x4942_534f, 2, RAM + 2 * MiB, 1, 0, 0]);
  });

  test('starts the kernel itself without a firmware', () => {
    const { rom } = contents({ kernel: file(Uint8Array.of(0x13, 0, 0, 0)) });
    expect(Number(rom.getBigUint64(24, true))).toBe(RAM);
  });
});

describe('images', () => {
  test('a Linux image goes to the next 2 MiB behind the firmware, with all the memory it asks for', () => {
    const { images } = contents({ firmware, kernel: file(linuxImage(9 * MiB)) });
    expect(at(images, RAM)?.bytes).toEqual(firmware.bytes);
    expect(at(images, RAM + 2 * MiB)?.memorySize).toBe(9 * MiB);
  });

  test('a Linux image that needs more memory than there is, or is big-endian, is refused', () => {
    const kernel = file(linuxImage(15 * MiB), 'Image');
    expect(() => contents({ firmware, kernel, ram: 16 * MiB })).toThrow(/^Image: expected at most 14680064/);
    expect(() => contents({ kernel: file(linuxImage(4096, 1), 'Image') })).toThrow(/little-endian/);
  });

  test.each([
    [512, RAM + 2 * MiB + 128 * MiB],
    [64, RAM + 2 * MiB + 32 * MiB],
  ])('with %i MiB of RAM the initrd is where QEMU puts it', (mib, address) => {
    const initrd = file(new Uint8Array(5000).fill(7));
    const { images, fdt } = contents({ firmware, kernel: file(linuxImage(4096)), initrd, ram: mib * MiB });
    expect(at(images, address)?.bytes).toEqual(initrd.bytes);
    expect(word(chosen(fdt).get('linux,initrd-start'))).toBe(address);
    expect(word(chosen(fdt).get('linux,initrd-end'))).toBe(address + 5000);
  });

  test('what overlaps, or does not fit, is refused', () => {
    const kernel = file(linuxImage(14 * MiB));
    expect(() => contents({ firmware, kernel, ram: 16 * MiB })).toThrow(/kernel overlaps the device tree/);
    const initrd = file(new Uint8Array(9 * MiB), 'i');
    const small = { kernel: file(linuxImage(4096)), initrd, ram: 16 * MiB };
    expect(() => contents(small)).toThrow(/^i: expected at most 8388608 bytes/);
    const long = { kernel: file(linuxImage(300 * MiB)), initrd };
    expect(() => contents(long)).toThrow(/the kernel overlaps the initrd/);
  });

  test('a reset draws a seed of 32 bytes: the block says where, and is itself always the same', () => {
    const { images, fdt, boot } = contents({});
    const seed = images.find(({ fill }) => fill === 'random');
    const tree = images.find(({ bytes }) => bytes.length === fdt.length);
    expect(seed?.memorySize).toBe(32);
    const offset = (seed?.address ?? 0) - (tree?.address ?? 0);
    expect(chosen(fdt).get('rng-seed')?.byteOffset).toBe(offset + fdt.byteOffset);
    expect(contents({}).boot).toEqual(boot);
  });

  test('a block whose fill is unknown is refused', () => {
    const images = [{ address: RAM, contents: contentsOf(new Uint8Array(0)), memorySize: 8 }];
    const block = new Uint8Array(bootBlockSize(images));
    writeBootBlock(images, block);
    block[24] = 2;
    expect(() => decodeBootImages(block, MiB)).toThrow(/a fill below 2/);
  });
});

describe('a device tree of the user', () => {
  const dtb = writeFdt({
    name: '',
    properties: { model: text('mine') },
    children: [
      { name: 'a', properties: { phandle: u32(7) } },
      { name: 'chosen', properties: { 'stdout-path': text('/a'), bootargs: text('old') } },
    ],
  });

  test('is taken as it is, with the start written into its /chosen', () => {
    const tree = readFdt(contents({ dtb: file(dtb), append: 'new', kernel: file(linuxImage(4096)) }).fdt);
    expect(new TextDecoder().decode(tree.properties.get('model'))).toBe('mine\0');
    expect(word(tree.children.find(({ name }) => name === 'a')?.properties.get('phandle'))).toBe(7);
    const { properties } = tree.children.find(({ name }) => name === 'chosen') as FdtTree;
    expect(new TextDecoder().decode(properties.get('bootargs'))).toBe('new\0');
    expect(new TextDecoder().decode(properties.get('stdout-path'))).toBe('/a\0');
    expect(properties.get('rng-seed')).toHaveLength(32);
  });
});

const hasQemu = spawnSync('qemu-system-riscv64', ['--version']).status === 0;

describe.skipIf(!hasQemu)("beside QEMU's device tree", () => {
  /** Everything in a tree, one line each: "/cpus/cpu@0:reg". */
  function* paths(tree: FdtTree, path = ''): Generator<string> {
    for (const name of tree.properties.keys()) yield `${path}/:${name}`;
    for (const child of tree.children) yield* paths(child, `${path}/${child.name}`);
  }
  const part = (tree: FdtTree | undefined, name: string) => tree?.children.find((c) => c.name === name);

  test('/chosen, /cpus and /memory have the same nodes and properties, values too where they can', () => {
    const dir = mkdtempSync(join(tmpdir(), 'godwit-'));
    const [dumped, kernel, initrd] = ['dtb', 'kernel', 'initrd'].map((name) => join(dir, name)) as [
      string,
      string,
      string,
    ];
    writeFileSync(kernel, linuxImage(4096));
    writeFileSync(initrd, new Uint8Array(5000));
    const files = ['-kernel', kernel, '-initrd', initrd, '-append', 'a=b', '-display', 'none'];
    spawnSync('qemu-system-riscv64', ['-M', `virt,dumpdtb=${dumped}`, '-m', '512', '-smp', '2', ...files]);
    const theirs = readFdt(readFileSync(dumped));
    rmSync(dir, { recursive: true });
    const request = { harts: 2, firmware, kernel: file(linuxImage(4096)), append: 'a=b' };
    const ours = readFdt(contents({ ...request, initrd: file(new Uint8Array(5000)) }).fdt);
    for (const name of ['chosen', 'cpus', 'memory@80000000']) {
      const [our, their] = [part(ours, name), part(theirs, name)] as [FdtTree, FdtTree];
      const missing = [...paths(their)].filter((path) => ![...paths(our)].includes(path));
      expect(missing, name).toEqual([]);
    }
    const [our, their] = [part(ours, 'chosen'), part(theirs, 'chosen')] as [FdtTree, FdtTree];
    for (const [name, value] of their.properties) {
      if (name !== 'rng-seed')
        expect(Buffer.from(our.properties.get(name) ?? []), name).toEqual(Buffer.from(value));
    }
  });
});
