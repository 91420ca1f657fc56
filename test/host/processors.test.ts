import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { ownThread } from '../../src/host/background-threads.ts';
import { libc } from '../../src/host/libc.ts';
import { goToProcessor, processorOf } from '../../src/host/processors.ts';

/** Of a system that lets a thread run on these processors; keeps the masks that it was given. */
function fakeLibrary(...processors: number[]) {
  const given: Uint8Array[] = [];
  const allowed = maskOf(...processors);
  return {
    given,
    allowed,
    getAffinity(mask: Uint8Array): number {
      mask.set(allowed);
      return 0;
    },
    setAffinity(mask: Uint8Array): number {
      given.push(mask.slice());
      return 0;
    },
  };
}

function maskOf(...processors: number[]): Uint8Array {
  const mask = new Uint8Array(128);
  for (const processor of processors)
    mask[processor >> 3] = (mask[processor >> 3] ?? 0) | (1 << (processor & 7));
  return mask;
}

describe('a thread goes to another processor', () => {
  test('and is not bound to it afterwards', () => {
    const library = fakeLibrary(0, 3, 9);
    goToProcessor(9, library);
    expect(library.given).toEqual([maskOf(9), library.allowed]);
  });

  test.each([2, 1023, 1024, undefined])('but not to %s, where it may not run', (processor) => {
    const library = fakeLibrary(0, 3, 9);
    goToProcessor(processor, library);
    expect(library.given).toEqual([]);
  });

  test('and if the system does not let it, nothing has changed', () => {
    const library = { ...fakeLibrary(0, 1), setAffinity: () => -1 };
    expect(() => goToProcessor(1, library)).not.toThrow();
  });
});

describe.runIf(process.platform === 'linux')('on Linux', () => {
  const allowed = (): string | undefined =>
    /^Cpus_allowed:.*$/m.exec(readFileSync('/proc/thread-self/status', 'latin1'))?.[0];

  test('the system tells where a thread is', () => {
    expect(processorOf(ownThread() as number)).toBeGreaterThanOrEqual(0);
    expect(processorOf(0)).toBeUndefined();
  });

  test.runIf(libc() !== undefined)('a thread has moved, and may run where it could before', () => {
    const library = libc();
    if (library === undefined) expect.fail('no library');
    const before = allowed();
    const mask = new Uint8Array(128);
    expect(library.getAffinity(mask)).toBe(0);
    const processors = [...Array(1024).keys()].filter(
      (each) => (mask[each >> 3] as number) & (1 << (each & 7)),
    );
    const seen: (number | undefined)[] = [];
    for (const processor of processors) {
      goToProcessor(processor, {
        getAffinity: library.getAffinity,
        setAffinity: (given) => {
          const result = library.setAffinity(given);
          // As long as it is bound to one, the system can't move it on.
          if (seen.length <= processors.indexOf(processor)) seen.push(processorOf(ownThread() as number));
          return result;
        },
      });
    }
    expect(seen).toEqual(processors);
    expect(allowed()).toBe(before);
  });
});
