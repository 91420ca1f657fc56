/** The benchmark programs (bench/programs), as guests that are known to compute something. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const folder = new URL('../../bench/programs/', import.meta.url);

const list: readonly { name: string; image: string }[] = JSON.parse(
  readFileSync(new URL('programs.json', folder), 'utf8'),
);

export const PROGRAMS: readonly string[] = list.map(({ name }) => name);

export function programImage(name: string): string {
  const image = list.find((program) => program.name === name)?.image as string;
  return fileURLToPath(new URL(image, folder));
}

/** What a program prints at the end of its work (bench/programs/lib/program.c); undefined if it did not. */
export function lapOf(
  console: string,
): { checksum: string; microseconds: number; instructions: number } | undefined {
  const lap = / loops \d+ checksum (\S+) microseconds (\d+) instructions (\d+)\n/.exec(console);
  if (lap === null) return undefined;
  return { checksum: lap[1] as string, microseconds: Number(lap[2]), instructions: Number(lap[3]) };
}
