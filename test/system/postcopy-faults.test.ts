/**
 * Post-copy over lines that break at every kind of frame, between processes: before "go" the guest is the source's, and after
 * that no page of it is lost, however often the connection goes. One guest goes through all of it, and its line numbers show
 * at the end that it was run once, and by one.
 *
 * With GODWIT_FAULTS at every kind of frame, else at some.
 */
import { expect } from 'vitest';
import type { FrameName } from '../../src/migration/protocol.ts';
import { CuttingProxy, type Fault } from '../support/cutting-proxy.ts';
import { expectNumbered, guest, joinedConsole } from '../support/guests.ts';
import { type Bench, poll, test, type VmProcess, within } from '../support/vm-process.ts';

const NEW_LINE = /^dirty \d+ .*/;
const WHATS = ['cut-before', 'cut-middle'] as const;

/** A fault on the first connection, or, where that has been broken already, on the one that is to recover it. */
interface Station extends Fault {
  readonly recovering?: boolean;
}

const stations = (
  direction: Fault['direction'],
  frames: readonly FrameName[],
  recovering = false,
): Station[] => frames.flatMap((frame) => WHATS.map((what) => ({ direction, frame, what, recovering })));

/** The guest is the source's, and stays there. */
const BEFORE_GO = [...stations('forward', ['discard', 'state', 'switch']), ...stations('return', ['ready'])];
/** Both pause, and go on. */
const BEHIND_GO = [
  ...stations('forward', ['go', 'pages', 'swept', 'checkpointed']),
  ...stations('return', ['running', 'request', 'placed', 'rescuePages', 'checkpoint']),
  ...stations('forward', ['resume', 'resumed'], true),
  ...stations('return', ['received'], true),
];
/** The destination has everything; the source can't know. */
const AT_THE_END = stations('return', ['whole']);

class Traveller {
  readonly #bench: Bench;
  readonly #past: VmProcess[] = [];
  #vm: VmProcess;

  constructor(bench: Bench, vm: VmProcess) {
    this.#bench = bench;
    this.#vm = vm;
  }

