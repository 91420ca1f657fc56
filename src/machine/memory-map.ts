/** The one address table of the machine: where QEMU's `virt` has its devices, and their interrupt numbers. */

export const MEMORY_MAP = {
  /** Boot ROM: the reset vector. */
  rom: { base: 0x1000, size: 0xf000 },
  finisher: { base: 0x10_0000 },
  rtc: { base: 0x10_1000, irq: 11 },
  aclint: { base: 0x200_0000 },
  sswi: { base: 0x2f0_0000 },
  plic: { base: 0xc00_0000 },
  /** In the PLIC's place. */
  aplic: { machine: 0xc00_0000, supervisor: 0xd00_0000 },
  pcie: {
    ecam: { base: 0x3000_0000, size: 0x1000_0000 },
    pio: { base: 0x300_0000, size: 0x1_0000 },
    mmio: { base: 0x4000_0000, size: 0x4000_0000 },
    /** Above RAM, however much of it there is. */
    highMmio: { base: 0x4_0000_0000, size: 0x4_0000_0000 },
    /** INTA# of slot 0; the other three lines follow. */
    irq: 32,
  },
  uart: { base: 0x1000_0000, irq: 10 },
  /** Transports, one after another; interrupts likewise. */
  virtioMmio: { base: 0x1000_1000, stride: 0x1000, irq: 1, count: 8 },
  imsic: { machine: 0x2400_0000, supervisor: 0x2800_0000 },
  ram: { base: 0x8000_0000 },
} as const;

const MiB = 1024 * 1024;

/** What RAM and hart counts a machine may have; RAM in bytes. */
export const LIMITS = { minRam: 16 * MiB, maxRam: 3584 * MiB, maxHarts: 8 } as const;

/** The device tree stands below this address, so that 32-bit code can reach it. */
export const FDT_LIMIT = 0xc000_0000;
/** The device tree's address is a multiple of this. */
export const FDT_ALIGNMENT = 2 * MiB;
