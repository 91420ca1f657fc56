/**
 * The CSRs of Smaia and Ssaia, which a hart with an IMSIC has. RISC-V Advanced Interrupt Architecture 1.0, chapters 2
 * (numbers), 3 (interrupt files) and 5 (top interrupts, virtual interrupts).
 *
 * Major interrupts have their default priorities: the iprio arrays are read-only zeros (§5.2.1, §5.4.1), and nothing is
 * filtered: mvien is a read-only zero (§5.3).
 */
import type { HartCsr } from '../memory/layout.ts';
import type { Csr, CsrHart } from './csr.ts';
import { type Hart, PRIVILEGE } from './hart.ts';
import { INTERRUPT_FILE, type InterruptFile } from './interrupt-file.ts';

/** §2.1: the ranges of *iselect. */
const IPRIO = { first: 0x30, end: 0x40 };
const EIP = 0x80;
const FILE_END = 0x100;

/** §5.2.2: with all priorities at their default, what *topi says of any interrupt. */
const DEFAULT_IPRIO = 1n;

/** What a level's CSRs have of their own. */
interface Level {
  readonly extension: 'Smaia' | 'Ssaia';
  readonly privilege: number;
  /** "m" or "s". */
  readonly letter: string;
  readonly select: HartCsr;
  readonly numbers: {
    readonly select: number;
    readonly register: number;
    readonly topei: number;
    readonly topi: number;
  };
  /** What *iselect can hold. */
  readonly selectable: bigint;
  /** Which interrupts trap to the level. */
  readonly taken: (hart: Hart) => bigint;
}

const LEVELS: readonly Level[] = [
  {
    extension: 'Smaia',
    privilege: PRIVILEGE.machine,
    letter: 'm',
    select: 'miselect',
    numbers: { select: 0x350, register: 0x351, topei: 0x35c, topi: 0xfb0 },
    selectable: 0xffn,
    taken: (hart) => ~hart.csr('mideleg'),
  },
  {
    extension: 'Ssaia',
    privilege: PRIVILEGE.supervisor,
    letter: 's',
    select: 'siselect',
    numbers: { select: 0x150, register: 0x151, topei: 0x15c, topi: 0xdb0 },
    // §2.2 recommends one bit more than machine level has.
    selectable: 0x1ffn,
    taken: (hart) => hart.csr('mideleg'),
  },
];

/** Whether *iselect has the number of no register: with 64 bits, iprio, eip and eie have even numbers alone. */
function selectsNothing(select: number): boolean {
  const isFile = select >= INTERRUPT_FILE && select < FILE_END;
  const isPriority = select >= IPRIO.first && select < IPRIO.end;
  if (!isFile && !isPriority) return true;
  return (isPriority || select >= EIP) && select % 2 === 1;
}

function* levelRegisters(level: Level): Generator<Csr> {
  const { extension, letter, numbers, select } = level;
  const file = ({ hart, context }: CsrHart): InterruptFile | undefined =>
    context.interruptFile?.(hart.id, level.privilege);
  const selected = (hart: Hart): number => Number(hart.csr(select));
  yield {
    extension,
    number: numbers.select,
    name: select,
    read: ({ hart }) => hart.csr(select),
    write: ({ hart }, value) => hart.setCsr(select, value & level.selectable),
  };
  yield {
    extension,
    number: numbers.register,
    name: `${letter}ireg`,
    read: (of) => {
      const register = selected(of.hart);
      return register < INTERRUPT_FILE ? 0n : (file(of)?.read(register) ?? 0n);
    },
    write: (of, value) => {
      const register = selected(of.hart);
      if (register >= INTERRUPT_FILE) file(of)?.write(register, value);
    },
    effects: ['interrupts'],
    illegal: (hart) => selectsNothing(selected(hart)),
  };
  yield {
    extension,
    number: numbers.topei,
    name: `${letter}topei`,
    read: (of) => BigInt(file(of)?.topei ?? 0),
    write: (of) => file(of)?.claim(),
    effects: ['interrupts'],
  };
  yield {
    extension,
    number: numbers.topi,
    name: `${letter}topi`,
    read: ({ hart }) => {
      const first = hart.firstInterrupt(hart.csr('mip') & hart.csr('mie') & level.taken(hart));
      return first === undefined ? 0n : (BigInt(first) << 16n) | DEFAULT_IPRIO;
    },
  };
}

export const AIA_CSRS: readonly Csr[] = [
  ...LEVELS.flatMap((level) => [...levelRegisters(level)]),
  { extension: 'Smaia', number: 0x308, name: 'mvien', read: () => 0n, write: () => {} },
];
