/** The e1000 apart from its rings: EEPROM, transceiver, interrupts, resets. Sections of Intel's 8254x manual. */
import { describe, expect, test } from 'vitest';
import { BROADCAST, frame, MAC, R, rig } from './rig.ts';

const CLOCK = 1;
const SELECT = 2;
const IN = 4;
const OUT = 8;

/** Reads a word over EECD's lines as Linux' driver does: request, select, command, then sixteen bits. */
function readByBits({ read, write }: ReturnType<typeof rig>, address: number): number {
  write(R.EECD, 0x40);
  expect(read(R.EECD) & 0x80).toBe(0x80);
  let lines = 0x40 | SELECT;
  write(R.EECD, lines);
  const command = (0b110 << 6) | address;
  for (let bit = 8; bit >= 0; bit--) {
    lines = (lines & ~IN) | ((command >>> bit) & 1 ? IN : 0);
    for (const clock of [0, CLOCK, 0]) write(R.EECD, lines | clock);
  }
  lines &= ~IN;
  let word = 0;
  for (let bit = 0; bit < 16; bit++) {
    write(R.EECD, lines | CLOCK);
    word = (word << 1) | (read(R.EECD) & OUT ? 1 : 0);
    write(R.EECD, lines);
  }
  write(R.EECD, 0);
  return word;
}

/** §13.4.8. */
function phyRead({ read, write }: ReturnType<typeof rig>, register: number): number {
  write(R.MDIC, (2 << 26) | (1 << 21) | (register << 16));
  expect(read(R.MDIC) >>> 28).toBe(1);
  return read(R.MDIC) & 0xffff;
}
function phyWrite({ write }: ReturnType<typeof rig>, register: number, value: number): void {
  write(R.MDIC, (1 << 26) | (1 << 21) | (register << 16) | value);
}

describe('the EEPROM, chapter 5', () => {
  test('its words sum to 0xbaba and begin with the address; EERD and EECD agree', () => {
    const it = rig();
    const words = Array.from({ length: 64 }, (_, address) => {
      it.write(R.EERD, (address << 8) | 1);
      expect(it.read(R.EERD) & 0x10).toBe(0x10);
      return it.read(R.EERD) >>> 16;
    });
    expect(words.reduce((sum, word) => sum + word) & 0xffff).toBe(0xbaba);
    expect(words.slice(0, 3)).toEqual([0x5452, 0x1200, 0x5634]);
    expect(words.slice(0x0b, 0x0f)).toEqual([0x1100, 0x1af4, 0x100e, 0x8086]);
    expect(words.map((_, address) => readByBits(it, address))).toEqual(words);
  });

  test('a command that is no read leaves the data line alone, and the words', () => {
    const it = rig();
    it.write(R.EECD, SELECT);
    for (const bit of [1, 0, 1, 0, 0, 0, 0, 0, 0, ...new Array(16).fill(0)]) {
      for (const clock of [0, CLOCK]) it.write(R.EECD, SELECT | (bit ? IN : 0) | clock);
    }
    expect(it.read(R.EECD) & OUT).toBe(OUT);
    expect(readByBits(it, 0)).toBe(0x5452);
  });
});

describe('the transceiver', () => {
  test('is an 88E1011 with a gigabit link; another address answers with an error', () => {
    const it = rig();
    expect([phyRead(it, 2), phyRead(it, 3)]).toEqual([0x0141, 0x0c20]);
    expect(phyRead(it, 1) & 0x24).toBe(0x24);
    expect(phyRead(it, 17) >>> 14).toBe(2);
    it.write(R.MDIC, (2 << 26) | (2 << 21));
    expect(it.read(R.MDIC) & (1 << 30)).toBe(1 << 30);
  });

  test('IEEE 802.3 §28: a restarted negotiation takes the link down, and brings it up again', () => {
    const it = rig();
    it.write(R.IMS, 4);
    phyWrite(it, 0, 0x1340);
    expect(phyRead(it, 0)).toBe(0x1140);
    expect(phyRead(it, 1) & 0x24).toBe(0);
    expect(it.read(R.STATUS) & 2).toBe(0);
    expect(it.read(R.ICR)).toBe(4);
    it.pass(499e6);
    expect(it.read(R.STATUS) & 2).toBe(0);
    it.pass(1e6);
    expect(it.read(R.STATUS) & 2).toBe(2);
    expect(phyRead(it, 5) & 0x4000).toBe(0x4000);
    expect([it.line.level, it.read(R.ICR), it.line.level]).toEqual([true, 4, false]);
  });

  test('a pulled cable is a lost link, and a plugged one is negotiated', () => {
    const it = rig();
    it.write(R.IMS, 4);
    it.cable.setLink(false);
    expect([it.read(R.STATUS) & 2, it.line.level, it.read(R.ICR)]).toEqual([0, true, 4]);
    it.pass(10e9);
    expect(it.read(R.STATUS) & 2).toBe(0);
    it.cable.setLink(true);
    expect(it.read(R.STATUS) & 2).toBe(0);
    it.pass(500e6);
    expect([it.read(R.STATUS) & 2, it.read(R.ICR)]).toEqual([2, 4]);
  });

  test('§13.4.8: MDIC raises its cause when asked to', () => {
    const it = rig();
    it.write(R.MDIC, (1 << 29) | (2 << 26) | (1 << 21) | (1 << 16));
    expect(it.read(R.ICR)).toBe(1 << 9);
  });
});

