import { createHash } from 'node:crypto';
import { GodwitError } from '../../src/error.ts';
import { chunksOf, DISK_CHUNK, DISK_PIECE } from '../../src/migration/disk-stream.ts';
import { type DestinationDisk, DIGEST_SIZE, type SourceDisk } from '../../src/migration/migratable-vm.ts';
import { Random } from '../support/random.ts';
import type { VirtualTime } from './virtual-time.ts';

const SECTOR = 512;

const digest = (bytes: Uint8Array): Uint8Array =>
  createHash('sha256').update(bytes).digest().subarray(0, DIGEST_SIZE);

/** A disk in memory with data here and there, on which a guest writes sectors. */
export class FakeSourceDisk implements SourceDisk {
  readonly id: string;
  readonly contents: Uint8Array;
  readonly dirty: Int32Array;
  logging = false;
  reads = 0;
  /** Those that are under way. */
  reading = 0;
  /** Throws at the read of this number. */
  failAtRead = Infinity;
  readonly #random: Random;
  readonly #time: VirtualTime;

  constructor(time: VirtualTime, id: string, size: number, seed: number) {
    this.#time = time;
    this.id = id;
    this.contents = new Uint8Array(size);
    this.dirty = new Int32Array(Math.ceil(chunksOf(size) / 32));
    this.#random = new Random(seed);
    // A quarter of the chunks hold data, in some of their blocks.
    for (let chunk = 0; chunk < chunksOf(size); chunk++) {
      if (!this.#random.chance(0.25)) continue;
      for (let block = 0; block < 16; block += this.#random.between(1, 5)) {
        this.#fill(chunk * DISK_CHUNK + block * 4096, 4096);
      }
    }
  }

  get size(): number {
    return this.contents.length;
  }

  /** One write of the guest: a sector somewhere, of zeros now and then. */
  write(): void {
    const at = this.#random.below(this.size / SECTOR) * SECTOR;
    if (this.#random.chance(0.2)) this.contents.fill(0, at, at + SECTOR);
    else this.#fill(at, SECTOR);
    const chunk = Math.floor(at / DISK_CHUNK);
    if (this.logging) this.dirty[chunk >> 5] = (this.dirty[chunk >> 5] ?? 0) | (1 << (chunk & 31));
  }

  async extents() {
    const extents = [];
    for (let from = 0; from < this.size; from += 4096) {
      const to = Math.min(from + 4096, this.size);
      if (this.contents.subarray(from, to).some((byte) => byte !== 0)) extents.push({ from, to });
    }
    return extents;
  }

  async read(offset: number, target: Uint8Array): Promise<void> {
    if (++this.reads === this.failAtRead) throw new GodwitError('file', `drive '${this.id}' can't be read`);
    this.reading++;
    // Some take longer than others.
    for (let turn = this.reads % 5; turn >= 0; turn--) await this.#time.turn();
    target.set(this.contents.subarray(offset, offset + target.length));
    this.reading--;
  }

  digest(bytes: Uint8Array): Uint8Array {
    return digest(bytes);
  }

  #fill(at: number, length: number): void {
    for (let i = at; i < Math.min(at + length, this.size); i++) this.contents[i] = this.#random.below(256);
  }
}

/** What a disk arrives in, which remembers what of it is safe. */
export class FakeDestinationDisk implements DestinationDisk {
  readonly id: string;
  readonly contents: Uint8Array;
  /** As the host's end would leave it. */
  safe: Uint8Array;
  readonly base: Uint8Array;
  written = 0;
  copied = 0;
  #writes = 0;
  /** Bytes after which the disk is full. */
  room = Infinity;
  /** What was safe when it got its name. */
  named: Uint8Array | undefined;
  readonly #time: VirtualTime;

  constructor(time: VirtualTime, id: string, size: number, base: Uint8Array = new Uint8Array(size)) {
    this.#time = time;
    this.id = id;
    this.contents = new Uint8Array(size);
    this.safe = this.contents.slice();
    this.base = base;
  }

  get size(): number {
    return this.contents.length;
  }

  name(): void {
    this.named = this.safe.slice();
  }

  async baseDigests(first: number, pieces: number): Promise<Uint8Array> {
    const all = Array.from({ length: pieces }, (_, i) => {
      const at = (first + i) * DISK_PIECE;
      return digest(this.base.subarray(at, at + DISK_PIECE));
    });
    return new Uint8Array(Buffer.concat(all));
  }

  async copyBase(offset: number, length: number): Promise<void> {
    this.copied += length;
    this.contents.set(this.base.subarray(offset, offset + length), offset);
  }

  async write(offset: number, bytes: Uint8Array): Promise<void> {
    if (offset + bytes.length > this.size) throw new Error('beyond the end');
    this.written += bytes.length;
    if (this.written > this.room) throw new GodwitError('file', 'No space left on device');
    // Late, some much later than others, so that what is used again too early is noticed.
    for (let turns = this.#writes++ % 5 === 0 ? 12 : 1; turns > 0; turns--) await this.#time.turn();
    this.contents.set(bytes, offset);
  }

  async zero(offset: number, length: number): Promise<void> {
    this.contents.fill(0, offset, offset + length);
  }

  async flush(): Promise<void> {
    const now = this.contents.slice();
    await this.#time.turn();
    this.safe = now;
  }
}
