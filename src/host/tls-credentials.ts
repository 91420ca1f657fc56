/**
 * TLS credentials as QEMU has them (docs/system/tls.rst): `-object tls-creds-x509,id=ID,dir=DIR,endpoint=server|client`
 * names a folder with the files `ca-cert.pem`, `ca-crl.pem` (if there is one), and `server-cert.pem`, `server-key.pem`
 * or `client-cert.pem`, `client-key.pem`; `tls-creds-psk` one with `keys.psk`, whose lines are `USER:KEY` (in hex).
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { SecureContextOptions } from 'node:tls';
import { errorMessage, GodwitError } from '../error.ts';

export type TlsEndpoint = 'client' | 'server';

interface Common {
  readonly id: string;
  readonly dir: string;
  readonly endpoint: TlsEndpoint;
}

export interface X509Credentials extends Common {
  readonly type: 'x509';
  /** Whether the other side has to show a certificate that the authority signed. */
  readonly verifyPeer: boolean;
}

export interface PskCredentials extends Common {
  readonly type: 'psk';
  /** The client's name. */
  readonly username: string;
}

export type TlsCredentials = X509Credentials | PskCredentials;

/** What a migration's sockets are to be secured with. */
export interface TlsSettings {
  readonly credentials: TlsCredentials;
  /** The name that the server's certificate must have; absent: the host in the address. */
  readonly hostname?: string;
}

/**
 * Reads the files of x509 credentials.
 * @throws GodwitError kind "file" that names the file.
 */
export function x509Context({ id, dir, endpoint, verifyPeer }: X509Credentials): SecureContextOptions {
  const file = (name: string): Buffer | undefined => {
    const path = join(dir, name);
    if (!existsSync(path)) return undefined;
    try {
      return readFileSync(path);
    } catch (error) {
      throw new GodwitError('file', `tls-creds '${id}': ${path}: can't be read (${errorMessage(error)})`);
    }
  };
  const needed = (name: string): Buffer => {
    const contents = file(name);
    if (contents === undefined) {
      throw new GodwitError(
        'file',
        `tls-creds '${id}': there is no ${join(dir, name)}, which endpoint=${endpoint} needs`,
      );
    }
    return contents;
  };
  // A client may have no certificate: whether it needs one is for the server to say.
  const cert = endpoint === 'server' ? needed('server-cert.pem') : file('client-cert.pem');
  const key = cert === undefined ? undefined : needed(`${endpoint}-key.pem`);
  const ca = verifyPeer || endpoint === 'client' ? needed('ca-cert.pem') : file('ca-cert.pem');
  const crl = file('ca-crl.pem');
  return {
    minVersion: 'TLSv1.2',
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
    ...(crl === undefined ? {} : { crl }),
  };
}

/**
 * Reads the keys of psk credentials, by user.
 * @throws GodwitError kind "file" that names the file and the line.
 */
export function pskKeys({ id, dir }: PskCredentials): ReadonlyMap<string, Buffer> {
  const path = join(dir, 'keys.psk');
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw new GodwitError('file', `tls-creds '${id}': ${path}: can't be read (${errorMessage(error)})`);
  }
  const keys = new Map<string, Buffer>();
  for (const [i, line] of text.split('\n').entries()) {
    if (line.trim() === '') continue;
    const match = /^([^:]+):((?:[0-9a-fA-F]{2})+)\s*$/.exec(line);
    if (match === null) {
      throw GodwitError.unexpected(
        'file',
        `${path}, line ${i + 1}`,
        'USER:KEY, the key in hex',
        'something else',
      );
    }
    keys.set(match[1] as string, Buffer.from(match[2] as string, 'hex'));
  }
  return keys;
}
