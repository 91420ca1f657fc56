/**
 * A guest that goes from process to process over lines with faults: after each, exactly one side runs it (if "go" was under
 * way at that moment, at most one, and the source says so), and its line numbers show at the end that nothing was lost.
 */
import { truncateSync, writeFileSync } from 'node:fs';
import { expect } from 'vitest';
import type { Direction } from '../../src/migration/protocol.ts';
import { CuttingProxy, type Fault } from './cutting-proxy.ts';
import { expectNumbered, guest, joinedConsole } from './guests.ts';
import type { Bench, VmProcess } from './vm-process.ts';

/** How a guest travels. */
export interface Kind {
  readonly guest: 'dirty' | 'smp' | 'disk';
  /** Options of the first process, after `backends`. */
  readonly options: readonly string[];
  /** Of every process on the way: what the guest's devices need of the host. */
  readonly backends?: (bench: Bench) => readonly string[];
  readonly capabilities?: readonly string[];
  readonly parameters?: Readonly<Record<string, number>>;
}

/** The kinds of migration that faults are tried on between processes: a feature that is added is covered by a row. */
export const KINDS = {
  plain: { guest: 'dirty', options: guest('dirty', 'size=1M rate=300 report=20') },
  xbzrle: {
    guest: 'dirty',
    options: guest('dirty', 'size=1M rate=3000 report=20'),
    capabilities: ['xbzrle'],
    // So that there are several passes, and deltas in them.
    parameters: { 'downtime-limit': 2 },
  },
  'several harts': {
    guest: 'smp',
    options: guest('smp', 'size=1M rate=300 report=20', '16M', '-smp', '3'),
  },
  disk: {
    guest: 'disk',
    options: [...guest('disk', 'size=1M report=20'), '-device', 'virtio-blk-device,drive=d'],
    backends: (bench) => {
      const file = bench.path('disk');
      writeFileSync(file, '');
      truncateSync(file, 1 << 20);
      return ['-drive', `file=${file},format=raw,if=none,id=d`];
    },
  },
} as const satisfies Record<string, Kind>;

/** A destination, and a proxy in front of it. */
export async function line(
  bench: Bench,
  fault?: Fault,
  ...more: string[]
): Promise<{ target: VmProcess; proxy: CuttingProxy; uri: string }> {
  const [at, behind] = [bench.path('line'), bench.path('incoming')];
  const target = await bench.start(['-incoming', `unix:${behind}`, ...more]);
  const proxy = await CuttingProxy.start(at, behind, fault);
  bench.onEnd(() => proxy.close());
  return { target, proxy, uri: `unix:${at}` };
}

const newLine = (kind: Kind): RegExp => new RegExp(`^${kind.guest} \\d+ .*`);

/**
 * Who may run the guest after a migration on a line with a fault, going by what the line let through.
 *
 * @param status of the source, now.
 */
function rightful(
  proxy: CuttingProxy,
  fault: Fault,
  status: string,
): 'source' | 'destination' | 'destination, unconfirmed' | 'nobody' {
  const seen = (direction: Direction, name: string): boolean =>
    proxy.frames[direction].some((frame) => frame.name === name);
  if (!seen('forward', 'go')) {
    // The source may have said "go" into a line that is dead already, and doesn't know that nobody heard it.
    const answered = fault.direction === 'return' && fault.frame === 'ready' && fault.what === 'cut-after';
    return answered && proxy.hasStruck && status === 'postmigrate' ? 'nobody' : 'source';
  }
  if (fault.what === 'delay') return 'destination';
  // What was said before the end is seen, an end is seen without a doubt: no "go" has come.
  if (fault.what === 'half' && fault.direction === 'forward' && proxy.hasStruck) return 'source';
  if (fault.what === 'stall' && fault.direction === 'forward' && proxy.hasStruck) return 'nobody';
  // The repeated frame comes before "go", whatever the source said meanwhile.
  if (fault.what === 'duplicate' && fault.direction === 'forward') return 'source';
  const last = proxy.frames[fault.direction].at(-1)?.name;
  const cut = fault.what.startsWith('cut');
  if (proxy.hasStruck && last === 'go') {
    if (fault.what === 'cut-before' || fault.what === 'cut-middle') return 'nobody';
    // A destination that refuses "go" says so.
    if (fault.what === 'flip-header') return 'source';
    if (cut) return 'destination, unconfirmed';
  }
  if (proxy.hasStruck && last === 'running' && fault.what !== 'cut-after' && fault.what !== 'duplicate') {
    return 'destination, unconfirmed';
  }
  return 'destination';
}

