/** A migration's report as one page: plots and tables, without anything from elsewhere. */
import type { MigrationSamples } from '../../monitor/target.ts';
import type { MigrationOutcome } from '../migrate.ts';
import { passRows, resultRows } from '../migration-report.ts';
import { migrationSvg } from './migration-svg.ts';
import { escapeText } from './panel.ts';

const STYLE = `
body { max-width: 920px; margin: 2em auto; padding: 0 1em; color: #222;
  font: 14px/1.5 "Helvetica Neue", Helvetica, Arial, "DejaVu Sans", sans-serif }
svg { width: 100%; height: auto }
h2 { font-size: 16px; margin: 1.5em 0 0.5em }
table { border-collapse: collapse }
th, td { padding: 3px 14px 3px 0; text-align: right; font-variant-numeric: tabular-nums; white-space: pre }
th { border-bottom: 1px solid #888; font-weight: 600 }
tr > :first-child { text-align: left }
table.result td:last-child { text-align: left; white-space: normal }`;

function table(rows: readonly (readonly string[])[], head: boolean, kind: string): string {
  const row = (cells: readonly string[], tag: 'td' | 'th'): string =>
    `<tr>${cells.map((cell) => `<${tag}>${escapeText(cell)}</${tag}>`).join('')}</tr>`;
  const lines = rows.map((cells, i) => row(cells, head && i === 0 ? 'th' : 'td'));
  return `<table class="${kind}">\n${lines.join('\n')}\n</table>`;
}

export function migrationHtml(info: MigrationOutcome, samples: MigrationSamples): string {
  const passes = passRows(info);
  const decisions = (info.decisions ?? []).map(({ time, text }) => [`${time} ms`, text]);
  return `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Migration ${escapeText(info.status ?? 'none')}</title>
<style>${STYLE}</style>
</head>
<body>
${migrationSvg(info, samples)}
<h2>What became of it</h2>
${table(resultRows(info), false, 'result')}
${decisions.length > 0 ? `<h2>What it decided, and why</h2>\n${table(decisions, false, 'result')}` : ''}
${passes.length > 1 ? `<h2>Passes</h2>\n${table(passes, true, 'passes')}` : ''}
</body>
</html>
`;
}
