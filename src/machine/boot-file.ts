/** Files that a machine starts from, read piece by piece: a kernel of 30 MB goes straight to where it belongs. */

/** Bytes that are copied to where they are wanted. */
export interface Contents {
  readonly length: number;
  /** @param into of their length. */
  copyTo(into: Uint8Array): void;
}

export interface BootFile {
  /** Its name, for errors. */
  readonly file: string;
  /** Bytes. */
  readonly size: number;
  /** Fills `into` from byte `offset` on. @throws GodwitError kind "file". */
  read(into: Uint8Array, offset: number): void;
}

export function contentsOf(bytes: Uint8Array): Contents {
  return { length: bytes.length, copyTo: (into) => into.set(bytes) };
}

/** A file whose bytes are here already. */
export function bootFile(file: string, bytes: Uint8Array): BootFile {
  return {
    file,
    size: bytes.length,
    read: (into, offset) => into.set(bytes.subarray(offset, offset + into.length)),
  };
}

/** Part of a file. */
export function partOf(file: BootFile, offset = 0, length = file.size): Contents {
  return { length, copyTo: (into) => file.read(into, offset) };
}

/** Reads up to `length` bytes from `offset` on: fewer where the file ends. */
export function bytesOf(file: BootFile, offset = 0, length = file.size): Uint8Array {
  const bytes = new Uint8Array(Math.max(Math.min(length, file.size - offset), 0));
  file.read(bytes, offset);
  return bytes;
}

/** Bytes that FileNumbers reads at a time. */
const WINDOW = 4096;
const LARGEST_NUMBER = 8;

/** Little-endian numbers in a file. */
export class FileNumbers {
  readonly #file: BootFile;
  #view: DataView = new DataView(new ArrayBuffer(0));
  /** Where the view begins in the file. */
  #from = 0;

  constructor(file: BootFile) {
    this.#file = file;
  }

  /** @param at inside the file, as for the others. */
  u8(at: number): number {
    return this.#window(at).getUint8(at - this.#from);
  }

  u16(at: number): number {
    return this.#window(at).getUint16(at - this.#from, true);
  }

  u32(at: number): number {
    return this.#window(at).getUint32(at - this.#from, true);
  }

  u64(at: number): bigint {
    return this.#window(at).getBigUint64(at - this.#from, true);
  }

  #window(at: number): DataView {
    if (at < this.#from || at + LARGEST_NUMBER > this.#from + this.#view.byteLength) {
      const bytes = bytesOf(this.#file, at, WINDOW);
      this.#view = new DataView(bytes.buffer);
      this.#from = at;
    }
    return this.#view;
  }
}
