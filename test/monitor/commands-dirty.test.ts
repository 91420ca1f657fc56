/** Commands about the dirty rate, as QEMU 7.2.22 answers them where it can do the same. */
import { expect, test } from 'vitest';
import { runHumanLine } from '../../src/monitor/human-line.ts';
import { QmpSession } from '../../src/monitor/qmp-session.ts';
import { setUp } from './fake-target.ts';

async function human(line: string, fixture = setUp()): Promise<{ printed: string[]; calls: string[] }> {
  const printed: string[] = [];
  await runHumanLine(fixture.context, line, {
    mayWait: false,
    session: { hart: 0 },
    print: (text) => printed.push(text),
  });
  return { printed, calls: fixture.target.calls };
}

async function qmp(name: string, args: object): Promise<{ answer: unknown; calls: string[] }> {
  const { far, context, target } = setUp();
  new QmpSession(far, context);
  far.send('{"execute":"qmp_capabilities"}');
  far.send(JSON.stringify({ execute: name, arguments: args }));
  return { answer: (await far.messages(3))[2], calls: target.calls };
}

const error = (desc: string) => ({ error: { class: 'GenericError', desc } });

test.each([
  ['calc_dirty_rate 2', 'measureRate 2 page-sampling 512'],
  ['calc_dirty_rate 2 1000', 'measureRate 2 page-sampling 1000'],
  ['calc_dirty_rate -b 60', 'measureRate 60 dirty-bitmap 512'],
  ['calc_dirty_rate -r 1', 'measureRate 1 dirty-ring 512'],
])('%s begins a measurement and says where to look', async (line, call) => {
  const { printed, calls } = await human(line);
  expect(calls).toEqual([call]);
  expect(printed).toEqual([
    `Starting dirty rate measurement with period ${call.split(' ')[1]} seconds`,
    "[Please use 'info dirty_rate' to check results]",
  ]);
});

test.each([
  ['calc_dirty_rate 0', 'Incorrect period length specified!'],
  ['calc_dirty_rate 61', 'calc-time is out of range[1, 60].'],
  ['calc_dirty_rate 1 127', 'sample-pages is out of range[128, 16384].'],
  ['calc_dirty_rate -b -r 1', 'Either dirty ring or dirty bitmap can be specified!'],
  ['calc_dirty_rate x', 'second'],
  ['set_vcpu_dirty_limit 10 2', 'incorrect cpu index specified'],
])('%s is refused: %s', async (line, why) => {
  const { printed, calls } = await human(line);
  expect(printed.join('\n')).toContain(why);
  expect(calls).toEqual([]);
});

test.each([
  [
    'calc-dirty-rate',
    { 'calc-time': 1, mode: 'dirty-bitmap' },
    { return: {} },
    ['measureRate 1 dirty-bitmap 512'],
  ],
  ['calc-dirty-rate', { 'calc-time': 0 }, error('calc-time is out of range[1, 60].'), []],
  [
    'calc-dirty-rate',
    { 'calc-time': 1, 'sample-pages': 3 },
    error('sample-pages is out of range[128, 16384].'),
    [],
  ],
  [
    'calc-dirty-rate',
    { 'calc-time': 1, 'sample-pages': 512, mode: 'dirty-ring' },
    error('either sample-pages or dirty-ring can be specified.'),
    [],
  ],
  ['calc-dirty-rate', {}, error("Parameter 'calc-time' is missing"), []],
  ['set-vcpu-dirty-limit', { 'dirty-rate': 20 }, { return: {} }, ['setLimit 20 undefined']],
  ['set-vcpu-dirty-limit', { 'dirty-rate': 0, 'cpu-index': 1 }, { return: {} }, ['setLimit undefined 1']],
  ['set-vcpu-dirty-limit', { 'dirty-rate': 2, 'cpu-index': 2 }, error('incorrect cpu index specified'), []],
  ['cancel-vcpu-dirty-limit', {}, { return: {} }, ['setLimit undefined undefined']],
  ['query-vcpu-dirty-limit', {}, { return: [] }, []],
  [
    'query-dirty-rate',
    {},
    {
      return: {
        status: 'unstarted',
        'start-time': 0,
        'calc-time': 0,
        'sample-pages': 0,
        mode: 'page-sampling',
      },
    },
    [],
  ],
])('%s %j', async (name, args, wanted, calls) => {
  const result = await qmp(name, args);
  expect(result.answer).toEqual(wanted);
  expect(result.calls).toEqual(calls);
});

test('info dirty_rate and info vcpu_dirty_limit have the lines of QEMU', async () => {
  const fixture = setUp();
  expect((await human('info vcpu_dirty_limit', fixture)).printed).toEqual(['Dirty page limit not enabled!']);
  fixture.target.dirty.list = [{ 'cpu-index': 1, 'limit-rate': 20, 'current-rate': 19 }];
  expect((await human('info vcpu_dirty_limit', fixture)).printed).toEqual([
    'vcpu[1], limit rate 20 (MB/s), current rate 19 (MB/s)',
  ]);
  expect((await human('info dirty_rate', fixture)).printed.join('\n')).toBe(
    'Status: unstarted\nStart Time: 0 (ms)\nSample Pages: 0 (per GB)\nPeriod: 0 (sec)\n' +
      'Mode: page-sampling\nDirty rate: (not ready)',
  );
  fixture.target.dirty.rate = {
    status: 'measured',
    'start-time': 12184,
    'calc-time': 1,
    'sample-pages': 0,
    mode: 'dirty-ring',
    'dirty-rate': 74,
    'vcpu-dirty-rate': [
      { id: 0, 'dirty-rate': 70 },
      { id: 1, 'dirty-rate': 4 },
    ],
  };
  expect((await human('info dirty_rate', fixture)).printed.join('\n')).toBe(
    'Status: measured\nStart Time: 12184000 (ms)\nSample Pages: 0 (per GB)\nPeriod: 1 (sec)\n' +
      'Mode: dirty-ring\nDirty rate: 74 (MB/s)\n' +
      'vcpu[0], Dirty rate: 70 (MB/s)\nvcpu[1], Dirty rate: 4 (MB/s)',
  );
});
