/**
 * The registers of an APLIC interrupt domain and its saved state. RISC-V Advanced Interrupt Architecture 1.0, §4.5
 * (control region) and §4.8.1 (IDC structures).
 */
import { descriptor, type StateOf } from '../vmstate/descriptor.ts';
import { arrayOf, u32 } from '../vmstate/fields.ts';
import { INTERRUPT_SOURCES as SOURCES } from './interrupt-controller.ts';
import { port, type RegisterBank, register, registerArray, registerFields } from './registers.ts';
import { sourceBits, wordsOf } from './source-set.ts';

/** What makes one domain different from another. */
export interface DomainKind {
  readonly level: 'machine' | 'supervisor';
  /** §4.5.1: how it delivers; fixed here (DM is WARL), as on QEMU's `virt`. */
  readonly delivery: 'direct' | 'msi';
  readonly harts: number;
}

export const WORDS = wordsOf(SOURCES);

/** §4.5.1. */
export const DOMAINCFG = { ie: 1 << 8, dm: 1 << 2, constant: 0x8000_0000 } as const;
/** §4.5.2: SM, and D with child index 0. */
export const SOURCE_MODE = { inactive: 0, detached: 1, edge1: 4, edge0: 5, level1: 6, level0: 7 } as const;
export const DELEGATED = 1 << 10;
export const SOURCE_MODE_BITS = 7;
/** §4.5.16. IPRIOLEN is 3, as on QEMU's `virt`. */
export const IPRIO_BITS = 7;
export const EIID_BITS = 0x7ff;
export const HART_INDEX_SHIFT = 18;
/** §4.5.3: the lock of all four address registers, and what else mmsiaddrcfgh has. */
export const MSIADDRCFG_LOCK = 0x8000_0000;
const MMSIADDRCFGH_BITS = 0x9f77_ffff;
/** §4.5.4. */
const SMSIADDRCFGH_BITS = 0x0070_0fff;

const domainRegisters = (delivery: DomainKind['delivery']) =>
  ({
    domaincfg: register({
      offset: 0,
      width: 4,
      reset: DOMAINCFG.constant + (delivery === 'msi' ? DOMAINCFG.dm : 0),
      writable: DOMAINCFG.ie,
    }),
    /** Of source 1 and up. */
    sourcecfg: registerArray({ offset: 0x0004, width: 4, count: SOURCES }),
    setip: port({ offset: 0x1c00, width: 4, count: WORDS }),
    setipnum: port({ offset: 0x1cdc, width: 4, access: 'w' }),
    in_clrip: port({ offset: 0x1d00, width: 4, count: WORDS }),
    clripnum: port({ offset: 0x1ddc, width: 4, access: 'w' }),
    setie: port({ offset: 0x1e00, width: 4, count: WORDS }),
    setienum: port({ offset: 0x1edc, width: 4, access: 'w' }),
    clrie: port({ offset: 0x1f00, width: 4, access: 'w', count: WORDS }),
    clrienum: port({ offset: 0x1fdc, width: 4, access: 'w' }),
    setipnum_le: port({ offset: 0x2000, width: 4, access: 'w' }),
    /** Of source 1 and up. */
    target: registerArray({ offset: 0x3004, width: 4, count: SOURCES }),
  }) satisfies RegisterBank;

/** §4.8.1, one structure per hart. */
const directRegisters = (harts: number) => {
  const perHart = { width: 4, count: harts, stride: 0x20 } as const;
  return {
    idelivery: registerArray({ ...perHart, offset: 0x4000, writable: 1 }),
    iforce: registerArray({ ...perHart, offset: 0x4004, writable: 1 }),
    ithreshold: registerArray({ ...perHart, offset: 0x4008, writable: IPRIO_BITS }),
    topi: port({ ...perHart, offset: 0x4018, access: 'r' }),
    claimi: port({ ...perHart, offset: 0x401c, access: 'r' }),
  } satisfies RegisterBank;
};

