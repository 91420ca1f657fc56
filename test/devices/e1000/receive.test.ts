/** Reception by the e1000. Sections of Intel's 8254x manual. */
import { describe, expect, test } from 'vitest';
import { tcpFrame, udpFrame } from './packets.ts';
import { BROADCAST, frame, MAC, R, RX_BUFFERS, RX_RING, rig } from './rig.ts';

const RCTL_ENABLE = 2;
const UNICAST_PROMISCUOUS = 8;
const MULTICAST_PROMISCUOUS = 0x10;
const LONG = 0x20;
const BROADCASTS = 0x8000;
const VLAN_FILTER = 1 << 18;
const STRIP_CRC = 1 << 26;
const VME = 1 << 30;

test('a frame is in the buffer when its descriptor is done; its length has the FCS unless it is stripped', () => {
  const it = rig();
  it.receiveRing();
  it.write(R.IMS, 0x80);
  const one = frame(MAC);
  it.cable.deliver(one);
  const got = it.received(0);
  expect(got).toMatchObject({ length: one.length + 4, status: 7, errors: 0 });
  expect(got.bytes.subarray(0, one.length)).toEqual(one);
  expect([it.line.level, it.read(R.ICR) & 0x80, it.read(R.RDH)]).toEqual([true, 0x80, 1]);
  it.write(R.RCTL, RCTL_ENABLE | STRIP_CRC);
  it.cable.deliver(frame(MAC, { payload: Uint8Array.of(1) }));
  // A short frame has been padded on its way.
  expect(it.received(1)).toMatchObject({ length: 60, status: 7 });
});

test('§3.2.4: a long frame takes several buffers; only the last is the end of the packet', () => {
  const it = rig();
  it.receiveRing(8, RCTL_ENABLE | LONG | (3 << 16), 256);
  const one = frame(MAC, { payload: Uint8Array.from({ length: 600 }, (_, i) => i) });
  it.cable.deliver(one);
  expect([0, 1, 2].map((i) => it.received(i)).map(({ length, status }) => [length, status])).toEqual([
    [256, 1],
    [256, 1],
    [614 + 4 - 512, 7],
  ]);
  expect(it.memory.slice(RX_BUFFERS, RX_BUFFERS + one.length)).toEqual(one);
  expect([it.read(R.RDH), it.read(R.GPRC)]).toEqual([3, 1]);
});

test('the ring wraps, and frames wait while it is full: none is lost or overtakes', () => {
  const it = rig();
  it.receiveRing(8);
  const numbered = (n: number) => frame(MAC, { payload: new Uint8Array(50).fill(n) });
  for (let n = 0; n < 10; n++) it.cable.deliver(numbered(n));
  expect([it.read(R.RDH), it.read(R.RDT), it.read(R.RNBC)]).toEqual([7, 7, 1]);
  expect(it.received(6).bytes[20]).toBe(6);
  // Software has read five.
  it.write(R.RDT, 4);
  expect(it.read(R.RDH)).toBe(2);
  expect([7, 0, 1].map((i) => it.received(i).bytes[20])).toEqual([7, 8, 9]);
});

test('a frame that no ring of this size can hold is lost, counted, and does not block', () => {
  const it = rig();
  it.receiveRing(8, RCTL_ENABLE | LONG | (3 << 16), 256);
  it.cable.deliver(frame(MAC, { payload: new Uint8Array(4000) }));
  it.cable.deliver(frame(MAC));
  expect([it.read(R.MPC), it.read(R.RDH), it.read(R.ICR) & 0x40]).toEqual([1, 1, 0x40]);
});

test('a receiver that is off, or without a link, takes nothing', () => {
  const it = rig();
  it.receiveRing(8, 0);
  it.cable.deliver(frame(MAC));
  it.write(R.RCTL, RCTL_ENABLE);
  expect(it.read(R.RDH)).toBe(0);
  // A buffer outside memory swallows a frame and does no harm.
  it.view.setUint32(RX_RING + 4, 0xffff, true);
  it.cable.deliver(frame(MAC));
  expect([it.read(R.RDH), it.received(0).status]).toEqual([1, 7]);
});

