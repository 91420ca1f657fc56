/** `godwit migrate`: moves a running guest from one VM to another, with a progress bar and a table at the end. */
import type { CommandModule } from 'yargs';
import { GodwitError } from '../error.ts';
import { ON_DEADLINE, type OnDeadline } from '../migration/deadline.ts';
import { parseParameter, parseSize } from '../monitor/migration-parameter-text.ts';
import type { ParameterValue } from '../monitor/migration-parameters.ts';
import type { MigrationInfo, MigrationSamples } from '../monitor/target.ts';
import { followMigration } from './migrate.ts';
import { finalReport, progressBar } from './migration-report.ts';
import { MonitorClient, parseMonitorSocket, QmpCommandError } from './monitor-client.ts';
import { parseTime } from './postcopy.ts';
import { reportFile } from './report/report-file.ts';

interface MigrateArguments {
  from: string;
  to?: string | undefined;
  uri?: string | undefined;
  maxBandwidth?: string | undefined;
  downtimeLimit?: number | undefined;
  deadline?: string | undefined;
  onDeadline?: OnDeadline | undefined;
  block: boolean;
  incremental: boolean;
  postcopy: boolean;
  postcopyAfter?: string | undefined;
  auto?: boolean | undefined;
  quit: boolean;
  json: boolean;
  report?: string | undefined;
}

interface MigrationCapability {
  readonly capability: string;
  readonly state: boolean;
}

/** Capabilities that are set by whoever wants to choose himself. */
const BY_HAND = ['xbzrle', 'auto-converge', 'dirty-limit'];

export const migrateCommand: CommandModule<object, MigrateArguments> = {
  command: 'migrate <from> [to]',
  describe: 'Move the running guest of one VM to another VM',
  builder: (yargs) =>
    yargs
      .positional('from', { type: 'string', demandOption: true, describe: "the source's QMP socket" })
      .positional('to', {
        type: 'string',
        describe: "the destination's QMP socket; it was started with -incoming (defer will do)",
      })
      .option('uri', {
        type: 'string',
        requiresArg: true,
        describe: 'where to send the guest instead: unix:PATH, tcp:HOST:PORT, file:PATH',
      })
      .option('max-bandwidth', {
        type: 'string',
        requiresArg: true,
        describe: 'cap per second, such as 100M; 0 for none',
      })
      .option('downtime-limit', { type: 'number', requiresArg: true, describe: 'longest pause, in ms' })
      .option('deadline', {
        type: 'string',
        requiresArg: true,
        describe: 'when it has to be over, such as 30s or 5min; the guest is throttled in time for that',
      })
      .option('on-deadline', {
        type: 'string',
        requiresArg: true,
        choices: ON_DEADLINE,
        describe:
          'if that is not enough: pause the guest for as long as it takes, postcopy, cancel, or go on (throttle)',
      })
      .option('block', {
        type: 'boolean',
        default: false,
        describe: 'move the disks that the guest can write, too: the two VMs share none',
      })
      .option('incremental', {
        type: 'boolean',
        default: false,
        describe: "like --block, but only what the destination's images do not hold already",
      })
      .option('postcopy', {
        type: 'boolean',
        default: false,
        describe:
          'run the guest at the destination at once, and send its memory (and disks, with --block) then',
      })
      .option('postcopy-after', {
        type: 'string',
        requiresArg: true,
        describe: 'do that if it has not moved after this time, such as 0.5s',
      })
      .option('auto', {
        type: 'boolean',
        describe:
          'choose deltas, their cache and the throttle by itself, and say why; done unless some of that is set by hand',
      })
      .option('quit', {
        type: 'boolean',
        default: false,
        describe: "end the source's process when it is done",
      })
      .option('json', { type: 'boolean', default: false, describe: 'print the figures as JSON' })
      .option('report', {
        type: 'string',
        requiresArg: true,
        describe: 'write a page with plots: FILE.html or FILE.svg',
      }),
  async handler(args) {
    process.exit(await (args.json ? migrateOrTell(args) : migrate(args)));
  },
};

