/**
 * Descriptors: a device's mutable state declared once. The type of the live state, its saved form, its validation and
 * its published shape all derive from the descriptor.
 *
 * Versions: `version` is what this program writes; sections from `minimumVersion` on are read. A field that came later
 * is wrapped in `since`. A subsection is a part that is written only when needed, so that a state which does not use
 * it can still move to a program that does not know it.
 */
import type { Fields, StateOfFields } from './fields.ts';

/** Refuses a loaded state from an afterLoad hook: an error about `field`, for the hook to throw. */
export type Refuse = (field: string, expected: string, got: string) => Error;

/** A part of a state that is saved only when it differs from what a reader would assume. */
export interface Subsection<F extends Fields> {
  readonly version: number;
  readonly minimumVersion: number;
  readonly fields: F;
  /** Whether the part must be written; asked at each save. */
  needed(part: StateOfFields<F>): boolean;
  /** The part's value in a section without it. */
  absent(): StateOfFields<F>;
}

// biome-ignore lint/suspicious/noExplicitAny: as Fields: a table of subsections mixes their field tables.
export type Subsections = Readonly<Record<string, Subsection<any>>>;

/** A described state. */
export interface Descriptor<F extends Fields, S extends Subsections> {
  readonly name: string;
  readonly version: number;
  readonly minimumVersion: number;
  readonly fields: F;
  /** Each appears in the state as a property of its own name. */
  readonly subsections?: S;
  /** Runs on the state object before it is saved. */
  beforeSave?(state: StateOfParts<F, S>): void;
  /** Runs on a new state after its fields are validated; throws what `refuse` makes if they don't fit together. */
  afterLoad?(state: StateOfParts<F, S>, refuse: Refuse): void;
}

/** The state of fields and subsections together. */
export type StateOfParts<F extends Fields, S extends Subsections> = StateOfFields<F> & {
  -readonly [K in keyof S]: S[K] extends Subsection<infer G> ? StateOfFields<G> : never;
};

/** The live state that a descriptor describes. */
export type StateOf<D> = D extends Descriptor<infer F, infer S> ? StateOfParts<F, S> : never;

// biome-ignore lint/suspicious/noExplicitAny: "some descriptor", for functions that only walk it.
export type AnyDescriptor = Descriptor<any, any>;

/** Declares a state. */
export function descriptor<F extends Fields, S extends Subsections = Record<never, never>>(
  declaration: Descriptor<F, S>,
): Descriptor<F, S> {
  return declaration;
}

/** Declares a subsection. */
export function subsection<F extends Fields>(declaration: Subsection<F>): Subsection<F> {
  return declaration;
}
