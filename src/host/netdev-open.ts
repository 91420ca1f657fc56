/** Opens the network back ends and packet dumps of a command line. */
import { GodwitError } from '../error.ts';
import { type FilterDump, type FilterDumpSpec, openFilterDump } from './filter-dump.ts';
import type { Netdev, NetdevListener, NetdevSpec, SocketNetdevSpec } from './netdev.ts';
import { DgramNetdev } from './netdev-dgram.ts';
import { startPasst } from './netdev-passt.ts';
import { StreamNetdev } from './netdev-stream.ts';

/** What the machine's thread is to open. */
export interface NetworkSpecs {
  readonly netdevs: readonly SocketNetdevSpec[];
  readonly dumps: readonly FilterDumpSpec[];
}

/** In the main thread: starts what has to run beside the VM. @throws GodwitError kind 'transport'. */
export async function prepareNetdevs(specs: readonly NetdevSpec[]): Promise<SocketNetdevSpec[]> {
  return await Promise.all(specs.map(async (spec) => ('passt' in spec ? await startPasst(spec) : spec)));
}

/** The back ends of a machine. */
export interface Networks {
  readonly netdevs: ReadonlyMap<string, Netdev>;
  readonly dumps: readonly FilterDump[];
}

/** @throws GodwitError kind 'transport' or 'file', of the first that can't be opened. */
export async function openNetworks(
  { netdevs, dumps }: NetworkSpecs,
  listener: NetdevListener,
): Promise<Networks> {
  const opened = new Map<string, Netdev>();
  for (const spec of netdevs) {
    opened.set(spec.id, await openNetdev(spec, listener));
  }
  return { netdevs: opened, dumps: dumps.map(openFilterDump) };
}

async function openNetdev(spec: SocketNetdevSpec, listener: NetdevListener): Promise<Netdev> {
  try {
    return 'remote' in spec ? await DgramNetdev.open(spec) : await StreamNetdev.open(spec, listener);
  } catch (error) {
    if (!(error instanceof GodwitError)) throw error;
    throw new GodwitError(error.kind, `${spec.where}: ${error.message}`, error.details, error);
  }
}
