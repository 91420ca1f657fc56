import { GodwitError } from '../../src/error.ts';
import { FakeSourceVm, type VmCall } from './fake-vm.ts';
import { VirtualTime } from './virtual-time.ts';

/** A source one of whose calls throws when `now` says so. */
export function failingSource(call: VmCall, now: () => boolean): { time: VirtualTime; source: FakeSourceVm } {
  const time = new VirtualTime();
  const source = new FakeSourceVm(time);
  source.onCall = (called) => {
    if (called === call && now()) throw new GodwitError('internal', `${call} fails`);
  };
  return { time, source };
}
