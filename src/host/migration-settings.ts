/** What the user has set for migrations: capabilities and parameters, and what follows from them for connections and engine. */
import { GodwitError } from '../error.ts';
import { PAGE_SIZE } from '../memory/layout.ts';
import type { MigrationParameters } from '../migration/parameters.ts';
import {
  type Capabilities,
  checkCapabilities,
  checkParameter,
  defaultCapabilities,
  defaultParameters,
  type ParameterName,
  type Parameters,
  type ParameterValue,
} from '../monitor/migration-parameters.ts';
import { didYouMean } from '../suggest.ts';
import { engineParameters } from './engine-parameters.ts';
import type { ConnectionSettings } from './migration-thread.ts';
import { canRelease } from './page-release.ts';
import { type CompressionName, compressionOf } from './ram-compression.ts';
import type { TlsCredentials } from './tls-credentials.ts';

export class MigrationSettings {
  readonly #credentials: readonly TlsCredentials[];
  #capabilities: Capabilities = defaultCapabilities();
  #parameters: Parameters = defaultParameters();

  /** @param credentials that the user has named. */
  constructor(credentials: readonly TlsCredentials[]) {
    this.#credentials = credentials;
  }

  get capabilities(): Capabilities {
    return this.#capabilities;
  }

  get parameters(): Parameters {
    return this.#parameters;
  }

  /** @returns what undoes it. @throws GodwitError kind "usage" for what can't be together; then nothing has changed. */
  setCapabilities(changes: Partial<Capabilities>): () => void {
    checkCapabilities(changes);
    const before = this.#capabilities;
    const capabilities = { ...before, ...changes };
    if (capabilities['dirty-limit'] && capabilities['auto-converge']) {
      const why = 'dirty-limit conflicts with auto-converge: either of them is available at a time';
      throw new GodwitError('usage', why);
    }
    if (capabilities.multifd && capabilities['postcopy-ram']) {
      throw new GodwitError('usage', 'Postcopy is not yet compatible with multifd');
    }
    if (capabilities['postcopy-preempt'] && !capabilities['postcopy-ram']) {
      throw new GodwitError('usage', 'Postcopy preempt requires postcopy-ram');
    }
    if (capabilities['release-ram'] && capabilities['postcopy-rescue']) {
      const why =
        'release-ram conflicts with postcopy-rescue, which takes the guest up from the memory of the source';
      throw new GodwitError('usage', why);
    }
    if (changes['release-ram'] === true && !canRelease()) {
      throw new GodwitError(
        'usage',
        `release-ram needs Linux, with pages of ${PAGE_SIZE} bytes, and the package koffi`,
      );
    }
    this.#capabilities = capabilities;
    return () => {
      this.#capabilities = before;
    };
  }

  /** @returns what undoes it. @throws GodwitError kind "usage" for a value out of range; then nothing has changed. */
  setParameters(changes: Partial<Parameters>): () => void {
    for (const [name, value] of Object.entries(changes)) {
      checkParameter(name as ParameterName, value as ParameterValue, this.#parameters);
      if (name === 'multifd-compression') compressionOf(value as CompressionName, 0);
    }
    const before = this.#parameters;
    this.#parameters = { ...before, ...changes };
    return () => {
      this.#parameters = before;
    };
  }

  get engine(): Partial<MigrationParameters> {
    return engineParameters(this.#capabilities, this.#parameters);
  }

  /** @throws GodwitError kind "usage" for credentials that don't exist. */
  get connection(): ConnectionSettings {
    const id = this.#parameters['tls-creds'];
    const hostname = this.#parameters['tls-hostname'];
    const settings = {
      returnPath: this.#capabilities['return-path'],
      preempt: this.#capabilities['postcopy-preempt'],
      ...(this.#capabilities.multifd ? { multifd: this.#multifd() } : {}),
    };
    if (id === '') return settings;
    const credentials = this.#credentials.find((one) => one.id === id);
    if (credentials === undefined) {
      const known = this.#credentials.map((one) => one.id);
      throw new GodwitError('usage', `No TLS credentials with id '${id}'${didYouMean(id, known)}`);
    }
    return { ...settings, tls: { credentials, ...(hostname === '' ? {} : { hostname }) } };
  }

  #multifd(): NonNullable<ConnectionSettings['multifd']> {
    const compression = this.#parameters['multifd-compression'] as CompressionName;
    const zlibLevel = this.#parameters['multifd-zlib-level'];
    compressionOf(compression, zlibLevel);
    return { channels: this.#parameters['multifd-channels'], compression, zlibLevel };
  }
}
