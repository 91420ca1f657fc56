import { HEADER_SIZE, OPENING_SIZE } from '../../src/migration/frame.ts';
import { frameName } from '../../src/migration/protocol.ts';

export interface StreamPlace {
  readonly offset: number;
  readonly what: string;
}

/** Every frame boundary of a stream, and a place in every header and in every payload. */
export function streamPlaces(pieces: readonly Uint8Array[]): StreamPlace[] {
  const bytes = new Uint8Array(Buffer.concat(pieces));
  const view = new DataView(bytes.buffer);
  const found: StreamPlace[] = [
    { offset: 0, what: 'before anything' },
    { offset: 7, what: 'in the opening' },
  ];
  for (let at = OPENING_SIZE; at < bytes.length; ) {
    const name = frameName(view.getUint16(at, true));
    const length = view.getUint32(at + 8, true);
    found.push({ offset: at, what: `before ${name}` });
    found.push({ offset: at + 11, what: `in the header of ${name}` });
    if (length > 0)
      found.push({ offset: at + HEADER_SIZE + (length >> 1), what: `in the middle of ${name}` });
    at += HEADER_SIZE + length;
  }
  return found;
}

/** Flips a bit of the byte at `offset` of a stream. */
export function flipAt(offset: number): (bytes: Uint8Array, at: number) => void {
  return (bytes, at) => {
    const i = offset - at;
    if (i >= 0 && i < bytes.length) bytes[i] = (bytes[i] ?? 0) ^ 0x10;
  };
}