describe('interrupts, §13.4.17 to §13.4.21', () => {
  test('the line is causes and mask; reading ICR clears, writing it acknowledges single causes', () => {
    const it = rig();
    it.write(R.ICS, 0x84);
    expect(it.line.level).toBe(false);
    it.write(R.IMS, 0x80);
    expect([it.line.level, it.read(R.IMS)]).toEqual([true, 0x80]);
    it.write(R.ICR, 0x80);
    expect([it.line.level, it.read(R.ICS)]).toEqual([false, 4]);
    it.write(R.IMS, 4);
    expect([it.line.level, it.read(R.IMS)]).toEqual([true, 0x84]);
    it.write(R.IMC, 4);
    expect([it.line.level, it.read(R.IMS)]).toEqual([false, 0x80]);
    expect([it.read(R.ICR), it.read(R.ICR)]).toEqual([4, 0]);
  });

  test('ITR: between two interrupts pass at least that many units of 256 ns', () => {
    const it = rig();
    it.write(R.ITR, 1000);
    it.write(R.IMS, 1);
    it.write(R.ICS, 1);
    expect(it.line.rises).toBe(1);
    it.read(R.ICR);
    it.write(R.ICS, 1);
    it.pass(255_999);
    expect(it.line).toEqual({ level: false, rises: 1 });
    it.pass(1);
    expect(it.line).toEqual({ level: true, rises: 2 });
    it.read(R.ICR);
    it.pass(1e6);
    it.write(R.ICS, 1);
    expect(it.line.rises).toBe(3);
  });

  test('RDTR waits for a quiet moment, RADV for so long at most, and FPD not at all', () => {
    const it = rig();
    it.receiveRing(64);
    it.write(R.IMS, 0x80);
    it.write(R.RDTR, 10);
    it.write(R.RADV, 25);
    const arrivals: number[] = [];
    for (let i = 0; i < 4; i++) {
      it.cable.deliver(frame(BROADCAST));
      it.pass(9 * 1024);
      arrivals.push(it.line.rises);
    }
    // The limit passes in the third wait; the fourth frame starts over.
    expect(arrivals).toEqual([0, 0, 1, 1]);
    it.read(R.ICR);
    it.pass(1024);
    expect(it.line.rises).toBe(2);
    it.read(R.ICR);
    it.cable.deliver(frame(BROADCAST));
    it.write(R.RDTR, 0x8000_000a);
    expect(it.line.rises).toBe(3);
    expect(it.read(R.RDTR)).toBe(10);
  });
});

describe('resets', () => {
  test('CTRL.RST resets the adapter, not the transceiver; the address comes from the EEPROM', () => {
    const it = rig();
    it.write(R.RAL, 0x1111_1111);
    it.write(R.IMS, 0xff);
    phyWrite(it, 16, 0x1234);
    it.write(R.CTRL, it.read(R.CTRL) | (1 << 26));
    expect(it.read(R.CTRL) & (1 << 26)).toBe(0);
    expect(it.read(R.IMS)).toBe(0);
    expect([it.read(R.RAL), it.read(R.RAH)]).toEqual([0x1200_5452, 0x8000_5634]);
    expect(phyRead(it, 16)).toBe(0x1234);
    expect(it.card.mac()).toEqual(MAC);
    it.card.reset();
    expect(it.card.pci.mapped()[0]?.base).toBeUndefined();
  });

  test('§13.2.2: registers are reached through the I/O BAR, too', () => {
    const it = rig();
    it.io.write(0, 4, R.IMS);
    it.io.write(4, 4, 0x55);
    expect([it.read(R.IMS), it.io.read(4, 4), it.io.read(0, 4)]).toEqual([0x55, 0x55, R.IMS]);
    it.io.write(0, 4, 0xffff_fff0);
    it.io.write(4, 4, 1);
    expect(it.io.read(4, 4)).toBe(0);
  });
});
