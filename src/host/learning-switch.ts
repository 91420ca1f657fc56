/**
 * A switch that learns where addresses are: IEEE 802.1D-2004, §7.7 (forwarding), §7.8 (learning), §7.9 (filtering
 * database). It knows no sockets: frames come in at a port and go out at others.
 */
import type { Clock } from '../clock.ts';
import { ETHERNET_HEADER_BYTES, MAC_BYTES, macText } from '../devices/network.ts';

/** §7.9.2: how long an address is remembered that is not heard of. */
export const DEFAULT_AGE_SECONDS = 300;
/** Addresses that are remembered; beyond that, the one that has not been heard of for longest goes. */
const MAX_ADDRESSES = 8192;

export interface PortCounters {
  readonly receivedFrames: number;
  readonly receivedBytes: number;
  readonly sentFrames: number;
  readonly sentBytes: number;
  /** Not sent: the other side did not take them. */
  readonly dropped: number;
}

export interface PortInfo extends PortCounters {
  readonly port: number;
  readonly peer: string;
}

export interface AddressInfo {
  readonly address: string;
  readonly port: number;
  /** Since it was heard of, in seconds. */
  readonly age: number;
}

/** One plug: what is put into it goes to whoever is there; false if it is not taken. */
export interface SwitchPort {
  readonly peer: string;
  send(frame: Uint8Array): boolean;
}

type Counters = { -readonly [K in keyof PortCounters]: PortCounters[K] };

interface Plugged {
  readonly port: number;
  readonly to: SwitchPort;
  readonly counters: Counters;
}

interface Learned {
  readonly at: Plugged;
  readonly heardNs: number;
}

export class LearningSwitch {
  readonly #clock: Clock;
  readonly #ageNs: number;
  readonly #ports = new Set<Plugged>();
  /** By address; in the order in which they were heard of. */
  readonly #addresses = new Map<string, Learned>();
  #next = 1;

  constructor(clock: Clock, ageSeconds: number = DEFAULT_AGE_SECONDS) {
    this.#clock = clock;
    this.#ageNs = ageSeconds * 1e9;
  }

  /** Plugs something in; frames from it go to `receive`, until `unplug`. */
  plug(to: SwitchPort): { receive(frame: Uint8Array): void; unplug(): void } {
    const counters = { receivedFrames: 0, receivedBytes: 0, sentFrames: 0, sentBytes: 0, dropped: 0 };
    const plugged: Plugged = { port: this.#next++, to, counters };
    this.#ports.add(plugged);
    return {
      receive: (frame) => this.#receive(plugged, frame),
      unplug: () => {
        this.#ports.delete(plugged);
        for (const [address, { at }] of this.#addresses) if (at === plugged) this.#addresses.delete(address);
      },
    };
  }

  ports(): PortInfo[] {
    return [...this.#ports].map(({ port, to: { peer }, counters }) => ({ port, peer, ...counters }));
  }

  /** What it remembers, the address that it heard of last at the end. */
  addresses(): AddressInfo[] {
    const now = this.#clock.nowNs();
    return [...this.#addresses]
      .filter(([, { heardNs }]) => now - heardNs <= this.#ageNs)
      .map(([address, { at, heardNs }]) => ({ address, port: at.port, age: (now - heardNs) / 1e9 }));
  }

  #receive(from: Plugged, frame: Uint8Array): void {
    from.counters.receivedFrames++;
    from.counters.receivedBytes += frame.length;
    if (frame.length < ETHERNET_HEADER_BYTES) return;
    const destination = macText(frame.subarray(0, MAC_BYTES));
    this.#learn(from, macText(frame.subarray(MAC_BYTES, 2 * MAC_BYTES)), frame[MAC_BYTES] as number);
    // §7.12.6: addresses that a bridge never forwards to.
    if (/^01:80:c2:00:00:0/.test(destination)) return;
    const learned = this.#addresses.get(destination);
    if (learned !== undefined && this.#clock.nowNs() - learned.heardNs <= this.#ageNs) {
      if (learned.at !== from) send(learned.at, frame);
      return;
    }
    for (const other of this.#ports) if (other !== from) send(other, frame);
  }

  /** §7.8: a frame's source is where it came from, also if it was elsewhere before: a machine has moved. */
  #learn(from: Plugged, source: string, firstByte: number): void {
    // A group sends nothing.
    if (firstByte & 1) return;
    this.#addresses.delete(source);
    this.#addresses.set(source, { at: from, heardNs: this.#clock.nowNs() });
    if (this.#addresses.size <= MAX_ADDRESSES) return;
    const [oldest] = this.#addresses.keys();
    if (oldest !== undefined) this.#addresses.delete(oldest);
  }
}

function send({ to, counters }: Plugged, frame: Uint8Array): void {
  if (to.send(frame)) {
    counters.sentFrames++;
    counters.sentBytes += frame.length;
  } else counters.dropped++;
}
