/** What a destination makes of a source's `hello`. */
import { GodwitError } from '../error.ts';
import { PAGE_SIZE } from '../memory/layout.ts';
import type { DestinationBuilder, DestinationVm } from './migratable-vm.ts';
import { decodeConfiguration, FEATURES, type Message } from './protocol.ts';

/**
 * Builds the machine, after everything has been compared.
 * @param duplex whether the source hears answers.
 * @throws GodwitError kind "mismatch" or "format".
 */
export async function buildDestination(
  hello: Message<'hello'>,
  offset: number,
  builder: DestinationBuilder,
  duplex: boolean,
): Promise<DestinationVm> {
  const { features, pageSize, configuration } = hello;
  const unknown = features.filter((feature) => !FEATURES.includes(feature));
  if (unknown.length > 0) {
    const known = `only ${FEATURES.join(', ')}`;
    throw GodwitError.unexpected('mismatch', 'stream features', known, unknown.join(', '));
  }
  const postcopy = features.includes('postcopy');
  if (postcopy && !duplex) throw GodwitError.unexpected('mismatch', 'post-copy', 'a connection', 'a file');
  if (postcopy && features.includes('multifd')) {
    throw GodwitError.unexpected('mismatch', 'stream features', 'multifd or postcopy', 'both');
  }
  if (pageSize !== PAGE_SIZE) {
    throw GodwitError.unexpected('mismatch', 'page size', `${PAGE_SIZE}`, `${pageSize}`);
  }
  const vm = await builder.build(decodeConfiguration(configuration, offset), features.includes('disks'));
  if (postcopy && vm.postcopy === undefined)
    throw new GodwitError('mismatch', 'this side takes no post-copy');
  const blocks = (list: readonly { name: string; size: number }[]): string =>
    list.map(({ name, size }) => `${name} ${size}`).join(', ') || 'none';
  const [ours, theirs] = [blocks(vm.layout.blocks), blocks(hello.blocks)];
  if (ours !== theirs) throw GodwitError.unexpected('mismatch', 'memory blocks', ours, theirs);
  return vm;
}
