/** What monitors ask of a VM's machine: registers, memory, disassembly, tables. Changes nothing. */

import { GodwitError } from '../error.ts';
import type { CodeLines } from '../machine/code-dump.ts';
import type { BlockCounters, BlockInfo } from '../monitor/block.ts';
import { topic } from '../monitor/info.ts';
import type { InfoTopic, MemoryAddress } from '../monitor/target.ts';
import { blockInfo } from './block-info.ts';
import { saveMemory } from './memory-file.ts';
import type { VmDirty } from './vm-dirty.ts';
import type { VmMachine } from './vm-machine.ts';

export class VmInspection {
  readonly #machine: VmMachine;
  readonly #dirty: VmDirty;
  readonly infoTopics: readonly InfoTopic[] = [
    {
      name: 'registers',
      params: '[-a]',
      help: 'show the cpu registers (-a: of all harts)',
      text: (args, hart) => this.#registers(args.trim(), hart),
    },
    topic('dirty-top', 'show which instructions make pages dirty', () => this.#dirty.top()),
    topic('mem', 'show the active virtual memory mappings', (hart) =>
      this.#machine.remote.translations(hart),
    ),
    topic('mtree', 'show memory tree', () => this.#machine.remote.memoryTree()),
    topic('network', 'show the network state', () => this.#machine.remote.networks()),
    topic('jit', 'show what the JIT has translated', () => this.#machine.remote.jit()),
    topic('pci', 'show PCI info', () => this.#machine.remote.pci()),
    topic('pic', 'show the interrupt controller', () => this.#machine.remote.interrupts()),
    topic('qtree', 'show device tree', () => this.#machine.remote.deviceTree()),
  ];

  constructor(machine: VmMachine, dirty: VmDirty) {
    this.#machine = machine;
    this.#dirty = dirty;
  }

  get harts(): number {
    const { built } = this.#machine;
    if (built === undefined) throw new GodwitError('state', 'there is no machine yet');
    return built.configuration.harts;
  }

  registers(hart: number): Promise<ReadonlyMap<string, bigint>> {
    return this.#machine.remote.registerValues(hart);
  }

  readMemory({ address, hart }: MemoryAddress, length: number): Promise<Uint8Array> {
    return this.#machine.remote.readMemory(hart, address, length);
  }

  disassemble({ address, hart }: MemoryAddress, count: number): Promise<CodeLines> {
    return this.#machine.remote.disassemble(hart, address, count);
  }

  async saveMemory({ address, hart }: MemoryAddress, size: bigint, file: string): Promise<void> {
    const { remote } = this.#machine;
    const read = (at: bigint, length: number) => remote.readMemory(hart, at, length);
    await saveMemory(file, address, size, read, hart === undefined);
  }

  blocks(): BlockInfo[] {
    const { drives, built, ioStatus } = this.#machine;
    return blockInfo(drives, built?.configuration.devices ?? [], ioStatus);
  }

  async blockStats(): Promise<ReadonlyMap<string, BlockCounters>> {
    return this.#machine.built === undefined ? new Map() : await this.#machine.remote.blockStats();
  }

  async #registers(args: string, hart: number): Promise<string> {
    if (args !== '' && args !== '-a') {
      throw GodwitError.unexpected('usage', 'info registers', '-a or nothing', args);
    }
    const all = await this.#machine.remote.registers();
    const texts = all.map((lines, i) => ['', `CPU#${i}`, ...lines].join('\n'));
    return args === '-a' ? texts.join('\n') : (texts[hart] ?? '');
  }
}
