/** The devices of the machine, at their addresses. */
import { Aclint, type AclintLines } from '../devices/aclint.ts';
import type { Device } from '../devices/device.ts';
import { Finisher } from '../devices/finisher.ts';
import type { Timebase } from '../devices/timebase.ts';
import { Uart16550 } from '../devices/uart16550.ts';
import { MEMORY_MAP } from './memory-map.ts';

/** Where the devices' lines and effects go. */
export interface BoardWiring {
  readonly timebase: Timebase;
  /** The ACLINT's lines, one pair per hart. */
  readonly lines: readonly AclintLines[];
  /** A byte from the serial port. */
  transmit(byte: number): void;
  /** The finisher was told to end, with this exit code. */
  powerOff(code: number): void;
  /** The finisher was told to reset. */
  reset(): void;
}

export interface Board {
  readonly finisher: Finisher;
  readonly aclint: Aclint;
  readonly uart: Uart16550;
  /** All of them. */
  readonly devices: readonly Device[];
}

export function createBoard({ timebase, lines, transmit, powerOff, reset }: BoardWiring): Board {
  const finisher = new Finisher({ ...MEMORY_MAP.finisher, powerOff, reset });
  const aclint = new Aclint({ ...MEMORY_MAP.aclint, timebase, lines });
  // No interrupt controller collects the UART's line yet: drivers poll.
  const uart = new Uart16550({ ...MEMORY_MAP.uart, transmit, interrupt() {} });
  return { finisher, aclint, uart, devices: [finisher, aclint, uart] };
}
