/**
 * Commands that move the machine. QEMU: qapi/migration.json. Capabilities and parameters come from their tables in
 * migration-parameters.ts.
 */
import { GodwitError } from '../error.ts';
import { didYouMean } from '../suggest.ts';
import { type Command, command, type HumanOutput, humanCommand, type MonitorContext } from './command.ts';
import type { Json } from './json-text.ts';
import { parseParameter } from './migration-parameter-text.ts';
import {
  CAPABILITY_NAMES,
  type Capabilities,
  checkCapabilities,
  checkParameter,
  isCapability,
  isParameter,
  PARAMETER_NAMES,
  PARAMETERS,
  type ParameterName,
  type ParameterRow,
  type Parameters,
  type ParameterValue,
} from './migration-parameters.ts';
import { progressLine, resultLine } from './migration-text.ts';
import {
  array,
  boolean,
  type Fields,
  object,
  oneOf,
  optional,
  required,
  type Schema,
  string,
  uint,
} from './schema.ts';
import { FINAL_MIGRATION_STATES, MIGRATION_STATUSES, type MigrateRequest } from './target.ts';

function parameterFields(): Fields {
  const schemaOf = (row: ParameterRow): Schema<ParameterValue> => {
    switch (row.type) {
      case 'integer':
        return uint;
      case 'boolean':
        return boolean;
      case 'enum':
        return oneOf(row.values);
      case 'string':
        return string;
    }
  };
  return Object.fromEntries(PARAMETER_NAMES.map((name) => [name, optional(schemaOf(PARAMETERS[name]))]));
}

async function setParameters(
  { target }: MonitorContext,
  changes: Partial<Record<ParameterName, ParameterValue>>,
): Promise<void> {
  const present = target.parameters();
  for (const name of PARAMETER_NAMES) {
    const value = changes[name];
    if (value !== undefined) checkParameter(name, value, present);
  }
  await target.setParameters(changes as Partial<Parameters>);
}

async function setCapabilities({ target }: MonitorContext, changes: Partial<Capabilities>): Promise<void> {
  checkCapabilities(changes);
  await target.setCapabilities(changes);
}

/** Migrates and returns when the migration has ended, however it did; prints how it goes meanwhile. */
async function migrateAndWait(
  context: MonitorContext,
  request: MigrateRequest,
  output: HumanOutput,
): Promise<void> {
  const { target, host } = context;
  let last = '';
  const report = async () => {
    const line = progressLine(await target.queryMigrate());
    if (line === undefined || line === last) return;
    last = line;
    output.print(line);
  };
  // A report that fails loses a line of progress and nothing else.
  const tryReport = () => void report().catch(() => {});
  let ended: () => void = () => {};
  const end = new Promise<void>((resolve) => {
    ended = resolve;
  });
  const unsubscribe = target.subscribe((event) => {
    if (event.event === 'MIGRATION_PASS') tryReport();
    if (event.event === 'MIGRATION' && FINAL_MIGRATION_STATES.has(event.data.status)) ended();
  });
  const stopTicking = host.every(1000, tryReport);
  try {
    await target.migrate(request);
    await end;
  } finally {
    unsubscribe();
    stopTicking();
  }
  const info = await target.queryMigrate();
  if (info.status === 'failed') throw new GodwitError('state', info['error-desc'] ?? 'migration failed');
  output.print(resultLine(info));
}

