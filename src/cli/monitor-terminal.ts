/**
 * `godwit monitor SOCKET`: a person at a monitor socket, whichever language it speaks. A human monitor edits lines
 * itself, so the terminal is passed through. On a QMP socket lines such as `query-status`, `migrate uri=unix:/x` or
 * raw JSON are sent, and answers and events shown indented.
 */
import type { Socket } from 'node:net';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { errorMessage, GodwitError } from '../error.ts';
import { chardevLabel } from '../host/chardev-spec.ts';
import { connectSocket } from '../host/socket-open.ts';
import { JsonSplitter } from '../monitor/json-splitter.ts';
import { type Json, type JsonObject, parseJson, stringifyJson } from '../monitor/json-text.ts';
import { type MonitorLanguage, parseMonitorSocket } from './monitor-client.ts';

export interface TerminalStreams {
  readonly stdin: Readable & { readonly isTTY?: boolean; setRawMode?(raw: boolean): unknown };
  readonly stdout: Writable;
}

/** Ctrl-], which leaves a human monitor without ending the machine, as telnet does. */
const LEAVE = 0x1d;

/** The value of `key=value`: JSON if it is some, else text. */
function argumentValue(text: string): Json {
  if (!/^([[{"]|-?\d+$|(true|false|null)$)/.test(text)) return text;
  try {
    return parseJson(text);
  } catch {
    return text;
  }
}

/**
 * The QMP request that a typed line means: raw JSON as it is, or a command with key=value arguments (values with
 * blanks in JSON's quotes). Undefined for an empty line. @throws GodwitError kind 'usage'.
 */
export function qmpRequest(line: string): string | undefined {
  const text = line.trim();
  if (text === '') return undefined;
  if (text.startsWith('{')) {
    try {
      return stringifyJson(parseJson(text));
    } catch (error) {
      throw new GodwitError('usage', `no valid JSON: ${errorMessage(error)}`);
    }
  }
  const [command = '', ...words] = text.match(/(?:[^\s"]|"(?:[^"\\]|\\.)*")+/g) ?? [];
  const args: Record<string, Json> = {};
  for (const word of words) {
    const equals = word.indexOf('=');
    if (equals <= 0) throw GodwitError.unexpected('usage', command, 'KEY=VALUE arguments', `'${word}'`);
    args[word.slice(0, equals)] = argumentValue(word.slice(equals + 1));
  }
  return stringifyJson({ execute: command, ...(words.length > 0 ? { arguments: args } : {}) });
}

/** JSON for reading: indented, big integers exact. */
function pretty(value: Json, indent = ''): string {
  if (value === null || typeof value !== 'object') return stringifyJson(value);
  const inner = `${indent}  `;
  const list = Array.isArray(value);
  const items = list
    ? value.map((item: Json) => pretty(item, inner))
    : Object.entries(value as JsonObject).map(
        ([key, item]) => `${stringifyJson(key)}: ${pretty(item ?? null, inner)}`,
      );
  const [open, close] = list ? '[]' : '{}';
  if (items.length === 0) return `${open}${close}`;
  return `${open}\n${items.map((item) => inner + item).join(',\n')}\n${indent}${close}`;
}

/** Waits for the first bytes; rejects if the other side closes or keeps silent. */
async function firstBytes(socket: Socket, label: string, timeoutMs: number): Promise<Uint8Array> {
  const fail = (message: string) => new GodwitError('transport', `${label}: ${message}`, { where: label });
  return await new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      reject(fail('the monitor does not answer; is another client connected to it?'));
    }, timeoutMs);
    socket.once('data', (bytes: Uint8Array) => {
      clearTimeout(timer);
      socket.pause();
      resolve(bytes);
    });
    socket.once('close', () => {
      clearTimeout(timer);
      reject(fail('the connection was closed'));
    });
    socket.on('error', () => {});
  });
}

/** Which monitor greets like this. */
export function monitorLanguage(greeting: Uint8Array): MonitorLanguage {
  return greeting[0] === 0x7b ? 'qmp' : 'hmp';
}

/** Passes a human monitor through to the terminal, until it closes or Ctrl-] leaves it. */
function passThrough(socket: Socket, { stdin, stdout }: TerminalStreams): void {
  if (stdin.isTTY) stdin.setRawMode?.(true);
  socket.on('data', (bytes: Uint8Array) => stdout.write(bytes));
  stdin.on('data', (bytes: Uint8Array) => {
    if (stdin.isTTY && bytes.includes(LEAVE)) socket.end();
    else socket.write(bytes);
  });
  stdin.on('end', () => socket.end());
}

function converse(socket: Socket, { stdin, stdout }: TerminalStreams): void {
  const lines = createInterface({ input: stdin, output: stdout, prompt: 'QMP> ', terminal: !!stdin.isTTY });
  let negotiated = false;
  let unanswered = 0;
  let leaving = false;
  const splitter = new JsonSplitter({
    dropped: (reason) => stdout.write(`${reason}\n`),
    document: (bytes) => {
      const text = new TextDecoder().decode(bytes);
      try {
        const message = parseJson(text);
        const members = typeof message === 'object' && message !== null ? message : {};
        const isAnswer = 'return' in members || 'error' in members;
        const isGreeting = 'QMP' in members;
        if (isAnswer && negotiated) unanswered--;
        if (isGreeting || (isAnswer && !negotiated)) negotiated = !isGreeting;
        else stdout.write(`${pretty(message)}\n`);
      } catch {
        stdout.write(`${text}\n`);
      }
      if (leaving && unanswered === 0) socket.end();
      else if (stdin.isTTY) lines.prompt(true);
    },
  });
  socket.on('data', (bytes: Uint8Array) => splitter.feed(bytes));
  socket.write('{"execute": "qmp_capabilities"}\n');
  lines.on('line', (line) => {
    try {
      const request = qmpRequest(line);
      if (request !== undefined) {
        unanswered++;
        socket.write(`${request}\n`);
      }
    } catch (error) {
      stdout.write(`${errorMessage(error)}\n`);
    }
    if (stdin.isTTY) lines.prompt();
  });
  lines.on('close', () => {
    leaving = true;
    if (unanswered === 0) socket.end();
  });
  socket.on('close', () => lines.close());
}

/**
 * Runs until the user leaves (end of input, Ctrl-] at a human monitor) or the machine closes the connection.
 * @throws GodwitError kind 'usage' or 'transport'.
 */
export async function runMonitor(
  socketSpec: string,
  streams: TerminalStreams,
  timeoutMs = 5000,
): Promise<void> {
  const spec = parseMonitorSocket(socketSpec);
  const socket = await connectSocket(spec);
  let greeting: Uint8Array;
  try {
    greeting = await firstBytes(socket, chardevLabel(spec), timeoutMs);
  } catch (error) {
    socket.destroy();
    throw error;
  }
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  socket.on('end', () => socket.end());
  // Back to where it can be read again by whoever takes over.
  socket.unshift(Buffer.from(greeting));
  if (monitorLanguage(greeting) === 'qmp') converse(socket, streams);
  else passThrough(socket, streams);
  socket.resume();
  await closed;
  if (streams.stdin.isTTY) streams.stdin.setRawMode?.(false);
  streams.stdin.pause();
}
