/**
 * Holes in files. Node has no call for it, so util-linux' fallocate(1) does it, where it is installed; a process for
 * each hole is what discard=unmap costs.
 */
import { spawn } from 'node:child_process';

/** Smaller ranges are not worth a process. */
const WORTHWHILE_BYTES = 64 * 1024;

/** Gives the range's space back, after which it reads as zero; false if that can't be done, and nothing was. */
export async function punchHole(fd: number, offset: number, length: number): Promise<boolean> {
  if (length < WORTHWHILE_BYTES) return false;
  const range = ['--offset', String(offset), '--length', String(length)];
  const child = spawn('fallocate', ['--punch-hole', ...range, '/dev/fd/3'], {
    stdio: ['ignore', 'ignore', 'ignore', fd],
  });
  return await new Promise((resolve) => {
    child.on('error', () => resolve(false));
    child.on('exit', (status) => resolve(status === 0));
  });
}
