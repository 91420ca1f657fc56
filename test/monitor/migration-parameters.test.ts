import { describe, expect, it } from 'vitest';
import { parseParameter, parseSize } from '../../src/monitor/migration-parameter-text.ts';
import {
  checkParameter,
  defaultParameters,
  PARAMETER_NAMES,
  PARAMETERS,
  type ParameterRow,
} from '../../src/monitor/migration-parameters.ts';

// query-migrate-parameters of QEMU 7.2, where both have the parameter.
const QEMU_DEFAULTS = {
  'cpu-throttle-tailslow': false,
  'xbzrle-cache-size': 67108864,
  'cpu-throttle-initial': 20,
  'announce-max': 550,
  'multifd-channels': 2,
  'announce-initial': 50,
  'downtime-limit': 300,
  'multifd-compression': 'none',
  'announce-rounds': 5,
  'announce-step': 100,
  'tls-creds': '',
  'multifd-zlib-level': 1,
  'max-cpu-throttle': 99,
  'max-postcopy-bandwidth': 0,
  'tls-hostname': '',
  'throttle-trigger-threshold': 50,
  'max-bandwidth': 134217728,
  'cpu-throttle-increment': 10,
};

describe('migration parameters', () => {
  it('have the defaults of QEMU', () => {
    expect(defaultParameters()).toMatchObject(QEMU_DEFAULTS);
  });

  it('take their own defaults, and nothing beyond their limits', () => {
    const present = defaultParameters();
    for (const name of PARAMETER_NAMES) {
      const row: ParameterRow = PARAMETERS[name];
      expect(() => checkParameter(name, row.default, present), name).not.toThrow();
      if (row.type !== 'integer') continue;
      for (const bad of [row.min - 1, row.max + 1, row.default + 0.5, Number.NaN]) {
        expect(() => checkParameter(name, bad, present), `${name} ${bad}`).toThrow(`'${name}'`);
      }
    }
  });

  it('refuse a change of what is not available, but not its present value', () => {
    for (const name of PARAMETER_NAMES) {
      const row: ParameterRow = PARAMETERS[name];
      if (row.supported || row.type !== 'integer') continue;
      const [present, other] = [row.default, row.default === row.max ? row.min : row.max];
      expect(() => checkParameter(name, present, defaultParameters())).not.toThrow();
      expect(() => checkParameter(name, other, defaultParameters())).toThrow(
        `parameter '${name}' is not available in this version`,
      );
    }
  });

  it.each([
    ['1', 1],
    ['1k', 1024],
    ['1K', 1024],
    ['1.5G', 1.5 * 2 ** 30],
    ['2T', 2 ** 41],
    ['', undefined],
    ['-1', undefined],
    ['1x', undefined],
    ['0x10', undefined],
    ['1e3', undefined],
    ['9E', undefined],
  ])('read the size %j as %j', (text, bytes) => {
    expect(parseSize(text)).toBe(bytes);
  });

  it('read times and percentages with or without their unit', () => {
    expect(parseParameter('downtime-limit', '300')).toBe(300);
    expect(parseParameter('downtime-limit', '300ms')).toBe(300);
    expect(parseParameter('downtime-limit', '0.5s')).toBe(500);
    expect(parseParameter('cpu-throttle-initial', '20%')).toBe(20);
    expect(() => parseParameter('downtime-limit', '1M')).toThrow('a time such as');
  });
});
