/** Transmission by the e1000. Sections of Intel's 8254x manual. */
import { describe, expect, test } from 'vitest';
import { pseudoSum, tcpFrame, udpFrame } from './packets.ts';
import { BROADCAST, frame, MAC, PEER, R, rig, TX_RING } from './rig.ts';

/** Commands, in the top byte of the third word. */
const EOP = 0x0100_0000;
const IC = 0x0400_0000;
const TSE = 0x0400_0000;
const RS = 0x0800_0000;
const DEXT = 0x2000_0000;
const VLE = 0x4000_0000;
const IDE = 0x8000_0000;
const DATA = DEXT | (1 << 20);
const TCP = 0x0100_0000;
const IPV4 = 0x0200_0000;
const VME = 1 << 30;
const TXDW = 1;
const TXQE = 2;

describe('legacy descriptors, §3.3.3', () => {
  test('a frame is what its buffers hold, in one piece or in several; status is written back when asked for', () => {
    const it = rig();
    it.transmitRing();
    it.write(R.IMS, TXDW);
    const one = frame(PEER, { from: MAC, payload: Uint8Array.from({ length: 90 }, (_, i) => i) });
    const at = it.place(0x8000, one);
    it.describe([at, 0, EOP | one.length, 0]);
    it.transmit();
    expect([it.line.level, it.view.getUint8(TX_RING + 12)]).toEqual([false, 0]);
    it.describe([at, 0, 20, 0], [at + 20, 0, one.length - 20 + (EOP | RS), 0]);
    it.transmit();
    expect(it.sent).toEqual([one, one]);
    expect([it.view.getUint8(TX_RING + 28), it.view.getUint8(TX_RING + 44)]).toEqual([0, 1]);
    expect([it.line.level, it.read(R.ICR), it.read(R.TDH)]).toEqual([true, TXDW | TXQE, 3]);
    expect([R.GPTC, R.TPT, R.PTC127].map(it.read)).toEqual([2, 2, 2]);
  });

  test('the ring wraps; a tail outside it ends after one round', () => {
    const it = rig();
    it.transmitRing(8);
    const one = frame(PEER, { from: MAC });
    const at = it.place(0x8000, one);
    for (let n = 0; n < 6; n++) it.describe([at, 0, EOP | one.length, 0]);
    it.transmit();
    it.describe([at, 0, EOP | one.length, 0], [at, 0, EOP | one.length, 0]);
    it.write(R.TDT, 2);
    expect([it.sent.length, it.read(R.TDH)]).toEqual([10, 2]);
    it.write(R.TDT, 100);
    expect([it.sent.length, it.read(R.TDH)]).toEqual([18, 2]);
  });

  test('§3.3.3.2: a checksum from CSS on goes to CSO', () => {
    const it = rig();
    it.transmitRing();
    const good = udpFrame({ payload: new Uint8Array(33).fill(5) });
    const open = good.slice();
    open.set([pseudoSum(17, 41) >>> 8, pseudoSum(17, 41) & 0xff], 40);
    it.describe([it.place(0x8000, open), 0, EOP | IC | (40 << 16) | open.length, 34 << 8]);
    it.transmit();
    expect(it.sent).toEqual([good]);
  });

  test('TCTL: nothing is sent while it is off; PSP pads', () => {
    const it = rig();
    it.transmitRing();
    it.write(R.TCTL, 0);
    const short = frame(PEER, { payload: Uint8Array.of(1) });
    it.describe([it.place(0x8000, short), 0, EOP | short.length, 0]);
    it.transmit();
    expect(it.sent).toEqual([]);
    it.write(R.TCTL, 0xa);
    expect(it.sent).toEqual([Uint8Array.of(...short, ...new Array(45).fill(0))]);
  });

  test('no link, no frame', () => {
    const it = rig();
    it.transmitRing();
    it.cable.setLink(false);
    const one = frame(PEER);
    it.describe([it.place(0x8000, one), 0, EOP | RS | one.length, 0]);
    it.transmit();
    expect(it.sent).toEqual([]);
    expect(it.view.getUint8(TX_RING + 12)).toBe(1);
  });
});

describe('delays, §3.4.3', () => {
  test('IDE: TIDV after the last, TADV after the first at most; without it at once', () => {
    const it = rig();
    it.transmitRing(64);
    it.write(R.IMS, TXDW);
    it.write(R.TIDV, 10);
    it.write(R.TADV, 15);
    const one = frame(PEER);
    const at = it.place(0x8000, one);
    const send = (flags: number) => {
      it.describe([at, 0, EOP | RS | flags | one.length, 0]);
      it.transmit();
    };
    send(IDE);
    it.pass(9 * 1024);
    send(IDE);
    expect(it.line.rises).toBe(0);
    it.pass(6 * 1024);
    expect(it.line.rises).toBe(1);
    it.read(R.ICR);
    it.pass(1e6);
    expect(it.line.rises).toBe(1);
    send(IDE);
    it.pass(10 * 1024);
    expect(it.line.rises).toBe(2);
    it.read(R.ICR);
    send(0);
    expect(it.line.rises).toBe(3);
  });
});

