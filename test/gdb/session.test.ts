/** What a debugger's packets do, and what is answered (GDB manual, "Remote Protocol"; QEMU 7.2's stub). */
import { describe, expect, test } from 'vitest';
import { GodwitError } from '../../src/error.ts';
import { PACKET_SIZE } from '../../src/gdb/packet.ts';
import type { Stop } from '../../src/gdb/target.ts';
import { Debugger, framed, MEMORY, settled } from './fake-target.ts';

const address = MEMORY.toString(16);
const hex = (text: string): string => Buffer.from(text).toString('hex');

const watched = (kind: 'write' | 'read' | 'access', hart: number): Stop => ({
  reason: 'watchpoint',
  hart,
  watchpoint: { kind, address: 0x1234n },
});

describe('the connection', () => {
  test('stops the machine as it begins, and says why when asked', async () => {
    const gdb = new Debugger();
    expect(await gdb.ask('?')).toBe('T05thread:01;');
    expect(gdb.target.running).toBe(false);
  });

  test('is closed if there is nothing to debug', async () => {
    const gdb = new Debugger(async () => Promise.reject(new GodwitError('state', 'no guest')));
    gdb.far.send('$?#3f');
    await settled();
    expect([gdb.far.closed, gdb.closed]).toEqual([true, true]);
  });

  test('acknowledges packets until told not to, and asks again for those that were garbled', async () => {
    const gdb = new Debugger();
    gdb.far.send('$?#00');
    expect(await gdb.receive((text) => text.length > 0)).toBe('-');
    gdb.far.send('+$QStartNoAckMode#b0');
    expect(await gdb.receive((text) => text.includes('#'))).toBe('+$OK#9a');
    gdb.far.send('+$qC#b4');
    expect(await gdb.receive((text) => text.includes('#'))).toBe('$QC01#f5');
    gdb.far.send('$qC#00');
    await settled();
    expect(gdb.far.text).toBe('');
  });

  test('sends a packet again that did not arrive', async () => {
    const gdb = new Debugger();
    await gdb.ask('qC');
    gdb.far.send('-');
    expect(await gdb.receive((text) => text.includes('#'))).toBe('$QC01#f5');
    gdb.far.send('+-');
    await settled();
    expect(gdb.far.text).toBe('');
  });

  test('refuses a packet that is too long, and goes on', async () => {
    const gdb = new Debugger();
    expect(await gdb.ask(`m${'0'.repeat(PACKET_SIZE)}`)).toBe('E22');
    expect(await gdb.ask('qC')).toBe('QC01');
  });

  test.each([
    'qFoo',
    'vMustReplyEmpty',
    'vFile:open:1',
    'b',
    'qCRC:0,1',
    'kill',
    'garbage',
    'Z5,0,0',
    'Zx',
    'vCont',
    '',
    'toString',
    '__proto__',
  ])('answers nothing to %j, which it does not know', async (body) => {
    const gdb = new Debugger();
    expect(await gdb.ask(body)).toBe('');
    expect(gdb.target.log).toEqual([]);
  });

  test.each([
    ['m', 'E22'],
    ['mzz,4', 'E22'],
    [`m${address}`, 'E22'],
    [`m${address},4,4`, 'E22'],
    [`m${address},${(PACKET_SIZE / 2 + 1).toString(16)}`, 'E22'],
    ['m10000000000000000,4', 'E22'],
    [`M${address},2:0`, 'E22'],
    [`M${address},2:000000`, 'E22'],
    [`M${address},2`, 'E22'],
    [`M${address},2:zzzz`, 'E22'],
    ['m0,4', 'E14'],
    ['M0,1:00', 'E14'],
    ['X0,1:a', 'E14'],
    ['p', 'E22'],
    ['pffff', 'E14'],
    ['P1', 'E22'],
    ['P1=00', 'E22'],
    ['Pffff=0000000000000000', 'E14'],
    ['G00', 'E22'],
    ['Z0,', 'E22'],
    ['Z0,zz,4', 'E22'],
    ['Z2,0,0', 'E22'],
    ['Hg9', 'E22'],
    ['Hx1', 'E22'],
    ['H', 'E22'],
    ['T3', 'E22'],
    ['Tx', 'E22'],
    ['vCont;', 'E22'],
    ['vCont;x', 'E22'],
    ['vCont;s:9', 'E22'],
    ['vCont;t:1', 'E22'],
    ['Cxx', 'E22'],
    ['czz', 'E22'],
    ['qRcmd,zz', 'E22'],
    ['qThreadExtraInfo,9', 'E22'],
    ['qXfer:features:read:nosuch.xml:0,10', 'E00'],
    ['qXfer:features:read:target.xml:zz', 'E00'],
    ['Qqemu.sstep=8', 'E22'],
  ])('answers %j with %s', async (body, error) => {
    const gdb = new Debugger();
    expect(await gdb.ask(body)).toBe(error);
    expect(gdb.target.plans).toEqual([]);
  });

  test('a command that fails says so to the user, too', async () => {
    const gdb = new Debugger();
    gdb.target.refuseToRun = new GodwitError('state', 'the guest was handed over');
    gdb.far.send('$vCont;c#a8');
    const answer = await gdb.receive((text) => text.includes('$E01'));
    expect(answer).toContain(`$O${hex('the guest was handed over\n')}#`);
    expect(await gdb.ask('qC')).toBe('QC01');
  });

  test('asks a debugger to wait that sends faster than it is served', async () => {
    const gdb = new Debugger();
    gdb.far.send('$qC#b4'.repeat(100));
    expect(gdb.far.paused).toBe(true);
    await gdb.receive((text) => text.split('$QC01#f5').length > 100);
    await settled();
    expect(gdb.far.paused).toBe(false);
  });
});

