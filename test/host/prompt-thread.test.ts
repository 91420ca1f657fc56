/** A thread that is to go first when it wakes: shorter slices, the same niceness. */
import { readFileSync } from 'node:fs';
import { getPriority } from 'node:os';
import { describe, expect, test } from 'vitest';
import { libc } from '../../src/host/libc.ts';
import { beFirstAwake } from '../../src/host/prompt-thread.ts';

/** The slice of this thread in ns, where the kernel shows it. */
function slice(): number | undefined {
  try {
    const shown = /^se\.slice\s*:\s*(\d+)/m.exec(readFileSync('/proc/thread-self/sched', 'latin1'))?.[1];
    return shown === undefined ? undefined : Number(shown);
  } catch {
    return undefined;
  }
}

describe.runIf(libc() !== undefined)('on Linux, with koffi', () => {
  test('slices get short and come back; the niceness stays', () => {
    const [niceness, usual] = [getPriority(0), slice()];
    beFirstAwake(true);
    const short = slice();
    if (short !== undefined && usual !== undefined) expect(short).toBeLessThan(usual);
    expect(getPriority(0)).toBe(niceness);
    beFirstAwake(false);
    expect(slice()).toBe(usual);
    expect(getPriority(0)).toBe(niceness);
  });
});

test('who asks for it where it can’t be has lost nothing', () => {
  const niceness = getPriority(0);
  for (const on of [true, false]) beFirstAwake(on);
  expect(getPriority(0)).toBe(niceness);
});
