/** What another thread has switched on in the machine's thread ends with it, however it ends. */
import { openSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { MessageChannel, type MessagePort, Worker } from 'node:worker_threads';
import { expect, test } from 'vitest';
import { Attention } from '../../src/host/attention.ts';
import type { MachineApi } from '../../src/host/machine-api.ts';
import { newMachine } from '../../src/host/new-machine.ts';
import { connect, type Remote } from '../../src/host/rpc.ts';
import { installBoot } from '../../src/machine/boot-contents.ts';
import { machineLayout } from '../../src/machine/machine-layout.ts';
import { DirtyLog } from '../../src/memory/dirty-log.ts';
import { createSharedMemory } from '../../src/memory/layout.ts';
import { RunTime } from '../../src/memory/run-time.ts';
import { guestImage } from '../support/guests.ts';
import { poll } from '../support/vm-process.ts';

const THREAD = fileURLToPath(new URL('../../dist/programs/start.cjs', import.meta.url));

async function machine() {
  const worker = new Worker(THREAD, { workerData: 'machine-thread' });
  const { configuration, boot } = newMachine({
    bios: { kind: 'none' },
    harts: 1,
    ram: 64 * 1024 * 1024,
    cpu: 'rv64',
    kernel: guestImage('dirty'),
    append: 'size=32M report=1000',
  });
  const layout = machineLayout(configuration);
  const memory = createSharedMemory(layout);
  const attention = new Attention(memory, layout);
  const ring = (): void => attention.ring();
  const nothing = (): void => {};
  const main = connect<MachineApi>(
    worker,
    { console: nothing, poweredOff: nothing, resetRequested: nothing, guestError: nothing },
    { ring },
  ).remote;
  await main.build({
    configuration,
    memory,
    accel: 'jit',
    keepTranslations: false,
    rtc: {},
    drives: [],
    log: { fd: openSync('/dev/null', 'w'), items: new Set() },
  });
  installBoot({ memory, layout }, boot);
  await main.reset();
  await main.start();
  const attach = async (): Promise<{ port: MessagePort; remote: Remote<MachineApi> }> => {
    const { port1, port2 } = new MessageChannel();
    await main.attach(port1);
    return { port: port2, remote: connect<MachineApi>(port2, {}, { ring }).remote };
  };
  return { worker, main, attach, log: new DirtyLog(memory, layout), time: new RunTime(memory, layout) };
}

/** Of a while, the part for which the guest runs. */
async function running(time: RunTime): Promise<number> {
  const [from, start] = [time.micros, performance.now()];
  await new Promise((resolve) => setTimeout(resolve, 400));
  return (time.micros - from) / 1000 / (performance.now() - start);
}

/** Waits until the guest runs for such a part of the time: what else the host does shows in it, too. */
async function eventually(time: RunTime, fine: (share: number) => boolean): Promise<void> {
  const seen: number[] = [];
  await poll(
    async () => {
      seen.push(await running(time));
      return fine(seen.at(-1) as number) || undefined;
    },
    () => `the guest ran for ${seen.map((share) => share.toFixed(2)).join(', ')} of the time`,
  );
}

test('throttle, limit and log are gone when the other end of the port is, or the next migration comes', async () => {
  const { worker, main, attach, log, time } = await machine();
  try {
    for (const end of ['close', 'next'] as const) {
      const { port, remote } = await attach();
      await remote.startDirtyLog('migration');
      await remote.setThrottle(95);
      expect(log.on).toBe(true);
      await eventually(time, (share) => share < 0.2);
      await remote.setDirtyLimit('migration', 1);
      expect(await main.dirtyLimits()).toHaveLength(1);
      if (end === 'close') port.close();
      else await attach();
      await poll(async () => (await main.dirtyLimits()).length === 0 || undefined);
      expect(log.on).toBe(false);
      await eventually(time, (share) => share > 0.5);
    }
    // What an earlier thread leaves behind when it ends at last, is no business of the present one.
    const [old, present] = [await attach(), await attach()];
    await present.remote.setThrottle(90);
    old.port.close();
    await eventually(time, (share) => share < 0.3);
  } finally {
    await worker.terminate();
  }
});
