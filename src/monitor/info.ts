/**
 * The topics of the human monitor's `info`: the monitor's own, and those that the machine adds.
 */

import { GodwitError } from '../error.ts';
import { blockLines, blockStatsLines } from './block.ts';
import { type MonitorContext, QEMU_VERSION } from './command.ts';
import { dirtyLimitLines, dirtyRateLines } from './dirty.ts';
import { capabilityLines, parameterLines } from './migration-parameter-text.ts';
import { migrationLines } from './migration-text.ts';
import type { InfoTopic } from './target.ts';

/** A topic without arguments, from its lines; `hart` is the one that the session is about. */
export function topic(
  name: string,
  help: string,
  lines: (hart: number) => Promise<readonly string[]>,
): InfoTopic {
  return {
    name,
    help,
    async text(args, hart) {
      if (args !== '') throw new GodwitError('usage', `info ${name} takes no argument, got '${args}'`);
      return (await lines(hart)).join('\n');
    },
  };
}

/** All topics, sorted by name. */
export function infoTopics({ target, host }: MonitorContext): InfoTopic[] {
  const { major, minor, micro } = QEMU_VERSION;
  return [
    topic('status', 'show the current VM status (running|paused)', async () => {
      const { status, running } = await target.queryStatus();
      const detail = running || status === 'paused' ? '' : ` (${status})`;
      return [`VM status: ${running ? 'running' : 'paused'}${detail}`];
    }),
    topic('version', 'show the version', async () => [`${major}.${minor}.${micro} (godwit ${host.version})`]),
    topic('block', 'show the disks', async () => blockLines(await target.queryBlock())),
    topic('blockstats', 'show what the disks have done', async () =>
      blockStatsLines(await target.queryBlockStats()),
    ),
    topic('name', 'show the current VM name', async () => (target.name === undefined ? [] : [target.name])),
    topic('uuid', 'show the current VM UUID', async () => [target.uuid]),
    topic('cpus', 'show infos for each CPU', async (hart) =>
      Array.from({ length: target.harts }, (_, id) => {
        const mark = id === hart ? '*' : ' ';
        return `${mark} CPU #${id}: thread_id=${target.threadId}`;
      }),
    ),
    topic('migrate', 'show migration status', async () => migrationLines(await target.queryMigrate())),
    topic('migrate_capabilities', 'show current migration capabilities', async () =>
      capabilityLines(target.capabilities()),
    ),
    topic('migrate_parameters', 'show current migration parameters', async () =>
      parameterLines(target.parameters()),
    ),
    topic('dirty_rate', 'show dirty rate information', async () => dirtyRateLines(target.dirty.queryRate())),
    topic('vcpu_dirty_limit', 'show dirty page limit information of all vCPU', async () =>
      dirtyLimitLines(await target.dirty.limits()),
    ),
    ...target.infoTopics,
  ].sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
}