/** Whoever reads JSON also finds why it did not begin there. */
async function migrateOrTell(args: MigrateArguments): Promise<number> {
  try {
    return await migrate(args);
  } catch (error) {
    if (!(error instanceof GodwitError) || error.kind === 'usage') throw error;
    process.stdout.write(`${JSON.stringify({ status: 'failed', 'error-desc': error.message })}\n`);
    return 1;
  }
}

async function migrate(args: MigrateArguments): Promise<number> {
  const report = args.report === undefined ? undefined : reportFile(args.report);
  const from = await MonitorClient.connect(parseMonitorSocket(args.from));
  const to = args.to === undefined ? undefined : await MonitorClient.connect(parseMonitorSocket(args.to));
  const parameters = parametersOf(args);
  if (Object.keys(parameters).length > 0) await from.execute('migrate-set-parameters', parameters);
  await setAuto(from, args.auto);
  process.once('SIGINT', () => void from.execute('migrate_cancel').catch(() => {}));
  const after = args.postcopyAfter ?? (args.postcopy ? '0' : undefined);
  const postcopyAfterMs = after === undefined ? undefined : parseTime(after, '--postcopy-after');
  const bar = progressOutput(process.stderr);
  const info = await followMigration({
    from,
    ...(to === undefined ? {} : { to }),
    ...(args.uri === undefined ? {} : { uri: args.uri }),
    block: args.block,
    incremental: args.incremental,
    ...(postcopyAfterMs === undefined ? {} : { postcopyAfterMs }),
    mayPostcopy: args.onDeadline === 'postcopy',
    onProgress: (progress) => bar.show(progress),
  });
  bar.end();
  report?.write(info, await samplesOf(from));
  process.stdout.write(args.json ? `${JSON.stringify(info)}\n` : `${finalReport(info)}\n`);
  if (info.status !== 'completed') return 1;
  if (args.quit) await from.execute('quit');
  return 0;
}

/** What the user wants; else on, unless the source has been told what to do, or is a VM of another kind. */
async function setAuto(from: MonitorClient, wanted: boolean | undefined): Promise<void> {
  const answer = (await from.execute('query-migrate-capabilities')) as unknown as MigrationCapability[];
  const states = new Map(answer.map(({ capability, state }) => [capability, state]));
  if (wanted === undefined && !states.has('auto')) return;
  const state = wanted ?? !BY_HAND.some((capability) => states.get(capability) === true);
  if (states.get('auto') === state) return;
  await from.execute('migrate-set-capabilities', { capabilities: [{ capability: 'auto', state }] });
}

function parametersOf(args: MigrateArguments): Record<string, ParameterValue> {
  const { maxBandwidth, downtimeLimit, deadline, onDeadline } = args;
  const parameters: Record<string, ParameterValue> = {};
  if (maxBandwidth !== undefined) {
    const bytes = parseSize(maxBandwidth);
    if (bytes === undefined) {
      throw GodwitError.unexpected('usage', '--max-bandwidth', 'bytes per second such as 100M', maxBandwidth);
    }
    parameters['max-bandwidth'] = bytes;
  }
  if (downtimeLimit !== undefined) parameters['downtime-limit'] = downtimeLimit;
  if (deadline !== undefined) parameters.deadline = parseParameter('deadline', deadline);
  if (onDeadline !== undefined) parameters['on-deadline'] = onDeadline;
  return parameters;
}

/** A VM of another kind has none. */
async function samplesOf(from: MonitorClient): Promise<MigrationSamples> {
  const known = from.execute('x-query-migrate-samples').catch((error) => {
    if (error instanceof QmpCommandError && error.errorClass === 'CommandNotFound') return [];
    throw error;
  });
  return (await known) as unknown as MigrationSamples;
}

/** The bar rewrites its line on a terminal; elsewhere there is none. */
export function progressOutput(stream: NodeJS.WriteStream) {
  return {
    show(info: MigrationInfo): void {
      if (stream.isTTY) stream.write(`\r\x1b[2K${progressBar(info, stream.columns)}`);
    },
    end(): void {
      if (stream.isTTY) stream.write('\n');
    },
  };
}
