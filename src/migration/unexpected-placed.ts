import { GodwitError } from '../error.ts';
import type { Frame } from './frame-reader.ts';

/** The destination confirms what was not sent. */
export function unexpectedPlaced({ type, offset }: Frame, of: string): GodwitError {
  return GodwitError.unexpected(
    'format',
    `frame "${type}"`,
    `one for each frame of ${of}`,
    'one more',
    offset,
  );
}
