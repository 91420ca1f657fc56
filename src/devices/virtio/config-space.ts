/** Device configuration space as bytes, little-endian: what a device of constants needs. */
import type { AccessSize } from '../../memory/mmio.ts';

/** Reads of any size; beyond the end there are zeros. */
export function readBytes(bytes: Uint8Array, offset: number, size: AccessSize): number {
  let value = 0;
  for (let i = size - 1; i >= 0; i--) value = value * 256 + (bytes[offset + i] ?? 0);
  return value;
}
