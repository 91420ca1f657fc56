/** `godwit demo`: the main job before your eyes. Two VM processes, a guest that dirties memory, and a live migration. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { CommandModule } from 'yargs';
import { readSavedGuest } from '../host/saved-stream.ts';
import type { MigrationInfo } from '../monitor/target.ts';
import { type Check, checkSweep, checkTicks, checkValues, lineNumber, longestGap } from './demo-checks.ts';
import { commandLine, guestNamed, imageOf } from './guests.ts';
import { followMigration } from './migrate.ts';
import { finalReport } from './migration-report.ts';
import { type ConsoleLine, VmProcess } from './vm-process.ts';

/** Lines that the guest prints at each side before the demo goes on. */
const LINES = 12;

/** The part of memory that the `dirty` guest rewrites begins here (guests/README.md). */
const RANGE_START = 0x8040_0000;

interface DemoArguments {
  rate: number;
  size: number;
}

export const demoCommand: CommandModule<object, DemoArguments> = {
  command: 'demo',
  describe: 'Migrate a busy guest between two processes, live, and check that nothing was lost',
  builder: (yargs) =>
    yargs
      .option('rate', {
        type: 'number',
        default: 20_000,
        describe: 'pages that the guest dirties per second',
      })
      .option('size', { type: 'number', default: 64, describe: 'MiB that it dirties' }),
  async handler(args) {
    process.exit(await demo(args));
  },
};

async function demo({ rate, size }: DemoArguments): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), 'godwit-demo-'));
  const processes: VmProcess[] = [];
  const start = (label: string, args: readonly string[]): VmProcess => {
    const vm = new VmProcess(label, join(folder, `${label}.qmp`), args, (line) => show(label, line.text));
    processes.push(vm);
    return vm;
  };
  try {
    const guest = guestNamed('dirty');
    if (guest === undefined) throw new Error('the dirty guest is missing');
    const socket = `unix:${join(folder, 'migration.sock')}`;
    const append = commandLine(guest, [`rate=${rate}`, `size=${size}M`]);
    show('demo', `a guest that rewrites ${rate} pages a second in ${size} MiB of 256 MiB`);
    const destination = start('destination', ['-incoming', socket]);
    const source = start('source', [
      '-m',
      '256M',
      '-bios',
      'none',
      '-kernel',
      imageOf(guest),
      '-append',
      append,
    ]);
    await source.line((text) => (lineNumber(text) ?? 0) >= LINES);
    const [from, to] = [await source.monitor(), await destination.monitor()];

    show('migration', 'starts');
    const info = await followMigration({ from, to, onProgress: passReporter() });
    show(
      'migration',
      info.status === 'completed'
        ? 'completed: the guest is at the destination'
        : `${info.status}: ${info['error-desc']}`,
    );
    if (info.status !== 'completed') return 1;
    const arrived = source.lines.filter(({ text }) => lineNumber(text) !== undefined).length;
    await destination.line((text) => (lineNumber(text) ?? 0) >= arrived + LINES);

    await to.execute('stop');
    const file = join(folder, 'guest');
    await followMigration({ from: to, uri: `file:${file}`, onProgress: () => {} });
    const saved = await readSavedGuest(file);
    const text = ({ lines }: VmProcess): string[] => lines.map((line) => line.text);
    const checks = [
      checkTicks(text(source), text(destination)),
      checkValues([...text(source), ...text(destination)]),
      checkSweep(saved, RANGE_START, RANGE_START + size * 1024 * 1024),
    ];
    process.stdout.write(`\n${report(info, checks, [...source.lines, ...destination.lines])}\n`);
    return checks.every((check) => check.held) ? 0 : 1;
  } finally {
    await Promise.all(processes.map((vm) => vm.end()));
    rmSync(folder, { recursive: true, force: true });
  }
}

function show(who: string, text: string): void {
  process.stdout.write(`${who.padStart(11)} │ ${text}\n`);
}

/** Shows each pass as it ends. */
function passReporter(): (info: MigrationInfo) => void {
  let shown = 0;
  return ({ passes = [] }) => {
    for (const pass of passes.slice(shown)) {
      const sent = `${(pass.bytes / 1024 / 1024).toFixed(1)} MiB`;
      const dirty = `${Math.round(pass['dirty-pages-rate'])} pages/s dirtied meanwhile`;
      show(
        'migration',
        `pass ${pass.pass}: ${pass.pages} pages, ${sent} in ${pass.duration.toFixed(0)} ms, ${dirty}`,
      );
    }
    shown = passes.length;
  };
}

function report(info: MigrationInfo, checks: readonly Check[], lines: readonly ConsoleLine[]): string {
  const gap = longestGap(lines.filter(({ text }) => lineNumber(text) !== undefined).map(({ atMs }) => atMs));
  const width = Math.max(...checks.map(({ what }) => what.length));
  return [
    finalReport(info),
    `longest gap that an observer saw between lines (the guest prints one every 100 ms): ${gap.toFixed(0)} ms`,
    '',
    ...checks.map(
      ({ what, held, detail }) => `${held ? 'ok    ' : 'FAILED'}  ${what.padEnd(width)}  ${detail}`,
    ),
  ].join('\n');
}