describe('what is there', () => {
  test('features, and the description of the registers in pieces', async () => {
    const gdb = new Debugger();
    const features = await gdb.ask('qSupported:multiprocess+;xmlRegisters=i386');
    expect(features.split(';')).toEqual([
      `PacketSize=${PACKET_SIZE.toString(16)}`,
      'qXfer:features:read+',
      'vContSupported+',
      'QStartNoAckMode+',
    ]);
    let text = '';
    for (let more = true; more; ) {
      const piece = await gdb.ask(`qXfer:features:read:target.xml:${text.length.toString(16)},40`);
      text += piece.slice(1);
      more = piece.startsWith('m');
    }
    expect(text).toContain('<architecture>riscv:rv64</architecture>');
    expect(text).toContain('<reg name="pc" bitsize="64" type="code_ptr" regnum="32"/>');
    expect(text).toMatch(/<feature name="org.gnu.gdb.riscv.fpu">\n<union id="riscv_double">/);
    expect(await gdb.ask(`qXfer:features:read:target.xml:${text.length.toString(16)},40`)).toBe('l');
  });

  test('harts are threads', async () => {
    const gdb = new Debugger();
    expect(await gdb.ask('qfThreadInfo')).toBe('m01,02');
    expect(await gdb.ask('qsThreadInfo')).toBe('l');
    expect(await gdb.ask('qThreadExtraInfo,1')).toBe(hex('CPU#0 [running]'));
    expect(await gdb.ask('qThreadExtraInfo,2')).toBe(hex('CPU#1 [halted ]'));
    expect(await gdb.ask('T2')).toBe('OK');
    expect(await gdb.ask('Hg2')).toBe('OK');
    expect(await gdb.ask('p20')).toBe('0020000000000000');
    expect(await gdb.ask('Hgp1.1')).toBe('OK');
    expect(await gdb.ask('p20')).toBe('0010000000000000');
    expect(await gdb.ask('qAttached')).toBe('1');
    expect(await gdb.ask('qAttached:1')).toBe('1');
  });

  test('registers: g is the first feature, all others go by number', async () => {
    const gdb = new Debugger();
    expect(await gdb.ask('g')).toBe('11000000000000000010000000000000');
    expect(await gdb.ask('G1200000000000000efcdab8967452301')).toBe('OK');
    expect(gdb.target.registers[0]).toEqual(
      new Map([
        [1, 0x12n],
        [32, 0x0123_4567_89ab_cdefn],
        [33, 0n],
      ]),
    );
    expect(await gdb.ask('P21=000000000000f03f')).toBe('OK');
    expect(await gdb.ask('p21')).toBe('000000000000f03f');
  });

  test('memory, as the chosen hart sees it, or physical memory', async () => {
    const gdb = new Debugger();
    await gdb.ask('Hg2');
    expect(await gdb.ask(`m${address},4`)).toBe('00010203');
    expect(await gdb.ask(`M${address},2:beef`)).toBe('OK');
    expect(await gdb.ask(`X${address},0:`)).toBe('OK');
    expect(await gdb.ask(`X${(MEMORY + 2n).toString(16)},3:\x7f}\x04\xff`)).toBe('OK');
    expect(await gdb.ask(`m${address},6`)).toBe('beef7f24ff05');
    expect(await gdb.ask('qqemu.PhyMemMode')).toBe('0');
    expect(await gdb.ask('Qqemu.PhyMemMode:1')).toBe('OK');
    expect(await gdb.ask(`m${address},1`)).toBe('be');
    expect(gdb.target.log).toEqual(['read 1', 'write 1', 'write 1', 'read 1', 'read physical']);
  });

  test('monitor commands print, and answer OK', async () => {
    const gdb = new Debugger();
    gdb.far.send(framed(`qRcmd,${hex('info status')}`));
    const answer = await gdb.receive((text) => text.includes('$OK#9a'));
    expect(answer).toContain(`$O${hex('you said info status\n')}#`);
  });
});

