/** A migration's figures as people read them: the bar while it runs, the table at its end. */
import type { MigrationInfo } from '../monitor/target.ts';
import { formatTable } from './table.ts';

const MiB = 1024 * 1024;
const BAR_WIDTH = 24;

const mib = (bytes: number): string => `${(bytes / MiB).toFixed(1)} MiB`;
const ms = (value: number | undefined): string => (value === undefined ? '' : `${value.toFixed(1)} ms`);

/** One line: bar, pass, rate, what remains, the pause to be expected. */
export function progressBar(info: MigrationInfo): string {
  const { ram, status = 'none' } = info;
  if (ram === undefined) return status;
  const done = ram.total === 0 ? 1 : 1 - ram.remaining / ram.total;
  const filled = Math.max(0, Math.min(BAR_WIDTH, Math.round(done * BAR_WIDTH)));
  const expected = info['expected-downtime'];
  return [
    `${status.padEnd(9)} [${'█'.repeat(filled)}${'·'.repeat(BAR_WIDTH - filled)}]`,
    `pass ${(info.passes?.length ?? 0) + (status === 'completed' ? 0 : 1)}`,
    `${(ram.mbps / 8).toFixed(0)} MB/s`,
    `${mib(ram.remaining)} left`,
    `dirty ${ram['dirty-pages-rate']} pages/s`,
    ...(expected === undefined ? [] : [`pause ~${expected} ms`]),
  ].join('  ');
}

/** The passes, and what became of the migration. */
export function finalReport(info: MigrationInfo): string {
  const { ram, passes = [], pause } = info;
  const parts: string[] = [];
  if (passes.length > 0) {
    parts.push(
      formatTable([
        ['pass', 'duration', 'pages', 'sent', 'dirtied meanwhile'],
        ...passes.map((p) => [
          String(p.pass),
          ms(p.duration),
          String(p.pages),
          mib(p.bytes),
          `${Math.round(p['dirty-pages-rate'])} pages/s`,
        ]),
      ]),
    );
  }
  const rows = [
    ['status', info.status ?? 'none'],
    ...(info['error-desc'] === undefined ? [] : [['reason', info['error-desc']]]),
    ['total time', ms(info['total-time'])],
    ...(info.downtime === undefined ? [] : [['pause', ms(info.downtime)]]),
    ...(info.downtime === undefined || pause === undefined
      ? []
      : Object.entries(pause).map(([part, value]) => [`  ${part}`, ms(value)])),
    ...(ram === undefined
      ? []
      : [
          ['sent', mib(ram.transferred)],
          ['whole pages', String(ram.normal)],
          ['zero pages', String(ram.duplicate)],
          ['throughput', `${(ram.mbps / 8).toFixed(0)} MB/s`],
        ]),
  ];
  const width = Math.max(...rows.map(([label = '']) => label.length));
  parts.push(rows.map(([label = '', value = '']) => `${label.padEnd(width)}  ${value}`).join('\n'));
  return parts.join('\n\n');
}
