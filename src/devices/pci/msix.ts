/**
 * MSI-X: a table of messages in memory space, each of which a function can send in place of an interrupt. PCI Local Bus
 * Specification 3.0, §6.8.2.
 */
import type { MmioHandler } from '../../memory/mmio.ts';
import { arrayOf, type StateOfFields, u32 } from '../../vmstate/fields.ts';
import {
  port,
  type RegisterBank,
  type RegisterState,
  register,
  registerArray,
  registerFields,
  registerHandler,
  resetRegisters,
} from '../registers.ts';
import type { PciCapability } from './config-space.ts';
import type { PciFunction } from './function.ts';

const CAPABILITY_ID = 0x11;
const CAPABILITY_BYTES = 12;
/** Bytes of a table entry. */
export const MSIX_ENTRY_BYTES = 16;

const CONTROL_MASK_ALL = 1 << 30;
const CONTROL_ENABLE = 0x8000_0000;
const VECTOR_MASKED = 1;

/** §6.8.2.3 to §6.8.2.5; message control is the upper half of its dword. */
const CAPABILITY = {
  control: register({ offset: 0, width: 4, writable: 0xc000_0000 }),
  table: port({ offset: 4, width: 4 }),
  pendingBits: port({ offset: 8, width: 4 }),
} satisfies RegisterBank;

/** §6.8.2.6 to §6.8.2.9. */
const table = (vectors: number) =>
  ({
    address: registerArray({
      offset: 0,
      width: 4,
      count: vectors,
      stride: MSIX_ENTRY_BYTES,
      writable: 0xffff_fffc,
    }),
    addressHigh: registerArray({ offset: 4, width: 4, count: vectors, stride: MSIX_ENTRY_BYTES }),
    data: registerArray({ offset: 8, width: 4, count: vectors, stride: MSIX_ENTRY_BYTES }),
    vectorControl: registerArray({
      offset: 12,
      width: 4,
      count: vectors,
      stride: MSIX_ENTRY_BYTES,
      reset: VECTOR_MASKED,
      writable: VECTOR_MASKED,
    }),
  }) satisfies RegisterBank;

/** The saved state of a function's MSI-X with this many vectors. */
export const msixFields = (vectors: number) => ({
  ...registerFields(CAPABILITY),
  ...registerFields(table(vectors)),
  /** One bit per vector. */
  pending: arrayOf(u32(), Math.ceil(vectors / 32)),
});
export type MsixState = StateOfFields<ReturnType<typeof msixFields>>;

export interface MsixOptions {
  readonly vectors: number;
  /** Index of the BAR that holds table and pending bits, and where in it they are: multiples of 8. */
  readonly bar: number;
  readonly tableOffset: number;
  readonly pendingOffset: number;
}

export class Msix {
  readonly capability: PciCapability;
  /** For the BAR: `vectors * MSIX_ENTRY_BYTES` bytes. */
  readonly table: MmioHandler;
  /** For the BAR: one bit per vector in 64-bit words; read only. */
  readonly pendingBits: MmioHandler;
  readonly #bank: ReturnType<typeof table>;
  readonly #words: number;
  #function: PciFunction | undefined;
  #state: MsixState;

  constructor({ vectors, bar, tableOffset, pendingOffset }: MsixOptions) {
    this.#bank = table(vectors);
    this.#words = Math.ceil(vectors / 32);
    this.#state = this.#resetState();
    const state = () => this.#state as RegisterState<typeof CAPABILITY & ReturnType<typeof table>>;
    this.capability = {
      id: CAPABILITY_ID,
      length: CAPABILITY_BYTES,
      handler: registerHandler(CAPABILITY, {
        state,
        hooks: {
          control: {
            read: (value) => (value | ((vectors - 1) << 16)) >>> 0,
            write: () => this.#enabledOrUnmasked(),
          },
          table: { read: () => tableOffset | bar },
          pendingBits: { read: () => pendingOffset | bar },
        },
      }),
    };
    this.table = registerHandler(this.#bank, {
      state,
      hooks: { vectorControl: { write: () => this.#sendPending() } },
    });
    this.pendingBits = {
      read: (offset, size) => {
        const word = this.#state.pending[offset >>> 2] ?? 0;
        const bits = word >>> (8 * (offset & 3));
        return size === 4 ? bits >>> 0 : bits & ((1 << (8 * size)) - 1);
      },
      write() {},
    };
  }

  /** The function whose messages these are. */
  connect(pci: PciFunction): void {
    this.#function = pci;
  }

  /** Software uses messages in place of the interrupt pin. */
  get enabled(): boolean {
    return (this.#state.control & CONTROL_ENABLE) !== 0;
  }

  /** Sends a vector's message, or notes it as pending while it is masked (§6.8.2.9). Nothing if MSI-X is disabled. */
  notify(vector: number): void {
    const { address, addressHigh, data, vectorControl, control, pending } = this.#state;
    const masks = vectorControl[vector];
    if (!this.enabled || masks === undefined) return;
    if (control & CONTROL_MASK_ALL || masks & VECTOR_MASKED) {
      pending[vector >>> 5] = ((pending[vector >>> 5] as number) | (1 << (vector & 31))) >>> 0;
      return;
    }
    const to = (addressHigh[vector] as number) * 2 ** 32 + (address[vector] as number);
    this.#function?.sendMessage(to, data[vector] as number);
  }

  reset(): void {
    this.load(this.#resetState());
  }

  save(): MsixState {
    return this.#state;
  }

  load(state: MsixState): void {
    this.#state = state;
    this.#function?.useMessages(this.enabled);
  }

  #enabledOrUnmasked(): void {
    this.#function?.useMessages(this.enabled);
    this.#sendPending();
  }

  #sendPending(): void {
    if (!this.enabled) return;
    const { pending } = this.#state;
    for (const [word, bits] of pending.entries()) {
      pending[word] = 0;
      // What is still masked becomes pending again.
      for (let bit = 0; bit < 32; bit++) if ((bits >>> bit) & 1) this.notify(32 * word + bit);
    }
  }

  #resetState(): MsixState {
    return {
      ...resetRegisters(CAPABILITY),
      ...resetRegisters(this.#bank),
      pending: new Array<number>(this.#words).fill(0),
    };
  }
}
