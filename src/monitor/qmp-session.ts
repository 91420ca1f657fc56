/**
 * One QMP connection (QEMU docs/interop/qmp-spec, without out-of-band execution): greeting, capabilities
 * negotiation, then commands, answered in the order in which they came, and events.
 */
import { errorMessage } from '../error.ts';
import { didYouMean } from '../suggest.ts';
import type { CharStream } from './char-stream.ts';
import { type MonitorContext, versionInfo } from './command.ts';
import { JsonSplitter } from './json-splitter.ts';
import { type Json, JsonError, type JsonObject, parseJson, stringifyJson } from './json-text.ts';
import type { MonitorEvent } from './target.ts';

/** Commands waiting before the client is asked to pause. */
const QUEUE_LIMIT = 8;

type ErrorClass = 'GenericError' | 'CommandNotFound';

/** A request that can't be run; becomes the answer's `error`. */
class QmpError extends Error {
  readonly errorClass: ErrorClass;

  constructor(desc: string, errorClass: ErrorClass = 'GenericError') {
    super(desc);
    this.errorClass = errorClass;
  }
}

function isObject(value: Json | undefined): value is JsonObject {
  return value !== null && typeof value === 'object' && !Array.isArray(value);
}

export class QmpSession {
  readonly #stream: CharStream;
  readonly #context: MonitorContext;
  readonly #encoder = new TextEncoder();
  readonly #unsubscribe: () => void;
  /** Requests in order; the first is being run. */
  readonly #queue: (() => Promise<void>)[] = [];
  #negotiated = false;
  #closed = false;

  /** Greets at once and serves until the stream closes. */
  constructor(stream: CharStream, context: MonitorContext) {
    this.#stream = stream;
    this.#context = context;
    const splitter = new JsonSplitter({
      document: (bytes) => this.#enqueue(() => this.#document(bytes)),
      dropped: (reason) => this.#enqueue(async () => this.#sendError(new QmpError(reason))),
    });
    this.#unsubscribe = context.target.subscribe((event) => this.#event(event));
    stream.onClose(() => this.#end());
    stream.onEnd?.(() => this.#enqueue(async () => stream.close()));
    this.#send({ QMP: { version: versionInfo(context.host), capabilities: [] } });
    stream.onData((bytes) => splitter.feed(bytes));
  }

  #end(): void {
    this.#closed = true;
    // What was asked for by a client that has gone is not begun any more.
    this.#queue.length = Math.min(this.#queue.length, 1);
    this.#unsubscribe();
  }

  #enqueue(request: () => Promise<void>): void {
    if (this.#closed) return;
    this.#queue.push(request);
    if (this.#queue.length === QUEUE_LIMIT) this.#stream.pause?.();
    if (this.#queue.length === 1) void this.#drain();
  }

  async #drain(): Promise<void> {
    for (let request = this.#queue[0]; request !== undefined; request = this.#queue[0]) {
      await request();
      this.#queue.shift();
      if (this.#queue.length === QUEUE_LIMIT - 1) this.#stream.resume?.();
    }
  }

  async #document(bytes: Uint8Array): Promise<void> {
    let id: Json | undefined;
    try {
      const request = this.#parse(bytes);
      if (isObject(request)) id = request.id;
      const answer = await this.#execute(request);
      this.#send({ return: answer, id });
    } catch (error) {
      this.#sendError(error, id);
    }
  }

  #parse(bytes: Uint8Array): Json {
    let text: string;
    try {
      text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
    } catch {
      throw new QmpError('JSON parse error, invalid UTF-8 sequence in string');
    }
    try {
      return parseJson(text);
    } catch (error) {
      if (error instanceof JsonError) throw new QmpError(`JSON parse error, ${error.message}`);
      throw error;
    }
  }

  async #execute(request: Json): Promise<Json> {
    if (!isObject(request)) throw new QmpError('QMP input must be a JSON object');
    for (const member of Object.keys(request)) {
      if (!['execute', 'arguments', 'id'].includes(member)) {
        throw new QmpError(`QMP input member '${member}' is unexpected`);
      }
    }
    const name = request.execute;
    if (name === undefined) throw new QmpError("QMP input lacks member 'execute'");
    if (typeof name !== 'string') throw new QmpError("QMP input member 'execute' must be a string");
    const args = request.arguments ?? (Object.hasOwn(request, 'arguments') ? null : {});
    if (!isObject(args)) throw new QmpError("QMP input member 'arguments' must be an object");
    return await this.#run(name, args);
  }

  async #run(name: string, args: JsonObject): Promise<Json> {
    const negotiation = name === 'qmp_capabilities';
    if (!this.#negotiated && !negotiation) {
      throw new QmpError("Expecting capabilities negotiation with 'qmp_capabilities'", 'CommandNotFound');
    }
    if (this.#negotiated && negotiation) {
      throw new QmpError('Capabilities negotiation is already complete, command ignored', 'CommandNotFound');
    }
    const command = this.#context.commands.find((candidate) => candidate.name === name);
    if (command === undefined) {
      const known = this.#context.commands.flatMap((candidate) => candidate.name ?? []);
      throw new QmpError(
        `The command ${name} has not been found${didYouMean(name, known)}`,
        'CommandNotFound',
      );
    }
    if (negotiation && Array.isArray(args.enable) && args.enable.length > 0) {
      throw new QmpError(`Capability '${String(args.enable[0])}' is not available`);
    }
    const answer = await command.execute(this.#context, args);
    if (negotiation) this.#negotiated = true;
    return answer;
  }

  #event(event: MonitorEvent): void {
    if (!this.#negotiated) return;
    const migration = event.event.startsWith('MIGRATION');
    if (migration && !this.#context.target.capabilities().events) return;
    const now = this.#context.host.wallClockUs();
    const timestamp = { seconds: Math.floor(now / 1e6), microseconds: Math.floor(now % 1e6) };
    this.#send({ timestamp, ...event });
  }

  #sendError(error: unknown, id?: Json): void {
    const errorClass = error instanceof QmpError ? error.errorClass : 'GenericError';
    this.#send({ id, error: { class: errorClass, desc: errorMessage(error) } });
  }

  #send(message: JsonObject): void {
    if (this.#closed) return;
    this.#stream.write(this.#encoder.encode(`${stringifyJson(message)}\r\n`));
  }
}
