/** A hart's active translations as text, in the form of QEMU's `info mem`. */
import type { DebugAccess } from '../cpu/debug-access.ts';
import type { Hart } from '../cpu/hart.ts';
import { allMappings, type PageMapping, PTE } from '../cpu/page-tables.ts';

/** The letters of the attribute column. */
const ATTRIBUTES: readonly (readonly [string, bigint])[] = [
  ['r', PTE.read],
  ['w', PTE.write],
  ['x', PTE.execute],
  ['u', PTE.user],
  ['g', PTE.global],
  ['a', PTE.accessed],
  ['d', PTE.dirty],
];

/** One line for each run of pages that lie side by side, in both address spaces, with equal attributes. */
export function translationLines(hart: Hart, debug: DebugAccess): string[] {
  const satp = hart.csr('satp');
  if (satp >> 60n === 0n) return ['No translation or protection'];
  const runs: PageMapping[] = [];
  for (const page of allMappings(satp, debug.entry)) {
    const last = runs.at(-1);
    if (last !== undefined && continues(last, page)) {
      runs[runs.length - 1] = { ...last, size: last.size + page.size };
    } else {
      runs.push(page);
    }
  }
  return [
    'vaddr            paddr            size             attr',
    '---------------- ---------------- ---------------- -------',
    ...runs.map(line),
  ];
}

const continues = (run: PageMapping, page: PageMapping): boolean =>
  run.flags === page.flags &&
  run.virtual + run.size === page.virtual &&
  run.physical + run.size === page.physical;

function line({ virtual, physical, size, flags }: PageMapping): string {
  const columns = [virtual, physical, size].map((value) => value.toString(16).padStart(16, '0'));
  const attributes = ATTRIBUTES.map(([letter, bit]) => ((flags & bit) === 0n ? '-' : letter));
  return `${columns.join(' ')} ${attributes.join('')}`;
}
