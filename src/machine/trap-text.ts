/** A trap as a line of the log, in the words of QEMU's `-d int`. */
import { type Hart, INTERRUPT_FLAG } from '../cpu/hart.ts';

/** By exception code (Privileged ISA §3.1.15); those that can't happen here are left out. */
const EXCEPTIONS: Readonly<Record<number, string>> = {
  0: 'misaligned_fetch',
  1: 'fault_fetch',
  2: 'illegal_instruction',
  3: 'breakpoint',
  4: 'misaligned_load',
  5: 'fault_load',
  6: 'misaligned_store',
  7: 'fault_store',
  8: 'user_ecall',
  9: 'supervisor_ecall',
  11: 'machine_ecall',
  12: 'exec_page_fault',
  13: 'load_page_fault',
  15: 'store_page_fault',
};

/** By interrupt number. */
const INTERRUPTS: Readonly<Record<number, string>> = {
  1: 's_software',
  3: 'm_software',
  5: 's_timer',
  7: 'm_timer',
  9: 's_external',
  11: 'm_external',
};

/** A trap that is about to be taken. @param cause as mcause has it. */
export function trapLine(hart: Hart, cause: bigint, tval: bigint): string {
  const isInterrupt = (cause & INTERRUPT_FLAG) !== 0n;
  const code = Number(cause & ~INTERRUPT_FLAG);
  const hex = (value: bigint | number): string => value.toString(16).padStart(16, '0');
  const name = (isInterrupt ? INTERRUPTS : EXCEPTIONS)[code] ?? '(unknown)';
  return (
    `riscv_cpu_do_interrupt: hart:${hart.id}, async:${isInterrupt ? 1 : 0}, cause:${hex(code)}, ` +
    `epc:0x${hex(hart.pc)}, tval:0x${hex(tval)}, desc=${name}`
  );
}