describe('points', () => {
  test('come and go, by kind', async () => {
    const gdb = new Debugger();
    for (const kind of [0, 1, 2, 3, 4]) expect(await gdb.ask(`Z${kind},${address},4`)).toBe('OK');
    expect(gdb.target.points).toEqual([
      { kind: 'software', address: MEMORY },
      { kind: 'hardware', address: MEMORY },
      { kind: 'write', address: MEMORY, length: 4 },
      { kind: 'read', address: MEMORY, length: 4 },
      { kind: 'access', address: MEMORY, length: 4 },
    ]);
    for (const kind of [0, 2, 4]) expect(await gdb.ask(`z${kind},${address},4`)).toBe('OK');
    expect(gdb.target.points.map(({ kind }) => kind)).toEqual(['hardware', 'read']);
    // A debugger that comes finds none of its predecessor's.
    await gdb.ask('?');
    expect(gdb.target.points).toEqual([]);
  });
});

describe('going on', () => {
  const actions = (gdb: Debugger) => gdb.target.plans.at(-1)?.actions;

  test('all harts, and the stop is the reply', async () => {
    const gdb = new Debugger();
    await gdb.send('vCont;c');
    expect(gdb.target.plans).toEqual([{ actions: ['run', 'run'], stepInterrupts: false, stepTime: false }]);
    gdb.target.comeToStop({ reason: 'breakpoint', hart: 1 });
    expect(await gdb.receive((text) => text.includes('#'))).toContain('$T05thread:02;#');
    // What follows is about that hart.
    expect(await gdb.ask('qC')).toBe('QC02');
    expect(await gdb.ask('p20')).toBe('0020000000000000');
  });

  test.each([
    ['vCont;s:1', ['step', 'stay']],
    ['vCont;s:2;c', ['run', 'step']],
    ['vCont;s:p1.2;c:p1.-1', ['run', 'step']],
    ['vCont;S05:1;C05:2', ['step', 'run']],
    ['vCont;c:2', ['stay', 'run']],
    ['vCont;s', ['step', 'step']],
    ['c', ['run', 'run']],
    ['s', ['step', 'run']],
    ['C05', ['run', 'run']],
    ['S05', ['step', 'run']],
  ])('%s', async (body, expected) => {
    const gdb = new Debugger();
    await gdb.send(body);
    expect(actions(gdb)).toEqual(expected);
  });

  test('at another address, and s with the hart of Hc', async () => {
    const gdb = new Debugger();
    await gdb.send('c80000010');
    expect(gdb.target.registers[0]?.get(32)).toBe(0x8000_0010n);
    gdb.target.comeToStop({ reason: 'paused' });
    await gdb.receive((text) => text.includes('#'));
    expect(await gdb.ask('Hc2')).toBe('OK');
    await gdb.send('s');
    expect(actions(gdb)).toEqual(['run', 'step']);
  });

  test.each([
    ['T02thread:01;', { reason: 'paused' }],
    ['T05thread:02;', { reason: 'step', hart: 1 }],
    ['T03thread:01;', { reason: 'shutdown' }],
    ['T18thread:01;', { reason: 'migrated' }],
    ['T17thread:01;', { reason: 'io-error' }],
    ['T05thread:02;watch:0000000000001234;', watched('write', 1)],
    ['T05thread:01;rwatch:0000000000001234;', watched('read', 0)],
    ['T05thread:01;awatch:0000000000001234;', watched('access', 0)],
  ] as const)('a stop is told as %s', async (reply, stop) => {
    const gdb = new Debugger();
    await gdb.send('vCont;c');
    gdb.target.comeToStop(stop);
    expect(await gdb.receive((text) => text.includes('#'))).toContain(`$${reply}#`);
  });

  test('Ctrl-C stops a machine that runs, and is nothing to one that does not', async () => {
    const gdb = new Debugger();
    gdb.far.send('\x03');
    await settled();
    expect(gdb.far.text).toBe('');
    await gdb.send('vCont;c');
    gdb.far.send('\x03');
    expect(await gdb.receive((text) => text.includes('#'))).toContain('$T02thread:01;#');
    expect(gdb.target.running).toBe(false);
  });

  test('a machine that a monitor let run stands still for a packet, and no stop is told that nobody awaits', async () => {
    const gdb = new Debugger();
    await gdb.ask('?');
    gdb.target.running = true;
    expect(await gdb.ask('p20')).toBe('0010000000000000');
    expect(gdb.target.running).toBe(false);
  });

  test('steps hold interrupts and time back, if the debugger does not want it otherwise', async () => {
    const gdb = new Debugger();
    expect(await gdb.ask('qqemu.sstepbits')).toBe('ENABLE=1,NOIRQ=2,NOTIMER=4');
    expect(await gdb.ask('qqemu.sstep')).toBe('0x7');
    expect(await gdb.ask('Qqemu.sstep=0x3')).toBe('OK');
    await gdb.send('vCont;s:1');
    expect(gdb.target.plans[0]).toMatchObject({ stepInterrupts: false, stepTime: true });
  });

  test('with virtual time, steps can only be exact', async () => {
    const gdb = new Debugger(async (target) => Object.assign(target, { exactSteps: true }));
    expect(await gdb.ask('qqemu.sstepbits')).toBe('ENABLE=1');
    expect(await gdb.ask('Qqemu.sstep=7')).toBe('E22');
    await gdb.send('vCont;s:1');
    expect(gdb.target.plans[0]).toMatchObject({ stepInterrupts: true, stepTime: true });
  });
});

