/** -netdev, -nic and -net: keys and defaults as in QEMU 7.2 (qemu-options.hx, qapi/net.json). */
import { GodwitError } from '../error.ts';
import { parseHostPort } from '../host/chardev-spec.ts';
import type { InetAddress, NetdevSpec } from '../host/netdev.ts';
import type { SocketAddress } from '../host/socket-open.ts';
import type { DeviceRequest } from '../machine/device-configuration.ts';
import { didYouMean } from '../suggest.ts';
import { parseChoice, parseKeyValues, usageError } from './system-options-values.ts';

export const NETDEV_TYPES = ['stream', 'dgram', 'socket', 'user'] as const;
/** Back ends that QEMU has and this version doesn't, so that the error can say so. */
const ELSEWHERE = [
  'tap',
  'bridge',
  'l2tpv3',
  'vde',
  'netmap',
  'vhost-user',
  'vhost-vdpa',
  'hubport',
  'af-xdp',
];

const KEYS: Readonly<Record<(typeof NETDEV_TYPES)[number], readonly string[]>> = {
  stream: ['server', 'addr.type', 'addr.path', 'addr.host', 'addr.port', 'reconnect'],
  dgram: ['local.type', 'local.host', 'local.port', 'remote.type', 'remote.host', 'remote.port'],
  socket: ['listen', 'connect', 'udp', 'localaddr', 'reconnect'],
  user: ['hostfwd'],
};

type Values = ReadonlyMap<string, string>;

/**
 * Reads a -netdev option.
 * @param earlier those before it: ids are distinct.
 * @throws GodwitError kind "usage".
 */
export function parseNetdev(option: string, text: string, earlier: readonly NetdevSpec[]): NetdevSpec {
  // A key can be given several times for user networks.
  const values = parseKeyValues(option, text, 'any', 'type');
  const where = `${option} ${text}`;
  const id = values.get('id') ?? '';
  if (id === '') throw new GodwitError('usage', `${where}: Parameter 'id' is missing`);
  if (earlier.some((other) => other.id === id)) {
    throw new GodwitError('usage', `${where}: Duplicate ID '${id}' for netdev`);
  }
  return backend(where, id, values, text);
}

function backend(where: string, id: string, values: Values, text: string): NetdevSpec {
  const given = values.get('type') ?? '';
  if (ELSEWHERE.includes(given)) {
    throw new GodwitError('usage', `${where}: network backend '${given}' is not available in this version`);
  }
  const type = parseChoice(where, given, NETDEV_TYPES);
  for (const key of values.keys()) {
    if (key === 'type' || key === 'id' || KEYS[type].includes(key)) continue;
    throw new GodwitError(
      'usage',
      `${where}: Parameter '${key}' is unexpected${didYouMean(key, KEYS[type])}`,
    );
  }
  switch (type) {
    case 'stream':
      return { ...stream(where, values), id, where, type };
    case 'dgram':
      return {
        id,
        where,
        type,
        local: datagram(where, values, 'local'),
        remote: datagram(where, values, 'remote'),
      };
    case 'socket':
      return { ...socket(where, values), id, where, type };
    case 'user':
      return { id, where, type, passt: forwards(where, text) };
  }
}

function stream(
  where: string,
  values: Values,
): { server: boolean; address: SocketAddress; reconnectMs?: number } {
  const server = parseChoice(`${where}: server`, values.get('server') ?? 'off', ['on', 'off']) === 'on';
  return { server, address: streamAddress(where, values), ...reconnect(where, values, server) };
}

function streamAddress(where: string, values: Values): SocketAddress {
  const type = parseChoice(`${where}: addr.type`, values.get('addr.type') ?? '', ['unix', 'inet']);
  if (type === 'unix') return { kind: 'unix', path: needed(where, values, 'addr.path') };
  return {
    kind: 'tcp',
    ...inet(where, needed(where, values, 'addr.host'), needed(where, values, 'addr.port')),
  };
}

