/** A bounded first-in first-out queue of bytes. */
export class ByteQueue {
  readonly #ring: Uint8Array;
  #head = 0;
  #length = 0;

  constructor(capacity: number) {
    this.#ring = new Uint8Array(capacity);
  }

  get length(): number {
    return this.#length;
  }

  /** How many more bytes it takes. */
  get room(): number {
    return this.#ring.length - this.#length;
  }

  /** Appends as many of `bytes` as there is room for; returns how many. */
  push(bytes: ArrayLike<number>): number {
    const count = Math.min(bytes.length, this.room);
    const capacity = this.#ring.length;
    for (let i = 0; i < count; i++) {
      this.#ring[(this.#head + this.#length + i) % capacity] = bytes[i] as number;
    }
    this.#length += count;
    return count;
  }

  /** Removes the oldest byte; undefined if there is none. */
  shift(): number | undefined {
    if (this.#length === 0) return undefined;
    const byte = this.#ring[this.#head];
    this.#head = (this.#head + 1) % this.#ring.length;
    this.#length--;
    return byte;
  }

  clear(): void {
    this.#length = 0;
  }

  /** A copy of its bytes, oldest first. */
  bytes(): Uint8Array {
    return Uint8Array.from(
      { length: this.#length },
      (_, i) => this.#ring[(this.#head + i) % this.#ring.length] as number,
    );
  }

  /** Holds these bytes instead; at most its capacity. */
  replace(bytes: Uint8Array): void {
    this.clear();
    this.push(bytes);
  }
}
