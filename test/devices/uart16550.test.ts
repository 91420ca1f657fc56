import { expect, describe as suite, test } from 'vitest';
import { MAX_PENDING_BYTES, Uart16550 } from '../../src/devices/uart16550.ts';
import type { SavedSection } from '../../src/vmstate/migratable.ts';

const [RBR, THR, IER, IIR, FCR, LCR, MCR, LSR, MSR, SCR] = [0, 0, 1, 2, 2, 3, 4, 5, 6, 7] as const;
const DLAB = 0x80;

function uart() {
  const sent: number[] = [];
  const line = { level: false };
  const device = new Uart16550({
    base: 0x1000_0000,
    interruptProperties: {},
    transmit: (byte) => sent.push(byte),
    interrupt: (level) => {
      line.level = level;
    },
  });
  const handler = (device.regions[0] as (typeof device.regions)[0]).handler;
  return {
    device,
    sent,
    line,
    handler,
    read: (offset: number) => handler.read(offset, 1),
    write: (offset: number, value: number) => handler.write(offset, 1, value),
    type: (text: string) => device.receive(new TextEncoder().encode(text)),
  };
}

/** Reads input as a driver does, until the line status says that there is none. */
function readAll(u: ReturnType<typeof uart>): string {
  const bytes: number[] = [];
  while (u.read(LSR) & 1) bytes.push(u.read(RBR));
  return new TextDecoder().decode(Uint8Array.from(bytes));
}

suite('registers', () => {
  test('are at their reset values', () => {
    const u = uart();
    expect([u.read(IER), u.read(IIR), u.read(LCR), u.read(MCR)]).toEqual([0, 0x01, 0, 0x08]);
    expect([u.read(LSR), u.read(MSR), u.read(SCR)]).toEqual([0x60, 0xb0, 0]);
  });

  test('keep the bits they have', () => {
    const u = uart();
    for (const offset of [IER, LCR, MCR, SCR]) u.write(offset, offset === LCR ? 0x7f : 0xff);
    expect([u.read(IER), u.read(LCR), u.read(MCR) & 0xff, u.read(SCR)]).toEqual([0x0f, 0x7f, 0x1f, 0xff]);
    u.write(LSR, 0xff);
    u.write(MSR, 0xff);
    u.write(MCR, 0);
    expect([u.read(LSR), u.read(MSR)]).toEqual([0x60, 0xb0]);
  });

  test('behind DLAB are the divisor, and it sends and enables nothing', () => {
    const u = uart();
    u.write(LCR, DLAB | 3);
    u.write(0, 0x34);
    u.write(1, 0x12);
    expect([u.read(0), u.read(1)]).toEqual([0x34, 0x12]);
    u.write(LCR, 3);
    expect(u.read(IER)).toBe(0);
    expect(u.sent).toEqual([]);
    expect(u.device.dump()).toContainEqual({ name: 'dlm', offset: 1, value: '0x12' });
  });

  test('answer a wide access with the one register it starts in', () => {
    const u = uart();
    u.write(FCR, 1);
    u.type('ab');
    expect(u.handler.read(RBR, 4)).toBe('a'.charCodeAt(0));
    u.handler.write(THR, 4, 0x0707_0741);
    expect(u.sent).toEqual([0x41]);
    expect(u.read(IER)).toBe(0);
  });
});

suite('sending', () => {
  test('hands each byte on at once, and is ready for the next', () => {
    const u = uart();
    for (const byte of [72, 105, 0, 255]) u.write(THR, byte);
    expect(u.sent).toEqual([72, 105, 0, 255]);
    expect(u.read(LSR)).toBe(0x60);
  });

  test('interrupts when empty, until IIR is read, and again after the next byte', () => {
    const u = uart();
    u.write(IER, 0x02);
    expect(u.line.level).toBe(true);
    expect(u.read(IIR)).toBe(0x02);
    expect(u.line.level).toBe(false);
    expect(u.read(IIR)).toBe(0x01);
    u.write(THR, 65);
    expect(u.line.level).toBe(true);
    u.write(IER, 0);
    expect(u.line.level).toBe(false);
  });

  test('a driver that never reads IIR, as xv6, is not interrupted for ever: LSR tells it as well', () => {
    const u = uart();
    u.write(IER, 0x03);
    u.write(THR, 65);
    expect(u.line.level).toBe(true);
    expect(u.read(LSR) & 0x20).toBe(0x20);
    expect(u.line.level).toBe(false);
  });
});

