/**
 * Post-copy on a host whose processors are all busy: a page goes through two threads that wake one another some thousand
 * times a second, and often find another thread on their processor. Who has shorter slices than that one goes first when
 * he wakes (EEVDF, Linux 6.12; earlier ones take no notice).
 */
import { getPriority } from 'node:os';
import { libc } from './libc.ts';

/** The shortest that there are. */
const SLICE_NS = 100_000;

/** The calling thread is to go first when it wakes, or as others do. It gets no more of the processor for that. */
export function beFirstAwake(on: boolean): void {
  libc()?.setSlice(getPriority(0), on ? SLICE_NS : 0);
}
