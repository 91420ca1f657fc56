/** Drives a migration between two running VMs over their monitors. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { GodwitError } from '../error.ts';
import { FINAL_MIGRATION_STATES, type MigrationInfo, type StatusInfo } from '../monitor/target.ts';
import type { MonitorClient } from './monitor-client.ts';
import { enablePostcopy, reconnect } from './postcopy.ts';

export interface MigrateOptions {
  readonly from: MonitorClient;
  /** Absent: `uri` is all there is (a file, or a VM whose monitor can't be reached). */
  readonly to?: MonitorClient;
  /** Where the guest goes; found out or made up if absent. */
  readonly uri?: string;
  /** Disks go with the guest; `incremental`: without what the destination has already. */
  readonly block?: boolean;
  readonly incremental?: boolean;
  /** Switch to post-copy so many ms after the start; without, never. */
  readonly postcopyAfterMs?: number;
  /** The source may do so by itself. */
  readonly mayPostcopy?: boolean;
  /** Called every 100 ms, and once at the end. */
  readonly onProgress: (info: MigrationInfo) => void;
}

const PROGRESS_MS = 100;
/** How often a post-copy that has lost its connection is connected again. */
const RECONNECTS = 20;
/** How long the destination may take to say that it is done, when the source has been told. */
const ARRIVAL_MS = 3000;

/** What the source says of a migration, and, if it succeeded and the destination could be asked, what that one says. */
export interface MigrationOutcome extends MigrationInfo {
  readonly destination?: MigrationInfo;
}

/**
 * Starts the migration and follows it to its end.
 * @returns the figures at the end, whatever the end is.
 * @throws GodwitError if it could not be started.
 */
export async function followMigration(options: MigrateOptions): Promise<MigrationOutcome> {
  const { from, to, uri, block = false, incremental = false, onProgress, postcopyAfterMs } = options;
  const folder = mkdtempSync(join(tmpdir(), 'godwit-'));
  try {
    const target = uri ?? (await destinationUri(to, join(folder, 'migration.sock')));
    const events = from.events();
    let reconnects = 0;
    await from.execute('migrate-set-capabilities', { capabilities: [{ capability: 'events', state: true }] });
    if (postcopyAfterMs !== undefined || options.mayPostcopy === true) await enablePostcopy(from, to);
    const disks = { ...(block ? { blk: true } : {}), ...(incremental ? { inc: true } : {}) };
    await from.execute('migrate', { uri: target, ...disks });
    const query = async (): Promise<MigrationInfo> => (await from.execute('query-migrate')) as MigrationInfo;
    const start = (): void => void from.execute('migrate-start-postcopy').catch(() => {});
    const postcopy = postcopyAfterMs === undefined ? undefined : setTimeout(start, postcopyAfterMs);
    const timer = setInterval(() => void query().then(onProgress, () => {}), PROGRESS_MS);
    try {
      for await (const { event, data } of events) {
        const { status } = (data ?? {}) as MigrationInfo;
        if (event !== 'MIGRATION' || status === undefined) continue;
        if (FINAL_MIGRATION_STATES.has(status)) break;
        if (status !== 'postcopy-paused') continue;
        if (to === undefined || ++reconnects > RECONNECTS) break;
        await reconnect(from, to, folder, reconnects);
      }
    } finally {
      clearTimeout(postcopy);
      clearInterval(timer);
    }
    const info = await query();
    onProgress(info);
    const destination = info.status === 'completed' && to !== undefined ? await arrived(to) : undefined;
    return { ...info, ...(destination === undefined ? {} : { destination }) };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** The destination's figures; undefined if it can't be asked any more, or never says that it is done. */
async function arrived(to: MonitorClient): Promise<MigrationInfo | undefined> {
  const until = performance.now() + ARRIVAL_MS;
  while (performance.now() < until) {
    const info = await to.execute('query-migrate').catch(() => undefined);
    const { status } = (info ?? {}) as MigrationInfo;
    if (info === undefined || status === 'completed') return info as MigrationInfo | undefined;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return undefined;
}

/** Where the destination listens; one that was started with "-incoming defer" is told to listen at `path`. */
async function destinationUri(to: MonitorClient | undefined, path: string): Promise<string> {
  if (to === undefined) throw new GodwitError('usage', 'a destination is needed: a monitor socket, or --uri');
  const { status } = (await to.execute('query-status')) as unknown as StatusInfo;
  if (status !== 'inmigrate') {
    throw GodwitError.unexpected('state', to.label, 'a VM started with -incoming', `one that is ${status}`);
  }
  const info = (await to.execute('query-migrate')) as MigrationInfo;
  const [address] = info['socket-address'] ?? [];
  if (address === undefined) {
    await to.execute('migrate-incoming', { uri: `unix:${path}` });
    return `unix:${path}`;
  }
  return address.type === 'inet' ? `tcp:${address.host}:${address.port}` : `${address.type}:${address.path}`;
}
