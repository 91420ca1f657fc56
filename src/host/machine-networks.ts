/** The networks of a machine, in its thread: back ends by id, the cables they are plugged into, and packet dumps. */
import type { NetworkBackend, NetworkCable } from '../devices/network.ts';
import { announcement, macText } from '../devices/network.ts';
import { GodwitError } from '../error.ts';
import type { AnnounceParameters } from '../monitor/target.ts';
import { didYouMean } from '../suggest.ts';
import type { NetdevListener } from './netdev.ts';
import { type NetworkSpecs, type Networks, openNetworks } from './netdev-open.ts';

export class MachineNetworks {
  #networks: Networks = { netdevs: new Map(), dumps: [] };
  #cables: readonly NetworkCable[] = [];
  /** Rounds that are to come, by the announcement's id. */
  readonly #announcing = new Map<string, NodeJS.Timeout>();

  /** Whether frames can come from outside at any time. */
  get any(): boolean {
    return this.#networks.netdevs.size > 0;
  }

  /** @throws GodwitError kind "transport" or "file". */
  async open(specs: NetworkSpecs, listener: NetdevListener): Promise<void> {
    this.#networks = await openNetworks(specs, listener);
  }

  /** @throws GodwitError kind "internal" if there is none: a configuration is checked before. */
  backend(id: string): NetworkBackend {
    const netdev = this.#networks.netdevs.get(id);
    if (netdev === undefined) throw new GodwitError('internal', `no netdev ${id}`);
    return netdev;
  }

  /** Hands what adapters have sent to the system. */
  flush(): void {
    for (const netdev of this.#networks.netdevs.values()) netdev.flush();
  }

  /** The machine is built. */
  watch(cables: readonly NetworkCable[]): void {
    this.#cables = cables;
    for (const { netdev, tap } of this.#networks.dumps) {
      for (const cable of cables) if (cable.backend?.id === netdev) cable.tap(tap);
    }
  }

  /**
   * Plugs a cable in or pulls it, by the name of either end.
   * @throws GodwitError kind "state" if there is none of this name.
   */
  setLink(name: string, up: boolean): void {
    const found = this.#cables.filter(({ card, backend }) => card?.label === name || backend?.id === name);
    if (found.length === 0) {
      const names = this.#cables.flatMap(({ card, backend }) =>
        [card?.label ?? [], backend?.id ?? []].flat(),
      );
      throw new GodwitError('state', `Device '${name}' not found${didYouMean(name, names)}`);
    }
    for (const cable of found) cable.setLink(up);
  }

  /** Tells the network where the machine's adapters are now. */
  announce({ initial, max, rounds, step, interfaces, id = '' }: AnnounceParameters): void {
    clearTimeout(this.#announcing.get(id));
    this.#announcing.delete(id);
    const meant = this.#cables.filter(
      ({ card }) => card !== undefined && interfaces?.includes(card.label) !== false,
    );
    if (meant.length === 0) return;
    const round = (left: number, wait: number): void => {
      for (const cable of meant) if (cable.card !== undefined) cable.send(announcement(cable.card.mac()));
      if (left <= 1) this.#announcing.delete(id);
      else {
        const next = (): void => round(left - 1, Math.min(wait + step, max));
        this.#announcing.set(id, setTimeout(next, wait));
      }
    };
    if (rounds > 0) round(rounds, initial);
  }

  /** `info network`: adapters with their back ends, then back ends without an adapter. */
  lines(): string[] {
    const plugged = new Set(this.#cables.flatMap(({ backend }) => backend?.id ?? []));
    return [
      ...this.#cables.flatMap((cable) => [...cardLines(cable), ...counterLines(cable)]),
      ...[...this.#networks.netdevs.values()]
        .filter(({ id }) => !plugged.has(id))
        .map((netdev) => `${netdev.id}: ${netdev.describe()}`),
    ];
  }
}

function cardLines({ card, backend, up }: NetworkCable): string[] {
  if (card === undefined) return [];
  const link = up ? '' : ',link=off';
  return [
    `${card.label}: index=0,type=nic,model=${card.model},macaddr=${macText(card.mac())}${link}`,
    ...(backend === undefined ? [] : [` \\ ${backend.id}: ${backend.describe()}`]),
  ];
}

function counterLines({ counters }: NetworkCable): string[] {
  const { sentFrames, sentBytes, sentDropped, receivedFrames, receivedBytes, receivedDropped } = counters;
  return [
    `   sent ${sentFrames} frames, ${sentBytes} bytes, ${sentDropped} dropped; received ${receivedFrames} frames, ${receivedBytes} bytes, ${receivedDropped} dropped`,
  ];
}
