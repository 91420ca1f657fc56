/** The log of -d and -D: one line per event of the items that were asked for. */
import { closeSync, openSync, writeSync } from 'node:fs';
import { errorMessage, GodwitError } from '../error.ts';

/** What can be logged. */
export const LOG_ITEMS = ['int', 'cpu_reset', 'guest_errors', 'migration'] as const;
export type LogItem = (typeof LOG_ITEMS)[number];

export class Log {
  readonly items: ReadonlySet<LogItem>;
  readonly #fd: number;

  /** @param file instead of stderr. @throws GodwitError kind "file". */
  constructor(items: ReadonlySet<LogItem>, file?: string) {
    this.items = items;
    try {
      this.#fd = file === undefined ? 2 : openSync(file, 'w');
    } catch (error) {
      throw new GodwitError('file', `-D ${file}: can't be written: ${errorMessage(error)}`, {}, error);
    }
  }

  /** Writes a line, if its item was asked for. */
  line(item: LogItem, text: string): void {
    if (this.items.has(item)) writeSync(this.#fd, `${text}\n`);
  }

  close(): void {
    if (this.#fd !== 2) closeSync(this.#fd);
  }
}
