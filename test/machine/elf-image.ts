/** Builds small ELF files for tests, well-formed unless a test says otherwise. */

export interface TestSegment {
  readonly address: number;
  readonly bytes: readonly number[];
  readonly memorySize?: number;
  readonly virtualAddress?: bigint;
  readonly type?: number;
}

export interface TestElf {
  readonly entry?: bigint;
  readonly segments?: readonly TestSegment[];
  readonly symbols?: readonly { readonly name: string; readonly address: bigint; readonly size: number }[];
}

const align = (n: number): number => Math.ceil(n / 8) * 8;

export function makeElf({ entry, segments = [], symbols }: TestElf): Uint8Array {
  const names = `\0${(symbols ?? []).map(({ name }) => `${name}\0`).join('')}`;
  const dataAt = 64 + 56 * segments.length;
  const offsets: number[] = [];
  let end = dataAt;
  for (const { bytes } of segments) {
    offsets.push(end);
    end = align(end + bytes.length);
  }
  const symbolsAt = end;
  const symbolBytes = symbols === undefined ? 0 : 24 * (symbols.length + 1);
  const namesAt = symbolsAt + symbolBytes;
  const sectionsAt = align(namesAt + names.length);
  const file = new Uint8Array(symbols === undefined ? symbolsAt : sectionsAt + 3 * 64);
  const view = new DataView(file.buffer);
  const u64 = (at: number, value: number | bigint) => view.setBigUint64(at, BigInt(value), true);
  file.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  view.setUint16(16, 2, true);
  view.setUint16(18, 243, true);
  view.setUint32(20, 1, true);
  u64(24, entry ?? BigInt(segments[0]?.address ?? 0));
  u64(32, 64);
  view.setUint16(52, 64, true);
  view.setUint16(54, 56, true);
  view.setUint16(56, segments.length, true);
  view.setUint16(58, 64, true);
  for (const [i, segment] of segments.entries()) {
    const at = 64 + 56 * i;
    view.setUint32(at, segment.type ?? 1, true);
    u64(at + 8, offsets[i] as number);
    u64(at + 16, segment.virtualAddress ?? segment.address);
    u64(at + 24, segment.address);
    u64(at + 32, segment.bytes.length);
    u64(at + 40, segment.memorySize ?? segment.bytes.length);
    file.set(segment.bytes, offsets[i]);
  }
  if (symbols === undefined) return file;
  u64(40, sectionsAt);
  view.setUint16(60, 3, true);
  const section = (index: number, type: number, offset: number, size: number, link: number) => {
    const at = sectionsAt + 64 * index;
    view.setUint32(at + 4, type, true);
    u64(at + 24, offset);
    u64(at + 32, size);
    view.setUint32(at + 40, link, true);
  };
  section(1, 2, symbolsAt, symbolBytes, 2);
  section(2, 3, namesAt, names.length, 0);
  file.set(new TextEncoder().encode(names), namesAt);
  for (const [i, { name, address, size }] of symbols.entries()) {
    const at = symbolsAt + 24 * (i + 1);
    view.setUint32(at, names.indexOf(`\0${name}\0`) + 1, true);
    file[at + 4] = 0x12; // global function
    view.setUint16(at + 6, 1, true);
    u64(at + 8, address);
    u64(at + 16, size);
  }
  return file;
}
