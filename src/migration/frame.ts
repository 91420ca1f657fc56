/**
 * The form of a migration stream: an opening of 16 bytes, then frames. All numbers are little endian.
 *
 *     opening   8 bytes   magic
 *               u16       protocol version
 *               u8        direction: 0 source to destination, 1 the return path
 *               u8        channel: 0 for the main connection, 1 to 255 for further ones ("multifd", "preempt")
 *               u32       0
 *
 *     frame     u16       type (protocol.ts)
 *               u16       flags: 0 in this version
 *               u32       sequence number, from 0, modulo 2^32
 *               u32       payload length in bytes, bounded per type
 *               u32       header check: low half of xxh64 (seed 0) of the 12 bytes before
 *               u64       xxh64 of the payload, seeded with the header check
 *               payload
 *
 * The header has a check of its own so that a damaged length is found at once, and not by waiting for bytes that never
 * come. The seed ties a payload to its header; the sequence number shows frames that were lost, repeated or swapped.
 */
import { GodwitError } from '../error.ts';
import { DIRECTION, type Direction, PROTOCOL_VERSION } from './protocol.ts';

export const OPENING_SIZE = 16;
export const HEADER_SIZE = 24;
/** Bytes of the header that its check covers. */
export const CHECKED_SIZE = 12;

/** As PNG's: a byte above 0x7f and line ends, so that a channel that changes text is noticed. */
const MAGIC = Uint8Array.of(0x89, 0x67, 0x64, 0x77, 0x74, 0x0d, 0x0a, 0x1a);

export function opening(direction: Direction, channel = 0): Uint8Array {
  const bytes = new Uint8Array(OPENING_SIZE);
  bytes.set(MAGIC);
  const view = new DataView(bytes.buffer);
  view.setUint16(8, PROTOCOL_VERSION, true);
  view.setUint8(10, DIRECTION[direction]);
  view.setUint8(11, channel);
  return bytes;
}

/**
 * @param further whether it is one of a migration's further connections.
 * @returns the channel's number.
 * @throws GodwitError kind "format" if `bytes` do not open a stream of this version and direction.
 */
export function checkOpening(bytes: Uint8Array, direction: Direction, further = false): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const check = (what: string, offset: number, expected: string, got: string): void => {
    if (expected !== got) throw GodwitError.unexpected('format', what, expected, got, offset);
  };
  check('stream opening', 0, hex(MAGIC), hex(bytes.subarray(0, MAGIC.length)));
  check('protocol version', 8, String(PROTOCOL_VERSION), String(view.getUint16(8, true)));
  check('stream direction', 10, directionName(DIRECTION[direction]), directionName(view.getUint8(10)));
  const channel = view.getUint8(11);
  if (further && channel === 0) check('stream channel', 11, '1 to 255', '0');
  if (!further) check('stream channel', 11, '0', String(channel));
  check('stream opening', 12, '0', String(view.getUint32(12, true)));
  return channel;
}

function directionName(code: number): string {
  if (code === DIRECTION.forward) return 'a source';
  return code === DIRECTION.return ? 'a destination' : String(code);
}

export function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join(' ');
}