describe('filters, §13.4.22 and §13.5', () => {
  const MULTICAST = Uint8Array.of(0x01, 0x00, 0x5e, 0x00, 0x00, 0xfb);
  const OTHER = Uint8Array.of(0x52, 0x54, 0x00, 0x12, 0x34, 0x57);

  function taken(
    rctl: number,
    to: Uint8Array,
    prepare: (it: ReturnType<typeof rig>) => void = () => {},
  ): boolean {
    const it = rig();
    prepare(it);
    it.receiveRing(8, rctl);
    it.cable.deliver(frame(to));
    return it.read(R.RDH) === 1;
  }

  test('by address', () => {
    expect(taken(RCTL_ENABLE, MAC)).toBe(true);
    expect(taken(RCTL_ENABLE, OTHER)).toBe(false);
    expect(taken(RCTL_ENABLE | UNICAST_PROMISCUOUS, OTHER)).toBe(true);
    expect(taken(RCTL_ENABLE | MULTICAST_PROMISCUOUS, OTHER)).toBe(false);
    expect(taken(RCTL_ENABLE, BROADCAST)).toBe(false);
    expect(taken(RCTL_ENABLE | BROADCASTS, BROADCAST)).toBe(true);
    expect(taken(RCTL_ENABLE, MULTICAST)).toBe(false);
    expect(taken(RCTL_ENABLE | MULTICAST_PROMISCUOUS, MULTICAST)).toBe(true);
    const exact = (it: ReturnType<typeof rig>) => {
      it.write(R.RAL + 8 * 15, 0x1200_5452);
      it.write(R.RAH + 8 * 15, 0x8000_5734);
    };
    expect(taken(RCTL_ENABLE, OTHER, exact)).toBe(true);
  });

  test('by hash: four choices of twelve bits', () => {
    // The last two bytes as a number, lowest first: 0xfb00.
    for (const [mo, hash] of [
      [0, 0xfb0],
      [1, 0xf60],
      [2, 0xec0],
      [3, 0xb00],
    ] as const) {
      const table = (it: ReturnType<typeof rig>) => it.write(R.MTA + 4 * (hash >>> 5), 1 << (hash & 31));
      expect(taken(RCTL_ENABLE | (mo << 12), MULTICAST, table), `MO ${mo}`).toBe(true);
      expect(taken(RCTL_ENABLE | (((mo + 1) & 3) << 12), MULTICAST, table), `not MO ${mo}`).toBe(false);
    }
  });

  test('by size', () => {
    const it = rig();
    it.receiveRing(8, RCTL_ENABLE);
    it.cable.deliver(frame(MAC, { payload: new Uint8Array(1504) }));
    expect([it.read(R.RDH), it.read(R.ROC)]).toEqual([1, 0]);
    it.cable.deliver(frame(MAC, { payload: new Uint8Array(1505) }));
    expect([it.read(R.RDH), it.read(R.ROC), it.read(R.ROC)]).toEqual([1, 1, 0]);
    it.write(R.RCTL, RCTL_ENABLE | LONG);
    it.cable.deliver(frame(MAC, { payload: new Uint8Array(1505) }));
    expect(it.read(R.RDH)).toBe(2);
  });

  test('by VLAN; with CTRL.VME the tag moves to the descriptor, §9', () => {
    const it = rig();
    const payload = Uint8Array.of(0x20, 0x05, 0x88, 0xb5, ...new Array(60).fill(9));
    const tagged = frame(MAC, { type: 0x8100, payload });
    it.receiveRing(8, RCTL_ENABLE | VLAN_FILTER);
    it.cable.deliver(tagged);
    expect(it.read(R.RDH)).toBe(0);
    it.write(R.VFTA, 1 << 5);
    it.cable.deliver(tagged);
    expect(it.received(0)).toMatchObject({ length: tagged.length + 4, special: 0, status: 7 });
    it.write(R.CTRL, it.read(R.CTRL) | VME);
    it.cable.deliver(tagged);
    const got = it.received(1);
    expect(got).toMatchObject({ length: tagged.length, special: 0x2005, status: 0x0f });
    expect([...got.bytes.subarray(12, 16)]).toEqual([0x88, 0xb5, 9, 9]);
  });
});

