/** IPv4 packets with checksums from a sum that is nobody's under test. */
import { BROADCAST, frame, MAC } from './rig.ts';

/** RFC 1071, word by word with the carry brought round at once. */
export function sum16(bytes: Iterable<number>): number {
  let sum = 0;
  let high: number | undefined;
  const add = (word: number): void => {
    sum += word;
    if (sum > 0xffff) sum -= 0xffff;
  };
  for (const byte of bytes) {
    if (high === undefined) high = byte << 8;
    else {
      add(high | byte);
      high = undefined;
    }
  }
  if (high !== undefined) add(high);
  return sum;
}

const word = (value: number): number[] => [(value >>> 8) & 0xff, value & 0xff];
export const HERE = [10, 0, 0, 1];
export const THERE = [10, 0, 0, 2];

function ipv4(protocol: number, segment: readonly number[], identification: number): Uint8Array {
  const header = [
    0x45,
    0,
    ...word(20 + segment.length),
    ...word(identification),
    0x40,
    0,
    64,
    protocol,
    0,
    0,
    ...HERE,
    ...THERE,
  ];
  header.splice(10, 2, ...word(~sum16(header) & 0xffff));
  return Uint8Array.from([...header, ...segment]);
}

const pseudo = (protocol: number, length: number): number[] => [
  ...HERE,
  ...THERE,
  0,
  protocol,
  ...word(length),
];

export interface TcpOptions {
  readonly payload: Uint8Array;
  readonly sequence?: number;
  readonly flags?: number;
  readonly identification?: number;
}

export function tcpFrame({
  payload,
  sequence = 1,
  flags = 0x18,
  identification = 7,
}: TcpOptions): Uint8Array {
  const header = [
    ...word(1000),
    ...word(2000),
    ...word(sequence >>> 16),
    ...word(sequence),
    0,
    0,
    0,
    9,
    0x50,
    flags,
    ...word(512),
    0,
    0,
    0,
    0,
  ];
  const segment = [...header, ...payload];
  segment.splice(16, 2, ...word(~sum16([...pseudo(6, segment.length), ...segment]) & 0xffff));
  return frame(MAC, { from: BROADCAST, type: 0x0800, payload: ipv4(6, segment, identification) });
}

export function udpFrame({
  payload,
  checksum,
}: {
  readonly payload: Uint8Array;
  readonly checksum?: number;
}): Uint8Array {
  const segment = [...word(1000), ...word(2000), ...word(8 + payload.length), 0, 0, ...payload];
  segment.splice(6, 2, ...word(checksum ?? ~sum16([...pseudo(17, segment.length), ...segment]) & 0xffff));
  return frame(MAC, { from: BROADCAST, type: 0x0800, payload: ipv4(17, segment, 7) });
}

/** The pseudo-header's sum, as a driver leaves it in the checksum's place. */
export function pseudoSum(protocol: number, length: number): number {
  return sum16(pseudo(protocol, length));
}
