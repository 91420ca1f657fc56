/** Where in a stream something can go wrong. */
import { HEADER_SIZE, OPENING_SIZE } from '../../src/migration/frame.ts';
import { frameName } from '../../src/migration/protocol.ts';

export interface Place {
  readonly offset: number;
  readonly what: string;
  /** Of a frame's begin: its end. */
  readonly end?: number;
}

/** Every frame boundary of a stream, and a place in every header and in every payload. */
export function places(bytes: Uint8Array): Place[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const found: Place[] = [
    { offset: 0, what: 'before anything' },
    { offset: 7, what: 'in the opening' },
  ];
  for (let at = OPENING_SIZE; at < bytes.length; ) {
    const name = frameName(view.getUint16(at, true));
    const length = view.getUint32(at + 8, true);
    found.push({ offset: at, what: `before ${name}`, end: at + HEADER_SIZE + length });
    found.push({ offset: at + 11, what: `in the header of ${name}` });
    if (length > 0)
      found.push({ offset: at + HEADER_SIZE + (length >> 1), what: `in the middle of ${name}` });
    at += HEADER_SIZE + length;
  }
  found.push({ offset: bytes.length, what: 'after everything' });
  return found;
}
