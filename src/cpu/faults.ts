/** Exceptions that accesses to memory cause (Privileged ISA §3.1.15). */
import type { MemoryAccess } from '../isa/semantics.ts';
import { CAUSE } from './hart.ts';

/** The exceptions of a kind of access: no page, and no memory or no permission of the PMP. */
export interface Faults {
  readonly page: number;
  readonly access: number;
}
export const FETCH_FAULTS: Faults = {
  page: CAUSE.instructionPageFault,
  access: CAUSE.instructionAccessFault,
};
const LOAD_FAULTS: Faults = { page: CAUSE.loadPageFault, access: CAUSE.loadAccessFault };
export const STORE_FAULTS: Faults = { page: CAUSE.storePageFault, access: CAUSE.storeAccessFault };

/** An exception that an access would cause. */
export interface Fault {
  readonly cause: number;
  readonly address: bigint;
}
/** No exception: what is needed has not arrived yet, and the hart has been stopped before its instruction. */
export const NOT_HERE: Fault = { cause: -1, address: 0n };

/** Those of an access by an instruction. */
export function faultsOf(access: MemoryAccess): Faults {
  return access.kind === 'load' ? LOAD_FAULTS : STORE_FAULTS;
}