test('§13.4.22, RDMTS: the minimum threshold is a cause of its own', () => {
  const it = rig();
  it.receiveRing(8, RCTL_ENABLE | (1 << 8));
  for (let n = 0; n < 4; n++) it.cable.deliver(frame(MAC));
  expect(it.read(R.ICR) & 0x10).toBe(0);
  it.cable.deliver(frame(MAC));
  expect(it.read(R.ICR) & 0x10).toBe(0x10);
});

test('small frames are a cause of their own, RSRPD', () => {
  const it = rig();
  it.receiveRing();
  it.write(R.RSRPD, 100);
  it.cable.deliver(frame(MAC, { payload: new Uint8Array(83) }));
  expect(it.read(R.ICR) & (1 << 16)).toBe(0);
  it.cable.deliver(frame(MAC, { payload: new Uint8Array(82) }));
  expect(it.read(R.ICR) & (1 << 16)).toBe(1 << 16);
});

describe('checksums, §3.2.9', () => {
  const CHECK = 0x300;

  test.each([
    ['TCP', tcpFrame({ payload: new Uint8Array(101).fill(3) }), 0x63, 0],
    ['UDP', udpFrame({ payload: new Uint8Array(20).fill(3) }), 0x63, 0],
    ['UDP without one', udpFrame({ payload: new Uint8Array(20), checksum: 0 }), 0x43, 0],
    ['a damaged segment', damaged(tcpFrame({ payload: new Uint8Array(64) }), 60), 0x63, 0x20],
    ['a damaged header', damaged(tcpFrame({ payload: new Uint8Array(64) }), 22), 0x63, 0x60],
    ['something else', frame(MAC), 0x03, 0],
  ])('of %s', (_, packet, status, errors) => {
    const it = rig();
    it.receiveRing();
    it.write(R.RXCSUM, CHECK);
    it.cable.deliver(packet);
    const got = it.received(0);
    expect(got.status).toBe(status);
    if (errors === 0x60) expect(got.errors & 0x40).toBe(0x40);
    else expect(got.errors).toBe(errors);
  });

  /** TTL is in the header's sum only; a byte behind the headers in the segment's only. */
  function damaged(packet: Uint8Array, at: number): Uint8Array {
    const copy = packet.slice();
    (copy[at] as number) ^= 0xff;
    return copy;
  }

  test('the packet checksum is the sum from PCSS on', () => {
    const it = rig();
    it.receiveRing();
    it.write(R.RXCSUM, 14);
    it.cable.deliver(
      frame(MAC, { payload: Uint8Array.of(0x12, 0x34, 0xff, 0xff, 0x00, 0x05, ...new Array(44).fill(0)) }),
    );
    expect(it.received(0).checksum).toBe(0x1239);
  });
});

test('§13.7: statistics count with the FCS, and are cleared when they are read', () => {
  const it = rig();
  it.receiveRing(16);
  it.cable.deliver(frame(MAC, { payload: new Uint8Array(46) }));
  it.cable.deliver(frame(BROADCAST));
  it.write(R.RCTL, it.read(R.RCTL) | MULTICAST_PROMISCUOUS);
  it.cable.deliver(frame(Uint8Array.of(1, 0, 0x5e, 0, 0, 1)));
  expect([R.PRC64, R.GPRC, R.BPRC, R.MPRC].map(it.read)).toEqual([1, 3, 1, 1]);
  expect([R.PRC64, R.GPRC, R.BPRC, R.MPRC].map(it.read)).toEqual([0, 0, 0, 0]);
  const octets = 64 + 68 + 68;
  expect([it.read(R.GORCL), it.read(R.GORCL), it.read(R.GORCH), it.read(R.GORCL)]).toEqual([
    octets,
    octets,
    0,
    0,
  ]);
});

test('loopback: the transceiver’s, and the adapter’s, §13.4.22', () => {
  const it = rig();
  it.receiveRing();
  it.transmitRing();
  it.write(R.MDIC, (1 << 26) | (1 << 21) | 0x5140);
  const one = frame(MAC);
  it.describe([it.place(0x8000, one), 0, (0x0b << 24) | one.length, 0]);
  it.transmit();
  expect(it.sent).toEqual([]);
  expect(it.received(0).bytes.subarray(0, one.length)).toEqual(one);
});
