/** The last, and only, words to somebody with whom no migration begins: why. */
import { FrameWriter } from './frame-writer.ts';
import { Kernels } from './kernels.ts';
import { encodeMessage } from './protocol.ts';
import type { Transport } from './transport.ts';

/**
 * Tells the reason and closes this direction. @throws GodwitError kind "transport".
 * @param side who speaks.
 */
export async function tellRefusal(
  transport: Transport,
  side: 'source' | 'destination',
  reason: string,
): Promise<void> {
  const direction = side === 'source' ? 'forward' : 'return';
  const type = side === 'source' ? 'abort' : 'refused';
  const writer = new FrameWriter(transport, Kernels.standalone(), direction);
  await writer.send(type, encodeMessage(type, { reason: reason.slice(0, 1000) }));
  await transport.end();
}
