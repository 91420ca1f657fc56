/**
 * Guests that check their own memory (or disk) travel from process to process, in all the ways there are, and are checked
 * at the end: no line is lost or said twice, no page is of another time.
 *
 * GODWIT_FAULTS=N makes N migrations, GODWIT_SEED=N repeats a run of them, GODWIT_RUN=N only its journey N.
 * GODWIT_TRAVELLER=NAME sends the same one each time. (What happens at what time is not in the seed.)
 */
import { truncateSync, writeFileSync } from 'node:fs';
import { expect } from 'vitest';
import { canRelease } from '../../src/host/page-release.ts';
import type { JsonObject } from '../../src/monitor/json-text.ts';
import { expectNumbered, guest, joinedConsole } from '../support/guests.ts';
import { type Random, seeded } from '../support/random.ts';
import { abViolations, readSavedGuest } from '../support/saved-guest.ts';
import { type Bench, poll, test, type VmProcess } from '../support/vm-process.ts';

/** Migrations of one journey. */
const STATIONS = 6;
const MiB = 1024 * 1024;
const START = 0x8040_0000;

interface Traveller {
  readonly options: readonly string[];
  /** A line that it prints again and again. */
  readonly line: RegExp;
  /** A disk of so many bytes, which all processes share, or which goes with it. */
  readonly disk?: number;
  readonly ownDisk?: boolean;
  /** What must hold of all that it has printed. */
  readonly check: (text: string) => void;
}

const numbered = (name: 'dirty' | 'smp' | 'disk') => ({
  line: new RegExp(`^${name} \\d+ `),
  check: (text: string) => void expectNumbered(text, name),
});

/** Every tenth sweep is said, and none is left out. */
function checkSweeps(text: string): void {
  const said = [...text.matchAll(/^ab sweep (\d+)\r?\n/gm)].map(([, sweep]) => Number(sweep));
  expect(said).toEqual(said.map((_, i) => 10 * (i + 1)));
}

const smp = (harts: number): Traveller => ({
  options: guest('smp', 'size=2M rate=20000 report=20', '32M', '-smp', String(harts)),
  ...numbered('smp'),
});

const TRAVELLERS = {
  ab: { options: guest('ab', 'size=4M report=10'), line: /^ab sweep \d+$/, check: checkSweeps },
  'dirty, whole pages': { options: guest('dirty', 'size=4M words=512 report=20'), ...numbered('dirty') },
  'dirty, paced': { options: guest('dirty', 'size=4M rate=10000 report=20'), ...numbered('dirty') },
  'one hart': smp(1),
  'two harts': smp(2),
  'four harts': smp(4),
  disk: {
    options: [...guest('disk', 'size=1M report=20'), '-device', 'virtio-blk-device,drive=d'],
    disk: MiB,
    ...numbered('disk'),
  },
  'disk that goes along': {
    options: [
      ...guest('disk', 'size=2M block=16K report=20', '32M', '-smp', '2'),
      ...['-device', 'virtio-blk-device,drive=d'],
    ],
    disk: 16 * MiB,
    ownDisk: true,
    ...numbered('disk'),
  },
} as const satisfies Record<string, Traveller>;

/** How one migration goes. */
interface Way {
  readonly capabilities: readonly string[];
  readonly parameters: JsonObject;
  /** When post-copy begins: at once, or after the first pass. */
  readonly postcopy?: 'at once' | 'after a pass';
  /** Paused in post-copy by one side, and recovered, so often. */
  readonly pauses?: number;
}

/** So that a guest that writes all the time does not get across in one pass. */
const RESTLESS = { 'max-bandwidth': 20 * MiB, 'downtime-limit': 1 };

/** As often as not. */
const release = (random: Random) => (random.chance(0.5) && canRelease() ? ['release-ram'] : []);

