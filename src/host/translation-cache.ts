/**
 * Where translations are kept between runs: a file in the user's cache folder for each build of godwit and shape of machine,
 * as V8 has optimized them. It holds code that runs in this process, so it is the user's alone, as is its folder.
 */
import { createHash } from 'node:crypto';
import { lstatSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname, isAbsolute, join } from 'node:path';
import { Packr, Unpackr } from 'msgpackr';
import type { TranslationStore } from '../cpu/jit/kept-translations.ts';
import type { Translation } from '../cpu/jit/translation.ts';
import { GodwitError } from '../error.ts';
import { compiledModule } from './compiled-wasm.ts';

/** A translation with what V8 has made of it. */
export interface CompiledTranslation {
  readonly translation: Translation;
  readonly compiled: Uint8Array;
}

/** Bytes of a digest, with which a file begins. */
const DIGEST = 32;
/** Most bytes that are kept in a file; the oldest go. */
const MAX_BYTES = 64 * 1024 * 1024;

const packr = new Packr({ useRecords: false });
const unpackr = new Unpackr({ useRecords: false });

/**
 * @param program what the code that makes translations is: a file.
 * @param machine what else they depend on.
 * @returns the file's name; undefined for a user who has no home.
 */
export function cacheFile(program: string, machine: string): string | undefined {
  const folder = cacheFolder();
  if (folder === undefined) return undefined;
  const hash = createHash('sha256')
    .update(readFileSync(program))
    .update(`${process.version} ${process.arch} ${machine}`);
  return join(folder, `translations-${hash.digest('hex').slice(0, 32)}`);
}

/** XDG base directory specification: a path that is not absolute is as good as none. */
function cacheFolder(): string | undefined {
  const { XDG_CACHE_HOME: base = '', HOME: home = '' } = process.env;
  if (isAbsolute(base)) return join(base, 'godwit');
  return isAbsolute(home) ? join(home, '.cache', 'godwit') : undefined;
}

/** What a file holds; nothing if there is none, it is damaged, or somebody else can write to it. */
export function readTranslations(file: string): CompiledTranslation[] {
  try {
    if (![dirname(file), file].every(isOurs)) return [];
    const bytes = readFileSync(file);
    const content = bytes.subarray(DIGEST);
    if (!digest(content).equals(bytes.subarray(0, DIGEST))) return [];
    return (unpackr.unpack(content) as Packed[]).map(unpacked);
  } catch {
    return [];
  }
}

/**
 * Adds some to a file; of two for the same page, the one that has more stays.
 * @throws Error as the file system does; GodwitError kind 'file' if somebody else can write to the folder.
 */
export function addTranslations(file: string, added: readonly CompiledTranslation[]): void {
  const folder = dirname(file);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  if (!isOurs(folder))
    throw GodwitError.unexpected('file', folder, 'a folder of this user alone', 'another one');
  const byPage = new Map<number | undefined, CompiledTranslation>();
  for (const entry of [...added, ...readTranslations(file)]) {
    const [page] = entry.translation.hashes;
    const { size = 0 } = byPage.get(page)?.translation ?? {};
    if (entry.translation.size > size) byPage.set(page, entry);
  }
  let room = MAX_BYTES;
  const kept = [...byPage.values()].filter(({ translation, compiled }) => {
    room -= translation.module.length + compiled.length;
    return room >= 0;
  });
  const content = packr.pack(kept.map(packed));
  const draft = `${file}.${process.pid}`;
  writeFileSync(draft, Buffer.concat([digest(content), content]), { mode: 0o600 });
  renameSync(draft, file);
}

/** What a machine finds in a file, and what it adds. */
export class TranslationCache implements TranslationStore {
  readonly #file: string;
  readonly #onNew: (translation: Translation, module: WebAssembly.Module) => void;
  #compiled: ReadonlyMap<Translation, Uint8Array> | undefined;
  readonly #byHash = new Map<number, [Translation, number][]>();
  /** Compiled beforehand. */
  readonly #modules = new Map<Translation, WebAssembly.Module>();

  /** @param onNew told of what the file lacks. */
  constructor(file: string, onNew: (translation: Translation, module: WebAssembly.Module) => void) {
    this.#file = file;
    this.#onNew = onNew;
  }

  /** Reads and compiles all that the file has now, while nobody waits. */
  prepare(): void {
    this.#compiled ??= this.#read();
    for (const [translation, code] of this.#compiled) {
      const module = compiledModule(code, translation.module);
      if (module !== undefined) this.#modules.set(translation, module);
    }
  }

  find(hash: number): readonly (readonly [Translation, number])[] {
    this.#compiled ??= this.#read();
    return this.#byHash.get(hash) ?? [];
  }

  compile(translation: Translation): WebAssembly.Module {
    const code = this.#compiled?.get(translation);
    const known = this.#modules.get(translation) ?? (code && compiledModule(code, translation.module));
    if (known !== undefined) return known;
    // Made with other flags of V8's, perhaps: what it makes now takes its place.
    const module = new WebAssembly.Module(translation.module);
    this.keep(translation, module);
    return module;
  }

  keep(translation: Translation, module: WebAssembly.Module): void {
    this.#onNew(translation, module);
  }

  #read(): ReadonlyMap<Translation, Uint8Array> {
    const all = readTranslations(this.#file);
    for (const { translation } of all.toSorted((a, b) => b.translation.size - a.translation.size)) {
      for (const [i, hash] of translation.hashes.entries()) {
        const known = this.#byHash.get(hash) ?? [];
        known.push([translation, translation.pages[i] as number]);
        this.#byHash.set(hash, known);
      }
    }
    return new Map(all.map(({ translation, compiled }) => [translation, compiled]));
  }
}

const digest = (content: Uint8Array): Buffer => createHash('sha256').update(content).digest();

function isOurs(path: string): boolean {
  const { uid, mode } = lstatSync(path);
  return uid === process.geteuid?.() && (mode & 0o022) === 0;
}

/** As it is written; numbers of a list are msgpack's. */
type Packed = Omit<Translation, 'code' | 'module'> &
  Readonly<Record<'code' | 'module' | 'compiled', Uint8Array>>;

function packed({ translation, compiled }: CompiledTranslation): Packed {
  const { buffer, byteOffset, byteLength } = translation.code;
  return { ...translation, code: new Uint8Array(buffer, byteOffset, byteLength), compiled };
}

function unpacked({ code, module, compiled, ...rest }: Packed): CompiledTranslation {
  // Copies, for words begin where they must, and V8 keeps the module.
  const words = new Int32Array(new Uint8Array(code).buffer);
  return { translation: { ...rest, code: words, module: new Uint8Array(module) }, compiled };
}
