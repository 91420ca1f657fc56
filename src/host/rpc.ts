/**
 * Calls between threads: an object's methods on one side of a message port are async functions on the other. Calls are
 * served in the order in which they were made; errors arrive as what they were.
 */
import { type ErrorDetails, type ErrorKind, errorMessage, GodwitError } from '../error.ts';

/** What both a worker and a message port are. */
export interface Port {
  postMessage(message: unknown, transfer?: readonly never[]): void;
  on(event: 'message', listener: (message: unknown) => void): unknown;
}

/** The same methods, seen from the other side. */
export type Remote<T> = {
  readonly [K in keyof T]: T[K] extends (...args: infer A) => infer R
    ? (...args: A) => Promise<Awaited<R>>
    : never;
};

/** The same, for who wants no answer: what goes wrong is the other side's defect. */
export type Told<T> = {
  readonly [K in keyof T]: T[K] extends (...args: infer A) => unknown ? (...args: A) => void : never;
};

interface Call {
  /** 0 if nobody waits for an answer. */
  readonly call: number;
  readonly method: string;
  readonly args: readonly unknown[];
}

interface Answer {
  readonly answer: number;
  readonly value?: unknown;
  readonly error?: { readonly kind: ErrorKind; readonly message: string; readonly details: ErrorDetails };
}

interface Waiting {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: GodwitError) => void;
}

export interface Connection<T> {
  readonly remote: Remote<T>;
  /** Calls without an answer, which would only wake this thread. */
  readonly told: Told<T>;
  /** Rejects every call that has no answer yet, and every further one: the other thread is gone. */
  close(reason: GodwitError): void;
}

export interface ConnectOptions {
  /** Called after each call was sent, to wake a thread that does not look at its messages. */
  readonly ring?: () => void;
}

/**
 * Serves `local`'s methods on `port`, and makes callable those that the other side serves.
 * A message port delivers from now on.
 */
export function connect<T extends object>(
  port: Port,
  local: object,
  { ring = () => {} }: ConnectOptions = {},
): Connection<T> {
  const waiting = new Map<number, Waiting>();
  let calls = 0;
  let closed: GodwitError | undefined;
  port.on('message', (message) => {
    if (isCall(message)) void serve(port, local, message).finally(ring);
    else settle(waiting, message as Answer);
  });
  const call = (method: string, args: readonly unknown[]): Promise<unknown> => {
    if (closed !== undefined) return Promise.reject(closed);
    const id = ++calls;
    const result = new Promise((resolve, reject) => waiting.set(id, { resolve, reject }));
    port.postMessage({ call: id, method, args } satisfies Call, transferables(args));
    ring();
    return result;
  };
  const tell = (method: string, args: readonly unknown[]): void => {
    if (closed !== undefined) return;
    port.postMessage({ call: 0, method, args } satisfies Call, transferables(args));
    ring();
  };
  return {
    remote: methods(call) as Remote<T>,
    told: methods(tell) as Told<T>,
    close(reason) {
      closed = reason;
      for (const { reject } of waiting.values()) reject(reason);
      waiting.clear();
    },
  };
}

/** An object with every method, each of which is `call` with its name. */
function methods(call: (method: string, args: readonly unknown[]) => unknown): object {
  const get = (_target: object, method: string | symbol): unknown =>
    // It is no promise, whatever asks it.
    method === 'then' || typeof method !== 'string' ? undefined : (...args: unknown[]) => call(method, args);
  return new Proxy({}, { get });
}

async function serve(port: Port, local: object, { call, method, args }: Call): Promise<void> {
  const run = (): unknown => (local as Record<string, (...args: unknown[]) => unknown>)[method]?.(...args);
  if (call === 0) {
    await run();
    return;
  }
  try {
    const value = await run();
    port.postMessage({ answer: call, value } satisfies Answer, transferables([value]));
  } catch (thrown) {
    const error =
      thrown instanceof GodwitError ? thrown : new GodwitError('internal', errorMessage(thrown), {}, thrown);
    const { kind, message, details } = error;
    port.postMessage({ answer: call, error: { kind, message, details } } satisfies Answer);
  }
}

function settle(waiting: Map<number, Waiting>, { answer, value, error }: Answer): void {
  const waiter = waiting.get(answer);
  waiting.delete(answer);
  if (error === undefined) waiter?.resolve(value);
  else waiter?.reject(new GodwitError(error.kind, error.message, error.details));
}

function isCall(message: unknown): message is Call {
  return typeof message === 'object' && message !== null && 'call' in message;
}

/** Message ports among the arguments change hands; everything else is copied (shared memory is shared). */
function transferables(values: readonly unknown[]): never[] {
  const isPort = (value: unknown): boolean => value instanceof MessagePort;
  return values.flatMap((value) => {
    if (isPort(value)) return [value];
    return typeof value === 'object' && value !== null ? Object.values(value).filter(isPort) : [];
  }) as never[];
}
