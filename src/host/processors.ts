/**
 * Which processor a thread runs on. While a guest runs flat out it has one to itself, and on a host with two, who sends memory
 * and who receives it share the other. When the guest stops, Linux leaves both there for 10 ms and more, beside a processor
 * that does nothing: they sleep so often that neither looks worth moving, and who is woken is put near who woke him.
 */
import { readFileSync } from 'node:fs';
import { type Libc, loadedLibc } from './libc.ts';

/** Field of /proc/PID/stat behind the name: `processor` is number 39 in proc_pid_stat(5), the name number 2. */
const PROCESSOR = 39 - 3;
/** Processors in a mask: as many as in glibc's. */
const PROCESSORS = 1024;

/** The processor on which a thread of this process runs, or ran last; undefined if the system does not tell. */
export function processorOf(thread: number): number | undefined {
  try {
    const text = readFileSync(`/proc/self/task/${thread}/stat`, 'latin1');
    const processor = Number(text.slice(text.lastIndexOf(')') + 2).split(' ')[PROCESSOR]);
    return Number.isInteger(processor) ? processor : undefined;
  } catch {
    return undefined;
  }
}

/** The calling thread goes there, if it may. It is not bound to it: the system may move it on at any time. */
export function goToProcessor(
  processor: number | undefined,
  library: Pick<Libc, 'getAffinity' | 'setAffinity'> | undefined = loadedLibc(),
): void {
  if (library === undefined || processor === undefined || processor >= PROCESSORS) return;
  const allowed = new Uint8Array(PROCESSORS / 8);
  if (library.getAffinity(allowed) !== 0) return;
  const bit = 1 << (processor & 7);
  if (((allowed[processor >> 3] as number) & bit) === 0) return;
  const only = new Uint8Array(PROCESSORS / 8);
  only[processor >> 3] = bit;
  if (library.setAffinity(only) === 0) library.setAffinity(allowed);
}
