/** -object, as QEMU writes it: packet dumps and TLS credentials. */
import { GodwitError } from '../error.ts';
import type { FilterDumpSpec } from '../host/filter-dump.ts';
import type { TlsCredentials } from '../host/tls-credentials.ts';
import { parseChoice, parseKeyValues, usageError } from './system-options-values.ts';

const KEYS = {
  'filter-dump': ['netdev', 'file', 'maxlen'],
  'tls-creds-x509': ['dir', 'endpoint', 'verify-peer'],
  'tls-creds-psk': ['dir', 'endpoint', 'username'],
} as const;
type ObjectType = keyof typeof KEYS;
const TYPES = Object.keys(KEYS) as ObjectType[];

export type ObjectSpec =
  | { readonly dump: FilterDumpSpec; readonly tls?: undefined }
  | { readonly dump?: undefined; readonly tls: TlsCredentials };

/** @throws GodwitError kind "usage". */
export function parseObject(option: string, text: string): ObjectSpec {
  const given = parseKeyValues(option, text, 'any', 'qom-type');
  const type = parseChoice(option, given.get('qom-type') ?? '', TYPES) as ObjectType;
  const values = parseKeyValues(option, text, ['qom-type', 'id', ...KEYS[type]], 'qom-type');
  const where = `${option} ${text}`;
  const needed = (key: string): string => {
    const value = values.get(key) ?? '';
    if (value === '') throw new GodwitError('usage', `${where}: Parameter '${key}' is missing`);
    return value;
  };
  const id = needed('id');
  if (type === 'filter-dump') {
    const maxlen = values.get('maxlen') ?? '65536';
    if (!/^[1-9]\d{0,6}$/.test(maxlen))
      throw usageError(`${where}: maxlen`, 'a number of bytes', `'${maxlen}'`);
    return { dump: { id, netdev: needed('netdev'), file: needed('file'), maxlen: Number(maxlen), where } };
  }
  const dir = needed('dir');
  const endpoint = parseChoice(`${where}: endpoint`, values.get('endpoint') ?? 'client', [
    'client',
    'server',
  ]);
  if (type === 'tls-creds-psk') {
    return { tls: { type: 'psk', id, dir, endpoint, username: values.get('username') ?? 'qemu' } };
  }
  const verify = parseChoice(`${where}: verify-peer`, values.get('verify-peer') ?? 'on', [
    'on',
    'off',
    'yes',
    'no',
  ]);
  return { tls: { type: 'x509', id, dir, endpoint, verifyPeer: verify === 'on' || verify === 'yes' } };
}
