/** The two kinds of sequence: what a batch needs of each. */
import { FLOAT_REGISTER_NAMES, REGISTER_NAMES } from '../../src/isa/disassemble.ts';
import type { Random } from '../support/random.ts';
import { AT, BLOCK_SIZE, CONTEXT, CSRS, LOG_ENTRY_SIZE, LOG_SIZE } from './block.ts';
import { generate, type Sequence } from './generator.ts';
import { blockAddress, buildImage, HANDLER_LENGTH, type Image, RAM_BASE } from './image.ts';
import { AREA_SIZE, AT_PRIVILEGED, PAGE, PAGES, PRIVILEGED_CSRS } from './privileged-area.ts';
import { generatePrivileged, type PrivilegedSequence } from './privileged-generator.ts';
import { PRIVILEGED_HANDLER_LENGTH } from './privileged-handler.ts';
import { areaAddress, buildPrivilegedImage, LEFT_CSRS } from './privileged-image.ts';

export { RAM_BASE };

export interface Kind<S extends Sequence> {
  readonly name: string;
  /** Sequences of one image, so that QEMU is started seldom. */
  readonly batch: number;
  /** Bytes of memory that a sequence owns and that are compared. */
  readonly blockSize: number;
  /** QEMU's -cpu. */
  readonly qemuCpu: string;
  /** Instructions of a trap handler, at most. */
  readonly handlerLength: number;
  /** Guest address of the block of a sequence. */
  address(index: number): bigint;
  generate(random: Random, index: number): S;
  build(sequences: ReadonlyMap<number, S>): Image;
  csrName(number: number): string | undefined;
  /** What stands at an offset from the context. */
  nameOf(offset: number): string;
}

/** Machine mode alone: what instructions do. */
export const PLAIN: Kind<Sequence> = {
  name: 'plain',
  batch: 200,
  blockSize: BLOCK_SIZE,
  qemuCpu: 'rv64',
  handlerLength: HANDLER_LENGTH,
  address: blockAddress,
  generate: (random, index) => generate(random, blockAddress(index), 300),
  build: buildImage,
  csrName: (number) => CSRS.find((csr) => csr.number === number)?.name,
  nameOf: (offset) => CSRS[(offset - AT.csrs) / 8]?.name ?? blockName(offset),
};

/** Modes, paging, protection, traps and interrupts. */
export const PRIVILEGED: Kind<PrivilegedSequence> = {
  name: 'privileged',
  batch: 64,
  blockSize: AREA_SIZE,
  // Without the hypervisor extension, whose bits QEMU has in mstatus, mip, mideleg and medeleg.
  qemuCpu: 'rv64,h=false,x-smaia=true,x-ssaia=true',
  handlerLength: PRIVILEGED_HANDLER_LENGTH,
  address: areaAddress,
  generate: (random, index) => generatePrivileged(random, areaAddress(index), 400),
  build: buildPrivilegedImage,
  csrName: (number) => PRIVILEGED_CSRS.find((csr) => csr.number === number)?.name,
  nameOf(offset) {
    const left = LEFT_CSRS[(offset - AT_PRIVILEGED.csrs) / 8];
    if (left !== undefined) return left.name;
    const page = Math.floor((offset + CONTEXT) / PAGE);
    const name = Object.entries(PAGES).findLast(([, first]) => first <= page);
    if (page <= PAGES.log || name === undefined) return blockName(offset);
    return `${name[0]} + 0x${(offset + CONTEXT - name[1] * PAGE).toString(16)}`;
  },
};

export const KINDS: readonly Kind<Sequence>[] = [PLAIN, PRIVILEGED];

function blockName(offset: number): string {
  const register = REGISTER_NAMES[(offset - AT.registers) / 8];
  if (register !== undefined) return register;
  const float = FLOAT_REGISTER_NAMES[(offset - AT.floats) / 8];
  if (float !== undefined) return float;
  if (offset >= AT.log && offset < AT.log + LOG_SIZE) {
    const entry = Math.floor((offset - AT.log) / LOG_ENTRY_SIZE);
    return `trap ${entry} ${['cause', 'epc', 'tval', 'status'][((offset - AT.log) % LOG_ENTRY_SIZE) / 8]}`;
  }
  if (offset === AT.traps) return 'number of traps';
  return `context ${offset < 0 ? '-' : '+'} 0x${Math.abs(offset).toString(16)}`;
}
