/**
 * Keeps the translations of a machine, which runs in another thread: once V8 has optimized them, they go to a file. That takes
 * milliseconds, which are not the guest's here.
 */
import { link, type RegionImports, type Translation } from '../cpu/jit/translation.ts';
import { compiledCode, isOptimized } from './compiled-wasm.ts';
import { addTranslations } from './translation-cache.ts';

/** How long V8 has for those of a guest's start, and of each time after it. */
const FIRST_MS = 5000;
const NEXT_MS = 60_000;

/** Translations that V8 has not optimized when so many times have passed are seldom run. */
const CHANCES = 3;
/** Most that wait; the oldest go. A guest can make its code anew for ever. */
const MAX_PENDING = 500;

/** Regions call nothing here. */
const IMPORTS = Object.fromEntries(
  (['read', 'write', 'store', 'sstatus', 'fence'] as const).map((name) => [name, () => 0]),
) as RegionImports;

interface Pending {
  readonly translation: Translation;
  readonly module: WebAssembly.Module;
  chances: number;
}

export class TranslationKeeper {
  readonly #file: string;
  readonly #memory: WebAssembly.Memory;
  #pending: Pending[] = [];
  #wait = FIRST_MS;
  #timer: NodeJS.Timeout | undefined;

  /** @param memory the machine's. */
  constructor(file: string, memory: WebAssembly.Memory) {
    this.#file = file;
    this.#memory = memory;
  }

  add(translation: Translation, module: WebAssembly.Module): void {
    if (this.#pending.length === MAX_PENDING) this.#pending.shift();
    this.#pending.push({ translation, module, chances: CHANCES });
    this.#waitForMore();
  }

  #waitForMore(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#wait = NEXT_MS;
      this.save();
      this.#pending = this.#pending.filter((pending) => --pending.chances > 0);
      if (this.#pending.length > 0) this.#waitForMore();
    }, this.#wait).unref();
  }

  /** Writes what has been optimized; the rest waits. A folder that can't be written to is as good as none. */
  save(): void {
    const ready = this.#pending.filter((pending) => this.#isOptimized(pending));
    this.#pending = this.#pending.filter((pending) => !ready.includes(pending));
    if (ready.length === 0) return;
    const compiled = ready.map(({ translation, module }) => ({
      translation,
      compiled: compiledCode(module),
    }));
    try {
      addTranslations(this.#file, compiled);
    } catch {
      // The next guest is translated anew.
    }
  }

  #isOptimized({ translation, module }: Pending): boolean {
    const slots = translation.pages.map(() => 0);
    return isOptimized(link(module, this.#memory, IMPORTS, slots, 0));
  }
}
