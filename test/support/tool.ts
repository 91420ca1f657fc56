/** Programs of the host that some tests compare with, and that need not be there. */
import { spawnSync } from 'node:child_process';

/** Whether a program can be run. */
export function hasTool(name: string): boolean {
  return spawnSync(name, ['--version'], { stdio: 'ignore' }).status === 0;
}
