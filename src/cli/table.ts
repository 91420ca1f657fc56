/** Tables for a terminal: columns as wide as their widest cell, numbers to the right. */

/** @param rows cells; the first row is the head. A column of numbers is set right. */
export function formatTable(rows: readonly (readonly string[])[]): string {
  const columns = Math.max(...rows.map((row) => row.length));
  const column = (i: number): string[] => rows.map((row) => row[i] ?? '');
  const widths = Array.from({ length: columns }, (_, i) => Math.max(...column(i).map((cell) => cell.length)));
  const numeric = widths.map((_, i) =>
    column(i)
      .slice(1)
      .every((cell) => /^[-\d.,]*( \S+)?$/.test(cell)),
  );
  return rows
    .map((row) =>
      row
        .map((cell, i) => (numeric[i] === true ? cell.padStart(widths[i] ?? 0) : cell.padEnd(widths[i] ?? 0)))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}
