/** The checksum of IP, TCP and UDP: the ones' complement sum of 16-bit words in network order. RFC 1071. */

/** The sum, folded to 16 bits, of the bytes from `start` to `end` (exclusive), added to `initial`. */
export function onesSum(bytes: Uint8Array, start: number, end: number, initial = 0): number {
  if (end <= start) return fold(initial);
  const view = new DataView(bytes.buffer, bytes.byteOffset + start, end - start);
  const length = end - start;
  let sum = initial;
  let at = 0;
  // Two words at a time, for 2^32 and 2^16 are both 1 here; sums of megabytes stay exact in a double.
  for (; at + 4 <= length; at += 4) sum += view.getUint32(at);
  if (at + 2 <= length) {
    sum += view.getUint16(at);
    at += 2;
  }
  if (at < length) sum += view.getUint8(at) << 8;
  return fold(sum);
}

function fold(sum: number): number {
  let folded = sum;
  while (folded > 0xffff) folded = (folded % 0x1_0000) + Math.floor(folded / 0x1_0000);
  return folded;
}

/** A 16-bit number in network order. */
export function big16(bytes: Uint8Array, at: number): number {
  return ((bytes[at] as number) << 8) | (bytes[at + 1] as number);
}

export function putBig16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 8;
  bytes[at + 1] = value;
}

export const IP_PROTOCOL = { tcp: 6, udp: 17 } as const;
export const ETHERTYPE = { ipv4: 0x0800, arp: 0x0806, rarp: 0x8035 } as const;

/** What is known of the checksums of a frame: undefined where there is none that can be checked. */
export interface ChecksumVerdict {
  readonly ip?: boolean;
  /** Of TCP or UDP. */
  readonly transport?: boolean;
}

const ETHERNET_BYTES = 14;

/** Checks a frame's IPv4 header, and TCP or UDP in it unless it is a fragment. RFC 791, 9293, 768. */
export function verifyChecksums(frame: Uint8Array): ChecksumVerdict {
  const ip = ETHERNET_BYTES;
  if (frame.length < ip + 20 || big16(frame, 12) !== ETHERTYPE.ipv4 || (frame[ip] as number) >>> 4 !== 4) {
    return {};
  }
  const header = 4 * ((frame[ip] as number) & 0xf);
  const total = big16(frame, ip + 2);
  if (header < 20 || total < header || ip + total > frame.length) return {};
  const ipGood = onesSum(frame, ip, ip + header) === 0xffff;
  const protocol = frame[ip + 9] as number;
  const fragment = (big16(frame, ip + 6) & 0x3fff) !== 0;
  const start = ip + header;
  const length = total - header;
  const checksumAt = protocol === IP_PROTOCOL.tcp ? 16 : protocol === IP_PROTOCOL.udp ? 6 : undefined;
  if (fragment || checksumAt === undefined || length < checksumAt + 2) return { ip: ipGood };
  // A UDP sender may leave it out.
  if (protocol === IP_PROTOCOL.udp && big16(frame, start + checksumAt) === 0) return { ip: ipGood };
  const pseudo = onesSum(frame, ip + 12, ip + 20, protocol + length);
  return { ip: ipGood, transport: onesSum(frame, start, start + length, pseudo) === 0xffff };
}
