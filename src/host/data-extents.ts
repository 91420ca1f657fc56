/**
 * Where a file has data. Node has no lseek(2), so perl, which is there on nearly every host, asks for SEEK_DATA and
 * SEEK_HOLE; where it is not, or the file system can't tell, the whole file counts as data, and whoever reads it finds the
 * zeros.
 */
import { spawn } from 'node:child_process';
import { fstatSync } from 'node:fs';
import { createInterface } from 'node:readline';
import type { Extent } from '../migration/migratable-vm.ts';

/** Holes smaller than this are not worth an extent of their own. */
const MIN_HOLE = 64 * 1024;

/** Prints "from to" for each range of the first `$ARGV[0]` bytes of its standard input that has data, then "end". */
const PROGRAM = `
  use strict;
  my ($size, $gap) = @ARGV;
  my ($at, $from, $to) = (0, -1, -1);
  while ($at < $size) {
    my $data = sysseek(STDIN, $at, 3);
    last unless defined $data;
    my $hole = sysseek(STDIN, $data, 4);
    exit 1 unless defined $hole and $data >= $at and $hole > $data;
    if ($from >= 0 and $data - $to < $gap) { $to = $hole }
    else { print $from + 0, " $to\\n" if $from >= 0; ($from, $to) = ($data + 0, $hole) }
    $at = $hole;
  }
  exit 1 unless $at >= $size or $!{ENXIO};
  print "$from $to\\n" if $from >= 0;
  print "end\\n";
`;

/** Never rejects. @param size in bytes. @param program for tests. */
export async function dataExtents(fd: number, size: number, program = 'perl'): Promise<readonly Extent[]> {
  const { blocks } = fstatSync(fd);
  const all = [{ from: 0, to: size }];
  // Nothing was ever written, or there is no room for a hole.
  if (blocks === 0) return [];
  if (blocks * 512 >= size) return all;
  const child = spawn(program, ['-MErrno', '-e', PROGRAM, String(size), String(MIN_HOLE)], {
    stdio: [fd, 'pipe', 'ignore'],
  });
  return await new Promise((resolve) => {
    const extents: Extent[] = [];
    let whole = false;
    child.on('error', () => resolve(all));
    if (child.stdout === null) return resolve(all);
    const lines = createInterface(child.stdout);
    lines.on('line', (line) => {
      const [from, to] = line.split(' ').map(Number);
      if (line === 'end') whole = true;
      else extents.push({ from: from as number, to: to as number });
    });
    lines.on('close', () => resolve(whole && isAscending(extents) ? extents : all));
  });
}

function isAscending(extents: readonly Extent[]): boolean {
  return extents.every(({ from, to }, i) => from >= (extents[i - 1]?.to ?? 0) && to > from);
}
