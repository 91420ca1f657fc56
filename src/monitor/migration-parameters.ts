/**
 * Every migration capability and parameter, once: names, defaults, limits and whether this version can do it. The QMP
 * commands, the human monitor, `info migrate_parameters`, completion and the documentation all derive from these two
 * tables. Names and defaults follow QEMU's qapi/migration.json. This file imports nothing of the monitor's, so that
 * the migration engine may take its types and defaults.
 */
import { GodwitError } from '../error.ts';
import { ON_DEADLINE } from '../migration/deadline.ts';

interface CapabilityRow {
  /** Whether this version can do it; switching on one that it can't is refused. */
  readonly supported: boolean;
  readonly help: string;
}

/** The capabilities; all are off by default. */
export const CAPABILITIES = {
  xbzrle: { supported: true, help: 'send what changed in a page instead of the page' },
  'auto-converge': { supported: true, help: 'throttle the guest when it dirties memory too fast' },
  auto: { supported: true, help: 'choose deltas, their cache and the throttle by itself, and say why' },
  'zero-blocks': { supported: true, help: 'send zero disk blocks as a mark (always done)' },
  events: { supported: true, help: 'send MIGRATION, MIGRATION_PASS and MIGRATION_DECISION events' },
  'postcopy-ram': { supported: true, help: 'let the destination run before all memory has moved' },
  'postcopy-preempt': { supported: true, help: 'a channel of their own for post-copy page requests' },
  'postcopy-blocktime': { supported: true, help: 'measure how long harts waited for pages' },
  'postcopy-rescue': {
    supported: true,
    help: 'in post-copy, send checkpoints back to the source (see migrate-rescue)',
  },
  'release-ram': { supported: true, help: 'free memory at the source as it arrives in post-copy' },
  block: { supported: true, help: 'migrate disks too' },
  'return-path': {
    supported: true,
    help: 'the destination answers the source (always done on sockets; exec: both pipes)',
  },
  'pause-before-switchover': { supported: true, help: 'wait for migrate-continue before the hand-over' },
  multifd: { supported: true, help: 'send memory over several connections' },
  'mapped-ram': { supported: false, help: 'give every page a fixed place in a file' },
  'background-snapshot': { supported: false, help: 'save the guest as it is now, while it runs on' },
  'dirty-limit': { supported: true, help: 'slow down only the harts that dirty memory too fast' },
  'validate-uuid': { supported: true, help: 'refuse a destination with another UUID' },
  'switchover-ack': { supported: false, help: 'wait for the destination before the hand-over (always done)' },
} as const satisfies Record<string, CapabilityRow>;

export type CapabilityName = keyof typeof CAPABILITIES;
export type Capabilities = Readonly<Record<CapabilityName, boolean>>;
export const CAPABILITY_NAMES = Object.keys(CAPABILITIES) as CapabilityName[];

export function isCapability(name: string): name is CapabilityName {
  return Object.hasOwn(CAPABILITIES, name);
}

/** What a number counts; decides how it is printed and which suffixes the human monitor takes. */
export type ParameterUnit = 'bytes/second' | 'bytes' | 'ms' | '%' | 'MB/s' | 'count';

interface ParameterCommon {
  readonly supported: boolean;
  readonly help: string;
}
export interface IntegerParameter extends ParameterCommon {
  readonly type: 'integer';
  readonly unit: ParameterUnit;
  readonly default: number;
  readonly min: number;
  readonly max: number;
  /** The human monitor takes a number without suffix as MiB, as QEMU does for bandwidths. */
  readonly humanMiB?: boolean;
  readonly powerOfTwo?: boolean;
}
export interface BooleanParameter extends ParameterCommon {
  readonly type: 'boolean';
  readonly default: boolean;
}
export interface EnumParameter extends ParameterCommon {
  readonly type: 'enum';
  readonly values: readonly string[];
  readonly default: string;
}
export interface StringParameter extends ParameterCommon {
  readonly type: 'string';
  readonly default: string;
}
export type ParameterRow = IntegerParameter | BooleanParameter | EnumParameter | StringParameter;

