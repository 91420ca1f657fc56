/** `info dirty-top`: which instructions make pages dirty, as lines of text. */
import { PAGE_SIZE, PAGE_WALK_PC } from '../memory/layout.ts';
import type { DirtyReport } from './dirty-tracking.ts';
import type { ElfSymbol } from './elf.ts';

/** Lines at most. */
const LINES = 20;

interface Writer {
  readonly pc: bigint;
  readonly harts: Set<number | undefined>;
  readonly pages: Set<number>;
  times: number;
}

/** Names addresses. @param symbols in any order. */
export function symbolizer(symbols: readonly ElfSymbol[]): (address: bigint) => string | undefined {
  // Of several at one address, one with a size says more.
  const sorted = symbols
    .filter(({ name }) => name !== '' && !name.startsWith('$'))
    .sort((a, b) =>
      a.address < b.address ? -1 : a.address > b.address ? 1 : a.size < b.size ? -1 : a.size > b.size ? 1 : 0,
    );
  return (address) => {
    let low = 0;
    let high = sorted.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((sorted[middle] as ElfSymbol).address <= address) low = middle + 1;
      else high = middle;
    }
    const symbol = sorted[low - 1];
    if (symbol === undefined) return undefined;
    const offset = address - symbol.address;
    if (symbol.size > 0 && offset >= BigInt(symbol.size)) return undefined;
    return offset === 0n ? symbol.name : `${symbol.name}+0x${offset.toString(16)}`;
  };
}

function writers({ sites }: DirtyReport): Writer[] {
  const found = new Map<bigint, Writer>();
  for (const { pc, hart, page } of sites) {
    let writer = found.get(pc);
    if (writer === undefined) {
      writer = { pc, harts: new Set(), pages: new Set(), times: 0 };
      found.set(pc, writer);
    }
    writer.harts.add(hart);
    writer.pages.add(page);
    writer.times++;
  }
  return [...found.values()].sort((a, b) => b.times - a.times || (a.pc < b.pc ? -1 : 1));
}

const mib = (pages: number): string => `${((pages * PAGE_SIZE) / 2 ** 20).toFixed(1)} MiB`;

/**
 * A page counts when it becomes dirty: once from a sync of the log to the next, for the first instruction that writes it.
 */
export function dirtyTopLines(report: DirtyReport, symbols: readonly ElfSymbol[]): string[] {
  const { measured, sites, total, durationNs } = report;
  if (!measured) {
    return [
      'the dirty log has not been on: it is during a migration, or for a while with calc_dirty_rate -b',
    ];
  }
  const name = symbolizer(symbols);
  const seconds = durationNs / 1e9;
  const rate = seconds === 0 ? 0 : total / seconds;
  const latest = sites.length < total ? `, of which the latest ${sites.length} are shown` : '';
  const rows = writers(report).map(({ pc, harts, pages, times }) => {
    const share = times / sites.length;
    const where =
      pc === 0n
        ? ['device', '']
        : pc === PAGE_WALK_PC
          ? ['page walk', '']
          : [`0x${pc.toString(16).padStart(16, '0')}`, name(pc) ?? ''];
    const on = [...harts].filter((hart) => hart !== undefined).sort((a, b) => a - b);
    return [
      `${(100 * share).toFixed(1)} %`,
      `${Math.round(share * rate)}`,
      mib(pages.size),
      on.join(','),
      ...where,
    ];
  });
  const shown = [['share', 'pages/s', 'different', 'hart', 'pc', 'symbol'], ...rows.slice(0, LINES)];
  const widths = shown[0]?.map((_, i) => Math.max(...shown.map((row) => (row[i] ?? '').length))) ?? [];
  const more = rows.length > LINES ? [`${rows.length - LINES} more`] : [];
  return [
    `${total} pages dirtied in ${seconds.toFixed(1)} s${latest}`,
    ...shown.map((row) =>
      row
        .map((cell, i) => (i < 3 ? cell.padStart(widths[i] ?? 0) : cell.padEnd(widths[i] ?? 0)))
        .join('  ')
        .trimEnd(),
    ),
    ...more,
  ];
}
