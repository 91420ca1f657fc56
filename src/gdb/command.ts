/** The shape of a command, and the errors that commands answer. */
import type { Debuggee } from './debuggee.ts';
import type { ResumePlan } from './target.ts';

/** QEMU's: EFAULT and EINVAL in decimal. */
export const ERROR = { failed: 'E01', fault: 'E14', invalid: 'E22' } as const;

export type Answer =
  /** '' says that the command is not known. */
  | { readonly reply: string; readonly next?: 'detach' | 'kill' | 'noAck' }
  /** The machine goes on: the reply is the next stop. */
  | { readonly resume: ResumePlan }
  | { readonly next: 'kill' }
  /** There is no reply. */
  | undefined;

/** @param text what stands behind the name. A string is the reply. */
export type Command = (debuggee: Debuggee, text: string) => Answer | string | Promise<Answer | string>;

/** By the whole packet, or ("m*") by what it begins with. */
export type Commands = Readonly<Record<string, Command>>;
