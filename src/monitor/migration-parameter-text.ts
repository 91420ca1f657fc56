/**
 * How the human monitor reads and prints migration parameters and capabilities: QEMU's suffixes and lines
 * (migration/migration-hmp-cmds.c names the units; `help migrate_set_parameter`).
 */
import { GodwitError } from '../error.ts';
import {
  CAPABILITY_NAMES,
  type Capabilities,
  type IntegerParameter,
  PARAMETER_NAMES,
  PARAMETERS,
  type ParameterName,
  type ParameterRow,
  type Parameters,
  type ParameterValue,
} from './migration-parameters.ts';

const SUFFIXES = 'BKMGTPE';

/**
 * A size with QEMU's suffixes (B, k, M, G, T, P, E: powers of 1024, any case), which may have a fraction: "1.5G".
 * Undefined if it is not one, or not a whole number of bytes within a double's exact range.
 */
export function parseSize(text: string, defaultSuffix = 'B'): number | undefined {
  const match = /^(\d+(?:\.\d+)?)([bkmgtpe]?)$/i.exec(text.trim());
  if (match === null) return undefined;
  const power = SUFFIXES.indexOf((match[2] || defaultSuffix).toUpperCase());
  const bytes = Math.floor(Number(match[1]) * 1024 ** power);
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}

function parseInteger(name: ParameterName, row: IntegerParameter, text: string): number {
  const refuse = (expected: string): never => {
    throw GodwitError.unexpected('usage', `Parameter '${name}'`, expected, `'${text}'`);
  };
  switch (row.unit) {
    case 'bytes':
    case 'bytes/second':
      return (
        parseSize(text, row.humanMiB ? 'M' : 'B') ??
        refuse(
          `a size such as 100M or 1G (suffix B, k, M, G or T; ${row.humanMiB ? 'MiB' : 'bytes'} without one)`,
        )
      );
    case 'ms': {
      const match = /^(\d+(?:\.\d+)?)(ms|s|min)?$/.exec(text);
      if (match === null) return refuse('a time such as 300 or 300ms (ms without suffix), 2s or 5min');
      const factor = { ms: 1, s: 1000, min: 60_000 }[match[2] ?? 'ms'] ?? 1;
      return Math.round(Number(match[1]) * factor);
    }
    case '%':
      return /^\d+%?$/.test(text) ? Number.parseInt(text, 10) : refuse('a percentage');
    default:
      return /^\d+$/.test(text) ? Number(text) : refuse('a number');
  }
}

/** The value that `migrate_set_parameter NAME TEXT` means; its range is checked by checkParameter. */
export function parseParameter(name: ParameterName, text: string): ParameterValue {
  const row: ParameterRow = PARAMETERS[name];
  switch (row.type) {
    case 'integer':
      return parseInteger(name, row, text);
    case 'boolean': {
      const value = parseOnOff(text);
      if (value === undefined) {
        throw new GodwitError('usage', `Parameter '${name}' expects 'on' or 'off'`, {
          where: name,
          got: text,
        });
      }
      return value;
    }
    default:
      return text;
  }
}

/** QEMU's spellings of a switch. */
export function parseOnOff(text: string): boolean | undefined {
  if (/^(on|yes|true|y)$/.test(text)) return true;
  if (/^(off|no|false|n)$/.test(text)) return false;
  return undefined;
}

export function onOff(value: boolean): string {
  return value ? 'on' : 'off';
}

/** The lines of `info migrate_capabilities`. */
export function capabilityLines(capabilities: Capabilities): string[] {
  return CAPABILITY_NAMES.map((name) => `${name}: ${onOff(capabilities[name])}`);
}

/** The lines of `info migrate_parameters`. */
export function parameterLines(parameters: Parameters): string[] {
  return PARAMETER_NAMES.map((name) => {
    const row: ParameterRow = PARAMETERS[name];
    const value: ParameterValue = parameters[name];
    if (typeof value === 'boolean') return `${name}: ${onOff(value)}`;
    if (row.type === 'string') return `${name}: '${value}'`;
    const unit = row.type === 'integer' && row.unit !== 'count' && row.unit !== '%' ? ` ${row.unit}` : '';
    return `${name}: ${value}${unit}`;
  });
}
