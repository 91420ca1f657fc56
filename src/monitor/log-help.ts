/** What `log help` and `-d help` print. */
import type { LogItemInfo } from './target.ts';

export const logHelpLines = (items: readonly LogItemInfo[]): string[] => [
  'Log items (comma separated):',
  ...items.map(({ name, help }) => `${name.padEnd(15)} ${help}`),
];
