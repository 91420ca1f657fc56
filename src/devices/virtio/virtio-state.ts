/** The saved state of a virtio device: its transport's, what all devices have, and its own. */
import { type Descriptor, descriptor } from '../../vmstate/descriptor.ts';
import { type Fields, type StateOfFields, struct } from '../../vmstate/fields.ts';
import { type DescribedMigratable, migratable } from '../../vmstate/section.ts';
import { type CoreState, coreFields, type VirtioCore } from './virtio.ts';

/** The transport's part. */
export interface TransportState<F extends Fields> {
  readonly fields: F;
  save(): StateOfFields<F>;
  /** Called last: the rest of the state is there. */
  load(state: StateOfFields<F>): void;
}

// biome-ignore lint/suspicious/noExplicitAny: transport and device know the types of their own parts.
type AnyState = CoreState & { transport: any; device?: any };

/** @param name of the section: "virtio-mmio-bus.7/virtio-blk". */
export function virtioState<F extends Fields>(
  name: string,
  core: VirtioCore,
  transport: TransportState<F>,
): DescribedMigratable {
  const { function: device } = core;
  const hasState = Object.keys(device.fields).length > 0;
  // biome-ignore lint/suspicious/noExplicitAny: as AnyState.
  const state: Descriptor<any, Record<never, never>> = descriptor({
    name,
    version: 1,
    minimumVersion: 1,
    fields: {
      transport: struct(transport.fields),
      ...coreFields(core.queues.length),
      ...(hasState ? { device: struct(device.fields) } : {}),
    },
    afterLoad(loaded: AnyState, refuse) {
      core.check(loaded, refuse);
      if (hasState) device.check?.(loaded.device, loaded.queues, refuse);
    },
  });
  return migratable(state, {
    get: () => ({
      transport: transport.save(),
      ...core.save(),
      ...(hasState ? { device: device.save() } : {}),
    }),
    set(loaded: AnyState) {
      core.load(loaded);
      if (hasState) device.load(loaded.device);
      transport.load(loaded.transport);
    },
  });
}