/** A guest on its way through many migrations. */
export class Traveller {
  readonly #bench: Bench;
  readonly #kind: Kind;
  readonly #backends: readonly string[];
  readonly #line: RegExp;
  readonly #past: VmProcess[] = [];
  #vm: VmProcess;

  private constructor(bench: Bench, kind: Kind, backends: readonly string[], vm: VmProcess) {
    this.#bench = bench;
    this.#kind = kind;
    this.#backends = backends;
    this.#vm = vm;
    this.#line = newLine(kind);
  }

  static async start(bench: Bench, kind: Kind = KINDS.plain): Promise<Traveller> {
    const backends = kind.backends?.(bench) ?? [];
    const vm = await bench.start([...backends, ...kind.options]);
    await vm.waitForLine(newLine(kind));
    return new Traveller(bench, kind, backends, vm);
  }

  /** Sets capabilities and parameters as the kind has them. */
  async #prepare(vm: VmProcess, parameters: Readonly<Record<string, number>>): Promise<void> {
    const capabilities = (this.#kind.capabilities ?? []).map((capability) => ({ capability, state: true }));
    await vm.execute('migrate-set-capabilities', { capabilities });
    await vm.execute('migrate-set-parameters', { ...this.#kind.parameters, ...parameters });
  }

  /** Migrates over a line with a fault, and checks both sides afterwards. */
  async migrate(fault: Fault): Promise<void> {
    const source = this.#vm;
    const { target, proxy, uri } = await line(this.#bench, fault, ...this.#backends);
    const from = source.events.length;
    await this.#prepare(source, { 'stall-timeout': fault.what === 'stall' ? 1000 : 30_000 });
    await source.execute('migrate', { uri });
    const end = await source.migrationEnd(from);
    // Who waits on the other side of a line that stands still finds out when it is taken down.
    if (fault.what === 'stall') proxy.cut();
    const status = await source.status();
    const rightfulSide = rightful(proxy, fault, status);
    const note = `${JSON.stringify(fault)}, ${rightfulSide}: ${(await source.migration())['error-desc']}`;
    const completed = rightfulSide === 'destination';
    expect(end, note).toBe(completed ? 'completed' : 'failed');
    if (rightfulSide === 'source') expect(status, note).toBe('running');
    else {
      expect(status, note).toBe('postmigrate');
      if (!completed) expect(note).toMatch(/may be running at the destination/);
    }
    if (
      proxy.hasStruck &&
      fault.direction === 'forward' &&
      fault.frame === -1 &&
      fault.what === 'cut-before'
    ) {
      // Who says nothing does not use a destination up.
      expect(await target.status(), note).toBe('inmigrate');
      await target.quit();
      await source.waitForNewLine(this.#line);
    } else if (rightfulSide === 'source' || rightfulSide === 'nobody') {
      expect((await target.exited()).code, note).toBe(1);
      expect(target.errors(), note).toHaveLength(1);
      expect(target.stdout.text, note).toBe('');
      // The user knows that the destination is dead.
      if (rightfulSide === 'nobody') await source.execute('cont');
      await source.waitForNewLine(this.#line);
      if (fault.what.startsWith('flip') || fault.what === 'duplicate') {
        const words = `${target.stderr.text} ${(await source.migration())['error-desc']}`;
        expect(words, note).toMatch(/check|sequence number/);
        expect(words, note).toMatch(/at byte \d+/);
      }
    } else {
      await target.waitForNewLine(this.#line);
      expect(await target.status(), note).toBe('running');
      expect(target.stderr.text, note).toBe('');
      if (completed) await expect(source.execute('cont'), note).rejects.toThrow(/handed over/);
      this.#past.push(source);
      await source.quit();
      this.#vm = target;
    }
    proxy.close();
  }

  /** Moves on over a good line, and checks all that the guest has printed on its way. */
  async arrive(): Promise<void> {
    const source = this.#vm;
    const { target, uri } = await line(this.#bench, undefined, ...this.#backends);
    await this.#prepare(source, { 'stall-timeout': 30_000 });
    const from = source.events.length;
    await source.execute('migrate', { uri });
    expect(await source.migrationEnd(from)).toBe('completed');
    await target.waitForNewLine(this.#line);
    // Long enough for every word to have been checked by the guest.
    await target.waitForNewLine(this.#line);
    await source.quit();
    await target.quit();
    this.#past.push(source, target);
    for (const vm of this.#past) expect(vm.stderr.text).toBe('');
    expect(expectNumbered(joinedConsole(...this.#past), this.#kind.guest)).toBeGreaterThan(3);
  }
}
