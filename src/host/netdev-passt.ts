/** `-netdev user`: a user-mode network from passt (https://passt.top), which runs beside the VM and ends with it. */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { errorMessage, GodwitError } from '../error.ts';
import type { StreamSpec, UserSpec } from './netdev.ts';

/** How long passt may take until it listens. */
const START_MS = 5000;
const LOOK_MS = 20;

/**
 * Starts passt; what it serves is a stream to its socket. It ends with this process, or when its client has gone.
 * @throws GodwitError kind 'transport' if it isn't installed, or says no.
 */
export async function startPasst({ id, where, passt: args }: UserSpec): Promise<StreamSpec> {
  const dir = mkdtempSync(join(tmpdir(), 'godwit-passt-'));
  const path = join(dir, 'socket');
  // As root it would become nobody, who may not reach the socket's folder: it is who we are.
  const user = process.getuid?.() === 0 ? ['--runas', '0'] : [];
  const options = ['--foreground', '--one-off', '--quiet', '--socket', path, ...user];
  const passt = spawn('passt', [...options, ...args], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  passt.unref();
  const end = (): void => {
    passt.kill();
    rmSync(dir, { recursive: true, force: true });
  };
  process.once('exit', end);
  const why = await listening(passt, path);
  if (why === undefined) return { id, where, type: 'user', server: false, address: { kind: 'unix', path } };
  process.removeListener('exit', end);
  end();
  throw new GodwitError('transport', `${where}: ${why}`, { where });
}

/** Waits until it listens; why it won't, otherwise. A look by connecting would be the one client that it serves. */
async function listening(passt: ChildProcess, path: string): Promise<string | undefined> {
  let said = '';
  let over: string | undefined;
  passt.stderr?.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
  passt.on('error', (error: NodeJS.ErrnoException) => {
    over =
      error.code === 'ENOENT' ? 'needs passt, which is not installed (Debian: passt)' : errorMessage(error);
  });
  passt.on('close', (code) => {
    over ??= `passt ended with ${code}: ${said.trim().split('\n').at(-1) ?? ''}`;
  });
  const until = performance.now() + START_MS;
  while (over === undefined && performance.now() < until) {
    if (existsSync(path)) return undefined;
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
  return over ?? `passt does not listen at ${path}`;
}
