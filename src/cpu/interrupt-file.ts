/**
 * What a hart's CSRs see of its IMSIC: one interrupt file per privilege level. RISC-V Advanced Interrupt Architecture
 * 1.0, §3.7 to §3.9.
 */
export interface InterruptFile {
  /** What mtopei or stopei reads as (§3.9). */
  readonly topei: number;
  /** Clears the pending bit of what topei shows. */
  claim(): void;
  /** A register that is accessed through *ireg, by its number from INTERRUPT_FILE on; 64 bits (§3.8). */
  read(register: number): bigint;
  write(register: number, value: bigint): void;
}

/** The first register of an interrupt file, as *iselect numbers them; the last is 0xff. */
export const INTERRUPT_FILE = 0x70;
