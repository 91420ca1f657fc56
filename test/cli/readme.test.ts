/** README's tables say what the programs say. GODWIT_BLESS=1 writes them anew. */
import { readFileSync, writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { SYSTEM_OPTIONS } from '../../src/cli/system-options-table.ts';
import { COMMANDS } from '../../src/monitor/commands.ts';

const README = new URL('../../README.md', import.meta.url);

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}

const code = (text: string): string => `\`${text.replaceAll('|', '\\|')}\``;
const plain = (text: string): string => text.replaceAll('|', '\\|');

const TABLES: Readonly<Record<string, () => string>> = {
  options: () =>
    table(
      ['option', 'meaning'],
      SYSTEM_OPTIONS.map(({ names, value, help }) => [
        names.map((name) => code(value === undefined ? `-${name}` : `-${name} ${value}`)).join(', '),
        plain(help),
      ]),
    ),
  monitor: () =>
    table(
      ['QMP', 'human monitor', 'meaning'],
      COMMANDS.map(({ name: qmp, human, help }) => [
        qmp === undefined ? '' : code(qmp),
        human === undefined ? '' : code(human.names.join(', ')),
        plain(help),
      ]),
    ),
};

test.each(Object.keys(TABLES))("README's table of %s is what the program knows", (name) => {
  const text = readFileSync(README, 'utf8');
  const part = new RegExp(`(<!-- ${name} -->\n)[^]*?(<!-- end -->)`);
  const written = text.replace(part, (_, open, close) => `${open}${TABLES[name]?.()}\n${close}`);
  if (process.env.GODWIT_BLESS === '1') writeFileSync(README, written);
  else expect(text).toBe(written);
});
