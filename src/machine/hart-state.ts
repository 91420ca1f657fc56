/** The state of a hart as it is saved: nothing but its descriptor, and where the fields stand. */
import type { Hart } from '../cpu/hart.ts';
import { PMP_COUNT, type Pmp } from '../cpu/pmp.ts';
import { HART_CSRS, type HartCsr } from '../memory/layout.ts';
import { descriptor, type StateOf } from '../vmstate/descriptor.ts';
import { arrayOf, bool, u8, u64 } from '../vmstate/fields.ts';
import { type DescribedMigratable, migratable } from '../vmstate/section.ts';

const csrFields = Object.fromEntries(HART_CSRS.map((name) => [name, u64()])) as Record<
  HartCsr,
  ReturnType<typeof u64>
>;

const vmstateHart = descriptor({
  name: 'hart',
  version: 1,
  minimumVersion: 1,
  fields: {
    pc: u64(),
    /** x1 to x31. */
    x: arrayOf(u64(), 31),
    /** f0 to f31, their bits. */
    f: arrayOf(u64(), 32),
    ...csrFields,
    /** Address of the LR reservation; all ones for none. */
    reservation: u64(),
    waiting: bool(),
    /** The two that make up mip.SEIP (Privileged ISA §3.1.9). */
    seipLine: bool(),
    seipSoftware: bool(),
    privilege: u8(),
    pmpcfg: arrayOf(u8(), PMP_COUNT),
    pmpaddr: arrayOf(u64(), PMP_COUNT),
  },
  afterLoad(state, refuse) {
    if (![0, 1, 3].includes(state.privilege)) throw refuse('privilege', '0, 1 or 3', String(state.privilege));
  },
});

type HartState = StateOf<typeof vmstateHart>;

/** Section "hartN" for the hart. */
export function hartState(hart: Hart, pmp: Pmp): DescribedMigratable {
  return migratable(
    vmstateHart,
    {
      get(): HartState {
        return {
          pc: hart.pc,
          x: Array.from({ length: 31 }, (_, i) => hart.x(i + 1)),
          f: Array.from({ length: 32 }, (_, i) => hart.f(i)),
          ...(Object.fromEntries(HART_CSRS.map((name) => [name, hart.csr(name)])) as Record<HartCsr, bigint>),
          reservation: BigInt.asUintN(64, hart.reservation),
          waiting: hart.waiting,
          seipLine: hart.seipLine,
          seipSoftware: hart.seipSoftware,
          privilege: hart.privilege,
          pmpcfg: [...pmp.configurations],
          pmpaddr: [...pmp.addresses],
        };
      },
      set(state) {
        hart.pc = state.pc;
        for (const [i, value] of state.x.entries()) hart.setX(i + 1, value);
        for (const [i, bits] of state.f.entries()) hart.setF(i, bits);
        for (const name of HART_CSRS) hart.setCsr(name, state[name]);
        hart.reservation = BigInt.asIntN(64, state.reservation);
        hart.waiting = state.waiting;
        hart.seipLine = state.seipLine;
        hart.seipSoftware = state.seipSoftware;
        pmp.configurations.set(state.pmpcfg);
        pmp.addresses.set(state.pmpaddr);
        pmp.update();
        hart.privilege = state.privilege;
      },
    },
    `hart${hart.id}`,
  );
}
