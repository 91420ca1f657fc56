/** `godwit migrate`, as its user meets it. */
import { execFile } from 'node:child_process';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect } from 'vitest';
import type { MigrationInfo } from '../../src/monitor/target.ts';
import { expectNumbered, guest, joinedConsole } from '../support/guests.ts';
import { type Bench, test, type VmProcess } from '../support/vm-process.ts';

const GODWIT = fileURLToPath(new URL('../../bin/godwit', import.meta.url));
const NEW_LINE = /^dirty \d+ .*/;

function godwit(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    execFile(process.execPath, [GODWIT, ...args], (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr });
    });
  });
}

/** A VM with a second QMP socket, for the command. */
async function withSocket(bench: Bench, args: readonly string[]): Promise<{ vm: VmProcess; socket: string }> {
  const socket = bench.path('command');
  return { vm: await bench.start([...args, '-qmp', `unix:${socket},server=on,wait=off`]), socket };
}

describe('godwit migrate', () => {
  test('moves a guest, prints its tables, writes its report', async ({ bench }) => {
    const { vm: source, socket: from } = await withSocket(
      bench,
      guest('dirty', 'size=1M rate=300 report=20'),
    );
    const { vm: target, socket: to } = await withSocket(bench, ['-incoming', 'defer']);
    await source.waitForLine(NEW_LINE);
    const report = bench.path('report.html');
    const { code, stdout, stderr } = await godwit('migrate', from, to, '--report', report);
    expect(stderr).toBe('');
    expect(code).toBe(0);
    expect(stdout).toMatch(/^pass +duration +zero +whole .*\n +1 /);
    expect(stdout).toMatch(/\nstatus +completed\ntotal time +\d+\.\d ms\npause +\d+\.\d ms\n/);
    const page = readFileSync(report, 'utf8');
    expect(page.startsWith('<!DOCTYPE html>')).toBe(true);
    for (const part of ['Memory that is still to be sent', 'The pause, ', '<th>pass</th>']) {
      expect(page.includes(part), part).toBe(true);
    }
    await target.waitForNewLine(NEW_LINE);
    await source.quit();
    expectNumbered(joinedConsole(source, target), 'dirty');
  });

  test('--json: one object, also of a migration that fails or can not begin', async ({ bench }) => {
    const { vm: source, socket: from } = await withSocket(
      bench,
      guest('dirty', 'size=1M rate=300 report=20'),
    );
    const report = bench.path('report.svg');
    const failed = await godwit(
      ...['migrate', from, '--uri', `unix:${bench.path('nobody')}`, '--json', '--report', report],
    );
    expect(failed.code).toBe(1);
    expect((JSON.parse(failed.stdout) as MigrationInfo).status).toBe('failed');
    expect((JSON.parse(failed.stdout) as MigrationInfo)['error-desc']).toMatch(/ENOENT|no such file/i);
    expect(readFileSync(report, 'utf8')).toMatch(/^<svg .*Migration failed/s);
    const nowhere = await godwit('migrate', bench.path('no-monitor'), from, '--json');
    expect(nowhere.code).toBe(1);
    expect(JSON.parse(nowhere.stdout)).toEqual({ status: 'failed', 'error-desc': expect.any(String) });
    const { socket: to } = await withSocket(bench, ['-incoming', 'defer']);
    const moved = await godwit('migrate', from, to, '--json');
    expect(moved.code).toBe(0);
    expect(JSON.parse(moved.stdout)).toMatchObject({
      ...{ status: 'completed', downtime: expect.any(Number) },
      destination: { status: 'completed', downtime: expect.any(Number) },
    });
    expect(await source.status()).toBe('postmigrate');
  });

  test('chooses by itself and says why, unless the user has chosen', async ({ bench }) => {
    const args = guest('dirty', 'size=8M report=20');
    const isAuto = async (vm: VmProcess): Promise<boolean | undefined> => {
      const all = await vm.execute('query-migrate-capabilities');
      return (all as { capability: string; state: boolean }[]).find(({ capability }) => capability === 'auto')
        ?.state;
    };
    const { vm: source, socket: from } = await withSocket(bench, args);
    const { vm: target, socket: to } = await withSocket(bench, ['-incoming', 'defer']);
    await source.waitForLine(NEW_LINE);
    const nowhere = ['--uri', `unix:${bench.path('nobody')}`];
    const capability = (name: string, state: boolean): Promise<unknown> =>
      source.execute('migrate-set-capabilities', { capabilities: [{ capability: name, state }] });
    await capability('xbzrle', true);
    await godwit('migrate', from, ...nowhere);
    expect(await isAuto(source), 'chosen by hand').toBe(false);
    await godwit('migrate', from, '--auto', ...nowhere);
    expect(await isAuto(source), 'asked for').toBe(true);
    await capability('xbzrle', false);
    await godwit('migrate', from, '--no-auto', ...nowhere);
    expect(await isAuto(source), 'not wanted').toBe(false);
    const { code, stdout, stderr } = await godwit('migrate', from, to);
    expect(stderr).toBe('');
    expect(code).toBe(0);
    expect(await isAuto(source)).toBe(true);
    expect(stdout).toMatch(/\nat \d+ ms {2}pass \d+: .* pending, .*\n/);
    expect(stdout).toMatch(
      /\nat \d+ ms {2}pass \d+: .* pending, expected pause \d+ ms of 300 ms: the guest stops\n/,
    );
    expect(await source.execute('human-monitor-command', { 'command-line': 'info migrate' })).toMatch(
      /\nat \d+ ms, pass \d+: .*: the guest stops/,
    );
    await target.waitForNewLine(NEW_LINE);
    await source.quit();
    expectNumbered(joinedConsole(source, target), 'dirty');
  });

  test('refuses a report that it could not write, before anything moves', async ({ bench }) => {
    const { vm: source, socket: from } = await withSocket(
      bench,
      guest('dirty', 'size=1M rate=300 report=20'),
    );
    const { socket: to } = await withSocket(bench, ['-incoming', 'defer']);
    const form = await godwit('migrate', from, to, '--report', bench.path('report.pdf'));
    expect(form.code).toBe(2);
    expect(form.stderr).toMatch(/--report: expected a name with .html or .svg/);
    const place = await godwit('migrate', from, to, '--report', `${bench.path('no')}/report.svg`);
    expect(place.code).toBe(1);
    expect(place.stderr).toMatch(/--report .* can't be written/);
    expect((await source.migration()).status).toBeUndefined();
  });

  test('samples tell how it went, from setup to the end', async ({ bench }) => {
    const source = await bench.start(guest('dirty', 'size=1M rate=300 report=20'));
    expect(await source.execute('x-query-migrate-samples')).toEqual([]);
    await source.waitForLine(NEW_LINE);
    const file = bench.path('saved');
    await source.execute('migrate-set-parameters', { 'max-bandwidth': 2 * 1024 * 1024 });
    await source.execute('migrate', { uri: `file:${file}` });
    expect(await source.migrationEnd()).toBe('completed');
    const samples = (await source.execute('x-query-migrate-samples')) as { [key: string]: number }[];
    const { ram } = await source.migration();
    expect(samples.length).toBeGreaterThan(20);
    expect(samples.at(-1)).toMatchObject({ remaining: 0, transferred: ram?.transferred });
    // The guest ran all the while, and it shows.
    expect(samples.at(-1)?.instructions).toBeGreaterThan(Number(samples[0]?.instructions) + 1000);
    expect(existsSync(file) && statSync(file).size).toBeGreaterThanOrEqual(ram?.transferred ?? 0);
  });
});