  async breakBeforeGo(fault: Station): Promise<void> {
    const { source, target, proxy } = await this.#begin(fault);
    expect(await source.migrationEnd(this.#from)).toBe('failed');
    expect(await source.status()).toBe('running');
    await source.waitForNewLine(NEW_LINE);
    // It may wait for ever for a "go" that nobody will say.
    expect(target.stdout.text).toBe('');
    await target.kill();
    proxy.close();
  }

  async breakBehindGo(fault: Station): Promise<void> {
    const first: Fault = { direction: 'forward', frame: 'pages', what: 'cut-middle' };
    const { source, target, proxy } = await this.#begin(fault.recovering === true ? first : fault);
    await this.#paused(source, target);
    if (fault.recovering === true) {
      const [a, b] = [source.events.length, target.events.length];
      const [at, behind] = [this.#bench.path('line'), this.#bench.path('again')];
      const second = await CuttingProxy.start(at, behind, fault);
      await target.execute('migrate-recover', { uri: `unix:${behind}` });
      await source.execute('migrate', { uri: `unix:${at}`, resume: true });
      await within(second.struck, () => 'the second line has not broken');
      await this.#paused(source, target, a, b);
      second.close();
    }
    await this.#recover(source, target);
    expect(await source.migrationEnd(this.#from)).toBe('completed');
    proxy.close();
    await this.#arrived(source, target);
  }

  async breakAtTheEnd(fault: Station): Promise<void> {
    const { source, target, proxy } = await this.#begin(fault);
    await source.waitForEvent('MIGRATION', 'postcopy-paused', this.#from);
    expect((await source.migration())['error-desc']).toContain('the destination may have it, and be done');
    await expect(source.execute('cont')).rejects.toThrow('Migration is not finalized yet');
    proxy.close();
    await this.#arrived(source, target);
  }

  /** Checks all that the guest has printed on its way. */
  async end(): Promise<void> {
    await this.#vm.waitForNewLine(NEW_LINE);
    await this.#vm.waitForNewLine(NEW_LINE);
    const all = [...this.#past, this.#vm];
    expect(expectNumbered(joinedConsole(...all), 'dirty')).toBeGreaterThan(10);
    for (const vm of all) expect(vm.stderr.text).toBe('');
  }

  #from = 0;

  /** Sends the guest on its way, in post-copy from the first instant, over a line that will break. */
  async #begin(fault: Fault): Promise<{ source: VmProcess; target: VmProcess; proxy: CuttingProxy }> {
    const source = this.#vm;
    const [at, behind] = [this.#bench.path('line'), this.#bench.path('incoming')];
    const target = await this.#bench.start(['-incoming', `unix:${behind}`]);
    const proxy = await CuttingProxy.start(at, behind, fault);
    this.#bench.onEnd(() => proxy.close());
    const capabilities = ['postcopy-ram', 'postcopy-rescue'].map((capability) => ({
      capability,
      state: true,
    }));
    for (const vm of [source, target]) await vm.execute('migrate-set-capabilities', { capabilities });
    await source.execute('migrate-set-parameters', {
      'max-postcopy-bandwidth': 2 ** 19,
      'postcopy-rescue-interval': 20,
    });
    this.#from = source.events.length;
    await source.execute('migrate', { uri: `unix:${at}` });
    await source.execute('migrate-start-postcopy');
    const names = () => proxy.frames.forward.map(({ name }) => name).slice(-5);
    await within(proxy.struck, () => `the line has not broken: ${names()}; ${source.eventNames(this.#from)}`);
    return { source, target, proxy };
  }

  async #paused(source: VmProcess, target: VmProcess, a = this.#from, b = 0): Promise<void> {
    await source.waitForEvent('MIGRATION', 'postcopy-paused', a);
    await target.waitForEvent('MIGRATION', 'postcopy-paused', b);
    expect(await source.status()).toBe('finish-migrate');
  }

  async #recover(source: VmProcess, target: VmProcess): Promise<void> {
    const uri = `unix:${this.#bench.path('again')}`;
    await target.execute('migrate-recover', { uri });
    await source.execute('migrate-set-parameters', { 'max-postcopy-bandwidth': 0 });
    await source.execute('migrate', { uri, resume: true });
  }

  async #arrived(source: VmProcess, target: VmProcess): Promise<void> {
    expect(await target.migrationEnd()).toBe('completed');
    await target.waitForNewLine(NEW_LINE);
    await source.quit();
    this.#past.push(source);
    this.#vm = target;
    // What it says next comes from the memory that it has now.
    await poll(async () => ((await target.status()) === 'running' ? true : undefined));
  }
}

const SOME: readonly FrameName[] = ['switch', 'go', 'checkpoint', 'received', 'swept'];
const chosen = ({ frame, what }: Station): boolean =>
  process.env.GODWIT_FAULTS !== undefined || (what === 'cut-before' && SOME.includes(frame as FrameName));

test('cut before and in the middle of every kind of frame', { timeout: 3_600_000 }, async ({ bench }) => {
  const vm = await bench.start(guest('dirty', 'size=2M rate=400 report=20'));
  await vm.waitForLine(NEW_LINE);
  const traveller = new Traveller(bench, vm);
  const through = async (
    faults: readonly Station[],
    go: (fault: Station) => Promise<void>,
  ): Promise<void> => {
    for (const fault of faults.filter(chosen)) {
      await go(fault).catch((error: Error) => {
        throw new Error(`${JSON.stringify(fault)}: ${error.message}`, { cause: error });
      });
    }
  };
  await through(BEFORE_GO, (fault) => traveller.breakBeforeGo(fault));
  await through(BEHIND_GO, (fault) => traveller.breakBehindGo(fault));
  await through(AT_THE_END, (fault) => traveller.breakAtTheEnd(fault));
  await traveller.end();
});
