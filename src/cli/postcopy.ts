/** What `godwit migrate` does in post-copy: switches to it, and brings the two sides together again when they lose touch. */
import { join } from 'node:path';
import { GodwitError } from '../error.ts';
import type { MigrationInfo } from '../monitor/target.ts';
import type { MonitorClient } from './monitor-client.ts';

const SECOND_MS = 1000;
/** How long the destination may take to notice that the connection is gone. */
const NOTICE_MS = 10_000;
const LOOK_MS = 50;

/** A time as users write it ("0.5s", "500ms", "2" for seconds), in ms. @throws GodwitError kind "usage". */
export function parseTime(text: string, option: string): number {
  const match = /^(\d+(?:\.\d+)?)(ms|s)?$/.exec(text);
  if (match === null) throw GodwitError.unexpected('usage', option, 'a time such as 0.5s or 500ms', text);
  return Number(match[1]) * (match[2] === 'ms' ? 1 : SECOND_MS);
}

/** The capabilities of both sides. A destination of another kind may not have them; the source decides. */
export async function enablePostcopy(from: MonitorClient, to: MonitorClient | undefined): Promise<void> {
  const set = (client: MonitorClient, names: readonly string[]) =>
    client.execute('migrate-set-capabilities', {
      capabilities: names.map((capability) => ({ capability, state: true })),
    });
  if (to !== undefined) await set(to, ['postcopy-ram', 'postcopy-blocktime']);
  await set(from, ['postcopy-ram']);
}

/** Connects a paused post-copy again, in a way that nobody used before. @throws GodwitError if that can't be. */
export async function reconnect(
  from: MonitorClient,
  to: MonitorClient,
  folder: string,
  attempt: number,
): Promise<void> {
  await paused(to);
  const [before] = ((await to.execute('query-migrate')) as MigrationInfo)['socket-address'] ?? [];
  const uri =
    before?.type === 'inet' ? `tcp:${before.host}:0` : `unix:${join(folder, `recover-${attempt}.sock`)}`;
  await to.execute('migrate-recover', { uri });
  const [address] = ((await to.execute('query-migrate')) as MigrationInfo)['socket-address'] ?? [];
  const where = address?.type === 'inet' ? `tcp:${address.host}:${address.port}` : uri;
  await from.execute('migrate', { uri: where, resume: true });
}

async function paused(to: MonitorClient): Promise<void> {
  for (let waited = 0; ; waited += LOOK_MS) {
    const { status } = (await to.execute('query-migrate')) as MigrationInfo;
    if (status === 'postcopy-paused') return;
    if (status === 'completed' || waited > NOTICE_MS) {
      throw GodwitError.unexpected('state', to.label, 'a paused post-copy', `one that is ${status}`);
    }
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
}
