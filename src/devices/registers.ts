/**
 * Registers declared once. A bank is a literal of registers (stored) and ports (computed); the fields of the saved
 * state, the reset values, the MMIO dispatch and the monitor's dump all derive from it. A device adds behaviour with
 * hooks, by the register's name.
 *
 * An access reaches the one register that its first byte lies in. Bytes beyond that register's end read as zero and
 * are dropped when written; bytes that a narrow write leaves out keep their value.
 */
import { GodwitError } from '../error.ts';
import type { AccessSize, MmioHandler } from '../memory/mmio.ts';
import { arrayOf, type Field, u8, u16, u32, u64 } from '../vmstate/fields.ts';

/** Width of a register in bytes. 8-byte values are bigints, others numbers. */
export type RegisterWidth = 1 | 2 | 4 | 8;
type Value<W> = W extends 8 ? bigint : number;

interface Placed<W extends RegisterWidth> {
  /** Bytes from the start of the region. */
  readonly offset: number;
  readonly width: W;
  /** Which accesses it answers; both by default. */
  readonly access?: 'r' | 'w';
  /** Where several registers share an offset: the page it is on. On all pages by default. */
  readonly page?: number;
}

interface Repeated {
  /** How many there are, in a row. */
  readonly count: number;
  /** Bytes from one to the next; the width by default. */
  readonly stride?: number;
  /** How many such rows there are; one by default. Indices go on from row to row. */
  readonly rows?: number;
  /** Bytes from a row's first to the next row's. */
  readonly rowStride?: number;
}

interface Stored<W extends RegisterWidth> extends Placed<W> {
  /** Value at reset; 0 by default. */
  readonly reset?: Value<W>;
  /** Bits that a write sets to what is written; all by default. */
  readonly writable?: Value<W>;
  /** Bits that writing a 1 clears; none by default. */
  readonly clears?: Value<W>;
}

/** A register with a value of its own. */
export interface Register<W extends RegisterWidth> extends Stored<W> {
  readonly kind: 'register';
}
/** Registers side by side, one per hart or queue: an array in the state. */
export interface RegisterArray<W extends RegisterWidth> extends Stored<W>, Repeated {
  readonly kind: 'array';
}
/** An address that does something, without a value of its own: reads give 0 and writes do nothing but call hooks. */
export interface Port<W extends RegisterWidth> extends Placed<W>, Partial<Repeated> {
  readonly kind: 'port';
}

// biome-ignore lint/suspicious/noExplicitAny: a bank mixes widths; RegisterState recovers each.
type AnyEntry = Register<any> | RegisterArray<any> | Port<any>;

/** A device's registers by name. */
export type RegisterBank = Readonly<Record<string, AnyEntry>>;

type WidthOf<E> = E extends Placed<infer W> ? W : never;
type StoredValue<E> =
  E extends RegisterArray<infer W> ? Value<W>[] : E extends Register<infer W> ? Value<W> : never;
type StoredNames<B> = { [K in keyof B]: B[K] extends { kind: 'port' } ? never : K }[keyof B];

/** The state of a bank: the values of its registers; ports have none. */
export type RegisterState<B extends RegisterBank> = { [K in StoredNames<B>]: StoredValue<B[K]> };

/** The state fields of a bank. */
export type RegisterFields<B extends RegisterBank> = {
  readonly [K in StoredNames<B>]: Field<StoredValue<B[K]>>;
};

/** Declares a register. */
export const register = <const W extends RegisterWidth>(spec: Stored<W>): Register<W> => ({
  kind: 'register',
  ...spec,
});
/** Declares an array of registers. */
export const registerArray = <const W extends RegisterWidth>(
  spec: Stored<W> & Repeated,
): RegisterArray<W> => ({ kind: 'array', ...spec });
/** Declares a port. */
export const port = <const W extends RegisterWidth>(spec: Placed<W> & Partial<Repeated>): Port<W> => ({
  kind: 'port',
  ...spec,
});

/** A write as its hook sees it. */
export interface RegisterWrite<V> {
  /** The new value, stored already; a port: what was written. */
  readonly value: V;
  /** The value before; a port: 0. */
  readonly previous: V;
  /** What was written, before masks. */
  readonly written: V;
  /** Index in an array; 0 elsewhere. */
  readonly index: number;
}

interface Hook<V> {
  /** What the guest reads, given the stored value (a port: 0). */
  read?(value: V, index: number): V;
  write?(change: RegisterWrite<V>): void;
}

/** What a device does when its registers are used. */
export type RegisterHooks<B extends RegisterBank> = {
  readonly [K in keyof B]?: Hook<Value<WidthOf<B[K]>>>;
};

const FIELD_BY_WIDTH = { 1: u8(), 2: u16(), 4: u32(), 8: u64() } as const;

