/**
 * The other end of a monitor socket: a QMP client for `godwit migrate`. Works with QEMU's monitors as well.
 */
import type { Socket } from 'node:net';
import { GodwitError } from '../error.ts';
import { type ChardevSpec, chardevLabel, parseChardev } from '../host/chardev-spec.ts';
import { socketReason } from '../host/socket.ts';
import { connectSocket } from '../host/socket-open.ts';
import { JsonSplitter } from '../monitor/json-splitter.ts';
import { type Json, type JsonObject, parseJson, stringifyJson } from '../monitor/json-text.ts';

export type SocketSpec = Extract<ChardevSpec, { kind: 'unix' | 'tcp' }>;

/** An event as it came: name, data, and when it happened (µs since 1970, by the other side's clock). */
export interface QmpEvent {
  readonly event: string;
  readonly data?: JsonObject;
  readonly timestampUs: number;
}

/** The other side said no. `errorClass` is QMP's ("GenericError", "CommandNotFound"). */
export class QmpCommandError extends GodwitError {
  readonly errorClass: string;

  constructor(label: string, command: string, errorClass: string, desc: string) {
    super('refused', `${label}: ${command}: ${desc}`, { where: label });
    this.errorClass = errorClass;
  }
}

/** What a monitor says first: QMP a JSON object, the human monitor a line of text. */
export type MonitorLanguage = 'qmp' | 'hmp';

/** "unix:PATH", "tcp:HOST:PORT", or just a path or HOST:PORT. @throws GodwitError kind 'usage'. */
export function parseMonitorSocket(text: string): SocketSpec {
  let spelled = text;
  if (!/^(unix|tcp):/.test(text)) {
    const address = /^[^/]*:\d+$/.test(text);
    spelled = address ? `tcp:${text}` : `unix:${text.replaceAll(',', ',,')}`;
  }
  const spec = parseChardev(spelled, 'monitor socket');
  if ((spec.kind !== 'unix' && spec.kind !== 'tcp') || spec.server) {
    throw GodwitError.unexpected('usage', 'monitor socket', 'unix:PATH or tcp:HOST:PORT', `'${text}'`);
  }
  return spec;
}

function isObject(value: unknown): value is JsonObject {
  return value !== null && typeof value === 'object' && !Array.isArray(value);
}

interface Pending {
  readonly command: string;
  resolve(answer: Json): void;
  reject(error: Error): void;
}

export class MonitorClient {
  readonly label: string;
  readonly #socket: Socket;
  readonly #pending = new Map<number, Pending>();
  readonly #listeners = new Set<(event: QmpEvent | undefined) => void>();
  #greeting: JsonObject | undefined;
  #greeted: () => void = () => {};
  #refused: (error: Error) => void = () => {};
  #nextId = 1;
  #failure: GodwitError | undefined;

  private constructor(label: string, socket: Socket) {
    this.label = label;
    this.#socket = socket;
    const splitter = new JsonSplitter({
      dropped: () => this.#fail('this is no QMP monitor'),
      document: (bytes) => this.#document(bytes),
    });
    socket.on('data', (bytes: Uint8Array) => splitter.feed(bytes));
    socket.on('error', (error) => this.#fail(socketReason(error), error));
    socket.on('end', () => socket.end());
    socket.on('close', () => this.#fail('the connection was closed'));
  }

  /**
   * Connects and negotiates. `timeoutMs` is for the greeting: a monitor that already serves another client accepts
   * the connection but keeps silent. @throws GodwitError kind 'transport' (no connection, no QMP there).
   */
  static async connect(spec: SocketSpec, timeoutMs = 5000): Promise<MonitorClient> {
    const socket = await connectSocket(spec);
    const client = new MonitorClient(chardevLabel(spec), socket);
    const timer = setTimeout(
      () => client.#fail('the monitor does not answer; is another client connected to it?'),
      timeoutMs,
    );
    try {
      await new Promise<void>((resolve, reject) => {
        client.#greeted = resolve;
        client.#refused = reject;
      });
      await client.execute('qmp_capabilities');
      return client;
    } catch (error) {
      socket.destroy();
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  /** The greeting's `QMP` member: version and capabilities. */
  get greeting(): JsonObject {
    return this.#greeting ?? {};
  }

  /**
   * Runs a command and gives its answer. Several may be under way.
   * @throws QmpCommandError if the other side refuses; GodwitError kind 'transport' if the connection breaks first.
   */
  async execute(command: string, args?: JsonObject): Promise<Json> {
    if (this.#failure !== undefined) throw this.#failure;
    const id = this.#nextId++;
    return await new Promise<Json>((resolve, reject) => {
      this.#pending.set(id, { command, resolve, reject });
      this.#socket.write(`${stringifyJson({ execute: command, arguments: args, id })}\n`);
    });
  }

  /**
   * The events from now on (registered at the call, not at the first `next`). Ends when the connection does.
   */
  events(): AsyncIterableIterator<QmpEvent> {
    const arrived: QmpEvent[] = [];
    let ended = this.#failure !== undefined;
    let wake: () => void = () => {};
    const listener = (event: QmpEvent | undefined) => {
      if (event === undefined) ended = true;
      else arrived.push(event);
      wake();
    };
    this.#listeners.add(listener);
    const listeners = this.#listeners;
    return {
      [Symbol.asyncIterator]() {
        return this;
      },
      async next() {
        while (arrived.length === 0 && !ended) {
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
        }
        const value = arrived.shift();
        return value === undefined ? { done: true, value: undefined } : { done: false, value };
      },
      async return() {
        listeners.delete(listener);
        ended = true;
        arrived.length = 0;
        wake();
        return { done: true, value: undefined };
      },
    };
  }

  /** Closes the connection; commands under way are rejected. */
  close(): void {
    this.#fail('the connection was closed');
    this.#socket.destroySoon();
  }

  #fail(reason: string, cause?: unknown): void {
    if (this.#failure !== undefined) return;
    const error = new GodwitError('transport', `${this.label}: ${reason}`, { where: this.label }, cause);
    this.#failure = error;
    this.#refused(error);
    for (const { reject } of this.#pending.values()) reject(error);
    this.#pending.clear();
    for (const listener of this.#listeners) listener(undefined);
  }

  #document(bytes: Uint8Array): void {
    let message: Json;
    try {
      message = parseJson(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
    } catch {
      this.#fail('this is no QMP monitor');
      return;
    }
    if (this.#greeting !== undefined) {
      this.#message(message);
      return;
    }
    const greeting = isObject(message) ? message.QMP : undefined;
    if (isObject(greeting)) {
      this.#greeting = greeting;
      this.#greeted();
    } else this.#fail('this is no QMP monitor');
  }

  #message(message: Json): void {
    if (!isObject(message)) return;
    if (typeof message.event === 'string') {
      this.#event(message.event, message);
      return;
    }
    const pending = typeof message.id === 'number' ? this.#pending.get(message.id) : undefined;
    if (pending === undefined) return;
    this.#pending.delete(message.id as number);
    const { error } = message;
    if (isObject(error)) {
      const { command, reject } = pending;
      reject(new QmpCommandError(this.label, command, String(error.class), String(error.desc)));
    } else pending.resolve(message.return ?? {});
  }

  #event(name: string, message: JsonObject): void {
    const { timestamp, data } = message;
    const time = isObject(timestamp) ? timestamp : {};
    const event: QmpEvent = {
      event: name,
      timestampUs: Number(time.seconds ?? 0) * 1e6 + Number(time.microseconds ?? 0),
      ...(isObject(data) ? { data } : {}),
    };
    for (const listener of this.#listeners) listener(event);
  }
}
