/**
 * Opens character devices from their spellings, and connects monitors with them.
 */
import type { CharStream } from '../monitor/char-stream.ts';
import type { MonitorContext } from '../monitor/command.ts';
import { HmpSession } from '../monitor/hmp-session.ts';
import { QmpSession } from '../monitor/qmp-session.ts';
import { type Chardev, NullChardev, serveClients } from './chardev.ts';
import { FileChardev } from './chardev-file.ts';
import { ChardevMux } from './chardev-mux.ts';
import { SocketChardev } from './chardev-socket.ts';
import type { ChardevSpec } from './chardev-spec.ts';
import { StdioChardev } from './chardev-stdio.ts';

export interface OpenOptions {
  /**
   * What Ctrl-C at the terminal does when `stdio` is not multiplexed. Left out (as with -nographic), the character
   * goes to the guest or monitor.
   */
  readonly interrupt?: () => void;
}

/** Opens a character device. @throws GodwitError kind 'transport', one line that names the path or port. */
export async function openChardev(spec: ChardevSpec, options: OpenOptions = {}): Promise<Chardev> {
  switch (spec.kind) {
    case 'none':
    case 'null':
      return new NullChardev(spec.kind);
    case 'stdio':
      return new StdioChardev(process.stdin, process.stdout, spec.mux ? undefined : options.interrupt);
    case 'file':
      return new FileChardev(spec.path);
    case 'unix':
    case 'tcp':
      return await SocketChardev.open(spec);
  }
}

/** Serves QMP on a character device, one client after the other. */
export function serveQmp(chardev: Chardev, context: MonitorContext): void {
  serveClients(chardev, (stream) => new QmpSession(stream, context));
}

/** Serves the human monitor on a character device, one client after the other. */
export function serveHmp(chardev: Chardev, context: MonitorContext): void {
  serveClients(chardev, (stream) => new HmpSession(stream, context));
}

/** The console's side of a multiplexed character device. */
export interface MuxConsole {
  /** Console output. */
  write(bytes: Uint8Array): void;
  onData(listener: (bytes: Uint8Array) => void): void;
  onBreak(listener: () => void): void;
}

/**
 * Shares a character device between a console and a human monitor, which greets when it first gets the focus.
 * `quit` is Ctrl-A x.
 */
export function serveMux(chardev: Chardev, context: MonitorContext, quit: () => void): MuxConsole {
  let consoleData: ((bytes: Uint8Array) => void) | undefined;
  let breakSent: (() => void) | undefined;
  let monitorData: ((bytes: Uint8Array) => void) | undefined;
  let session: HmpSession | undefined;
  const monitorStream: CharStream = {
    write: (bytes) => chardev.write(bytes),
    onData: (listener) => {
      monitorData = listener;
    },
    onClose: () => {},
    close: () => {},
  };
  const mux = new ChardevMux({
    write: (bytes) => chardev.write(bytes),
    console: (bytes) => consoleData?.(bytes),
    monitor: (bytes) => monitorData?.(bytes),
    break: () => breakSent?.(),
    quit,
    focus: (to) => {
      if (to === 'console') chardev.write(new TextEncoder().encode('\r\n'));
      else if (session === undefined) session = new HmpSession(monitorStream, context);
      else session.refresh();
    },
  });
  chardev.onData((bytes) => mux.feed(bytes));
  return {
    write: (bytes) => chardev.write(bytes),
    onData: (listener) => {
      consoleData = listener;
    },
    onBreak: (listener) => {
      breakSent = listener;
    },
  };
}