const MiB = 1024 * 1024;
/** Sizes and rates travel as doubles: exact up to 8 PiB, which no machine reaches. */
const MAX_BYTES = Number.MAX_SAFE_INTEGER;

/** An integer's row; the last argument is for what most don't have. */
function integer(
  unit: ParameterUnit,
  value: number,
  range: readonly [min: number, max: number],
  help: string,
  more: { supported?: boolean; humanMiB?: boolean; powerOfTwo?: boolean } = {},
): IntegerParameter {
  return {
    type: 'integer',
    unit,
    default: value,
    min: range[0],
    max: range[1],
    help,
    ...more,
    supported: more.supported ?? false,
  };
}

/** The parameters, in the order in which they are listed. */
export const PARAMETERS = {
  'announce-initial': integer('ms', 50, [0, 100_000], 'delay after the first network announcement', {
    supported: true,
  }),
  'announce-max': integer('ms', 550, [0, 100_000], 'longest delay between announcements', {
    supported: true,
  }),
  'announce-rounds': integer('count', 5, [0, 1000], 'number of announcements', { supported: true }),
  'announce-step': integer('ms', 100, [0, 10_000], 'growth of the delay from one announcement to the next', {
    supported: true,
  }),
  'throttle-trigger-threshold': integer(
    '%',
    50,
    [1, 100],
    'dirtied bytes, of those sent, that start throttling',
    { supported: true },
  ),
  'cpu-throttle-initial': integer('%', 20, [1, 99], 'first throttle at least', { supported: true }),
  'cpu-throttle-increment': integer('%', 10, [1, 99], 'growth of the throttle at least', {
    supported: true,
  }),
  'cpu-throttle-tailslow': {
    type: 'boolean',
    default: false,
    supported: true,
    help: 'let the throttle grow by no more than is needed',
  },
  'max-cpu-throttle': integer('%', 99, [1, 99], 'largest throttle', { supported: true }),
  'tls-creds': {
    type: 'string',
    default: '',
    supported: true,
    help: 'id of the TLS credentials; empty for none',
  },
  'tls-hostname': {
    type: 'string',
    default: '',
    supported: true,
    help: "name that the destination's certificate must have, if not the address's host",
  },
  'max-bandwidth': integer('bytes/second', 128 * MiB, [0, MAX_BYTES], 'cap on sending; 0 for none', {
    supported: true,
    humanMiB: true,
  }),
  'avail-switchover-bandwidth': integer(
    'bytes/second',
    0,
    [0, MAX_BYTES],
    'bandwidth to reckon the pause with; 0 for what is measured',
    { supported: true, humanMiB: true },
  ),
  'downtime-limit': integer('ms', 300, [0, 2_000_000], 'longest pause of the guest', { supported: true }),
  'stall-timeout': integer(
    'ms',
    30_000,
    [1, 2_000_000_000],
    'how long the other side may be silent when it is its turn',
    { supported: true },
  ),
  'block-incremental': {
    type: 'boolean',
    default: false,
    supported: true,
    help: 'with block: only what the destination does not have already',
  },
  'multifd-channels': integer('count', 2, [1, 255], 'number of connections with multifd', {
    supported: true,
  }),
  'multifd-compression': {
    type: 'enum',
    values: ['none', 'zlib', 'zstd'],
    default: 'none',
    supported: true,
    help: 'compression on multifd connections',
  },
  'multifd-zlib-level': integer('count', 1, [0, 9], 'zlib effort with multifd', { supported: true }),
  'xbzrle-cache-size': integer('bytes', 64 * MiB, [4096, MAX_BYTES], 'cache of old pages for xbzrle', {
    supported: true,
    powerOfTwo: true,
  }),
  'max-postcopy-bandwidth': integer(
    'bytes/second',
    0,
    [0, MAX_BYTES],
    'cap on the sweep in post-copy; 0 for none',
    { supported: true },
  ),
  'postcopy-rescue-interval': integer(
    'ms',
    500,
    [10, 1_000_000],
    'from one checkpoint of postcopy-rescue to the next',
    { supported: true },
  ),
  'vcpu-dirty-limit': integer('MB/s', 1, [1, 1_000_000], 'dirty rate a hart is held to with dirty-limit', {
    supported: true,
  }),
  deadline: integer(
    'ms',
    0,
    [0, 2_000_000_000],
    'when a migration has to be over, from its start; 0 for no such time',
    {
      supported: true,
    },
  ),
  'on-deadline': {
    type: 'enum',
    values: ON_DEADLINE,
    default: 'pause',
    supported: true,
    help: 'what is done to meet it: throttle the guest, then nothing more, pause it, post-copy; or cancel',
  },
} as const satisfies Record<string, ParameterRow>;

