/** Commands about how fast the guest makes pages dirty. QEMU: qapi/migration.json. */
import { GodwitError } from '../error.ts';
import { type Command, command, type HumanOutput, humanCommand, type MonitorContext } from './command.ts';
import {
  CALC_TIME_RANGE,
  DEFAULT_SAMPLE_PAGES,
  DIRTY_RATE_MODES,
  type DirtyRateMode,
  SAMPLE_PAGES_RANGE,
} from './dirty.ts';
import { oneOf, optional, required, uint } from './schema.ts';

function inRange(name: string, value: number, [min, max]: readonly [number, number]): number {
  if (value >= min && value <= max) return value;
  throw new GodwitError('usage', `${name} is out of range[${min}, ${max}].`, { where: name });
}

async function measure(
  { target }: MonitorContext,
  calcTime: number,
  samplePages: number | undefined,
  mode: DirtyRateMode,
): Promise<void> {
  inRange('calc-time', calcTime, CALC_TIME_RANGE);
  if (samplePages !== undefined && mode === 'dirty-ring') {
    throw new GodwitError('usage', 'either sample-pages or dirty-ring can be specified.');
  }
  const pages = inRange('sample-pages', samplePages ?? DEFAULT_SAMPLE_PAGES, SAMPLE_PAGES_RANGE);
  await target.dirty.measureRate({ calcTime, mode, samplePages: pages });
}

/** @param limit MiB per second; 0 lifts it, as in QEMU. */
async function setLimit({ target }: MonitorContext, limit: number, hart: number | undefined): Promise<void> {
  if (hart !== undefined && hart >= target.harts) {
    throw new GodwitError('usage', 'incorrect cpu index specified', { where: 'cpu-index' });
  }
  await target.dirty.setLimit(limit === 0 ? undefined : limit, hart);
}

/** A word of the human monitor that is to be a number. */
function number(name: string, word: unknown): number {
  if (typeof word === 'string' && /^\d+$/.test(word)) return Number(word);
  throw GodwitError.unexpected('usage', name, 'a number', String(word));
}
const maybe = (name: string, word: unknown): number | undefined =>
  word === undefined ? undefined : number(name, word);

const sayWhereToLook = (output: HumanOutput): void =>
  output.print("[Please use 'info vcpu_dirty_limit' to query dirty limit for virtual CPU]");

export const DIRTY_COMMANDS: readonly Command[] = [
  command({
    name: 'calc-dirty-rate',
    help: 'start a round of guest dirty rate measurement',
    arguments: {
      'calc-time': required(uint),
      'sample-pages': optional(uint),
      mode: optional(oneOf(DIRTY_RATE_MODES)),
    },
    async run(context, args) {
      await measure(context, args['calc-time'], args['sample-pages'], args.mode ?? 'page-sampling');
      return undefined;
    },
  }),
  humanCommand(
    'start a round of guest dirty rate measurement (using -r to specify dirty ring as the method of calculation ' +
      'and -b to specify dirty bitmap as method of calculation)',
    {
      names: ['calc_dirty_rate'],
      arguments: [
        { kind: 'flag', name: 'ring', letter: 'r' },
        { kind: 'flag', name: 'bitmap', letter: 'b' },
        { kind: 'word', name: 'second' },
        { kind: 'word', name: 'sample_pages_per_GB', optional: true },
      ],
      async run(context, { ring, bitmap, second, sample_pages_per_GB: pages }, output) {
        const seconds = number('second', second);
        if (seconds === 0) throw new GodwitError('usage', 'Incorrect period length specified!');
        if (ring === true && bitmap === true) {
          throw new GodwitError('usage', 'Either dirty ring or dirty bitmap can be specified!');
        }
        const mode = ring === true ? 'dirty-ring' : bitmap === true ? 'dirty-bitmap' : 'page-sampling';
        await measure(context, seconds, maybe('sample_pages_per_GB', pages), mode);
        output.print(`Starting dirty rate measurement with period ${seconds} seconds`);
        output.print("[Please use 'info dirty_rate' to check results]");
      },
    },
  ),
  command({
    name: 'query-dirty-rate',
    help: 'the dirty rate that was measured last',
    arguments: {},
    async run({ target }) {
      const { 'vcpu-dirty-rate': harts, ...info } = target.dirty.queryRate();
      return { ...info, ...(harts === undefined ? {} : { 'vcpu-dirty-rate': harts.map((h) => ({ ...h })) }) };
    },
  }),
  command({
    name: 'set-vcpu-dirty-limit',
    help: 'set dirty page rate limit, use cpu-index to set limit on a specified virtual cpu',
    arguments: { 'cpu-index': optional(uint), 'dirty-rate': required(uint) },
    async run(context, args) {
      await setLimit(context, args['dirty-rate'], args['cpu-index']);
      return undefined;
    },
  }),
  humanCommand('set dirty page rate limit, use cpu_index to set limit on a specified virtual cpu', {
    names: ['set_vcpu_dirty_limit'],
    arguments: [
      { kind: 'word', name: 'dirty_rate' },
      { kind: 'word', name: 'cpu_index', optional: true },
    ],
    async run(context, { dirty_rate, cpu_index }, output) {
      await setLimit(context, number('dirty_rate', dirty_rate), maybe('cpu_index', cpu_index));
      sayWhereToLook(output);
    },
  }),
  command({
    name: 'cancel-vcpu-dirty-limit',
    help: 'cancel dirty page rate limit, use cpu-index to cancel limit on a specified virtual cpu',
    arguments: { 'cpu-index': optional(uint) },
    async run(context, args) {
      await setLimit(context, 0, args['cpu-index']);
      return undefined;
    },
  }),
  humanCommand('cancel dirty page rate limit, use cpu_index to cancel limit on a specified virtual cpu', {
    names: ['cancel_vcpu_dirty_limit'],
    arguments: [{ kind: 'word', name: 'cpu_index', optional: true }],
    async run(context, { cpu_index }, output) {
      await setLimit(context, 0, maybe('cpu_index', cpu_index));
      sayWhereToLook(output);
    },
  }),
  command({
    name: 'query-vcpu-dirty-limit',
    help: 'dirty page rate limits and the rates as measured',
    arguments: {},
    run: async ({ target }) => (await target.dirty.limits()).map((limit) => ({ ...limit })),
  }),
];