/** The descriptor fields of a bank's registers. */
export function registerFields<B extends RegisterBank>(bank: B): RegisterFields<B> {
  // biome-ignore lint/suspicious/noExplicitAny: the value type follows the width, which is a run-time value here.
  const fields: Record<string, Field<any>> = {};
  for (const [name, entry] of Object.entries(bank)) {
    if (entry.kind === 'port') continue;
    // biome-ignore lint/suspicious/noExplicitAny: as above.
    const field: Field<any> = FIELD_BY_WIDTH[entry.width as RegisterWidth];
    fields[name] = entry.kind === 'array' ? arrayOf(field, countOf(entry)) : field;
  }
  return fields as RegisterFields<B>;
}

/** A new state of a bank with every register at its reset value. */
export function resetRegisters<B extends RegisterBank>(bank: B): RegisterState<B> {
  const state: Record<string, unknown> = {};
  for (const [name, entry] of Object.entries(bank)) {
    if (entry.kind === 'port') continue;
    const value = entry.reset ?? (entry.width === 8 ? 0n : 0);
    state[name] = entry.kind === 'array' ? new Array(countOf(entry)).fill(value) : value;
  }
  return state as RegisterState<B>;
}

/** One line of a monitor's dump. */
export interface RegisterDump {
  /** "mtimecmp[1]" in an array. */
  readonly name: string;
  /** Bytes from the start of the region. */
  readonly offset: number;
  /** Hexadecimal, full width: "0x0000000000000000". */
  readonly value: string;
}

/** The stored values of a bank, for people; calls no hook. */
export function dumpRegisters<B extends RegisterBank>(bank: B, state: RegisterState<B>): RegisterDump[] {
  const cells = state as Cells;
  return places(bank)
    .filter(({ entry }) => entry.kind !== 'port')
    .map((place) => ({
      name: place.entry.kind === 'array' ? `${place.name}[${place.index}]` : place.name,
      offset: place.start,
      value: `0x${stored(place, cells)
        .toString(16)
        .padStart(2 * place.entry.width, '0')}`,
    }));
}

/** What the dispatch needs of its device. */
export interface RegisterBinding<B extends RegisterBank> {
  /** The live state; asked at each access, for a restore replaces it. */
  state(): RegisterState<B>;
  readonly hooks?: RegisterHooks<B>;
  /** The page that is selected now; 0 by default. */
  page?(): number;
}

/**
 * The MMIO dispatch of a bank.
 * @throws GodwitError kind "internal" if two registers answer the same access.
 */
export function registerHandler<B extends RegisterBank>(
  bank: B,
  binding: RegisterBinding<B>,
): Required<MmioHandler> {
  return new RegisterHandler(bank, binding as unknown as Binding);
}

/** The same registers for naturally aligned accesses of 32 bits alone; others are ignored, and read as zero. */
export function alignedWords(handler: MmioHandler): Required<MmioHandler> {
  const isWord = (offset: number, size: AccessSize): boolean => size === 4 && offset % 4 === 0;
  return {
    read: (offset, size) => (isWord(offset, size) ? handler.read(offset, size) : 0),
    write(offset, size, value) {
      if (isWord(offset, size)) handler.write(offset, size, value);
    },
    read64: () => 0n,
    write64: () => {},
  };
}

// The dispatch itself is untyped in its values: a place's width says which of the two a value is.
type Cell = number | bigint;
type Cells = Record<string, Cell | Cell[]>;
interface Binding {
  state(): Cells;
  readonly hooks?: Readonly<Record<string, Hook<Cell>>>;
  page?(): number;
}
interface RegisterPlace {
  readonly name: string;
  readonly entry: AnyEntry;
  readonly index: number;
  readonly start: number;
}

function places(bank: RegisterBank): RegisterPlace[] {
  return Object.entries(bank).flatMap(([name, entry]) => {
    const repeated: Partial<Repeated> = entry.kind === 'register' ? {} : entry;
    const { count = 1, stride = entry.width, rowStride = 0 } = repeated;
    return Array.from({ length: countOf(repeated) }, (_, index) => {
      const start = entry.offset + Math.floor(index / count) * rowStride + (index % count) * stride;
      return { name, entry, index, start };
    });
  });
}

/** How many there are in all rows. */
function countOf({ count = 1, rows = 1 }: Partial<Repeated>): number {
  return count * rows;
}

function stored({ name, entry, index }: RegisterPlace, cells: Cells): Cell {
  if (entry.kind === 'port') return entry.width === 8 ? 0n : 0;
  const cell = cells[name] as Cell | Cell[];
  return Array.isArray(cell) ? (cell[index] as Cell) : cell;
}

interface Masks<V> {
  readonly writable?: V;
  readonly clears?: V;
}

function masks({ entry }: RegisterPlace): Masks<Cell> {
  return entry.kind === 'port' ? {} : entry;
}

/** Register by byte offset, one table per page and direction. */
type ByOffset = Map<number, RegisterPlace>;