export const MIGRATION_COMMANDS: readonly Command[] = [
  command({
    name: 'migrate',
    help: 'migrate to URI (using -d to not wait for completion, -b to take disks along that are not shared, -i for only what the destination does not have of them)',
    arguments: {
      uri: required(string),
      blk: optional(boolean),
      inc: optional(boolean),
      detach: optional(boolean),
      resume: optional(boolean),
    },
    human: {
      names: ['migrate'],
      arguments: [
        { kind: 'flag', name: 'detach', letter: 'd' },
        { kind: 'flag', name: 'blk', letter: 'b' },
        { kind: 'flag', name: 'inc', letter: 'i' },
        { kind: 'flag', name: 'resume', letter: 'r' },
        { kind: 'word', name: 'uri' },
      ],
      async run(context, { uri, detach, blk, inc, resume }, output) {
        const request = { uri: String(uri), resume: resume === true, blk: blk === true, inc: inc === true };
        if (detach === true || !output.mayWait) await context.target.migrate(request);
        else await migrateAndWait(context, request, output);
      },
    },
    async run({ target }, { uri, blk = false, inc = false, resume = false }) {
      await target.migrate({ uri, resume, blk, inc });
      return undefined;
    },
  }),
  command({
    name: 'migrate_cancel',
    help: 'cancel the current VM migration',
    arguments: {},
    human: { names: ['migrate_cancel'], arguments: [] },
    run: async ({ target }) => void (await target.migrateCancel()),
  }),
  command({
    name: 'migrate-continue',
    help: 'Continue migration from the given paused state',
    arguments: { state: required(oneOf(MIGRATION_STATUSES)) },
    human: {
      names: ['migrate_continue'],
      arguments: [{ kind: 'word', name: 'state', choices: () => MIGRATION_STATUSES }],
    },
    run: async ({ target }, { state }) => void (await target.migrateContinue(state)),
  }),
  command({
    name: 'migrate-incoming',
    help: 'Continue an incoming migration from an -incoming defer',
    arguments: { uri: required(string) },
    human: { names: ['migrate_incoming'], arguments: [{ kind: 'word', name: 'uri' }] },
    run: async ({ target }, { uri }) => void (await target.migrateIncoming(uri)),
  }),
  command({
    name: 'migrate-start-postcopy',
    help: 'Switch a migration to postcopy mode (the capability postcopy-ram must be on)',
    arguments: {},
    human: { names: ['migrate_start_postcopy'], arguments: [] },
    run: async ({ target }) => void (await target.migrateStartPostcopy()),
  }),
  command({
    name: 'migrate-pause',
    help: 'Pause a migration that is in postcopy mode',
    arguments: {},
    human: { names: ['migrate_pause'], arguments: [] },
    run: async ({ target }) => void (await target.migratePause()),
  }),
  command({
    name: 'migrate-recover',
    help: 'Continue a paused incoming postcopy migration: listen at URI',
    arguments: { uri: required(string) },
    human: { names: ['migrate_recover'], arguments: [{ kind: 'word', name: 'uri' }] },
    run: async ({ target }, { uri }) => void (await target.migrateRecover(uri)),
  }),
  command({
    name: 'migrate-rescue',
    help: "Take the guest of a paused postcopy migration up at the source, from its last checkpoint; only if the destination's process has ended",
    arguments: {},
    human: { names: ['migrate_rescue'], arguments: [] },
    run: async ({ target }) => void (await target.migrateRescue()),
  }),
  command({
    name: 'query-migrate',
    help: 'the state of the present or last migration',
    arguments: {},
    // MigrationInfo is JSON by construction; its interfaces lack the index signature that says so.
    run: async ({ target }) => (await target.queryMigrate()) as unknown as Json,
  }),
  command({
    name: 'x-query-migrate-samples',
    help: 'the figures of the present or last migration over time, for plots',
    arguments: {},
    run: async ({ target }) => (await target.migrationSamples()) as unknown as Json,
  }),
  command({
    name: 'migrate-set-capabilities',
    help: 'Enable/Disable the usage of capabilities for migration',
    arguments: {
      capabilities: required(
        array(object({ capability: required(oneOf(CAPABILITY_NAMES)), state: required(boolean) })),
      ),
    },
    async run(context, { capabilities }) {
      const changes = capabilities.map(({ capability, state }) => [capability, state] as const);
      await setCapabilities(context, Object.fromEntries(changes));
      return undefined;
    },
  }),
  command({
    name: 'query-migrate-capabilities',
    help: 'all capabilities and whether they are on',
    arguments: {},
    async run({ target }) {
      const states = target.capabilities();
      return CAPABILITY_NAMES.map((capability) => ({ state: states[capability], capability }));
    },
  }),
  command({
    name: 'migrate-set-parameters',
    help: 'Set parameters for migration',
    arguments: parameterFields(),
    async run(context, args) {
      await setParameters(context, args as Partial<Record<ParameterName, ParameterValue>>);
      return undefined;
    },
  }),
  command({
    name: 'query-migrate-parameters',
    help: 'all parameters and their values',
    arguments: {},
    run: async ({ target }) => ({ ...target.parameters() }),
  }),
  humanCommand('Enable/Disable the usage of a capability for migration', {
    names: ['migrate_set_capability'],
    arguments: [
      { kind: 'word', name: 'capability', choices: () => CAPABILITY_NAMES },
      { kind: 'switch', name: 'state' },
    ],
    async run(context, { capability, state }) {
      const name = String(capability);
      if (!isCapability(name)) {
        throw new GodwitError(
          'usage',
          `invalid parameter value: ${name}${didYouMean(name, CAPABILITY_NAMES)}`,
        );
      }
      await setCapabilities(context, { [name]: state === true });
    },
  }),
  humanCommand('Set the parameter for migration', {
    names: ['migrate_set_parameter'],
    arguments: [
      { kind: 'word', name: 'parameter', choices: () => PARAMETER_NAMES },
      { kind: 'word', name: 'value' },
    ],
    async run(context, { parameter, value }) {
      const name = String(parameter);
      if (!isParameter(name)) {
        throw new GodwitError(
          'usage',
          `invalid parameter value: ${name}${didYouMean(name, PARAMETER_NAMES)}`,
        );
      }
      await setParameters(context, { [name]: parseParameter(name, String(value)) });
    },
  }),
];
