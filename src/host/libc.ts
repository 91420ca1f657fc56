/**
 * What Linux' C library can do and Node has no call for. The package koffi, which reaches it, is optional: without it, and on
 * other systems, there is none of this, and whoever would use it does without.
 */
import { createRequire } from 'node:module';

/** Number of the system call sched_setattr, for which most C libraries have no function. */
const SCHED_SETATTR: Partial<Record<NodeJS.Architecture, number>> = { x64: 314, arm64: 274, riscv64: 274 };
/** Bytes of a `struct sched_attr`, and where its `sched_nice` and `sched_runtime` are. */
const ATTRIBUTES_SIZE = 48;
const NICENESS_OFFSET = 16;
const RUNTIME_OFFSET = 24;

/** Calls that return a number return 0 if it was done. */
export interface Libc {
  /** Where bytes stand in the process's address space. */
  addressOf(bytes: Uint8Array): bigint;
  /** Bytes of a page of the host's memory. */
  readonly pageSize: number;
  /** madvise(2). */
  madvise(address: bigint, length: number, advice: number): number;
  /** fallocate(2), in a thread of Node's pool. */
  fallocate(fd: number, mode: number, offset: number, length: number): Promise<number>;
  /** sched_setscheduler(2), with the priority that all but the real-time policies have. @param thread 0 for the caller's. */
  setScheduler(thread: number, policy: number): number;
  /**
   * sched_setattr(2) of the calling thread: SCHED_OTHER with this niceness, and slices of so many ns, or the usual ones if that
   * is 0. Not 0 if it could not be done.
   */
  setSlice(niceness: number, ns: number): number;
}

let loaded: { readonly libc: Libc | undefined } | undefined;

/** To load it takes some 10 ms, in each thread that asks for it. */
export function libc(): Libc | undefined {
  loaded ??= { libc: load() };
  return loaded.libc;
}

function load(): Libc | undefined {
  if (process.platform !== 'linux') return undefined;
  try {
    const koffi = createRequire(import.meta.url)('koffi') as typeof import('koffi');
    const library = koffi.load(null);
    const fallocate = library.func('int fallocate(int fd, int mode, int64_t offset, int64_t length)');
    const syscall = library.func(
      'long syscall(long number, long thread, uint8_t *attributes, uint32_t flags)',
    );
    const setAttributes = SCHED_SETATTR[process.arch];
    const setScheduler = library.func('int sched_setscheduler(int thread, int policy, int *priority)');
    return {
      addressOf: (bytes) => koffi.address(bytes),
      pageSize: library.func('int getpagesize()')(),
      madvise: library.func('int madvise(uintptr_t address, size_t length, int advice)'),
      fallocate: (...call) =>
        new Promise((resolve, reject) => {
          fallocate.async(...call, (error: unknown, result: number) =>
            error ? reject(error) : resolve(result),
          );
        }),
      setScheduler: (thread, policy) => setScheduler(thread, policy, [0]),
      setSlice: (niceness, ns) =>
        setAttributes === undefined ? -1 : syscall(setAttributes, 0, schedulingAttributes(niceness, ns), 0),
    };
  } catch {
    return undefined;
  }
}

/** A `struct sched_attr`. */
function schedulingAttributes(niceness: number, runtimeNs: number): Uint8Array {
  const attributes = new Uint8Array(ATTRIBUTES_SIZE);
  const view = new DataView(attributes.buffer);
  view.setUint32(0, ATTRIBUTES_SIZE, true);
  view.setInt32(NICENESS_OFFSET, niceness, true);
  view.setBigUint64(RUNTIME_OFFSET, BigInt(runtimeNs), true);
  return attributes;
}
