import { describe, expect, it } from 'vitest';
import { clearOf } from '../../src/memory/clear.ts';
import { WASM_PAGE } from '../../src/wasm/module.ts';

describe('clearing shared memory', () => {
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
  const bytes = new Uint8Array(memory.buffer);

  it.each([
    [0, 1],
    [5, 4096],
    [WASM_PAGE - 3, 3],
    [100, 0],
  ])('from %i on, %i bytes and no others', (at, length) => {
    bytes.fill(0xa5);
    clearOf(memory)(at, length);
    expect(bytes.indexOf(0)).toBe(length === 0 ? -1 : at);
    expect(bytes.reduce((zeros, byte) => zeros + (byte === 0 ? 1 : 0), 0)).toBe(length);
    expect(bytes.subarray(at, at + length).every((byte) => byte === 0)).toBe(true);
  });

  it('beyond the end is refused', () => {
    expect(() => clearOf(memory)(WASM_PAGE - 3, 4)).toThrow(/out of bounds/);
  });
});
