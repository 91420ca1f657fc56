/**
 * What Linux' C library can do and Node has no call for. The package koffi, which reaches it, is optional: without it, and on
 * other systems, there is none of this, and whoever would use it does without.
 */
import { createRequire } from 'node:module';

/** Calls that return a number return 0 if it was done. */
export interface Libc {
  /** Where bytes stand in the process's address space. */
  addressOf(bytes: Uint8Array): bigint;
  /** Bytes of a page of the host's memory. */
  readonly pageSize: number;
  /** madvise(2). */
  madvise(address: bigint, length: number, advice: number): number;
  /** setsockopt(2), of an option that is a whole number. */
  setsockopt(fd: number, level: number, name: number, value: number): number;
  /** sched_getaffinity(2) and sched_setaffinity(2) of the calling thread. The mask has a bit for each processor. */
  getAffinity(mask: Uint8Array): number;
  setAffinity(mask: Uint8Array): number;
  /** fallocate(2), in a thread of Node's pool. */
  fallocate(fd: number, mode: number, offset: number, length: number): Promise<number>;
}

let loaded: { readonly libc: Libc | undefined } | undefined;

/** To load it takes 10 to 20 ms, in each thread that asks for it. */
export function libc(): Libc | undefined {
  loaded ??= { libc: load() };
  return loaded.libc;
}

/** The same, if it is here without a wait. */
export function loadedLibc(): Libc | undefined {
  return loaded?.libc;
}

function load(): Libc | undefined {
  if (process.platform !== 'linux') return undefined;
  try {
    const koffi = createRequire(import.meta.url)('koffi') as typeof import('koffi');
    const library = koffi.load(null);
    const fallocate = library.func('int fallocate(int fd, int mode, int64_t offset, int64_t length)');
    const setsockopt = library.func(
      'int setsockopt(int fd, int level, int name, const int32_t *value, uint32_t size)',
    );
    const getaffinity = library.func('int sched_getaffinity(int pid, size_t size, _Out_ uint8_t *mask)');
    const setaffinity = library.func('int sched_setaffinity(int pid, size_t size, const uint8_t *mask)');
    return {
      addressOf: (bytes) => koffi.address(bytes),
      pageSize: library.func('int getpagesize()')(),
      madvise: library.func('int madvise(uintptr_t address, size_t length, int advice)'),
      setsockopt: (fd, level, name, value) => setsockopt(fd, level, name, Int32Array.of(value), 4),
      getAffinity: (mask) => getaffinity(0, mask.length, mask),
      setAffinity: (mask) => setaffinity(0, mask.length, mask),
      fallocate: (...call) =>
        new Promise((resolve, reject) => {
          fallocate.async(...call, (error: unknown, result: number) =>
            error ? reject(error) : resolve(result),
          );
        }),
    };
  } catch {
    return undefined;
  }
}
