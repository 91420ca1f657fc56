/**
 * What V8 has made of WebAssembly modules, as bytes. V8 can write and read that (browsers keep it in their caches), but has no
 * name for it outside of its own natives, so they are switched on for as long as it takes to name one. Where V8 is another
 * than the one that this was tried with, or has other flags or another processor, it answers no, and a module is compiled anew.
 */
import { setFlagsFromString } from 'node:v8';
import { undeferred } from './compiler-flags.ts';

/** V8's major version whose natives are as they are used here; they end the process if they are used wrongly. */
const KNOWN_VERSION = 11;

export const canKeepCompiled = Number.parseInt(process.versions.v8, 10) === KNOWN_VERSION;

/** Calls a native function of V8. */
function native(call: string, ...args: unknown[]): unknown {
  const names = args.map((_, i) => `a${i}`);
  setFlagsFromString('--allow-natives-syntax');
  try {
    return new Function(...names, `return %${call}(${names.join(', ')})`)(...args);
  } finally {
    setFlagsFromString('--no-allow-natives-syntax');
  }
}

/** Whether V8 has optimized a function that a module exports. */
export function isOptimized(f: unknown): boolean {
  return native('IsTurboFanFunction', f) === true;
}

/** The optimized code of a module; at least one of its functions must have some. */
export function compiledCode(module: WebAssembly.Module): Uint8Array {
  return new Uint8Array(undeferred(() => native('SerializeWasmModule', module)) as ArrayBuffer);
}

/** A module with its optimized code. Undefined if this V8 has no use for it. */
export function compiledModule(
  code: Uint8Array,
  bytes: Uint8Array<ArrayBuffer>,
): WebAssembly.Module | undefined {
  const module = undeferred(() => native('DeserializeWasmModule', new Uint8Array(code).buffer, bytes));
  return module instanceof WebAssembly.Module ? module : undefined;
}