describe('VLAN, §9.2', () => {
  test('a tag is inserted where CTRL.VME and the descriptor say so', () => {
    const it = rig();
    it.transmitRing();
    const one = frame(PEER, { from: MAC });
    const at = it.place(0x8000, one);
    it.describe([at, 0, EOP | VLE | one.length, 0x2005_0000]);
    it.transmit();
    it.write(R.CTRL, it.read(R.CTRL) | VME);
    it.describe([at, 0, EOP | VLE | one.length, 0x2005_0000], [at, 0, EOP | one.length, 0x2005_0000]);
    it.transmit();
    const tagged = Uint8Array.of(...one.subarray(0, 12), 0x81, 0x00, 0x20, 0x05, ...one.subarray(12));
    expect(it.sent).toEqual([one, tagged, one]);
  });
});

/** A context descriptor for an IPv4 packet behind 14 bytes: IPCSS 14, IPCSO 24, IPCSE 33; TUCSS 34. */
function context(command: number, checksumAt: number, headerAndMss = 0): [number, number, number, number] {
  return [(33 << 16) | (24 << 8) | 14, (checksumAt << 8) | 34, DEXT | command, headerAndMss];
}

describe('extended descriptors, §3.3.6 and §3.3.7', () => {
  test('a context says where checksums go, for all frames that follow', () => {
    const it = rig();
    it.transmitRing();
    const good = [1, 2].map((n) => tcpFrame({ payload: new Uint8Array(50 + n).fill(n) }));
    it.describe(context(TCP | IPV4, 50));
    for (const [i, packet] of good.entries()) {
      const open = packet.slice();
      open.fill(0, 24, 26);
      open.set([pseudoSum(6, open.length - 34) >>> 8, pseudoSum(6, open.length - 34) & 0xff], 50);
      const at = it.place(0x8000 + 0x1000 * i, open);
      it.describe([at, 0, DATA | 40, 0x0300], [at + 40, 0, DATA | EOP | RS | (open.length - 40), 0]);
    }
    it.transmit();
    expect(it.sent).toEqual(good);
    expect(it.read(R.TDH)).toBe(5);
  });

  test('§3.5: TCP segmentation makes whole packets of a large one', () => {
    const it = rig();
    it.transmitRing();
    const payload = Uint8Array.from({ length: 2500 }, (_, i) => i * 7);
    const whole = tcpFrame({ payload, sequence: 0xffff_fc00, flags: 0x19, identification: 0xffff });
    // As a driver leaves it: no length, and the pseudo-header's sum without it.
    whole.fill(0, 16, 18);
    whole.fill(0, 24, 26);
    whole.set([pseudoSum(6, 0) >>> 8, pseudoSum(6, 0) & 0xff], 50);
    const at = it.place(0x8000, whole);
    it.describe(
      context(TCP | IPV4 | TSE | 2554, 50, (1000 << 16) | (54 << 8)),
      [at, 0, DATA | TSE | 54, 0x0300],
      [at + 54, 0, DATA | TSE | EOP | RS | (whole.length - 54), 0],
    );
    it.transmit();
    const segment = (n: number, from: number, to: number, flags: number) =>
      tcpFrame({
        payload: payload.subarray(from, to),
        sequence: (0xffff_fc00 + from) >>> 0,
        flags,
        identification: (0xffff + n) & 0xffff,
      });
    expect(it.sent).toEqual([
      segment(0, 0, 1000, 0x10),
      segment(1, 1000, 2000, 0x10),
      segment(2, 2000, 2500, 0x19),
    ]);
    expect([it.read(R.TSCTC), it.read(R.TPT)]).toEqual([1, 3]);
  });

  test('a segmentation that can’t be sends nothing', () => {
    const it = rig();
    it.transmitRing();
    const one = tcpFrame({ payload: new Uint8Array(100) });
    const at = it.place(0x8000, one);
    for (const headerAndMss of [54 << 8, (100 << 16) | (30 << 8), (100 << 16) | (255 << 8)]) {
      it.describe(context(TCP | IPV4 | TSE, 50, headerAndMss), [
        at,
        0,
        DATA | TSE | EOP | one.length,
        0x0300,
      ]);
    }
    it.transmit();
    expect(it.sent).toEqual([]);
  });
});

test('a state between two descriptors of a frame goes on where it was', () => {
  const from = rig();
  from.transmitRing();
  const one = tcpFrame({ payload: new Uint8Array(80).fill(1) });
  const open = one.slice();
  open.fill(0, 24, 26);
  open.set([pseudoSum(6, 100) >>> 8, pseudoSum(6, 100) & 0xff], 50);
  from.describe(context(TCP | IPV4, 50), [from.place(0x8000, open), 0, DATA | 60, 0x0300]);
  from.transmit();
  const to = rig();
  to.memory.set(from.memory);
  to.card.state.prepare(from.card.state.save())();
  to.view.setUint32(TX_RING + 32, 0x8000 + 60, true);
  to.view.setUint32(TX_RING + 40, (DATA | EOP | (open.length - 60)) >>> 0, true);
  to.write(R.TDT, 3);
  expect(to.sent).toEqual([one]);
});

test('broadcasts are counted as such', () => {
  const it = rig();
  it.transmitRing();
  const one = frame(BROADCAST);
  it.describe([it.place(0x8000, one), 0, EOP | one.length, 0]);
  it.transmit();
  expect([it.read(0x40f4), it.read(0x40f0)]).toEqual([1, 0]);
});