export type ParameterName = keyof typeof PARAMETERS;
type ValueOf<R> = R extends { type: 'integer' } ? number : R extends { type: 'boolean' } ? boolean : string;
/** Bytes, bytes per second, milliseconds and percent, as the table's units say. */
export type Parameters = { readonly [N in ParameterName]: ValueOf<(typeof PARAMETERS)[N]> };
export type ParameterValue = number | boolean | string;
export const PARAMETER_NAMES = Object.keys(PARAMETERS) as ParameterName[];

export function isParameter(name: string): name is ParameterName {
  return Object.hasOwn(PARAMETERS, name);
}

export function defaultCapabilities(): Capabilities {
  return Object.fromEntries(CAPABILITY_NAMES.map((name) => [name, false])) as Record<CapabilityName, boolean>;
}

export function defaultParameters(): Parameters {
  return Object.fromEntries(
    PARAMETER_NAMES.map((name) => [name, PARAMETERS[name].default]),
  ) as unknown as Parameters;
}

/** Refuses (kind 'usage') a capability that is switched on but not available in this version. */
export function checkCapabilities(changes: Partial<Capabilities>): void {
  for (const name of CAPABILITY_NAMES) {
    if (changes[name] === true && !CAPABILITIES[name].supported) {
      throw new GodwitError('usage', `capability '${name}' is not available in this version`, {
        where: name,
      });
    }
  }
}

/**
 * Refuses (kind 'usage') a value of the wrong type or out of range, and a changed value of a parameter that is not
 * available in this version; setting one to the value it has already is harmless.
 */
export function checkParameter(name: ParameterName, value: ParameterValue, present: Parameters): void {
  const row: ParameterRow = PARAMETERS[name];
  const refuse = (expected: string): never => {
    throw new GodwitError('usage', `Parameter '${name}' expects ${expected}`, {
      where: name,
      expected,
      got: String(value),
    });
  };
  switch (row.type) {
    case 'integer': {
      const unit = row.unit === 'count' || row.unit === '%' ? '' : ` ${row.unit}`;
      if (typeof value !== 'number' || !Number.isInteger(value) || value < row.min || value > row.max) {
        if (row.powerOfTwo) refuse('a power of two no less than the target page size');
        refuse(`an integer in the range of ${row.min} to ${row.max}${unit}`);
      }
      if (row.powerOfTwo && !Number.isInteger(Math.log2(value as number))) {
        refuse('a power of two no less than the target page size');
      }
      break;
    }
    case 'boolean':
      if (typeof value !== 'boolean') refuse("'on' or 'off'");
      break;
    case 'enum':
      if (typeof value !== 'string' || !row.values.includes(value)) {
        throw new GodwitError('usage', `Parameter '${name}' does not accept value '${value}'`, {
          where: name,
          expected: row.values.join(' | '),
          got: String(value),
        });
      }
      break;
    case 'string':
      if (typeof value !== 'string') refuse('a string');
      break;
  }
  if (!row.supported && value !== present[name]) {
    throw new GodwitError('usage', `parameter '${name}' is not available in this version`, { where: name });
  }
}
