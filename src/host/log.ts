/** The log of -d and -D: what it holds, and the file that it goes to. */
import { closeSync, openSync, writeSync } from 'node:fs';
import { errorMessage, GodwitError } from '../error.ts';
import { GUEST_LOG_ITEMS } from '../machine/guest-log-items.ts';
import type { LogItemInfo } from '../monitor/target.ts';

/** What can be logged. */
export const LOG_ITEMS = {
  ...GUEST_LOG_ITEMS,
  cpu_reset: 'show resets of the machine, and who asked for them',
  guest_errors: 'log when the guest OS does something invalid',
  migration: 'show states and passes of migrations',
} as const;
export type LogItem = keyof typeof LOG_ITEMS;
export const LOG_NAMES = Object.keys(LOG_ITEMS) as readonly LogItem[];

/** The same as a list, for help. */
export const LOG_ITEM_LIST: readonly LogItemInfo[] = Object.entries(LOG_ITEMS).map(([name, help]) => ({
  name,
  help,
}));

const STDERR = 2;

export class Log {
  #items: ReadonlySet<LogItem>;
  #fd: number;

  /** @param file instead of stderr. @throws GodwitError kind "file". */
  constructor(items: ReadonlySet<LogItem>, file?: string) {
    this.#items = items;
    this.#fd = file === undefined ? STDERR : open(file);
  }

  get items(): ReadonlySet<LogItem> {
    return this.#items;
  }

  set items(items: ReadonlySet<LogItem>) {
    this.#items = items;
  }

  /** The file, for other threads to write to. */
  get fd(): number {
    return this.#fd;
  }

  /**
   * Goes on in another file.
   * @param moved resolves when nobody writes to the old one any more.
   * @throws GodwitError kind "file"; the old one stays.
   */
  async moveTo(file: string, moved: () => Promise<void>): Promise<void> {
    const old = this.#fd;
    this.#fd = open(file);
    await moved();
    if (old !== STDERR) closeSync(old);
  }

  /** Writes a line, if its item was asked for. */
  line(item: LogItem, text: string): void {
    if (this.#items.has(item)) writeLog(this.#fd, `${text}\n`);
  }

  close(): void {
    if (this.#fd !== STDERR) closeSync(this.#fd);
  }
}

function open(file: string): number {
  try {
    return openSync(file, 'w');
  } catch (error) {
    throw new GodwitError('file', `-D ${file}: can't be written: ${errorMessage(error)}`, {}, error);
  }
}

/** Writes all of it, and waits for a reader that is slower than the guest. A log that can't be written is lost. */
export function writeLog(fd: number, text: string): void {
  const bytes = Buffer.from(text);
  for (let at = 0; at < bytes.length; ) {
    try {
      at += writeSync(fd, bytes, at);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') return;
      // A pipe that another program left non-blocking, and that is full: nothing tells when it has room again.
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
    }
  }
}