const msiRegisters = {
  /** §4.5.15; messages leave at once, so Busy is never seen. */
  genmsi: register({ offset: 0x3000, width: 4, writable: 0xfffc_07ff }),
} satisfies RegisterBank;

/** Of the root domain. */
const msiAddressRegisters = {
  mmsiaddrcfg: register({ offset: 0x1bc0, width: 4 }),
  mmsiaddrcfgh: register({ offset: 0x1bc4, width: 4, writable: MMSIADDRCFGH_BITS }),
  smsiaddrcfg: register({ offset: 0x1bc8, width: 4 }),
  smsiaddrcfgh: register({ offset: 0x1bcc, width: 4, writable: SMSIADDRCFGH_BITS }),
} satisfies RegisterBank;

type AllRegisters = ReturnType<typeof domainRegisters> &
  ReturnType<typeof directRegisters> &
  typeof msiRegisters &
  typeof msiAddressRegisters;

/**
 * A domain's registers. The type has them all; those of the other way of delivery, and the root domain's addresses
 * elsewhere, are missing at run time, in the state as well: who uses them knows the domain's kind.
 */
export function aplicRegisters({ level, delivery, harts }: DomainKind): AllRegisters {
  return {
    ...domainRegisters(delivery),
    ...(delivery === 'direct' ? directRegisters(harts) : msiRegisters),
    ...(delivery === 'msi' && level === 'machine' ? msiAddressRegisters : {}),
  } as AllRegisters;
}

export const aplicState = (kind: DomainKind, name: string) =>
  descriptor({
    name,
    version: 1,
    minimumVersion: 1,
    fields: {
      ...registerFields(aplicRegisters(kind)),
      /** The wires that are high; in a child domain only those of sources that are delegated to it. */
      wires: arrayOf(u32(), WORDS),
      pending: arrayOf(u32(), WORDS),
      enabled: arrayOf(u32(), WORDS),
    },
    afterLoad(state, refuse) {
      for (const field of ['wires', 'pending', 'enabled'] as const) {
        for (const [word, bits] of state[field].entries()) {
          if ((bits & ~sourceBits(word, SOURCES)) !== 0) {
            throw refuse(field, `sources 1 to ${SOURCES}`, `others in word ${word}`);
          }
        }
      }
      const { domaincfg } = state;
      const [off, on] = [0, DOMAINCFG.ie].map((ie) => resetOf(kind) + ie);
      if (domaincfg !== off && domaincfg !== on) throw refuse('domaincfg', `${off} or ${on}`, `${domaincfg}`);
      for (const [i, value] of state.sourcecfg.entries()) {
        if (value !== legalSourcecfg(value, kind)) {
          throw refuse('sourcecfg', 'a mode', `${value} of source ${i + 1}`);
        }
      }
      for (const [i, value] of state.target.entries()) {
        if (value !== 0 && value !== legalTarget(value, kind)) {
          throw refuse('target', 'a hart and a priority or identity', `${value} of source ${i + 1}`);
        }
      }
    },
  });

export type AplicState = StateOf<ReturnType<typeof aplicState>>;

const resetOf = (kind: DomainKind): number => aplicRegisters(kind).domaincfg.reset ?? 0;

/** What a write of `value` to sourcecfg comes to (§4.5.2). The machine-level domain has one child, the other none. */
export function legalSourcecfg(value: number, { level }: DomainKind): number {
  if ((value & DELEGATED) !== 0) return level === 'machine' ? DELEGATED : SOURCE_MODE.inactive;
  const mode = value & SOURCE_MODE_BITS;
  return mode === 2 || mode === 3 ? SOURCE_MODE.inactive : mode;
}

/** What a write of `value` to the target of an active source comes to (§4.5.16). There are no guests. */
export function legalTarget(value: number, { delivery }: DomainKind): number {
  const hart = (value >>> HART_INDEX_SHIFT) * 2 ** HART_INDEX_SHIFT;
  // 0 is no priority.
  return hart + (delivery === 'msi' ? value & EIID_BITS : value & IPRIO_BITS || 1);
}
