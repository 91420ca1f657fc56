/** What a privileged sequence finds in memory, and values for it: page tables, frames, entries of the PMP. */
import type { Random } from '../support/random.ts';
import { Generator } from './generator.ts';
import {
  AREA_SIZE,
  CSR,
  EVEN_FRAMES,
  FRAMES,
  MODES,
  type Mode,
  PAGE,
  PAGES,
  PHYSICAL_HOLES,
  PTE,
  pte,
  SATP_MODES,
  WINDOW,
  WINDOW_PAGES,
} from './privileged-area.ts';
/** What steps have to know of the segment that they are made for. */
export interface Circumstances {
  readonly mode: Mode;
  readonly satpMode: bigint;
  /** Machine mode may return to lower ones. Then nothing waits: with an interrupt that it can't enable, it never wakes. */
  readonly drops: boolean;
  /** The supervisor's software interrupt is delegated, so supervisor mode can wake itself. */
  readonly wakes: boolean;
  readonly stce: boolean;
}

export class PrivilegedMemory extends Generator {
  protected readonly at: bigint;
  /** Register that calls into the window return through. */
  protected readonly link: number;
  protected now: Circumstances = {
    mode: MODES.machine,
    satpMode: 0n,
    drops: false,
    wakes: false,
    stce: false,
  };

  constructor(random: Random, at: bigint) {
    super(random, at, AREA_SIZE);
    this.at = at;
    this.link = this.free();
    this.kept.add(this.link);
  }

  protected page(page: number): bigint {
    return this.at + BigInt(page * PAGE);
  }

  protected putEntry(table: number, index: number, entry: bigint): void {
    this.put(Number(this.page(table) - this.context) + 8 * index, entry);
  }

  /** Tables whose root is Sv39's or Sv48's: the identity and the window. */
  protected tables(): void {
    const leaf = PTE.v | PTE.r | PTE.x | PTE.a;
    const ram = 0x8000_0000n;
    for (const index of [0, 511]) this.putEntry(PAGES.root48, index, pte(this.page(PAGES.root39), PTE.v));
    this.putEntry(PAGES.root39, 2, pte(this.page(PAGES.identity1), PTE.v));
    this.putEntry(PAGES.identity1, 0, pte(ram, leaf));
    const region = Number((this.at - ram) >> 21n);
    this.putEntry(PAGES.identity1, region, pte(this.page(PAGES.identity0), PTE.v));
    for (let page = 0; page < PAGES.glue; page++) {
      if (page >= PAGES.root48 && page <= PAGES.window0) continue;
      const [address, entry] = this.identityEntry(page, false);
      this.put(Number(address - this.context), entry);
    }
    const indexOf = (address: bigint, level: number): number =>
      Number((address >> BigInt(12 + 9 * level)) & 511n);
    for (const window of [WINDOW.pages, WINDOW.upper]) {
      this.putEntry(PAGES.root39, indexOf(window, 2), pte(this.page(PAGES.window1), PTE.v));
    }
    const second = indexOf(WINDOW.pages, 1);
    this.putEntry(PAGES.window1, second, pte(this.page(PAGES.window0), PTE.v));
    this.putEntry(PAGES.window1, indexOf(WINDOW.megapage, 1), this.superEntry(2));
    this.putEntry(
      PAGES.window1,
      indexOf(WINDOW.misaligned, 1),
      pte(this.page(PAGES.frames), this.flags() | PTE.r),
    );
    const reserved = this.random.pick([PTE.a, PTE.d, PTE.u, PTE.a | PTE.d]);
    this.putEntry(
      PAGES.window1,
      indexOf(WINDOW.badPointer, 1),
      pte(this.page(PAGES.window0), PTE.v | reserved),
    );
    this.putEntry(PAGES.root39, indexOf(WINDOW.gigapage, 2), this.superEntry(3));
    const misaligned = pte(this.page(PAGES.frames), this.flags() | PTE.r);
    this.putEntry(PAGES.root39, indexOf(WINDOW.misalignedGigapage, 2), misaligned);
    for (let page = 0; page < 16; page++) this.putEntry(PAGES.window0, page, this.windowEntry(page));
  }

  /** Random data; in the last frame returns: `c.jr link`, and a `jalr zero, link` that begins two bytes before its end. */
  protected frames(): void {
    const base = PAGES.frames * PAGE;
    for (let i = 0; i < FRAMES * PAGE; i += 4) this.block.setUint32(base + i, this.random.u32());
    const link = this.link;
    const code = PAGES.codeFrame * PAGE;
    for (let i = 2; i < PAGE - 2; i += 2) this.block.setUint16(code + i, 0x8002 | (link << 7), true);
    const long = ((link << 15) | 0x67) >>> 0;
    this.block.setUint16(code + PAGE - 2, long & 0xffff, true);
    this.block.setUint16(code, long >>> 16, true);
  }

