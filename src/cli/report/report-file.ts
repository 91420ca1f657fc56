/** Where a report goes, and in which form. */
import { closeSync, openSync, writeFileSync } from 'node:fs';
import { errorMessage, GodwitError } from '../../error.ts';
import type { MigrationSamples } from '../../monitor/target.ts';
import type { MigrationOutcome } from '../migrate.ts';
import { migrationHtml } from './migration-html.ts';
import { migrationSvg } from './migration-svg.ts';

const FORMS = { '.html': migrationHtml, '.svg': migrationSvg } as const;

export interface ReportFile {
  /** @throws GodwitError kind 'file'. */
  write(info: MigrationOutcome, samples: MigrationSamples): void;
}

/**
 * Looks whether the file can be written, before there is anything to write.
 * @throws GodwitError kind 'usage' for another form than .html and .svg; kind 'file'.
 */
export function reportFile(file: string): ReportFile {
  const form = Object.entries(FORMS).find(([ending]) => file.toLowerCase().endsWith(ending));
  if (form === undefined)
    throw GodwitError.unexpected('usage', '--report', 'a name with .html or .svg', file);
  const [, make] = form;
  const attempt = (write: () => void): void => {
    try {
      write();
    } catch (error) {
      throw new GodwitError('file', `--report ${file}: can't be written: ${errorMessage(error)}`, {}, error);
    }
  };
  attempt(() => closeSync(openSync(file, 'a')));
  return { write: (info, samples) => attempt(() => writeFileSync(file, make(info, samples))) };
}