const WAYS = {
  pre: () => ({ capabilities: [], parameters: {} }),
  'pre, xbzrle': () => ({ capabilities: ['xbzrle'], parameters: {} }),
  post: (random) => ({
    capabilities: ['postcopy-ram', ...release(random)],
    parameters: { 'max-postcopy-bandwidth': random.pick([0, MiB, 8 * MiB]) },
    postcopy: 'at once',
  }),
  hybrid: (random) => ({
    capabilities: ['postcopy-ram', ...(random.chance(0.3) ? ['xbzrle'] : []), ...release(random)],
    parameters: { ...RESTLESS, 'max-postcopy-bandwidth': random.pick([0, 4 * MiB]) },
    postcopy: 'after a pass',
  }),
  'post, paused': (random) => ({
    capabilities: ['postcopy-ram', ...(random.chance(0.5) ? ['postcopy-preempt'] : []), ...release(random)],
    parameters: { 'max-postcopy-bandwidth': MiB / 16 },
    postcopy: 'at once',
    pauses: random.between(1, 2),
  }),
  'post, preempt': (random) => ({
    capabilities: ['postcopy-ram', 'postcopy-preempt', ...release(random)],
    parameters: { 'max-postcopy-bandwidth': random.pick([0, MiB]) },
    postcopy: 'at once',
  }),
  'hybrid, preempt': (random) => ({
    capabilities: ['postcopy-ram', 'postcopy-preempt', ...release(random)],
    parameters: RESTLESS,
    postcopy: 'after a pass',
  }),
} as const satisfies Record<string, (random: Random) => Way>;

/** Migrations that have been made. */
const made = new Map<string, number>();

class Journey {
  readonly #bench: Bench;
  readonly #traveller: Traveller;
  readonly #random: Random;
  readonly #vms: VmProcess[] = [];
  /** Where its disk is; those that it was on before. */
  #image: string;
  readonly #images: string[] = [];

  constructor(bench: Bench, traveller: Traveller, random: Random) {
    this.#bench = bench;
    this.#traveller = traveller;
    this.#random = random;
    this.#image = bench.path('disk');
    if (traveller.disk !== undefined) this.#newImage(this.#image);
  }

  async begin(): Promise<void> {
    const vm = await this.#bench.start([...this.#drive(this.#image), ...this.#traveller.options]);
    this.#vms.push(vm);
    await vm.waitForLine(this.#traveller.line);
  }

  /** @returns how it went. */
  async move(way: Way): Promise<string> {
    const source = this.#vm;
    const link = `unix:${this.#bench.path('link')}`;
    const along = this.#traveller.ownDisk === true;
    if (along) this.#nextImage();
    const target = await this.#bench.start([...this.#drive(this.#image), '-incoming', 'defer']);
    for (const vm of [source, target]) await set(vm, way.capabilities);
    // Whether there may be several connections is known when it begins to listen.
    await target.execute('migrate-incoming', { uri: link });
    await source.execute('migrate-set-parameters', {
      'max-bandwidth': 128 * MiB,
      'downtime-limit': 300,
      ...way.parameters,
    });
    const from = source.events.length;
    const inc = along && this.#random.chance(0.5);
    await source.execute('migrate', { uri: link, ...(along ? { blk: true, inc } : {}) });
    if (way.postcopy === 'after a pass') {
      await source.waitForEvent('MIGRATION_PASS', undefined, from);
    }
    // Unless the guest was so quiet that it has gone already.
    if (way.postcopy !== undefined) await source.execute('migrate-start-postcopy').catch(finished(source));
    if (way.pauses !== undefined) await this.#pause(source, target, way.pauses);
    expect(await source.migrationEnd(from), (await source.migration())['error-desc']).toBe('completed');
    expect(await target.migrationEnd()).toBe('completed');
    await target.waitForNewLine(this.#traveller.line);
    const late = source.eventNames(from).includes('MIGRATION postcopy-active');
    await source.quit();
    this.#vms.push(target);
    return late ? 'late' : 'early';
  }

  /** Checks all that the guest has said, and what is in its memory. */
  async end(): Promise<void> {
    const vm = this.#vm;
    // What it has now, it checks once more.
    await vm.waitForNewLine(this.#traveller.line);
    this.#traveller.check(joinedConsole(...this.#vms));
    if (this.#traveller === TRAVELLERS.ab) {
      const file = this.#bench.path('saved');
      const from = vm.events.length;
      await set(vm, []);
      await vm.execute('migrate', { uri: `file:${file}` });
      expect(await vm.migrationEnd(from)).toBe('completed');
      expect(abViolations(await readSavedGuest(file), START, START + 4 * MiB)).toEqual([]);
    }
    await vm.quit();
    for (const { stderr } of this.#vms) expect(stderr.text).toBe('');
  }

  /** One side pauses the post-copy, and it goes on over another connection, so often. */
  async #pause(source: VmProcess, target: VmProcess, times: number): Promise<void> {
    await target.waitForEvent('MIGRATION', 'postcopy-active');
    // Pages that the guest asks for are not held back: it would have all too soon.
    await target.execute('stop');
    for (let i = 0; i < times; i++) {
      const side = this.#random.pick([source, target]);
      const [a, b] = [source.events.length, target.events.length];
      await poll(async () => ((await side.migration()).status === 'postcopy-active' ? true : undefined));
      await side.execute('migrate-pause');
      await source.waitForEvent('MIGRATION', 'postcopy-paused', a);
      await target.waitForEvent('MIGRATION', 'postcopy-paused', b);
      const uri = `unix:${this.#bench.path('again')}`;
      await target.execute('migrate-recover', { uri });
      await source.execute('migrate', { uri, resume: true });
    }
    await target.execute('cont');
    await source.execute('migrate-set-parameters', { 'max-postcopy-bandwidth': 0 });
  }

  get #vm(): VmProcess {
    return this.#vms.at(-1) as VmProcess;
  }

  /** It goes to an empty image, or back to one that it was on. */
  #nextImage(): void {
    const before = this.#images.splice(0, this.#images.length > 1 && this.#random.chance(0.6) ? 1 : 0);
    this.#images.push(this.#image);
    this.#image = before[0] ?? this.#bench.path('disk');
    if (before.length === 0) this.#newImage(this.#image);
  }

  #newImage(file: string): void {
    writeFileSync(file, '');
    truncateSync(file, this.#traveller.disk ?? 0);
  }

  #drive(file: string): string[] {
    return this.#traveller.disk === undefined ? [] : ['-drive', `file=${file},format=raw,if=none,id=d`];
  }
}