  /** Address and value of the PTE for a page of the area at its own address. */
  protected identityEntry(page: number, user: boolean): readonly [bigint, bigint] {
    const isCode = page >= PAGES.code;
    const known = this.random.chance(0.5) ? PTE.a | PTE.d : 0n;
    const flags = PTE.v | PTE.r | PTE.w | (isCode ? PTE.x : 0n) | (user ? PTE.u : 0n) | known;
    const index = (this.page(page) >> 12n) & 511n;
    return [this.page(PAGES.identity0) + 8n * index, pte(this.page(page), flags)];
  }

  /** Any flags of a PTE but W without R (reserved) by more than a bit of chance. */
  protected flags(): bigint {
    const some = (flag: bigint, chance: number): bigint => (this.random.chance(chance) ? flag : 0n);
    const permissions = this.random.weighted([
      [5, PTE.r | PTE.w],
      [2, PTE.r],
      [2, PTE.r | PTE.w | PTE.x],
      [2, PTE.r | PTE.x],
      [2, PTE.x],
      [0.3, PTE.w],
      [0.3, PTE.w | PTE.x],
    ]);
    const software = BigInt(this.random.below(4)) << 8n;
    return (
      some(PTE.v, 0.95) |
      permissions |
      some(PTE.u, 0.5) |
      some(PTE.g, 0.2) |
      some(PTE.a, 0.5) |
      some(PTE.d, 0.4) |
      software |
      some(1n << BigInt(this.random.between(54, 63)), 0.03)
    );
  }

  protected windowEntry(page: number): bigint {
    const { random } = this;
    if (page < WINDOW_PAGES.data) {
      return pte(this.page(PAGES.frames + random.pick(EVEN_FRAMES)), this.flags());
    }
    if (page < WINDOW_PAGES.exec + WINDOW_PAGES.execs) {
      const executable = random.chance(0.8) ? PTE.x : PTE.r;
      return pte(this.page(PAGES.codeFrame), (this.flags() & ~(PTE.w | PTE.d)) | executable);
    }
    if (page === WINDOW_PAGES.invalid) return 0n;
    return pte(random.pick(PHYSICAL_HOLES), this.flags());
  }

  /** A leaf onto the superpage that the area lies in. */
  protected superEntry(level: 2 | 3): bigint {
    const size = level === 2 ? 21n : 30n;
    return pte((this.at >> size) << size, this.flags());
  }

  protected satpValue(mode: bigint): bigint {
    if (mode === SATP_MODES.bare) return 0n;
    return (mode << 60n) | (this.page(mode === SATP_MODES.sv48 ? PAGES.root48 : PAGES.root39) >> 12n);
  }

  /** A NAPOT address over a pair of frames, or two pairs. */
  protected pmpAddress(): bigint {
    const pages = this.random.pick([2, 2, 2, 4]);
    const frame = (this.random.below(8) / pages) | 0;
    const first = this.page(PAGES.frames + frame * pages);
    return (first >> 2n) | (BigInt(pages * 512) - 1n);
  }

  /** Permissions; W without R is reserved. */
  protected pmpPermissions(): bigint {
    return this.random.pick([0n, 1n, 3n, 4n, 5n, 7n, 7n]);
  }

  /** Four NAPOT entries or none, a range (TOR), seldom a locked one and seldom the window's tables; everything in the end. */
  protected pmp(): (readonly [number, bigint])[] {
    const { random } = this;
    const addresses = [0, 1, 2, 3].map((i) => [CSR.pmpaddr0 + i, this.pmpAddress()] as const);
    const from = 2 * random.below(3);
    const to = random.between(from / 2 + 1, 4) * 2;
    const range = [
      [CSR.pmpaddr0 + 4, this.page(PAGES.frames + from) >> 2n],
      [CSR.pmpaddr0 + 5, this.page(PAGES.frames + to) >> 2n],
    ] as const;
    const tables = (this.page(PAGES.window1) >> 2n) | 0x3ffn;
    let configuration = random.chance(0.5) ? this.pmpConfiguration() : 0n;
    if (random.chance(0.3)) configuration |= (8n | this.pmpPermissions()) << 40n;
    // Locked entries stay to the end of the image; they are about frames that no other sequence uses.
    if (random.chance(0.02)) configuration |= (0x98n | this.pmpPermissions()) << 48n;
    const guarded = random.chance(0.1) ? (0x18n | this.pmpPermissions()) << 48n : 0n;
    return [
      ...addresses,
      ...range,
      [CSR.pmpaddr0 + 6, this.pmpAddress()],
      [CSR.pmpaddr0 + 14, tables],
      [CSR.pmpaddr0 + 15, (1n << 54n) - 1n],
      [CSR.pmpcfg2, (0x1fn << 56n) | guarded],
      [CSR.pmpcfg0, configuration],
    ];
  }

  /** Of the first four entries. */
  protected pmpConfiguration(): bigint {
    let all = 0n;
    for (let i = 0n; i < 4n; i++) {
      if (this.random.chance(0.6)) all |= (0x18n | this.pmpPermissions()) << (8n * i);
    }
    return all;
  }
}
