import { expect, test } from 'vitest';
import { PageHistory } from '../../../src/cpu/jit/page-history.ts';
import { PAGE_SIZE } from '../../../src/memory/layout.ts';
import { BareMachine } from '../../support/bare-machine.ts';

const PAGE = 3;

function history(): { pages: PageHistory; bytes: Uint8Array } {
  const { memory } = new BareMachine();
  const at = memory.layout.blocksBase + PAGE * PAGE_SIZE;
  return { pages: new PageHistory(memory), bytes: new Uint8Array(memory.memory.buffer, at, PAGE_SIZE) };
}

test('translations of a page are counted, also while parts of it change', () => {
  const { pages, bytes } = history();
  expect(pages.times(PAGE)).toBe(0);
  for (let times = 1; times <= 5; times++) {
    expect(pages.count(PAGE)).toBe(times);
    bytes.fill(times, 0, PAGE_SIZE / 4);
    expect(pages.times(PAGE)).toBe(times);
  }
  expect(pages.times(PAGE + 1)).toBe(0);
});

test('a page that holds other code begins anew', () => {
  const { pages, bytes } = history();
  pages.count(PAGE);
  pages.count(PAGE);
  bytes.fill(0x5a);
  expect(pages.times(PAGE)).toBe(0);
  expect(pages.count(PAGE)).toBe(1);
});
