/**
 * V8 has as many threads as there are processors to spare, and they give way to the harts: the machine's own threads keep the
 * niceness that the process was given.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { describe, expect } from 'vitest';
import { test } from '../support/vm-process.ts';

/** Fields of /proc/PID/stat behind the name: `nice` is number 19 in proc_pid_stat(5), the name number 2. */
const NICE = 19 - 3;

function nicenesses(pid: number): Map<number, number> {
  return new Map(
    readdirSync(`/proc/${pid}/task`).map((thread) => {
      const text = readFileSync(`/proc/${pid}/task/${thread}/stat`, 'latin1');
      return [Number(thread), Number(text.slice(text.lastIndexOf(')') + 2).split(' ')[NICE])];
    }),
  );
}

/** Delayed tasks, the inspector's signal; and workers, by --v8-pool-size=0. */
const NODES_OWN = 2 + Math.max(1, availableParallelism() - 1);

describe.runIf(process.platform === 'linux')('threads of a VM', () => {
  test("V8's are nicer, and no others", async ({ bench }) => {
    const vm = await bench.start(['-M', 'virt', '-bios', 'none', '-S']);
    await vm.qmp.execute('query-status');
    const found = nicenesses(vm.child.pid as number);
    const usual = found.get(vm.child.pid as number) as number;
    const nicer = [...found].filter(([, niceness]) => niceness > usual).map(([thread]) => thread);
    expect(nicer).toEqual([...found.keys()].sort((a, b) => a - b).slice(1, 1 + NODES_OWN));
  });
});
