import { expect, test } from 'vitest';
import { ByteQueue } from '../../src/devices/byte-queue.ts';

test('bytes come out in the order they went in, over many turns of the ring', () => {
  const queue = new ByteQueue(5);
  let next = 0;
  let expected = 0;
  for (let round = 0; round < 200; round++) {
    const count = round % 4;
    expect(queue.push(Array.from({ length: count }, () => next++ & 0xff))).toBe(count);
    expect(queue.bytes()).toEqual(Uint8Array.from({ length: queue.length }, (_, i) => expected + i));
    while (queue.length > round % 2) expect(queue.shift()).toBe(expected++ & 0xff);
  }
});

test('what there is no room for is refused, not overwritten', () => {
  const queue = new ByteQueue(3);
  expect(queue.push([1, 2])).toBe(2);
  expect(queue.push([3, 4])).toBe(1);
  expect([queue.length, queue.room]).toEqual([3, 0]);
  expect([queue.shift(), queue.shift(), queue.shift(), queue.shift()]).toEqual([1, 2, 3, undefined]);
});

test('replaced bytes stand alone', () => {
  const queue = new ByteQueue(3);
  queue.push([1, 2, 3]);
  queue.shift();
  queue.replace(Uint8Array.of(7, 8));
  expect(queue.bytes()).toEqual(Uint8Array.of(7, 8));
  queue.clear();
  expect(queue.shift()).toBeUndefined();
});