describe('going away', () => {
  test('detached, the machine runs without what the debugger had set', async () => {
    const gdb = new Debugger();
    await gdb.ask(`Z0,${address},4`);
    expect(await gdb.ask('D;1')).toBe('OK');
    await settled();
    expect([gdb.target.running, gdb.target.points]).toEqual([true, []]);
    expect(gdb.target.plans).toMatchObject([{ actions: ['run', 'run'] }]);
  });

  test('a lost connection leaves everything as it is, as in QEMU', async () => {
    const gdb = new Debugger();
    await gdb.ask(`Z0,${address},4`);
    gdb.far.close();
    await settled();
    expect([gdb.target.running, gdb.target.points.length, gdb.closed]).toEqual([false, 1, true]);
  });

  test('k and vKill end the process; R resets the machine', async () => {
    const gdb = new Debugger();
    await gdb.send('R00');
    expect(await gdb.ask('vKill;1')).toBe('OK');
    await gdb.send('k');
    expect(gdb.target.log).toEqual(['reset', 'kill', 'kill']);
  });

  test('the end of the process is told', async () => {
    const gdb = new Debugger();
    await gdb.ask('?');
    gdb.session.exited(3);
    expect(await gdb.receive((text) => text.includes('#'))).toContain('$W03#');
  });
});
