/**
 * The registers of the 82540EM: Intel's PCI/PCI-X Family of Gigabit Ethernet Controllers Software Developer's Manual
 * (317453, revision 4.0), chapter 13, by the manual's names. What is not named here reads as zero, and so do the
 * statistics of faults that a cable in memory does not have.
 */
import {
  port,
  type RegisterBank,
  type RegisterState,
  register,
  registerArray,
  resetRegisters,
} from '../registers.ts';

/** A register that keeps what is written and has no other effect in this model. */
const kept = (offset: number, writable = 0xffff_ffff, reset = 0) =>
  register({ offset, width: 4, writable, reset });
/** A statistic, §13.7: read only, and read to clear. */
const statistic = (offset: number) => register({ offset, width: 4, access: 'r' });
/** One of 64 bits; cleared when its upper half is read. */
const wideStatistic = (offset: number) => register({ offset, width: 8, access: 'r' });

/** §13.7, those that can count here. */
export const STATISTICS = {
  mpc: statistic(0x4010),
  prc64: statistic(0x405c),
  prc127: statistic(0x4060),
  prc255: statistic(0x4064),
  prc511: statistic(0x4068),
  prc1023: statistic(0x406c),
  prc1522: statistic(0x4070),
  gprc: statistic(0x4074),
  bprc: statistic(0x4078),
  mprc: statistic(0x407c),
  gptc: statistic(0x4080),
  gorc: wideStatistic(0x4088),
  gotc: wideStatistic(0x4090),
  rnbc: statistic(0x40a0),
  roc: statistic(0x40ac),
  tor: wideStatistic(0x40c0),
  tot: wideStatistic(0x40c8),
  tpr: statistic(0x40d0),
  tpt: statistic(0x40d4),
  ptc64: statistic(0x40d8),
  ptc127: statistic(0x40dc),
  ptc255: statistic(0x40e0),
  ptc511: statistic(0x40e4),
  ptc1023: statistic(0x40e8),
  ptc1522: statistic(0x40ec),
  mptc: statistic(0x40f0),
  bptc: statistic(0x40f4),
  tsctc: statistic(0x40f8),
} satisfies RegisterBank;

export const REGISTERS = {
  // §13.4.1 to §13.4.19: general
  ctrl: kept(0x0000, 0xfbff_ffff, 0x0014_0241),
  status: port({ offset: 0x0008, width: 4, access: 'r' }),
  eecd: port({ offset: 0x0010, width: 4 }),
  eerd: port({ offset: 0x0014, width: 4 }),
  ctrlExt: kept(0x0018),
  mdic: kept(0x0020, 0x2fff_ffff),
  fcal: kept(0x0028),
  fcah: kept(0x002c, 0xffff),
  fct: kept(0x0030, 0xffff),
  vet: kept(0x0038, 0xffff, 0x8100),
  icr: register({ offset: 0x00c0, width: 4, writable: 0, clears: 0xffff_ffff }),
  itr: kept(0x00c4, 0xffff),
  ics: port({ offset: 0x00c8, width: 4 }),
  /** Writing it sets bits; IMC clears them. */
  ims: register({ offset: 0x00d0, width: 4, writable: 0 }),
  imc: port({ offset: 0x00d8, width: 4, access: 'w' }),
  rctl: kept(0x0100, 0x07f7_fffe),
  fcttv: kept(0x0170, 0xffff),
  txcw: kept(0x0178),
  tctl: kept(0x0400, 0x0fff_fffa),
  tipg: kept(0x0410, 0x3fff_ffff),
  ait: kept(0x0458, 0xffff),
  ledctl: kept(0x0e00, 0xcfcf_cfcf, 0x0706_8302),
  pba: kept(0x1000, 0xffff, 0x30),
  // §13.4.25 to §13.4.33: receive
  fcrtl: kept(0x2160, 0x8000_fff8),
  fcrth: kept(0x2168, 0xfff8),
  rdbal: kept(0x2800, 0xffff_fff0),
  rdbah: kept(0x2804),
  rdlen: kept(0x2808, 0x000f_ff80),
  rdh: kept(0x2810, 0xffff),
  rdt: kept(0x2818, 0xffff),
  rdtr: kept(0x2820, 0xffff),
  rxdctl: kept(0x2828, 0x013f_3f3f, 0x0101_0000),
  radv: kept(0x282c, 0xffff),
  rsrpd: kept(0x2c00, 0xfff),
  // §13.4.34 to §13.4.45: transmit
  tdbal: kept(0x3800, 0xffff_fff0),
  tdbah: kept(0x3804),
  tdlen: kept(0x3808, 0x000f_ff80),
  tdh: kept(0x3810, 0xffff),
  tdt: kept(0x3818, 0xffff),
  tidv: kept(0x3820, 0xffff),
  txdctl: kept(0x3828, 0xff3f_3f3f),
  tadv: kept(0x382c, 0xffff),
  tspmt: kept(0x3830, 0xffff_ffff, 0x0100_0400),
  ...STATISTICS,
  // §13.4.46 and §13.5: filters
  rxcsum: kept(0x5000, 0x7ff),
  mta: registerArray({ offset: 0x5200, width: 4, count: 128 }),
  ral: registerArray({ offset: 0x5400, width: 4, count: 16, stride: 8 }),
  rah: registerArray({ offset: 0x5404, width: 4, count: 16, stride: 8, writable: 0x8003_ffff }),
  vfta: registerArray({ offset: 0x5600, width: 4, count: 128 }),
  // §13.6: wake up and management, which nothing here does
  wuc: kept(0x5800, 0xf),
  wufc: kept(0x5808, 0x000f_80ff),
  ipav: kept(0x5838, 0x0001_000f),
  manc: kept(0x5820),
  /** The software semaphore of later adapters; U-Boot takes it here, too, before it reads the EEPROM. */
  swsm: kept(0x5b50, 0x3),
} satisfies RegisterBank;

