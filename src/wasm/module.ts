/**
 * Builds a WebAssembly module that works on one imported, shared memory ("env.memory").
 * WebAssembly core specification 2.0, §5.5, with the threads proposal's shared memory flag.
 */
import { ByteWriter } from './bytes.ts';
import { type Callable, FunctionBuilder, type FunctionType, type Global } from './function.ts';
import { VALUE_TYPE_CODE, type ValueType } from './opcodes.ts';

/** Bytes in a WebAssembly page. */
export const WASM_PAGE = 65536;

const SECTION = { custom: 0, type: 1, import: 2, function: 3, export: 7, code: 10 } as const;

interface Signature {
  readonly params: readonly ValueType[];
  readonly results: readonly ValueType[];
}

export class ModuleBuilder {
  readonly #types: Signature[] = [];
  readonly #imports: { name: string; typeIndex: number }[] = [];
  readonly #functions: FunctionBuilder[] = [];
  readonly #exports: { name: string; index: number }[] = [];
  readonly #memoryPages: number;
  readonly #globals: { name: string; type: ValueType }[] = [];
  #table: { readonly name: string; readonly size: number } | undefined;

  /** @param memoryPages size of the shared memory that the module imports, in 64 KiB pages; minimum and maximum. */
  constructor(memoryPages: number) {
    this.#memoryPages = memoryPages;
  }

  /** A host function imported as "env.NAME". All imports come before the first function. */
  importFunction(name: string, params: readonly ValueType[], results: readonly ValueType[]): Callable {
    if (this.#functions.length > 0) throw new Error('imports come before functions');
    this.#imports.push({ name, typeIndex: this.#type({ params, results }) });
    return { index: this.#imports.length - 1 };
  }

  /** A constant imported as "env.NAME": what differs between instances of the same module. */
  importGlobal(name: string, type: ValueType): Global {
    return { index: this.#globals.push({ name, type }) - 1 };
  }

  /** A table of functions imported as "env.NAME", of at least `size` entries: what `callIndirect` calls into. */
  importTable(name: string, size: number): void {
    this.#table = { name, size };
  }

  /** The type of the functions that a table holds. */
  type(params: readonly ValueType[], results: readonly ValueType[]): FunctionType {
    return { index: this.#type({ params, results }) };
  }

  /** A function whose body the caller writes; exported when it is given a name. */
  function(
    params: readonly ValueType[],
    results: readonly ValueType[],
    exportName?: string,
  ): FunctionBuilder {
    const index = this.#imports.length + this.#functions.length;
    const builder = new FunctionBuilder(index, this.#type({ params, results }), params);
    this.#functions.push(builder);
    if (exportName !== undefined) this.#exports.push({ name: exportName, index });
    return builder;
  }

  /** The binary module. */
  bytes(): Uint8Array<ArrayBuffer> {
    const out = new ByteWriter();
    out.raw(Uint8Array.of(0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0));
    this.#section(out, SECTION.type, this.#types, (w, type) => {
      w.byte(0x60);
      for (const list of [type.params, type.results]) {
        w.u32(list.length);
        for (const value of list) w.byte(VALUE_TYPE_CODE[value]);
      }
    });
    const memory = (w: ByteWriter): void => {
      w.name('memory');
      w.byte(0x02);
      w.byte(0x03); // has a maximum, is shared
      w.u32(this.#memoryPages);
      w.u32(this.#memoryPages);
    };
    const functions = this.#imports.map(({ name, typeIndex }) => (w: ByteWriter): void => {
      w.name(name);
      w.byte(0x00);
      w.u32(typeIndex);
    });
    const table = this.#table;
    const tables =
      table === undefined
        ? []
        : [
            (w: ByteWriter): void => {
              w.name(table.name);
              w.byte(0x01);
              w.byte(0x70); // of functions
              w.byte(0x00); // has no maximum
              w.u32(table.size);
            },
          ];
    const globals = this.#globals.map(({ name, type }) => (w: ByteWriter): void => {
      w.name(name);
      w.byte(0x03);
      w.byte(VALUE_TYPE_CODE[type]);
      w.byte(0x00); // constant
    });
    this.#section(out, SECTION.import, [memory, ...tables, ...functions, ...globals], (w, write) => {
      w.name('env');
      write(w);
    });
    this.#section(out, SECTION.function, this.#functions, (w, f) => w.u32(f.typeIndex));
    this.#section(out, SECTION.export, this.#exports, (w, entry) => {
      w.name(entry.name);
      w.byte(0x00);
      w.u32(entry.index);
    });
    this.#branchHints(out);
    this.#section(out, SECTION.code, this.#functions, (w, f) => w.sized(f.body()));
    return out.view().slice();
  }

  /** The custom section of the branch hinting proposal; whoever does not know it passes over it. */
  #branchHints(out: ByteWriter): void {
    const hinted = this.#functions.filter((f) => f.unlikely.length > 0);
    if (hinted.length === 0) return;
    const content = new ByteWriter();
    content.name('metadata.code.branch_hint');
    content.u32(hinted.length);
    for (const f of hinted) {
      content.u32(f.index);
      content.u32(f.unlikely.length);
      for (const at of f.unlikely) {
        content.u32(at);
        content.u32(1);
        content.byte(0); // not taken
      }
    }
    out.byte(SECTION.custom);
    out.sized(content);
  }

  #section<T>(
    out: ByteWriter,
    id: number,
    items: readonly T[],
    write: (w: ByteWriter, item: T) => void,
  ): void {
    const content = new ByteWriter();
    content.u32(items.length);
    for (const item of items) write(content, item);
    out.byte(id);
    out.sized(content);
  }

  #type(type: Signature): number {
    const key = JSON.stringify(type);
    const known = this.#types.findIndex((other) => JSON.stringify(other) === key);
    return known >= 0 ? known : this.#types.push(type) - 1;
  }
}
