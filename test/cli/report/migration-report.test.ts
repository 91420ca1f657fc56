import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { MigrationOutcome } from '../../../src/cli/migrate.ts';
import { finalReport, progressBar } from '../../../src/cli/migration-report.ts';
import { migrationHtml } from '../../../src/cli/report/migration-html.ts';
import { migrationSvg } from '../../../src/cli/report/migration-svg.ts';
import { passSteps, rates, steps } from '../../../src/cli/report/rates.ts';
import { reportFile } from '../../../src/cli/report/report-file.ts';
import { ticks } from '../../../src/cli/report/scale.ts';
import type { MigrationInfo, MigrationSamples } from '../../../src/monitor/target.ts';

const MiB = 1024 * 1024;

function sample(time: number, more: Partial<MigrationSamples[number]> = {}): MigrationSamples[number] {
  return {
    ...{ time, passes: 0, remaining: 0, 'disk-remaining': 0, transferred: 0, instructions: 0 },
    ...{ 'dirty-pages-rate': 0, 'cpu-throttle-percentage': 0, ...more },
  };
}

/** A migration of 3 s and 30 passes, throttled from its second half on, into post-copy. */
const SAMPLES: MigrationSamples = Array.from({ length: 300 }, (_, i) =>
  sample(i * 10, {
    passes: Math.floor(i / 10),
    remaining: (300 - i) * MiB,
    transferred: i * MiB,
    instructions: 1e6 * Math.min(i, 290),
    'dirty-pages-rate': 20_000 - 40 * i,
    'cpu-throttle-percentage': i < 150 ? 0 : 20 + 10 * Math.floor((i - 150) / 30),
  }),
);
const INFO: MigrationOutcome = {
  status: 'completed',
  'total-time': 2990,
  'setup-time': 3,
  'stopped-at': 2900,
  decisions: [{ time: 1500, text: 'throttle 20 %: it does not <converge>' }],
  downtime: 80,
  ram: {
    ...{ transferred: 299 * MiB, remaining: 0, total: 300 * MiB, duplicate: 12, normal: 40_000 },
    ...{ 'normal-bytes': 40_000 * 4096, 'dirty-pages-rate': 20_000, mbps: 800 },
    ...{ 'dirty-sync-count': 30, 'page-size': 4096 },
  },
  passes: Array.from({ length: 30 }, (_, i) => ({
    ...{
      pass: i + 1,
      duration: 100.5,
      bytes: 10 * MiB,
      pages: 2560,
      duplicate: i,
      normal: 2060 - i,
      'normal-bytes': (2060 - i) * 4096,
      delta: 500,
      'delta-bytes': MiB,
      'disk-bytes': 0,
      'dirty-pages-rate': 20_000,
    },
  })),
  pause: { 'final-pass': 60.25, 'take-state': 5, 'send-state': 1, load: 12, resume: 1.75 },
  destination: {
    status: 'completed',
    downtime: 84,
    'postcopy-latency': 70_000,
    'postcopy-blocktime': 31,
    'postcopy-latency-median': 64_000,
    'postcopy-latency-p99': 210_000,
    'postcopy-latency-max': 480_000,
    'postcopy-latency-dist': [0, 0, 0, 1, 12, 200, 941, 80, 3, 0, 0, 0],
  },
};