export type E1000Registers = RegisterState<typeof REGISTERS>;

export const newRegisters = (): E1000Registers => resetRegisters(REGISTERS);

/** Bytes of the register space. */
export const REGISTER_BYTES = 0x2_0000;

/** §13.4.1; a reset clears itself. */
export const CTRL = { reset: 1 << 26, vlanMode: 1 << 30, phyReset: 0x8000_0000 } as const;

/** §13.4.2: full duplex at 1000 Mb/s, which is what the cable has. */
export const STATUS = {
  fullDuplex: 1 << 0,
  linkUp: 1 << 1,
  speed1000: 0x2 << 6,
  detected1000: 0x2 << 8,
} as const;

/** Interrupt causes, §13.4.17. */
export const CAUSE = {
  transmitWrittenBack: 1 << 0,
  transmitQueueEmpty: 1 << 1,
  linkChange: 1 << 2,
  receiveMinimum: 1 << 4,
  receiveOverrun: 1 << 6,
  receiveTimer: 1 << 7,
  mdioAccess: 1 << 9,
  smallReceive: 1 << 16,
} as const;

/** §13.4.22. */
export const RCTL = {
  enable: 1 << 1,
  storeBad: 1 << 2,
  unicastPromiscuous: 1 << 3,
  multicastPromiscuous: 1 << 4,
  longPackets: 1 << 5,
  loopback: 3 << 6,
  broadcast: 1 << 15,
  vlanFilter: 1 << 18,
  cfiEnable: 1 << 19,
  cfi: 1 << 20,
  bufferExtension: 1 << 25,
  stripCrc: 1 << 26,
} as const;

export const TCTL_ENABLE = 1 << 1;
/** Pad short packets. */
export const TCTL_PAD = 1 << 3;

/** Which checksums of received frames are checked. */
export const RXCSUM = { ip: 1 << 8, transport: 1 << 9 } as const;

/** Descriptors of both directions have this size. */
export const DESCRIPTOR_BYTES = 16;

/** Adds to a statistic, which stays at its greatest value (§13.7). */
export function count(registers: E1000Registers, name: keyof typeof STATISTICS, by: number = 1): void {
  const value = registers[name];
  if (typeof value === 'bigint') (registers[name] as bigint) = BigInt.asUintN(64, value + BigInt(by));
  else (registers[name] as number) = Math.min(value + by, 0xffff_ffff);
}

/** The statistic of a frame's size, which is counted with its FCS: "prc64" to "prc1522". */
export function sizeStatistic<P extends 'prc' | 'ptc'>(prefix: P, bytes: number) {
  const bound = ([64, 127, 255, 511, 1023] as const).find((limit) => bytes <= limit) ?? 1522;
  return `${prefix}${bound}` as const;
}