/** Seconds; 0 for never. */
function reconnect(where: string, values: Values, server: boolean): { reconnectMs?: number } {
  const text = values.get('reconnect') ?? '0';
  if (!/^\d{1,5}$/.test(text)) throw usageError(`${where}: reconnect`, 'seconds', `'${text}'`);
  if (text === '0') return {};
  if (server) throw new GodwitError('usage', `${where}: 'reconnect' option is incompatible with a server`);
  return { reconnectMs: 1000 * Number(text) };
}

function datagram(where: string, values: Values, side: 'local' | 'remote'): InetAddress {
  const type = parseChoice(`${where}: ${side}.type`, values.get(`${side}.type`) ?? '', ['inet', 'unix']);
  if (type === 'unix') {
    throw new GodwitError(
      'usage',
      `${where}: ${side}.type=unix: unix datagram sockets are not available here`,
    );
  }
  const host = needed(where, values, `${side}.host`);
  if (/^(22[4-9]|23\d)\./.test(host)) {
    throw new GodwitError('usage', `${where}: multicast groups are not available in this version`);
  }
  return inet(where, host, needed(where, values, `${side}.port`));
}

function socket(where: string, values: Values) {
  const ways = ['listen', 'connect', 'udp'].filter((key) => values.has(key));
  const [way] = ways;
  if (ways.length !== 1 || way === undefined) {
    throw new GodwitError('usage', `${where}: exactly one of listen=, connect= or udp= is required`);
  }
  const address = parseHostPort(values.get(way) ?? '', `${where}: ${way}`);
  if (way !== 'udp') {
    const server = way === 'listen';
    return { server, address: { kind: 'tcp' as const, ...address }, ...reconnect(where, values, server) };
  }
  const local = needed(where, values, 'localaddr');
  return { remote: address, local: parseHostPort(local, `${where}: localaddr`) };
}

/** hostfwd=[tcp|udp]:[HOSTADDR]:HOSTPORT-[GUESTADDR]:GUESTPORT, as passt is told it; it knows but one guest. */
function forwards(where: string, text: string): string[] {
  return [...text.matchAll(/(?:^|,)hostfwd=([^,]*)/g)].flatMap(([, rule = '']) => {
    const [, protocol, host, from, to] = /^(tcp|udp)?:([\d.]*):(\d{1,5})-[\d.]*:(\d{1,5})$/.exec(rule) ?? [];
    if (from === undefined) {
      throw usageError(
        `${where}: hostfwd`,
        '[tcp|udp]:[HOSTADDR]:HOSTPORT-[GUESTADDR]:GUESTPORT',
        `'${rule}'`,
      );
    }
    return [protocol === 'udp' ? '-u' : '-t', `${host ? `${host}/` : ''}${from}:${to}`];
  });
}

function inet(where: string, host: string, port: string): InetAddress {
  if (!/^\d{1,5}$/.test(port) || Number(port) > 65535)
    throw usageError(where, 'a port of 0 to 65535', `'${port}'`);
  return { host, port: Number(port) };
}

function needed(where: string, values: Values, key: string): string {
  const value = values.get(key) ?? '';
  if (value === '') throw new GodwitError('usage', `${where}: Parameter '${key}' is missing`);
  return value;
}

/** A -nic: a back end and an adapter in one; nothing for "none". */
export function parseNic(
  option: string,
  text: string,
  earlier: readonly NetdevSpec[],
): { readonly netdev: NetdevSpec; readonly device: DeviceRequest } | undefined {
  const values = new Map(parseKeyValues(option, text, 'any', 'type'));
  if (values.get('type') === 'none') return undefined;
  const where = `${option} ${text}`;
  const driver = values.get('model') ?? 'e1000';
  const mac = values.get('mac');
  const id = values.get('id') ?? `__org.qemu.net${earlier.length}`;
  for (const key of ['model', 'mac', 'id']) values.delete(key);
  const properties = new Map([['netdev', id], ...(mac === undefined ? [] : [['mac', mac] as const])]);
  return { netdev: backend(where, id, values, text), device: { driver, values: properties, where } };
}