class RegisterHandler implements Required<MmioHandler> {
  readonly #binding: Binding;
  readonly #readable: readonly ByOffset[];
  readonly #writable: readonly ByOffset[];

  constructor(bank: RegisterBank, binding: Binding) {
    this.#binding = binding;
    const all = places(bank);
    const pages = 1 + Math.max(0, ...all.map(({ entry }) => entry.page ?? 0));
    const table = (page: number, access: 'r' | 'w'): ByOffset => {
      const byOffset: ByOffset = new Map();
      for (const place of all) {
        const { entry, start } = place;
        if ((entry.page ?? page) !== page || (entry.access ?? access) !== access) continue;
        for (let at = start; at < start + entry.width; at++) {
          const other = byOffset.get(at);
          if (other !== undefined) {
            throw new GodwitError('internal', `registers ${other.name} and ${place.name} overlap at ${at}`);
          }
          byOffset.set(at, place);
        }
      }
      return byOffset;
    };
    this.#readable = Array.from({ length: pages }, (_, page) => table(page, 'r'));
    this.#writable = Array.from({ length: pages }, (_, page) => table(page, 'w'));
  }

  read(offset: number, size: AccessSize): number {
    const place = this.#find(this.#readable, offset);
    if (place === undefined) return 0;
    const value = this.#read(place);
    const shift = 8 * (offset - place.start);
    if (typeof value === 'bigint') return Number(BigInt.asUintN(8 * size, value >> BigInt(shift)));
    return ((value >>> shift) & mask32(size)) >>> 0;
  }

  read64(offset: number): bigint {
    const place = this.#find(this.#readable, offset);
    if (place === undefined) return 0n;
    return BigInt(this.#read(place)) >> BigInt(8 * (offset - place.start));
  }

  write(offset: number, size: AccessSize, value: number): void {
    const place = this.#find(this.#writable, offset);
    if (place === undefined) return;
    const shift = 8 * (offset - place.start);
    if (place.entry.width === 8) this.#write64(place, BigInt(value >>> 0), size, shift);
    else this.#write32(place, value << shift, mask32(size) << shift);
  }

  write64(offset: number, value: bigint): void {
    const place = this.#find(this.#writable, offset);
    if (place === undefined) return;
    const shift = 8 * (offset - place.start);
    if (place.entry.width === 8) this.#write64(place, value, 8, shift);
    else this.#write32(place, Number(BigInt.asUintN(32, value)) << shift, -1 << shift);
  }

  #find(tables: readonly ByOffset[], offset: number): RegisterPlace | undefined {
    return tables[this.#binding.page?.() ?? 0]?.get(offset);
  }

  #read(place: RegisterPlace): Cell {
    const value = stored(place, this.#binding.state());
    return this.#binding.hooks?.[place.name]?.read?.(value, place.index) ?? value;
  }

  /** What the bytes that a narrow write leaves out keep: of a port, what it would read as. */
  #kept(place: RegisterPlace, whole: boolean, previous: Cell): Cell {
    return place.entry.kind === 'port' && !whole ? this.#read(place) : previous;
  }

  #write32(place: RegisterPlace, value: number, touched: number): void {
    const all = mask32(place.entry.width);
    const lanes = touched & all;
    const written = value & lanes;
    const previous = stored(place, this.#binding.state()) as number;
    const { writable = all, clears = 0 } = masks(place) as Masks<number>;
    const changing = writable & lanes;
    const kept = this.#kept(place, lanes === all, previous) as number;
    const next = ((kept & ~changing) | (written & changing)) & ~(written & clears);
    this.#commit(place, next >>> 0, previous, written >>> 0);
  }

  #write64(place: RegisterPlace, value: bigint, size: number, shift: number): void {
    const lanes = BigInt.asUintN(64, ((1n << BigInt(8 * size)) - 1n) << BigInt(shift));
    const written = (value << BigInt(shift)) & lanes;
    const previous = stored(place, this.#binding.state()) as bigint;
    const { writable = MASK_64, clears = 0n } = masks(place) as Masks<bigint>;
    const changing = writable & lanes;
    const kept = this.#kept(place, lanes === MASK_64, previous) as bigint;
    const next = ((kept & ~changing) | (written & changing)) & ~(written & clears);
    this.#commit(place, next, previous, written);
  }

  #commit(place: RegisterPlace, value: Cell, previous: Cell, written: Cell): void {
    const { name, entry, index } = place;
    if (entry.kind !== 'port') {
      const cells = this.#binding.state();
      const cell = cells[name];
      if (Array.isArray(cell)) cell[index] = value;
      else cells[name] = value;
    }
    this.#binding.hooks?.[name]?.write?.({ value, previous, written, index });
  }
}

const MASK_64 = 0xffff_ffff_ffff_ffffn;

/** The low `bytes` bytes, as the signed number that bitwise operators work on. */
function mask32(bytes: number): number {
  return bytes >= 4 ? -1 : (1 << (8 * bytes)) - 1;
}
