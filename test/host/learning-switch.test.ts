/** IEEE 802.1D-2004, §7. */
import { expect, test } from 'vitest';
import { ManualClock } from '../../src/clock.ts';
import { LearningSwitch } from '../../src/host/learning-switch.ts';

const A = [2, 0, 0, 0, 0, 0xa];
const B = [2, 0, 0, 0, 0, 0xb];
const ALL = new Array(6).fill(0xff);

function rig(ports: number, age?: number) {
  const clock = new ManualClock();
  const learning = new LearningSwitch(clock, age);
  const got: string[] = [];
  const full = new Set<number>();
  const plugs = Array.from({ length: ports }, (_, i) =>
    learning.plug({
      peer: `peer ${i}`,
      send(frame) {
        if (full.has(i)) return false;
        got.push(`${i}:${frame[14]}`);
        return true;
      },
    }),
  );
  const send = (port: number, to: number[], from: number[], mark: number): string[] => {
    got.length = 0;
    plugs[port]?.receive(Uint8Array.from([...to, ...from, 0x88, 0xb5, mark]));
    return [...got];
  };
  return { clock, learning, plugs, full, send };
}

test('§7.7: a frame to nobody known goes everywhere but back; to somebody known, there alone', () => {
  const { send } = rig(3);
  expect(send(0, B, A, 1)).toEqual(['1:1', '2:1']);
  expect(send(1, A, B, 2)).toEqual(['0:2']);
  expect(send(0, B, A, 3)).toEqual(['1:3']);
  expect(send(2, ALL, [2, 0, 0, 0, 0, 0xc], 4)).toEqual(['0:4', '1:4']);
  expect(send(0, [0x01, 0, 0x5e, 0, 0, 1], A, 5)).toEqual(['1:5', '2:5']);
  // Both are behind the same port: they have heard each other already.
  expect(send(0, A, [2, 0, 0, 0, 0, 0xd], 6)).toEqual([]);
});

test('§7.8: an address that speaks elsewhere has moved', () => {
  const { send, learning } = rig(3);
  send(0, ALL, A, 1);
  expect(send(1, A, B, 2)).toEqual(['0:2']);
  send(2, ALL, A, 3);
  expect(send(1, A, B, 4)).toEqual(['2:4']);
  expect(learning.addresses()).toEqual([
    { address: '02:00:00:00:00:0a', port: 3, age: 0 },
    { address: '02:00:00:00:00:0b', port: 2, age: 0 },
  ]);
});

test('§7.9.2: what has not been heard of for too long is forgotten, and so is a port that has gone', () => {
  const { send, clock, learning, plugs } = rig(3, 10);
  send(0, ALL, A, 1);
  clock.advance(10e9);
  expect(send(1, A, B, 2)).toEqual(['0:2']);
  clock.advance(1);
  expect(learning.addresses().map(({ address }) => address)).toEqual(['02:00:00:00:00:0b']);
  expect(send(1, A, B, 3)).toEqual(['0:3', '2:3']);
  send(0, ALL, A, 4);
  plugs[0]?.unplug();
  expect(send(1, A, B, 5)).toEqual(['2:5']);
  expect(learning.ports().map(({ port }) => port)).toEqual([2, 3]);
});

test('§7.12.6: what is for bridges alone is not forwarded; runts and groups teach nothing', () => {
  const { send, learning, plugs } = rig(2);
  expect(send(0, [0x01, 0x80, 0xc2, 0, 0, 0], A, 1)).toEqual([]);
  send(0, ALL, [3, 0, 0, 0, 0, 1], 2);
  plugs[0]?.receive(new Uint8Array(13));
  expect(learning.addresses().map(({ address }) => address)).toEqual(['02:00:00:00:00:0a']);
});

test('counters, and a port that takes nothing', () => {
  const { send, full, learning } = rig(2);
  full.add(1);
  send(0, ALL, A, 1);
  full.delete(1);
  send(0, ALL, A, 2);
  expect(learning.ports()).toEqual([
    {
      port: 1,
      peer: 'peer 0',
      receivedFrames: 2,
      receivedBytes: 30,
      sentFrames: 0,
      sentBytes: 0,
      dropped: 0,
    },
    {
      port: 2,
      peer: 'peer 1',
      receivedFrames: 0,
      receivedBytes: 0,
      sentFrames: 1,
      sentBytes: 15,
      dropped: 1,
    },
  ]);
});

test('a flood of addresses does not take all memory: the oldest goes', () => {
  const { send, learning } = rig(2);
  for (let n = 0; n < 9000; n++) send(0, ALL, [2, 0, 0, 0, n >> 8, n & 0xff], 0);
  expect(learning.addresses().length).toBe(8192);
  expect(learning.addresses()[0]?.address).toBe('02:00:00:00:03:28');
});
