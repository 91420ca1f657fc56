/** Where in a stream something can go wrong. */
import { HEADER_SIZE, OPENING_SIZE } from '../../src/migration/frame.ts';
import { type FrameName, frameName } from '../../src/migration/protocol.ts';

export interface Place {
  readonly offset: number;
  readonly what: string;
  readonly frame?: FrameName | undefined;
  /** Of a frame's begin: its end. */
  readonly end?: number;
}

/** Every frame boundary of a stream, and a place in every header and in every payload. */
export function places(stream: Uint8Array | readonly Uint8Array[]): Place[] {
  const bytes = stream instanceof Uint8Array ? stream : Buffer.concat(stream);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const found: Place[] = [
    { offset: 0, what: 'before anything' },
    { offset: 7, what: 'in the opening' },
  ];
  for (let at = OPENING_SIZE; at < bytes.length; ) {
    const frame = frameName(view.getUint16(at, true));
    const length = view.getUint32(at + 8, true);
    const end = at + HEADER_SIZE + length;
    found.push({ offset: at, what: `before ${frame}`, frame, end });
    found.push({ offset: at + 11, what: `in the header of ${frame}`, frame });
    if (length > 0)
      found.push({ offset: at + HEADER_SIZE + (length >> 1), what: `in the middle of ${frame}`, frame });
    at = end;
  }
  found.push({ offset: bytes.length, what: 'after everything' });
  return found;
}

/** The same, but for its end. */
export function placesInside(stream: readonly Uint8Array[]): Place[] {
  return places(stream).slice(0, -1);
}

/** Flips a bit of the byte at `offset` of a stream. */
export function flipAt(offset: number): (bytes: Uint8Array, at: number) => void {
  return (bytes, at) => {
    const i = offset - at;
    if (i >= 0 && i < bytes.length) bytes[i] = (bytes[i] ?? 0) ^ 0x10;
  };
}
