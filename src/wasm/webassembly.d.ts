/** The part of the WebAssembly JavaScript interface (version 2.0) that godwit uses, without the rest of the DOM. */
declare namespace WebAssembly {
  interface MemoryDescriptor {
    initial: number;
    maximum: number;
    shared: true;
  }
  class Memory {
    constructor(descriptor: MemoryDescriptor);
    readonly buffer: SharedArrayBuffer;
  }
  class Table {
    constructor(descriptor: { readonly element: 'anyfunc'; readonly initial: number });
    /** @param value a function that a module exports, or null. */
    set(index: number, value: unknown): void;
  }
  class Module {
    constructor(bytes: Uint8Array<ArrayBuffer>);
  }
  type Imports = Record<string, Record<string, Memory | Table | number | ((...args: never[]) => unknown)>>;
  class Instance {
    constructor(module: Module, imports: Imports);
    readonly exports: Record<string, unknown>;
  }
  function validate(bytes: Uint8Array<ArrayBuffer>): boolean;
}
