/** Commands that look into the guest, through both monitors. */
import { beforeEach, expect, test } from 'vitest';
import { HmpSession } from '../../src/monitor/hmp-session.ts';
import { QmpSession } from '../../src/monitor/qmp-session.ts';
import { setUp } from './fake-target.ts';

let s: ReturnType<typeof setUp>;
let run: (line: string) => Promise<string>;

beforeEach(async () => {
  s = setUp();
  s.target.memory.set([1, 2, 3, 4, 5, 6, 7, 8]);
  new HmpSession(s.far, s.context);
  await s.far.until((text) => text.endsWith('(qemu) '));
  run = async (line) => {
    const before = s.far.text.length;
    s.far.send(`${line}\r`);
    const text = await s.far.until((all) => all.length > before && all.endsWith('\r\n(qemu) '));
    const shown = text.slice(before).replaceAll('\r\n', '\n');
    return shown.slice(shown.indexOf('\n') + 1, -'(qemu) '.length);
  };
});

test('xp reads physical memory, x that of the current hart', async () => {
  expect(await run('xp/2xw 0x1000')).toBe('0000000000001000: 0x04030201 0x08070605\n');
  expect(await run('x/2xw 0x1000')).toBe('0000000000001000: Cannot access memory\n');
  expect(await run('x/1xb 0x101001')).toBe('0000000000101001: 0x02\n');
  expect(await run('cpu 1')).toBe('');
  expect(await run('x/1xb 0x201001')).toBe('0000000000201001: 0x02\n');
});

test('a format holds until the next one', async () => {
  expect(await run('xp/xg 0x1000')).toBe('0000000000001000: 0x0807060504030201\n');
  expect(await run('xp 0x1000')).toBe('0000000000001000: 0x0807060504030201\n');
  expect(await run('xp/2i 0x1000')).toBe('physical 1000\nphysical 1001\n');
  expect(await run('xp/x 0x1000')).toBe('0000000000001000: 0x0807060504030201\n');
});

test('x/i disassembles as many instructions as asked', async () => {
  expect(await run('x/2i 0x1000')).toBe('0 1000\n0 1001\n');
  expect((await run('x/2500i 0')).split('\n')).toHaveLength(2501);
});

test('registers of the current hart stand in expressions', async () => {
  await run('cpu 1');
  expect(await run('xp/1xb $pc+1')).toBe('0000000000001001: 0x02\n');
  expect(s.target.calls).toContain('registers 1');
  expect(await run('print $pc')).toBe('0x1000\n');
});

test('cpu chooses the hart that info is about, among those that there are', async () => {
  expect(await run('cpu 2')).toBe('invalid CPU index\n');
  expect(await run('cpu 1')).toBe('');
  expect(await run('info registers')).toContain("hart 1 args ''");
  expect(await run('info cpus')).toBe('  CPU #0: thread_id=123\n* CPU #1: thread_id=123\n');
});

test('mistakes in a format or an expression have no command before them, as in QEMU', async () => {
  expect(await run('x/s 1')).toBe('invalid char in format: \'s\'\nTry "help x" for more information\n');
  expect(await run('x')).toBe('unexpected end of expression\nTry "help x" for more information\n');
  expect(await run('x 1 2')).toBe(
    'x: extraneous characters at the end of line\nTry "help x" for more information\n',
  );
});

test('help shows the format', async () => {
  expect(await run('help x')).toBe("x /fmt addr -- virtual memory dump starting at 'addr'\n");
});

test('memsave and pmemsave, in both monitors', async () => {
  await run('cpu 1');
  await run('memsave 0x10 16 "a file"');
  await run('pmemsave 0x20 4 b');
  const qmp = setUp();
  new QmpSession(qmp.far, qmp.context);
  qmp.far.send('{"execute":"qmp_capabilities"}');
  qmp.far.send(
    '{"execute":"memsave","arguments":{"val":-4096,"size":8,"filename":"c","cpu-index":1}}' +
      '{"execute":"pmemsave","arguments":{"val":4096,"size":8,"filename":"d"}}' +
      '{"execute":"memsave","arguments":{"val":0,"size":8,"filename":"e","cpu-index":2}}',
  );
  const messages = await qmp.far.messages(5);
  expect(messages.at(-1)).toMatchObject({ error: { desc: "Parameter 'cpu-index' expects a CPU number" } });
  expect(s.target.calls.filter((call) => call.startsWith('save'))).toEqual([
    'saveMemory 1 10 16 a file',
    'saveMemory undefined 20 4 b',
  ]);
  expect(qmp.target.calls).toEqual(['saveMemory 1 -1000 8 c', 'saveMemory undefined 1000 8 d']);
});

test('log takes items that there are, and none', async () => {
  expect(await run('log in_asm,int')).toBe('');
  expect(await run('log none')).toBe('');
  expect(s.target.calls).toEqual(['setLogItems in_asm int', 'setLogItems ']);
  expect(await run('log in_asm,exec')).toBe("Error: log: expected none or in_asm or int, got 'exec'\n");
  expect(await run('log help')).toBe(
    [
      'Log items (comma separated):',
      'none            remove all logs',
      'in_asm          show code',
      'int             show traps',
      '',
    ].join('\n'),
  );
  expect(await run('logfile /tmp/x')).toBe('');
  expect(s.target.calls.at(-1)).toBe('setLogFile /tmp/x');
});

test("human-monitor-command has the hart of 'cpu-index'", async () => {
  const qmp = setUp();
  new QmpSession(qmp.far, qmp.context);
  qmp.far.send('{"execute":"qmp_capabilities"}');
  const line = (hart: number) =>
    `{"execute":"human-monitor-command","arguments":{"command-line":"info registers","cpu-index":${hart}}}`;
  qmp.far.send(line(1) + line(2));
  const messages = await qmp.far.messages(4);
  expect(messages[2]).toEqual({ return: "pc 80000000\r\nhart 1 args ''\r\n" });
  expect(messages[3]).toMatchObject({ error: { desc: "Parameter 'cpu-index' expects a CPU number" } });
});
