/**
 * Anything whose state can be saved as a named, versioned section and restored from one.
 */

/** A section as it stands in a stream: plain data that msgpack can carry, field names included. */
export interface SavedSection {
  readonly name: string;
  readonly version: number;
  readonly fields: Readonly<Record<string, unknown>>;
  /** Optional parts, present only when their `needed` said so at the time of saving. */
  readonly subsections?: Readonly<Record<string, SavedSection>>;
}

/** A part of the machine with state. */
export interface Migratable {
  readonly name: string;
  /** A snapshot that shares nothing with the live object. */
  save(): SavedSection;
  /**
   * Validates `section` completely and returns a function that swaps the new state in. Nothing has changed until that
   * function is called, and it can't fail: a restore of many parts validates all of them first.
   * @throws GodwitError kind "format" naming path, expected and got.
   */
  prepare(section: unknown): () => void;
}
