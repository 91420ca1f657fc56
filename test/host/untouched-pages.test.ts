/** Pages that a migration takes for zero without a look at them are zero. */
import { existsSync } from 'node:fs';
import { expect, test } from 'vitest';
import { untouchedPages } from '../../src/host/untouched-pages.ts';
import { createLayout, createSharedMemory, PAGE_SIZE } from '../../src/memory/layout.ts';

const PAGES = 150_000;
const layout = createLayout(1, [{ name: 'ram', size: PAGES * PAGE_SIZE }]);
const tells = existsSync('/proc/self/pagemap') && process.arch === 'x64';

test.skipIf(!tells)('no page that was written is among them, and few others are missing', () => {
  // One of two of the same size is looked at.
  const memories = [createSharedMemory(layout), createSharedMemory(layout)] as const;
  const [memory, other] = memories.map(({ buffer }) => new Uint8Array(buffer)) as [Uint8Array, Uint8Array];
  const written = new Set<number>([0, PAGES - 1]);
  for (let page = 7; page < PAGES; page += 1 + ((page * 2654435761) % 97)) written.add(page);
  const write = (bytes: Uint8Array, page: number): void => {
    bytes[layout.blocksBase + page * PAGE_SIZE + (page % PAGE_SIZE)] = 1;
  };
  for (const page of written) write(memory, page);
  for (let page = 0; page < PAGES; page += 2) write(other, page);
  const untouched = untouchedPages(memories[0], layout);
  if (untouched === undefined) expect.fail('the host does not tell');
  for (const page of written) if (untouched.has(page)) expect.fail(`page ${page} was written`);
  expect(untouched.count()).toBe(PAGES - written.size);
});
