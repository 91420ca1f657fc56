/** `godwit switch`, as a user has it. */
import { execFileSync, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { SwitchState } from '../../src/host/switch-server.ts';
import { type Bench, TextLog } from './vm-process.ts';

const GODWIT = fileURLToPath(new URL('../../bin/godwit', import.meta.url));

/** A switch in a process of its own, and what it says. */
export async function startSwitch(
  bench: Bench,
): Promise<{ path: string; show(): SwitchState; text(): string }> {
  const path = bench.path('switch');
  const process_ = spawn(process.execPath, [GODWIT, 'switch', `unix:${path}`]);
  bench.onEnd(() => void process_.kill());
  const said = new TextLog();
  process_.stdout.setEncoding('utf8').on('data', (text: string) => said.add(text));
  await said.until(
    () => /^listening on /m.exec(said.text) ?? undefined,
    'listening switch',
    () => said.text,
  );
  const show = (...more: string[]): string =>
    execFileSync(process.execPath, [GODWIT, 'switch', '--show', path, ...more], { encoding: 'utf8' });
  return { path, show: () => JSON.parse(show('--json')) as SwitchState, text: () => show() };
}
