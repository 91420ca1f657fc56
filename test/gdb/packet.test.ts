/** The packet layer: whatever arrives, and in whatever pieces, whole packets come out or nothing does. */
import { describe, expect, test } from 'vitest';
import { type Arrival, PACKET_SIZE, PacketReader, packet } from '../../src/gdb/packet.ts';
import { Random } from '../support/random.ts';

const bytes = (text: string): Uint8Array => Uint8Array.from(text, (character) => character.charCodeAt(0));
const feed = (text: string): Arrival[] => new PacketReader().feed(bytes(text));

test('a packet is its body, and the sum of it modulo 256', () => {
  expect(packet('OK')).toEqual(bytes('$OK#9a'));
  expect(packet('')).toEqual(bytes('$#00'));
  expect(feed('$OK#9a')).toEqual([{ kind: 'packet', body: 'OK' }]);
  expect(feed('$OK#9A')).toEqual([{ kind: 'packet', body: 'OK' }]);
  expect(feed('$#00')).toEqual([{ kind: 'packet', body: '' }]);
});

test('every body of bytes arrives as it was sent, cut anywhere, among acknowledgements', () => {
  const random = new Random(20_240_411);
  for (let round = 0; round < 200; round++) {
    const body = String.fromCharCode(
      ...Array.from({ length: random.below(40) }, () =>
        random.below(3) === 0 ? ('$#}*'.charCodeAt(random.below(4)) as number) : random.below(256),
      ),
    );
    const sent = Uint8Array.from([0x2b, ...packet(body), 0x03]);
    const reader = new PacketReader();
    const arrivals: Arrival[] = [];
    for (let at = 0; at < sent.length; ) {
      const size = 1 + random.below(5);
      arrivals.push(...reader.feed(sent.subarray(at, at + size)));
      at += size;
    }
    expect(arrivals).toEqual([{ kind: 'ack' }, { kind: 'packet', body }, { kind: 'interrupt' }]);
  }
});

test('$, #, } and * are escaped in what is sent', () => {
  expect(String.fromCharCode(...packet('$#}*')).slice(1, -3)).toBe('}\x04}\x03}]}\n');
});

describe('what is wrong', () => {
  test.each([
    ['a wrong checksum', '$OK#9b'],
    ['a checksum that is none', '$OK#zz'],
    ['half a checksum and more', '$OK#9$'],
  ])('%s is told', (_name, text) => {
    expect(feed(text)).toEqual([{ kind: 'bad' }]);
  });

  test('garbage between packets is skipped, and a partial one given up where the next begins', () => {
    expect(feed('garbage#00\x7f\xff$g#67xyz$m123$?#3f')).toEqual([
      { kind: 'packet', body: 'g' },
      { kind: 'packet', body: '?' },
    ]);
  });

  test('an interrupt character inside a packet is a byte of it', () => {
    expect(feed('$X\x03#5b')).toEqual([{ kind: 'packet', body: 'X\x03' }]);
  });

  test('an oversized packet is told, once it is over, and takes no memory', () => {
    const reader = new PacketReader();
    const whole = packet('m'.repeat(PACKET_SIZE));
    expect(reader.feed(whole)).toEqual([{ kind: 'packet', body: 'm'.repeat(PACKET_SIZE) }]);
    expect(reader.feed(packet('m'.repeat(PACKET_SIZE + 1)))).toEqual([{ kind: 'oversized' }]);
    expect(reader.feed(packet('g'))).toEqual([{ kind: 'packet', body: 'g' }]);
    reader.feed(bytes('$'));
    for (let i = 0; i < 1000; i++) expect(reader.feed(bytes('x'.repeat(10_000)))).toEqual([]);
    expect(reader.feed(packet('g'))).toEqual([{ kind: 'packet', body: 'g' }]);
  });

  test('no bytes at all make the reader fail', () => {
    const random = new Random(7);
    const reader = new PacketReader();
    for (let i = 0; i < 20_000; i++) reader.feed(Uint8Array.of(random.below(256)));
    reader.feed(bytes('$#00'));
    expect(reader.feed(packet('g'))).toEqual([{ kind: 'packet', body: 'g' }]);
  });
});