suite('receiving', () => {
  test('without FIFOs gives byte after byte, and loses none', () => {
    const u = uart();
    expect(u.type('hello')).toBe(5);
    expect(readAll(u)).toBe('hello');
    expect(u.read(LSR)).toBe(0x60);
    expect(u.read(RBR)).toBe(0);
  });

  test('interrupts while there is data and the guest wants to know', () => {
    const u = uart();
    u.type('x');
    expect(u.line.level).toBe(false);
    u.write(IER, 0x01);
    expect(u.line.level).toBe(true);
    expect(u.read(IIR)).toBe(0x04);
    expect(u.line.level).toBe(true);
    u.read(RBR);
    expect(u.line.level).toBe(false);
    expect(u.read(IIR)).toBe(0x01);
  });

  test.each([
    [0x01, 1],
    [0x41, 4],
    [0x81, 8],
    [0xc1, 14],
  ])('with FCR 0x%x reports data at %d bytes, and the time-out below', (fcr, trigger) => {
    const u = uart();
    u.write(FCR, fcr);
    u.write(IER, 0x01);
    u.type('x'.repeat(trigger));
    expect(u.read(IIR)).toBe(0xc4);
    u.read(RBR);
    expect(u.read(IIR)).toBe(trigger > 1 ? 0xcc : 0xc1);
    expect(u.line.level).toBe(trigger > 1);
  });

  test('of more than the FIFO holds waits, in order, up to 64 KiB and refuses the rest', () => {
    const u = uart();
    u.write(FCR, 1);
    const input = Uint8Array.from({ length: 2 * MAX_PENDING_BYTES }, (_, i) => i * 7);
    const accepted = u.device.receive(input);
    expect(accepted).toBe(MAX_PENDING_BYTES);
    // The FIFO took the first 16 out of the queue.
    expect(u.device.room).toBe(16);
    expect(u.device.receive(input.subarray(accepted))).toBe(16);
    expect(u.device.receive(Uint8Array.of(1))).toBe(0);
    for (let i = 0; i < accepted + 16; i++) expect(u.read(RBR)).toBe(input[i]);
    expect(u.read(LSR) & 1).toBe(0);
  });

  test('clearing the FIFO drops what is in it, not what waits', () => {
    const u = uart();
    u.write(FCR, 1);
    u.type('0123456789abcdefWAITS');
    u.write(FCR, 1 | 2);
    expect(readAll(u)).toBe('WAITS');
  });

  test('a change of FIFO mode clears the FIFO', () => {
    const u = uart();
    u.type('x');
    u.write(FCR, 1);
    expect(u.read(LSR) & 1).toBe(0);
    expect(u.read(IIR)).toBe(0xc1);
  });
});

suite('loopback', () => {
  test('brings sent bytes back, to nobody else, while input waits', () => {
    const u = uart();
    u.write(FCR, 1);
    u.write(MCR, 0x10);
    u.type('typed');
    u.write(THR, 65);
    expect(u.sent).toEqual([]);
    expect(u.read(RBR)).toBe(65);
    expect(u.read(LSR) & 1).toBe(0);
    u.write(MCR, 0);
    expect(readAll(u)).toBe('typed');
  });

  test('wires the modem outputs to its inputs', () => {
    const u = uart();
    const inputs = [1, 2, 4, 8].map((output) => {
      u.write(MCR, 0x10 | output);
      return u.read(MSR);
    });
    expect(inputs).toEqual([0x20, 0x10, 0x40, 0x80]);
    // What Linux' driver probes with.
    u.write(MCR, 0x1a);
    expect(u.read(MSR) & 0xf0).toBe(0x90);
  });

  test('reports an overrun once, with the highest priority', () => {
    const u = uart();
    u.write(MCR, 0x10);
    u.write(IER, 0x07);
    u.write(THR, 1);
    u.write(THR, 2);
    expect(u.read(IIR)).toBe(0x06);
    expect(u.read(LSR)).toBe(0x63);
    expect(u.read(LSR)).toBe(0x61);
    expect(u.read(IIR)).toBe(0x04);
    expect(u.read(RBR)).toBe(1);
  });
});

suite('state', () => {
  test('typed bytes that the guest has not read yet arrive after a move, and so does the interrupt', () => {
    const from = uart();
    from.write(FCR, 0x41);
    from.write(IER, 0x01);
    from.type('0123456789abcdef and what waits');
    expect(from.read(RBR)).toBe(0x30);
    const to = uart();
    to.device.state.prepare(from.device.state.save())();
    expect(to.line.level).toBe(true);
    expect(to.read(IIR)).toBe(0xc4);
    expect(readAll(to)).toBe('123456789abcdef and what waits');
  });

  test('a reset drops the interrupt', () => {
    const u = uart();
    u.write(IER, 0x02);
    u.device.reset();
    expect(u.line.level).toBe(false);
  });

  test('more in the FIFO than its mode has is refused', () => {
    const u = uart();
    const section = u.device.state.save();
    const bad: SavedSection = { ...section, fields: { ...section.fields, fifo: Uint8Array.of(1, 2) } };
    expect(() => u.device.state.prepare(bad)).toThrow(
      'uart16550.fifo: expected at most 1 bytes, as fcr says, got 2 bytes',
    );
  });
});
