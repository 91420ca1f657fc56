/**
 * A byte transport that carries a migration: a socket, a pipe or a file.
 */

/** What another thread can read and write. Plain data. */
export interface LentConnection {
  /** Descriptor of a socket that does not block. */
  readonly fd: number;
  /** Names the other side in errors. */
  readonly peer: string;
}

export interface Transport {
  /**
   * Whether bytes also flow back: a socket has a return path, a file and a pipe have none.
   */
  readonly duplex: boolean;
  /**
   * Whether somebody may act on what was written as it arrives: who reads a pipe may run the guest at "go", and nobody
   * tells the source. A file only keeps it.
   */
  readonly live: boolean;
  /**
   * Hands `chunks` over in order. Resolves when all of them were taken by the operating system, so that their memory
   * may be used again. @throws GodwitError kind "transport".
   */
  write(chunks: readonly Uint8Array[]): Promise<void>;
  /**
   * The next bytes, at least one; undefined at a clean end. The memory may be used again at the next call.
   * @param into where the reader would have them. Where that can be done without a copy, the first of them are put there, and
   * the part of it that was filled is returned.
   */
  read(into?: Uint8Array): Promise<Uint8Array | undefined>;
  /**
   * Flushes what was written (to a file: to the disk; to a command: until it has ended well) and closes this side's
   * direction.
   */
  end(): Promise<void>;
  /**
   * Gives the connection to another thread of this process, which reads and writes it by itself from now on; here it is
   * only to be destroyed, when that thread has let go of it. Undefined where that can't be, or what has come was not read
   * yet: then nothing has changed.
   */
  lend?(): LentConnection | undefined;
  /** From now on no room is asked for: what is written last is waited for most, and stands in line behind the rest. */
  hurry?(): void;
  /** Drops the connection at once; pending reads and writes reject. Idempotent. */
  destroy(): void;
}