const SET = ['postcopy-ram', 'postcopy-preempt', 'postcopy-rescue', 'release-ram', 'xbzrle'];

const set = (vm: VmProcess, on: readonly string[]) =>
  vm.execute('migrate-set-capabilities', {
    capabilities: SET.map((capability) => ({ capability, state: on.includes(capability) })),
  });

/** Forgives what came too late. */
const finished =
  (vm: VmProcess) =>
  async (error: unknown): Promise<void> => {
    const { status } = await vm.migration();
    if (status !== 'completed' && status !== 'device') throw error;
  };

test('guests travel in all ways, back and forth, and come to no harm', { timeout: 21_600_000 }, async ({
  bench,
}) => {
  await seeded(
    1,
    async (random) => {
      const picked = random.pick(Object.keys(TRAVELLERS) as (keyof typeof TRAVELLERS)[]);
      const name = (process.env.GODWIT_TRAVELLER ?? picked) as keyof typeof TRAVELLERS;
      const traveller: Traveller = TRAVELLERS[name];
      const names = Object.keys(WAYS) as (keyof typeof WAYS)[];
      const ways = Array.from({ length: STATIONS }, () => random.pick(names));
      try {
        const journey = new Journey(bench, traveller, random);
        await journey.begin();
        for (const way of ways) {
          const went = await journey.move(WAYS[way](random));
          const key = `${name}: ${way}${way.startsWith('hybrid') ? `, ${went}` : ''}`;
          made.set(key, (made.get(key) ?? 0) + 1);
        }
        await journey.end();
      } catch (error) {
        throw new Error(`${name}, ${ways.join('; ')}: ${(error as Error).message}`, { cause: error });
      }
    },
    1 / STATIONS,
  );
  const total = [...made.values()].reduce((sum, count) => sum + count, 0);
  const lines = [...made].sort().map(([key, count]) => `  ${count} ${key}`);
  process.stdout.write(`${total} migrations, none corrupt\n${lines.join('\n')}\n`);
  expect(total).toBeGreaterThan(0);
});
