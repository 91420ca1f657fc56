/** Programs of the host that some tests compare with, and that need not be there. */
import { spawnSync } from 'node:child_process';

/** Whether a program can be run. @param ask an argument that only makes it say something. */
export function hasTool(name: string, ask = '--version'): boolean {
  return spawnSync(name, [ask], { stdio: 'ignore' }).status === 0;
}
