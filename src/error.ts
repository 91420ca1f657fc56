/**
 * The one error hierarchy of godwit. Every error a user can meet is a `GodwitError` with a literal `kind`, so that
 * callers branch on the kind and never on the text. What a *guest* does wrong is a guest trap, never one of these.
 */

/** What went wrong, as a closed list: a caller can switch over it. */
export type ErrorKind =
  /** The command line or a monitor command is not of the form it must have (exit status 2). */
  | 'usage'
  /** A file given by the user is missing, unreadable or not what it must be. */
  | 'file'
  /** A machine can't be built as asked: sizes, overlaps, unknown models. */
  | 'machine'
  /** Bytes that came from outside (a stream, a saved state) are damaged or of another shape. */
  | 'format'
  /** Two sides of a migration do not fit together. */
  | 'mismatch'
  /** A connection could not be made, or broke. */
  | 'transport'
  /** The other side of a migration said no, with its reason. */
  | 'refused'
  /** The operation is not possible in the present state (no migration runs, already running, …). */
  | 'state'
  /** The user cancelled. */
  | 'cancelled'
  /** A defect of godwit itself. */
  | 'internal';

/** Structured facts beside the sentence; printed by `--json` faces and asserted in tests. */
export interface ErrorDetails {
  /** Where: a file, a socket, a path inside a state ("uart16550.fifo[3]"), a command-line option. */
  readonly where?: string;
  readonly expected?: string;
  readonly got?: string;
  /** Byte offset in the stream or file that `where` names. */
  readonly offset?: number;
}

/** An error whose message is one line that a user can act on. */
export class GodwitError extends Error {
  override readonly name = 'GodwitError';
  readonly kind: ErrorKind;
  readonly details: ErrorDetails;

  constructor(kind: ErrorKind, message: string, details: ErrorDetails = {}, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.kind = kind;
    this.details = details;
  }

  /**
   * An error about a value that is not what it must be: "WHERE: expected EXPECTED, got GOT (at byte OFFSET)".
   */
  static unexpected(
    kind: ErrorKind,
    where: string,
    expected: string,
    got: string,
    offset?: number,
  ): GodwitError {
    const at = offset === undefined ? '' : ` (at byte ${offset})`;
    return new GodwitError(kind, `${where}: expected ${expected}, got ${got}${at}`, {
      where,
      expected,
      got,
      ...(offset === undefined ? {} : { offset }),
    });
  }
}

/** The one-line text of anything thrown: a GodwitError's message, or another error's, never a stack. */
export function errorMessage(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
