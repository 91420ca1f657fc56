/**
 * Clears shared memory. `fill` of a typed array stores single elements there, each of them atomically: `memory.fill` takes a
 * twentieth of its time.
 */
import { ModuleBuilder, WASM_PAGE } from '../wasm/module.ts';

/** Sets `length` bytes from byte offset `at` on to zero. */
export type Clear = (at: number, length: number) => void;

const known = new WeakMap<WebAssembly.Memory, Clear>();

export function clearOf(memory: WebAssembly.Memory): Clear {
  const made = known.get(memory);
  if (made !== undefined) return made;
  const module = new ModuleBuilder(memory.buffer.byteLength / WASM_PAGE);
  const f = module.function(['i32', 'i32'], [], 'clear');
  f.get(f.param(0));
  f.i32(0);
  f.get(f.param(1));
  f.memoryFill();
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(module.bytes()), { env: { memory } });
  const clear = exports.clear as Clear;
  known.set(memory, clear);
  return clear;
}
