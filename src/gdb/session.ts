/**
 * One debugger's connection: stops the machine as it begins, answers packets one after the other, and tells of stops.
 * GDB manual, "Remote Protocol"; what it leaves open is as in QEMU 7.2's stub.
 */
import { errorMessage } from '../error.ts';
import type { CharStream } from '../monitor/char-stream.ts';
import { type Answer, type Command, type Commands, ERROR } from './command.ts';
import { DATA_COMMANDS } from './commands-data.ts';
import { QUERY_COMMANDS } from './commands-query.ts';
import { RUN_COMMANDS } from './commands-run.ts';
import { Debuggee } from './debuggee.ts';
import { type Arrival, PACKET_SIZE, PacketReader, packet } from './packet.ts';
import { stopReply } from './stop-reply.ts';
import type { GdbTarget, Stop } from './target.ts';
import { hexOfText } from './text.ts';

const COMMANDS: Commands = { ...DATA_COMMANDS, ...RUN_COMMANDS, ...QUERY_COMMANDS };
const PREFIXES = Object.keys(COMMANDS)
  .filter((name) => name.endsWith('*'))
  .map((name) => name.slice(0, -1));

/** Packets taken in while one is answered, before the other side is asked to wait. */
const MAX_WAITING = 64;

const ACK = Uint8Array.of(0x2b);
const NAK = Uint8Array.of(0x2d);

export class GdbSession {
  readonly #stream: CharStream;
  #debuggee: Debuggee | undefined;
  readonly #reader = new PacketReader();
  /** What is done one after the other. */
  #queue: Promise<void>;
  #waiting = 0;
  #acks = true;
  #last: Uint8Array | undefined;
  /** The machine runs for this debugger, who waits for it to stop. */
  #awaitsStop = false;
  #open = true;

  /**
   * @param target if there is none to debug, the connection is closed.
   * @param onClose called when the debugger has gone.
   */
  constructor(stream: CharStream, target: Promise<GdbTarget>, onClose: () => void = () => {}) {
    this.#stream = stream;
    stream.onClose(() => {
      this.#open = false;
      onClose();
    });
    this.#queue = target.then((there) => this.#attach(there)).catch(() => stream.close());
    stream.onData((bytes) => {
      for (const arrival of this.#reader.feed(bytes)) this.#arrived(arrival);
    });
  }

  /** The process ends with this status. */
  exited(status: number): void {
    this.#reply(`W${(status & 0xff).toString(16).padStart(2, '0')}`);
  }

  async #attach(target: GdbTarget): Promise<void> {
    this.#debuggee = new Debuggee(target, (text) => this.#print(text));
    target.onStop((stop) => this.#stopped(stop));
    await target.stop();
  }

  #arrived(arrival: Arrival): void {
    switch (arrival.kind) {
      case 'ack':
        this.#last = undefined;
        return;
      case 'nak':
        if (this.#last !== undefined) this.#write(this.#last);
        return;
      case 'interrupt':
        this.#later((debuggee) => this.#interrupt(debuggee));
        return;
      case 'bad':
        if (this.#acks) this.#write(NAK);
        return;
      case 'oversized':
        if (this.#acks) this.#write(ACK);
        this.#later(() => this.#reply(ERROR.invalid));
        return;
      case 'packet':
        if (this.#acks) this.#write(ACK);
        this.#later((debuggee) => this.#command(debuggee, arrival.body));
    }
  }

  #later(what: (debuggee: Debuggee) => void | Promise<void>): void {
    if (++this.#waiting === MAX_WAITING) this.#stream.pause?.();
    this.#queue = this.#queue.then(async () => {
      if (this.#open && this.#debuggee !== undefined) await what(this.#debuggee);
      if (this.#waiting-- === MAX_WAITING) this.#stream.resume?.();
    });
  }

  /** A machine that does not run any more has been told of, but for one that a migration holds. */
  async #interrupt({ target }: Debuggee): Promise<void> {
    await target.stop().catch(() => {});
    if (this.#awaitsStop && !target.running) this.#stopped({ reason: 'paused' });
  }

  async #command(debuggee: Debuggee, body: string): Promise<void> {
    try {
      // A monitor may have let it run: it stands still while it is looked at.
      if (debuggee.target.running) await debuggee.target.stop();
      const prefix = PREFIXES.find((candidate) => body.startsWith(candidate)) ?? '';
      const known = Object.hasOwn(COMMANDS, body) ? COMMANDS[body] : COMMANDS[`${prefix}*`];
      const command: Command = known ?? (() => '');
      await this.#answer(debuggee, await command(debuggee, body.slice(prefix.length)));
    } catch (error) {
      this.#awaitsStop = false;
      this.#print(`${errorMessage(error)}\n`);
      this.#reply(ERROR.failed);
    }
  }

  async #answer(debuggee: Debuggee, answer: Answer | string): Promise<void> {
    if (answer === undefined) return;
    if (typeof answer === 'string') {
      this.#reply(answer);
      return;
    }
    if ('resume' in answer) {
      this.#awaitsStop = true;
      await debuggee.target.resume(answer.resume);
      return;
    }
    if ('reply' in answer) this.#reply(answer.reply);
    switch (answer.next) {
      case 'noAck':
        this.#acks = false;
        return;
      case 'detach': {
        const plan = debuggee.plan(debuggee.actions('run'));
        // A guest that can't go on, for it was migrated away, is detached from all the same.
        await debuggee.target.resume(plan).catch(() => {});
        return;
      }
      case 'kill':
        debuggee.target.kill();
    }
  }

  #stopped(stop: Stop): void {
    const debuggee = this.#debuggee;
    if (debuggee === undefined) return;
    if ('hart' in stop) debuggee.current = stop.hart;
    if (!this.#awaitsStop) return;
    this.#awaitsStop = false;
    debuggee.general = debuggee.current;
    this.#reply(stopReply(stop, debuggee.current));
  }

  /** Text for the debugger's user. */
  #print(text: string): void {
    const hex = hexOfText(text);
    const most = PACKET_SIZE - 2;
    for (let at = 0; at < hex.length; at += most) this.#reply(`O${hex.slice(at, at + most)}`);
  }

  #reply(body: string): void {
    this.#last = packet(body);
    this.#write(this.#last);
  }

  #write(bytes: Uint8Array): void {
    if (this.#open) this.#stream.write(bytes);
  }
}
