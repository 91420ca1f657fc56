/** A disk image on the host: what is written, what stays, and what a file does not have. */
import { mkdtempSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type BlockError, blockFile } from '../../src/host/block-file.ts';
import { type Drive, type DriveSpec, openDrive, openDrives } from '../../src/host/drive.ts';
import { libc } from '../../src/host/libc.ts';

const MiB = 1024 * 1024;
let folder: string;
let file: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'godwit-'));
  file = join(folder, 'disk.img');
});
afterEach(() => rmSync(folder, { recursive: true }));

function drive(size: number, more: Partial<DriveSpec> = {}): Drive {
  writeFileSync(file, '');
  truncateSync(file, size);
  return openImage(more);
}

function openImage(more: Partial<DriveSpec> = {}): Drive {
  return openDrive({
    ...{ id: 'x0', file, raw: true, readonly: false, snapshot: false, writeback: true, noFlush: false },
    ...{ unmap: false, werror: 'enospc', rerror: 'report', where: `-drive file=${file}` },
    ...more,
  });
}

function opened(of: Drive) {
  const errors: BlockError[] = [];
  return { disk: blockFile(of, (error) => errors.push(error)), errors };
}

const pattern = (length: number, seed = 1): Uint8Array =>
  Uint8Array.from({ length }, (_, i) => (i * 31 + seed) & 0xff);
const read = async (
  disk: ReturnType<typeof blockFile>,
  offset: number,
  length: number,
): Promise<Uint8Array> => {
  const target = new Uint8Array(length).fill(0xee);
  await disk.read(offset, target);
  return target;
};
const same = (a: Uint8Array, b: Uint8Array): void => expect(Buffer.compare(a, b)).toBe(0);
const allocated = (): number => statSync(file).blocks * 512;

describe('an image', () => {
  test('keeps what is written where it is written', async () => {
    const { disk } = opened(drive(MiB));
    await disk.write(4096, pattern(8192));
    await disk.flush();
    same(await read(disk, 4096, 8192), pattern(8192));
    expect(readFileSync(file).subarray(4096, 4096 + 8192)).toEqual(Buffer.from(pattern(8192)));
    expect(disk.counters).toMatchObject({
      rd_bytes: 8192,
      wr_bytes: 8192,
      wr_operations: 1,
      flush_operations: 1,
    });
  });

  test('whose file ends within a sector reads zeros behind it', async () => {
    writeFileSync(file, pattern(700));
    const of = openImage();
    expect(of.size).toBe(1024);
    const bytes = await read(opened(of).disk, 0, 1024);
    expect(bytes.subarray(0, 700)).toEqual(pattern(700));
    expect(bytes.subarray(700)).toEqual(new Uint8Array(324));
  });

  test('stays sparse where zeros are wanted and are there', async () => {
    const { disk } = opened(drive(8 * MiB));
    await disk.write(MiB, pattern(4096));
    const before = allocated();
    await disk.zero(0, 8 * MiB, false);
    expect(allocated()).toBe(before);
    same(await read(disk, 0, 2 * MiB), new Uint8Array(2 * MiB));
  });

  test('with discard=unmap gets holes', async ({ skip }) => {
    if (libc() === undefined) skip();
    const { disk } = opened(drive(4 * MiB, { unmap: true }));
    await disk.write(0, pattern(4 * MiB));
    const full = allocated();
    await disk.discard(MiB, 2 * MiB);
    expect(full - allocated()).toBe(2 * MiB);
    same(await read(disk, MiB, 2 * MiB), new Uint8Array(2 * MiB));
    same(await read(disk, 3 * MiB, MiB), pattern(4 * MiB).subarray(3 * MiB));
    await disk.zero(3 * MiB, MiB, true);
    expect(full - allocated()).toBe(3 * MiB);
  });

  test('with discard=ignore keeps what is discarded', async () => {
    const { disk } = opened(drive(MiB));
    await disk.write(0, pattern(MiB));
    await disk.discard(0, MiB);
    same(await read(disk, 0, MiB), pattern(MiB));
  });

  test('is written by no more than one drive', () => {
    const { where, fd: _, size: __, allocated: ___, ...spec } = drive(MiB);
    const second = { ...spec, id: 'x1', where };
    expect(() => openDrives([{ ...spec, where }, second])).toThrow(
      /"write" lock: '.*' is the drive 'x0', too$/,
    );
    expect(
      openDrives([
        { ...spec, where },
        { ...second, readonly: true },
        { ...second, snapshot: true },
      ]),
    ).toHaveLength(3);
  });

  test('that looks like another format has to be called raw', () => {
    writeFileSync(file, Buffer.concat([Buffer.from('QFI\xfb', 'latin1'), Buffer.alloc(508)]));
    expect(openImage().size).toBe(512);
    expect(() => openImage({ raw: false })).toThrow(/qcow2/);
  });
});

describe('with snapshot=on', () => {
  test('an image stays as it is, and what is written is read back', async () => {
    writeFileSync(file, pattern(64 * 1024));
    const { disk } = opened(openImage({ snapshot: true }));
    const expected = pattern(64 * 1024);
    // Overlapping pieces, of one sector and of many.
    for (const [sector, count, seed] of [
      [3, 1, 7],
      [2, 5, 9],
      [100, 20, 11],
      [110, 2, 13],
      [127, 1, 15],
    ] as const) {
      const bytes = pattern(count * 512, seed);
      await disk.write(sector * 512, bytes);
      expected.set(bytes, sector * 512);
    }
    await disk.flush();
    same(await read(disk, 0, 64 * 1024), expected);
    await disk.zero(4 * 512, 100 * 512, false);
    expected.fill(0, 4 * 512, 104 * 512);
    same(await read(disk, 0, 64 * 1024), expected);
    expect(readFileSync(file)).toEqual(Buffer.from(pattern(64 * 1024)));
  });

  test('a file that only its user may not write can be used', async () => {
    writeFileSync(file, pattern(512));
    const { disk } = opened(openImage({ snapshot: true, readonly: false }));
    await disk.write(0, pattern(512, 3));
    same(await read(disk, 0, 512), pattern(512, 3));
  });
});

describe('an error', () => {
  test('of the system rejects, with its code', async () => {
    const { disk } = opened(drive(MiB, { readonly: true }));
    await expect(disk.write(0, pattern(512))).rejects.toMatchObject({ code: 'EBADF' });
  });

  test.each([
    ['enospc', 'write', 'ENOSPC', 'stop'],
    ['enospc', 'write', 'EIO', 'report'],
    ['stop', 'write', 'EIO', 'stop'],
    ['ignore', 'write', 'ENOSPC', 'ignore'],
    ['enospc', 'read', 'EIO', 'report'],
  ] as const)('werror=%s, a %s, %s: %s', (werror, operation, code, action) => {
    const { disk, errors } = opened(drive(MiB, { werror }));
    expect(disk.failed(operation, Object.assign(new Error(code), { code }))).toBe(action);
    expect(errors).toEqual([
      {
        ...{ device: 'x0', operation, action, nospace: code === 'ENOSPC' },
        reason: code === 'EIO' ? 'Input/output error' : 'No space left on device',
      },
    ]);
  });
});
