/** Folders of certificates as QEMU's tls-creds-x509 want them, made by the openssl program. */
import { execFileSync, spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Whether there is an openssl to make certificates with. */
export const haveOpenssl = spawnSync('openssl', ['version']).status === 0;

interface Leaf {
  readonly name: string;
  /** Subject alternative names, as "DNS:…,IP:…". */
  readonly alternatives?: string;
  /** Days of validity; negative: expired. */
  readonly days?: number;
}

const openssl = (...args: string[]): void => void execFileSync('openssl', args, { stdio: 'pipe' });

/** An authority in a folder of its own. */
export class Authority {
  readonly #dir: string;

  constructor(dir: string, name = 'test authority') {
    this.#dir = dir;
    mkdirSync(dir, { recursive: true });
    openssl(
      ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '30'],
      ...['-subj', `/CN=${name}`, '-keyout', join(dir, 'ca-key.pem'), '-out', join(dir, 'ca-cert.pem')],
    );
  }

  /** Makes `dir` with ca-cert.pem and, for each endpoint that is given, its certificate and key. Returns `dir`. */
  folder(dir: string, leaves: { client?: Leaf; server?: Leaf }): string {
    mkdirSync(dir, { recursive: true });
    copyFileSync(join(this.#dir, 'ca-cert.pem'), join(dir, 'ca-cert.pem'));
    for (const endpoint of ['client', 'server'] as const) {
      const leaf = leaves[endpoint];
      if (leaf !== undefined) this.#sign(dir, endpoint, leaf);
    }
    return dir;
  }

  #sign(dir: string, endpoint: 'client' | 'server', { name, alternatives, days = 20 }: Leaf): void {
    const at = (file: string): string => join(dir, `${endpoint}-${file}`);
    writeFileSync(
      at('ext'),
      `extendedKeyUsage=${endpoint}Auth\n${alternatives === undefined ? '' : `subjectAltName=${alternatives}\n`}`,
    );
    openssl(
      ...['req', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-subj', `/CN=${name}`],
      ...['-keyout', at('key.pem'), '-out', at('req')],
    );
    openssl(
      ...['x509', '-req', '-in', at('req'), '-CA', join(this.#dir, 'ca-cert.pem')],
      ...['-CAkey', join(this.#dir, 'ca-key.pem'), '-CAcreateserial', '-days', String(days)],
      ...['-extfile', at('ext'), '-out', at('cert.pem')],
    );
  }
}
