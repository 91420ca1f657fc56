/** Where debuggers come to: a character device, one debugger after the other. */
import { errorMessage } from '../error.ts';
import { GdbSession } from '../gdb/session.ts';
import type { HumanSession, MonitorContext } from '../monitor/command.ts';
import { runHumanLine } from '../monitor/human-line.ts';
import { type Chardev, serveClients } from './chardev.ts';
import { openChardev } from './chardev-open.ts';
import { type ChardevSpec, parseChardev, parseHostPort } from './chardev-spec.ts';
import { VmGdbTarget } from './gdb-target.ts';
import type { Vm } from './vm.ts';

/**
 * Parses the device of -gdb. As in QEMU, "tcp:HOST:PORT" listens there, and everything else is as for -serial.
 * @throws GodwitError kind 'usage'.
 */
export function parseGdbDevice(text: string, option: string): ChardevSpec {
  if (!text.startsWith('tcp:')) return parseChardev(text, option);
  const [address = ''] = text.slice('tcp:'.length).split(',');
  const where = `${option} ${text}`;
  return { kind: 'tcp', ...parseHostPort(address, where), server: true, wait: false, mux: false };
}

export class GdbServer {
  readonly #vm: Vm;
  readonly #context: MonitorContext;
  readonly #complain: (message: string) => void;
  #chardev: Chardev | undefined;
  #session: GdbSession | undefined;

  /** @param complain told, in a line, why a debugger was turned away. */
  constructor(vm: Vm, context: MonitorContext, complain: (message: string) => void) {
    this.#vm = vm;
    this.#context = context;
    this.#complain = complain;
  }

  /**
   * Opens a device instead of the present one; `serve` follows.
   * @throws GodwitError kind 'transport'.
   */
  async open(spec: ChardevSpec): Promise<void> {
    await this.close();
    if (spec.kind !== 'none') this.#chardev = await openChardev(spec);
  }

  /** Lets debuggers in, also one that came before. */
  serve(): void {
    if (this.#chardev === undefined) return;
    serveClients(this.#chardev, (stream) => {
      let gone = (): void => {};
      const detached = new Promise<void>((resolve) => {
        gone = resolve;
      });
      const monitor: HumanSession = { hart: 0 };
      const target = VmGdbTarget.attach(this.#vm, (line) => this.#monitor(line, monitor), detached);
      target.catch((error) => this.#complain(`a debugger was turned away: ${errorMessage(error)}`));
      const session = new GdbSession(stream, target, () => {
        gone();
        if (this.#session === session) this.#session = undefined;
      });
      this.#session = session;
    });
  }

  /** Tells the debugger that the process ends. */
  exited(status: number): void {
    this.#session?.exited(status);
  }

  async close(): Promise<void> {
    const chardev = this.#chardev;
    this.#chardev = undefined;
    await chardev?.close();
  }

  async #monitor(line: string, session: HumanSession): Promise<string> {
    let text = '';
    await runHumanLine(this.#context, line, {
      session,
      mayWait: false,
      print: (printed) => {
        text += `${printed}\n`;
      },
    });
    return text;
  }
}
