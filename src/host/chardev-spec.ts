/**
 * Character devices as QEMU's command line spells them (-serial, -monitor, -qmp: "stdio", "mon:stdio",
 * "unix:PATH,server=on,wait=off", "tcp:HOST:PORT,server,nowait", "file:PATH", "null", "none"), parsed once for all
 * options.
 */
import { GodwitError } from '../error.ts';
import { didYouMean } from '../suggest.ts';
import { socketLabel } from './socket-open.ts';

/** Where the characters come from and go to. */
export type ChardevBackend =
  /** No device at all (`-serial none`: the guest sees an idle line; `-monitor none`: no monitor). */
  | { readonly kind: 'none' }
  /** Swallows what is written. */
  | { readonly kind: 'null' }
  | { readonly kind: 'stdio' }
  | { readonly kind: 'file'; readonly path: string }
  | { readonly kind: 'unix'; readonly path: string; readonly server: boolean; readonly wait: boolean }
  | {
      readonly kind: 'tcp';
      readonly host: string;
      readonly port: number;
      readonly server: boolean;
      readonly wait: boolean;
    };

export type ChardevSpec = ChardevBackend & {
  /** `mon:`: shared with the human monitor, Ctrl-A c switches. */
  readonly mux: boolean;
};

/** Back ends that QEMU has and this version doesn't, so that the error can say so. */
const ELSEWHERE = ['pty', 'pipe', 'udp', 'telnet', 'websocket', 'vc', 'parport', 'msmouse', 'chardev'];
const KINDS = ['stdio', 'none', 'null', 'unix', 'tcp', 'file', 'mon'];
const SOCKET_FLAGS = ['server', 'wait', 'nodelay', 'reconnect'];

/** Splits at commas; a doubled comma stands for one. */
export function splitCommas(text: string): string[] {
  const parts = [''];
  for (let at = 0; at < text.length; at++) {
    const character = text.charAt(at);
    if (character === ',' && text.charAt(at + 1) !== ',') parts.push('');
    else {
      parts[parts.length - 1] += character;
      if (character === ',') at++;
    }
  }
  return parts;
}

function usage(where: string, expected: string, got: string): GodwitError {
  return GodwitError.unexpected('usage', where, expected, got);
}

/** server and wait from "server=on,wait=off" or the old "server,nowait". QEMU's defaults: client; servers wait. */
function socketFlags(words: readonly string[], where: string): { server: boolean; wait: boolean } {
  const flags = { server: false, wait: true };
  for (const word of words) {
    const [key = '', value = 'on'] = word.split('=');
    const negated = key.startsWith('no') && SOCKET_FLAGS.includes(key.slice(2)) && !word.includes('=');
    const name = negated ? key.slice(2) : key;
    if (!SOCKET_FLAGS.includes(name) || name === 'reconnect') {
      throw usage(
        where,
        'server=on|off and wait=on|off after the address',
        `'${word}'${didYouMean(name, ['server', 'wait', 'nodelay'])}`,
      );
    }
    if (value !== 'on' && value !== 'off') throw usage(where, `${name}=on or ${name}=off`, `'${word}'`);
    // nodelay is always on here.
    if (name === 'server' || name === 'wait') flags[name] = !negated && value === 'on';
  }
  return flags;
}

/** HOST:PORT, where HOST may be "[::1]" or empty (all addresses for a server, this machine for a client). */
export function parseHostPort(text: string, where: string): { host: string; port: number } {
  const match = /^(\[[0-9a-fA-F:.%]+\]|[^:]*):(\d{1,5})$/.exec(text);
  const port = Number(match?.[2]);
  if (match === null || port > 65535) throw usage(where, 'HOST:PORT with a port of 0 to 65535', `'${text}'`);
  return { host: (match[1] ?? '').replace(/^\[|\]$/g, ''), port };
}

/**
 * Parses a character device. `option` is the option that gave it, for errors ("-serial").
 * @throws GodwitError kind 'usage'.
 */
export function parseChardev(text: string, option: string): ChardevSpec {
  if (text.startsWith('mon:')) {
    const inner = parseChardev(text.slice(4), option);
    if (inner.kind === 'none' || inner.kind === 'null' || inner.kind === 'file') {
      throw usage(`${option} ${text}`, 'something that can be typed at after mon:', `'${inner.kind}'`);
    }
    return { ...inner, mux: true };
  }
  const where = `${option} ${text}`;
  const mux = false;
  if (text === 'stdio') return { kind: 'stdio', mux };
  if (text === 'none') return { kind: 'none', mux };
  if (text === 'null') return { kind: 'null', mux };
  // A virtual console needs a window, which this machine has none of: QEMU's `-display none` makes it null, too.
  if (text === 'vc' || text.startsWith('vc:')) return { kind: 'null', mux };
  const [, kind = text, rest] = /^([a-z]+):(.*)$/s.exec(text) ?? [];
  if (kind === 'file') {
    if (!rest) throw usage(where, 'file:PATH', `'${text}'`);
    return { kind: 'file', path: rest, mux };
  }
  if (kind === 'unix') {
    const [path = '', ...flags] = splitCommas(rest ?? '');
    if (path === '') throw usage(where, 'unix:PATH', `'${text}'`);
    return { kind: 'unix', path, ...socketFlags(flags, where), mux };
  }
  if (kind === 'tcp') {
    const [address = '', ...flags] = splitCommas(rest ?? '');
    return { kind: 'tcp', ...parseHostPort(address, where), ...socketFlags(flags, where), mux };
  }
  if (ELSEWHERE.includes(kind)) {
    throw new GodwitError('usage', `${where}: '${kind}' is not available in this version`, { where: option });
  }
  const expected = 'stdio, none, null, unix:PATH, tcp:HOST:PORT, file:PATH or mon:stdio';
  throw usage(option, expected, `'${text}'${didYouMean(kind, KINDS)}`);
}

/** The spelling that parseChardev reads, for messages: "unix:/run/q.sock". */
export function chardevLabel(spec: ChardevBackend): string {
  switch (spec.kind) {
    case 'file':
      return `file:${spec.path}`;
    case 'unix':
    case 'tcp':
      return socketLabel(spec);
    default:
      return spec.kind;
  }
}
