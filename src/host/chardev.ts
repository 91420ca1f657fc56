/**
 * A character device: bytes in and out, whoever is at the other end. It stays while clients come and go; what is
 * written while nobody is connected is dropped, as QEMU does.
 */
import type { CharStream } from '../monitor/char-stream.ts';

export interface Chardev {
  /** "unix:/run/q.sock", "stdio": for messages. For a tcp port 0 the port that was given. */
  readonly label: string;
  /** Somebody is at the other end. */
  readonly connected: boolean;
  /** Bytes written that the host has not taken yet. */
  readonly backlogBytes: number;
  write(bytes: Uint8Array): void;
  /** Each of these registers one receiver. `onOpen` is also called at once if somebody is there already. */
  onOpen(listener: () => void): void;
  onData(listener: (bytes: Uint8Array) => void): void;
  onHangup(listener: () => void): void;
  /** The client sends no more, but may read; without a receiver it is hung up at once, with one after a second. */
  onEnd(listener: () => void): void;
  /** Drops the present client; the next may come. */
  hangup(): void;
  /** Stops and resumes reading from the client. */
  pause(): void;
  resume(): void;
  /** Gives everything back: connections, the socket's file, the terminal's mode. Idempotent. */
  close(): Promise<void>;
}

/** Input kept for a receiver that is not there yet, bytes; more is dropped. */
const MAX_HELD = 64 * 1024;

/** The listeners of a chardev, and what a client at the other end means; the back ends extend it. */
export abstract class ChardevBase {
  abstract readonly connected: boolean;
  #open: (() => void) | undefined;
  #data: ((bytes: Uint8Array) => void) | undefined;
  #hangup: (() => void) | undefined;
  #end: (() => void) | undefined;
  /** Input that came before its receiver. */
  #held: Uint8Array[] = [];
  #heldBytes = 0;

  onOpen(listener: () => void): void {
    this.#open = listener;
    if (this.connected) listener();
  }

  onData(listener: (bytes: Uint8Array) => void): void {
    this.#data = listener;
    this.#heldBytes = 0;
    for (const bytes of this.#held.splice(0)) listener(bytes);
  }

  onHangup(listener: () => void): void {
    this.#hangup = listener;
  }

  onEnd(listener: () => void): void {
    this.#end = listener;
  }

  protected emitOpen(): void {
    this.#open?.();
  }

  protected emitData(bytes: Uint8Array): void {
    if (this.#data !== undefined) this.#data(bytes);
    else if (this.#heldBytes + bytes.length <= MAX_HELD) {
      this.#held.push(bytes.slice());
      this.#heldBytes += bytes.length;
    }
  }

  protected emitHangup(): void {
    this.#held = [];
    this.#heldBytes = 0;
    this.#hangup?.();
  }

  /** False if nobody wanted to know. */
  protected emitEnd(): boolean {
    this.#end?.();
    return this.#end !== undefined;
  }
}

/** `null`, `none`: nobody is ever there. */
export class NullChardev extends ChardevBase implements Chardev {
  readonly label: string;
  readonly connected = false;
  readonly backlogBytes = 0;

  constructor(label: string) {
    super();
    this.label = label;
  }

  write(): void {}
  hangup(): void {}
  pause(): void {}
  resume(): void {}
  async close(): Promise<void> {}
}

/** Gives each client of a chardev a stream of its own, and so each a monitor session. */
export function serveClients(chardev: Chardev, serve: (stream: CharStream) => void): void {
  let data: ((bytes: Uint8Array) => void) | undefined;
  let closed: (() => void) | undefined;
  let ended: (() => void) | undefined;
  chardev.onEnd(() => (ended === undefined ? chardev.hangup() : ended()));
  chardev.onHangup(() => {
    const tell = closed;
    data = undefined;
    ended = undefined;
    closed = undefined;
    tell?.();
  });
  chardev.onOpen(() => {
    let open = true;
    serve({
      write: (bytes) => {
        if (open) chardev.write(bytes);
      },
      onData: (listener) => {
        data = listener;
      },
      onEnd: (listener) => {
        ended = listener;
      },
      onClose: (listener) => {
        closed = () => {
          open = false;
          listener();
        };
      },
      close: () => {
        if (open) chardev.hangup();
      },
      pause: () => {
        if (open) chardev.pause();
      },
      resume: () => {
        if (open) chardev.resume();
      },
    });
  });
  // Last, because it hands over what a client has sent already.
  chardev.onData((bytes) => data?.(bytes));
}