/** Tags that are opened are closed, in order. */
function expectWellFormed(markup: string): void {
  const open: string[] = [];
  const texts = markup.replace(/<!DOCTYPE html>|<meta [^>]*>|<style>[^<]*<\/style>/g, '');
  for (const [, end, name, self] of texts.matchAll(/<(\/?)([a-z0-9]+)(?:\s[^<>]*?)?(\/?)>/gi)) {
    if (end === '/') expect(open.pop()).toBe(name);
    else if (self !== '/') open.push(String(name));
  }
  expect(open).toEqual([]);
  expect(/NaN|Infinity|undefined/.exec(markup)).toBeNull();
  // Nothing from elsewhere: the name of SVG's namespace is all that looks like an address.
  const rest = markup.replaceAll('http://www.w3.org/2000/svg', '');
  expect(/https?:|src=|href=|url\(|@import/.exec(rest)).toBeNull();
}

describe('a report', () => {
  it('has a plot of each kind, whole, and readable without anything from elsewhere', () => {
    const svg = migrationSvg(INFO, SAMPLES);
    expectWellFormed(svg);
    for (const title of [
      'Memory that is still to be sent',
      'Bandwidth against dirty rate',
      'Throttle: time that the guest is held back',
      "The guest's own speed",
      'The pause, 80 ms in all',
      'Post-copy: how long the guest waited for a page',
      'time since the start, s',
      'MiB/s',
      'million instructions/s',
    ]) {
      expect(svg.includes(title), title).toBe(true);
    }
    const html = migrationHtml(INFO, SAMPLES);
    expectWellFormed(html);
    expect(html.includes('<td>1500 ms</td><td>throttle 20 %: it does not &#60;converge&#62;</td>')).toBe(
      true,
    );
  });

  it('shows what there is of a migration that failed, or that was never sampled', () => {
    const failed: MigrationInfo = { status: 'failed', 'error-desc': 'the other side <said> "no" & went' };
    for (const samples of [[], SAMPLES.slice(0, 1), SAMPLES.slice(0, 2), SAMPLES]) {
      const html = migrationHtml(failed, samples);
      expectWellFormed(html);
      for (const what of ['Migration failed', '&#60;said&#62; &#34;no&#34; &#38; went']) {
        expect(html.includes(what), what).toBe(true);
      }
      expect(html.includes('The pause')).toBe(false);
    }
  });

  it('goes to a file whose name says its form', () => {
    const folder = mkdtempSync(join(tmpdir(), 'godwit-'));
    try {
      reportFile(join(folder, 'a.svg')).write(INFO, SAMPLES);
      expect(readFileSync(join(folder, 'a.svg'), 'utf8')).toMatch(/^<svg /);
      reportFile(join(folder, 'a.HTML')).write(INFO, SAMPLES);
      expect(readFileSync(join(folder, 'a.HTML'), 'utf8')).toMatch(/^<!DOCTYPE html>/);
      expect(() => reportFile(join(folder, 'a.pdf'))).toThrow(
        /--report: expected a name with .html or .svg, got/,
      );
      expect(() => reportFile(join(folder, 'no', 'a.svg'))).toThrow(/--report .*can't be written: ENOENT/);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

describe('plots', () => {
  it('name round numbers up to the largest value', () => {
    expect(ticks(97, 4)).toEqual([0, 25, 50, 75, 100]);
    expect(ticks(100, 4)).toEqual([0, 25, 50, 75, 100]);
    expect(ticks(0.031, 4)).toEqual([0, 0.01, 0.02, 0.03, 0.04]);
    expect(ticks(0, 4)).toEqual([0, 1]);
  });

  it('take rates from sums, whatever the distance of the samples', () => {
    const uneven = [0, 10, 15, 200, 390, 400].map((time) => sample(time, { transferred: time * 3 }));
    const points = rates(uneven, 100, ({ transferred }) => transferred);
    expect(points.map(({ x }) => x)).toEqual([20, 60, 100, 140, 180, 220, 260, 300, 340, 380]);
    for (const { y } of points) expect(y).toBeCloseTo(3000);
    const falling = [sample(0, { instructions: 500 }), sample(100, { instructions: 0 })];
    expect(rates(falling, 100, ({ instructions }) => instructions).every(({ y }) => y === 0)).toBe(true);
  });

  it('hold a value until there is another one', () => {
    const values = [0, 0, 5].map((value, i) => sample(i * 10, { 'cpu-throttle-percentage': value }));
    expect(steps(values, (one) => one['cpu-throttle-percentage'])).toEqual([
      { x: 0, y: 0 },
      { x: 20, y: 0 },
      { x: 20, y: 5 },
    ]);
    const passes = [0, 0, 1, 1, 2].map((over, i) => sample(i * 10, { passes: over, remaining: 1 }));
    expect(passSteps(passes, (pass) => pass * 7)).toEqual([
      ...[
        { x: 0, y: 7 },
        { x: 20, y: 7 },
      ],
      ...[
        { x: 20, y: 14 },
        { x: 40, y: 14 },
      ],
    ]);
  });
});

describe('the progress bar', () => {
  const active: MigrationInfo = {
    ...INFO,
    status: 'active',
    'expected-downtime': 4321,
    'cpu-throttle-percentage': 40,
    ram: { ...(INFO.ram as NonNullable<MigrationInfo['ram']>), remaining: 75 * MiB },
  };
  const { downtime: _, ...running } = active;

  it.each([200, 120, 100, 80, 60, 40])('fits %i columns, and keeps what matters most', (columns) => {
    const line = progressBar(running, columns);
    expect(line.length).toBeLessThanOrEqual(columns);
    expect(line).toMatch(/^active {4}\[█+·+\] {2}pass 31/);
    if (columns >= 60) expect(line).toContain('75.0 MiB left');
    if (columns >= 80) expect(line).toContain('pause ~4321 ms');
    if (columns >= 100) expect(line).toContain('throttle 40 %');
  });

  it('is full at the end, and shows the pause as it was', () => {
    expect(progressBar({ ...INFO, status: 'completed' }, 80)).toMatch(
      /^completed \[█+\] {2}pass 30 {2}299.0 MiB sent .*pause 80 ms/,
    );
  });

  it('is empty before anything is sent', () => {
    const ram = { ...(INFO.ram as NonNullable<MigrationInfo['ram']>), remaining: 0 };
    expect(progressBar({ status: 'setup', ram }, 80)).toMatch(/^setup {5}\[·+\] {2}connecting$/);
  });

  it('tells in post-copy what the guest has asked for, and counts disks in', () => {
    const ram = { ...(running.ram as NonNullable<MigrationInfo['ram']>), 'postcopy-requests': 17 };
    const disk = { transferred: 0, remaining: 25 * MiB, total: 100 * MiB };
    const line = progressBar({ ...running, status: 'postcopy-active', ram, disk, passes: [] }, 120);
    expect(line).toMatch(/^postcopy-active \[█+·+\] {2}17 asked for {2}100.0 MiB left .* disks 25.0 MiB/);
    expect(line).not.toMatch(/pass|dirty/);
  });
});

it('the tables at the end tell passes, pause and result', () => {
  const text = finalReport(INFO);
  expect(text).toContain(
    [
      'pass  duration  zero  whole  deltas  in deltas      sent        dirtied',
      '   1  100.5 ms     0   2060     500    1.0 MiB  10.0 MiB  20000 pages/s',
    ].join('\n'),
  );
  expect(text).toMatch(/status +completed\ntotal time +2990.0 ms\npause +80.0 ms\n {2}final-pass +60.3 ms/);
  expect(text).toMatch(/\npause, seen there +84.0 ms\n/);
  expect(text).toMatch(
    /\nwaits for pages +median 64 µs, p99 210 µs, longest 480 µs\nall harts waited +31.0 ms$/,
  );
});
