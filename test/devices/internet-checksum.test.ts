import { expect, test } from 'vitest';
import { onesSum, verifyChecksums } from '../../src/devices/internet-checksum.ts';
import { sum16, tcpFrame, udpFrame } from './e1000/packets.ts';

test('RFC 1071, §3: the example', () => {
  const bytes = Uint8Array.of(0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7);
  expect(onesSum(bytes, 0, 8)).toBe(0xddf2);
  expect(onesSum(bytes, 0, 4, onesSum(bytes, 4, 8))).toBe(0xddf2);
});

test('any stretch of any bytes sums as word by word', () => {
  const bytes = Uint8Array.from({ length: 70 }, (_, i) => (i * 37 + 255 * (i % 3)) & 0xff);
  for (let start = 0; start < 8; start++) {
    for (let end = start; end <= bytes.length; end++) {
      expect(onesSum(bytes, start, end)).toBe(sum16(bytes.subarray(start, end)));
    }
  }
  expect(onesSum(new Uint8Array(100_000).fill(0xff), 0, 100_000)).toBe(0xffff);
  expect(onesSum(new Uint8Array(10), 0, 10)).toBe(0);
});

test('what can be checked of a frame is; a fragment’s segment, options that overrun and other protocols can’t', () => {
  const payload = new Uint8Array(33).fill(9);
  expect(verifyChecksums(tcpFrame({ payload }))).toEqual({ ip: true, transport: true });
  expect(verifyChecksums(udpFrame({ payload }))).toEqual({ ip: true, transport: true });
  expect(verifyChecksums(udpFrame({ payload, checksum: 0 }))).toEqual({ ip: true });
  const changed = (at: number, value: number): Uint8Array => {
    const frame = tcpFrame({ payload });
    frame[at] = value;
    return frame;
  };
  expect(verifyChecksums(changed(60, 1))).toEqual({ ip: true, transport: false });
  expect(verifyChecksums(changed(20, 0x20))).toEqual({ ip: false });
  expect(verifyChecksums(changed(14, 0x44))).toEqual({});
  expect(verifyChecksums(changed(16, 0xff))).toEqual({});
  expect(verifyChecksums(changed(23, 1))).toEqual({ ip: false });
  expect(verifyChecksums(new Uint8Array(14))).toEqual({});
});
