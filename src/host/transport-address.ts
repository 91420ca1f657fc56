/**
 * Where a migration goes to or comes from, as QEMU spells it: `tcp:HOST:PORT`, `unix:PATH`, `file:PATH`, `fd:N`,
 * `exec:COMMAND`. Beyond QEMU, sockets take `,server=on|off` as its character devices do: by default the source connects
 * and the destination listens.
 */
import { GodwitError } from '../error.ts';

interface Socketed {
  /** Whether this side listens; absent for what its side does by default. */
  readonly server?: boolean;
}

export type SocketAddress =
  | ({ readonly kind: 'tcp'; readonly host: string; readonly port: number } & Socketed)
  | ({ readonly kind: 'unix'; readonly path: string } & Socketed);

export type TransportAddress =
  | SocketAddress
  | { readonly kind: 'file'; readonly path: string }
  /** A descriptor that this process was started with. */
  | { readonly kind: 'fd'; readonly fd: number }
  /** A command of the shell's. */
  | { readonly kind: 'exec'; readonly command: string };

type Kind = TransportAddress['kind'];

/** The forms known, in the order in which errors list them. */
const FORMS: Readonly<Record<Kind, string>> = {
  tcp: 'tcp:HOST:PORT',
  unix: 'unix:PATH',
  file: 'file:PATH',
  fd: 'fd:N',
  exec: 'exec:COMMAND',
};

/** The longest path of a unix socket on Linux, in bytes (unix(7), sun_path less the final 0). */
const MAX_UNIX_PATH = 107;

/**
 * Reads an address. `tcp::PORT` stands for all interfaces when listening, and for this host when connecting; an IPv6
 * address stands in brackets.
 * @throws GodwitError kind "usage" that lists the forms known.
 */
export function parseTransportAddress(uri: string): TransportAddress {
  const colon = uri.indexOf(':');
  const scheme = colon < 0 ? uri : uri.slice(0, colon);
  const rest = colon < 0 ? '' : uri.slice(colon + 1);
  switch (scheme) {
    case 'tcp': {
      const { at, server } = served(uri, rest);
      const match = /^(?:\[([0-9a-fA-F:.%]+)\]|([^:[\]]*)):(\d{1,5})$/.exec(at);
      const port = Number(match?.[3]);
      if (match === null || port > 65535) throw bad(uri, 'tcp:HOST:PORT with a port of 0 to 65535');
      return { kind: 'tcp', host: match[1] ?? match[2] ?? '', port, ...server };
    }
    case 'unix': {
      const { at, server } = served(uri, rest);
      if (at === '') throw bad(uri, FORMS.unix);
      const length = Buffer.byteLength(at);
      if (length > MAX_UNIX_PATH) {
        throw bad(uri, `a socket path of at most ${MAX_UNIX_PATH} bytes`, `${length} bytes`);
      }
      return { kind: 'unix', path: at, ...server };
    }
    case 'file':
      if (rest === '') throw bad(uri, FORMS.file);
      return { kind: 'file', path: rest };
    case 'fd':
      if (!/^\d{1,7}$/.test(rest)) {
        throw bad(
          uri,
          "fd:N, the number of a descriptor that this process was started with (it can't be given others)",
        );
      }
      return { kind: 'fd', fd: Number(rest) };
    case 'exec':
      if (rest === '') throw bad(uri, FORMS.exec);
      return { kind: 'exec', command: rest };
    default: {
      const near = nearest(scheme, Object.keys(FORMS) as Kind[]);
      const hint = near === undefined ? '' : ` (did you mean ${FORMS[near]}?)`;
      throw bad(uri, `${Object.values(FORMS).join(', ')}${hint}`);
    }
  }
}

/** Takes `,server=on|off` off the end. */
function served(uri: string, text: string): { at: string; server: Socketed } {
  const match = /^(.*),server=([^,]*)$/.exec(text);
  if (match === null) return { at: text, server: {} };
  const [, at = '', value] = match;
  if (value !== 'on' && value !== 'off') throw bad(uri, 'server=on or server=off');
  return { at, server: { server: value === 'on' } };
}

/** The address as it is written. */
export function formatTransportAddress(address: TransportAddress): string {
  switch (address.kind) {
    case 'tcp': {
      const host = address.host.includes(':') ? `[${address.host}]` : address.host;
      return `tcp:${host}:${address.port}${suffix(address)}`;
    }
    case 'unix':
      return `unix:${address.path}${suffix(address)}`;
    case 'file':
      return `file:${address.path}`;
    case 'fd':
      return `fd:${address.fd}`;
    case 'exec':
      return `exec:${address.command}`;
  }
}

function suffix({ server }: Socketed): string {
  if (server === undefined) return '';
  return `,server=${server ? 'on' : 'off'}`;
}

function bad(uri: string, expected: string, got = `"${uri}"`): GodwitError {
  return GodwitError.unexpected('usage', 'migration address', expected, got);
}

/** The word at most two single-letter changes away from `word`. */
function nearest<T extends string>(word: string, words: readonly T[]): T | undefined {
  const scored = words.map((other) => ({ other, distance: distance(word.toLowerCase(), other) }));
  scored.sort((a, b) => a.distance - b.distance);
  return scored[0] !== undefined && scored[0].distance <= 2 ? scored[0].other : undefined;
}

/** Levenshtein's distance. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const change = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min((row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1, change));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}
