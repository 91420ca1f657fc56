/**
 * What a NIC and a back end say to each other: Ethernet frames (IEEE 802.3 §3.2: from the destination address to the
 * end of the payload, without preamble and FCS) over a cable that can be pulled. Both ends are called in the machine's
 * thread; neither ever waits.
 */

/** Bytes of an address. */
export const MAC_BYTES = 6;
/** What a frame has before its payload: two addresses and the type. */
export const ETHERNET_HEADER_BYTES = 14;
/** The largest frame that a back end or a NIC hands on: a jumbo frame, with room to spare. */
export const MAX_FRAME_BYTES = 65536 + 4096;

/** The guest's end of a cable. */
export interface NetworkCard {
  /** As users name it: its -device id, or "e1000.0". */
  readonly label: string;
  /** "e1000" */
  readonly model: string;
  /** The address that it answers to now, as the guest has set it. */
  mac(): Uint8Array;
  /**
   * Takes a frame; what its filters refuse is taken and forgotten. False if it has no room at present: the cable keeps
   * the frame until the card is `ready`. The bytes are the cable's: a card copies what it keeps.
   */
  receive(frame: Uint8Array): boolean;
  /** The cable has been pulled or plugged in. */
  linkChanged(up: boolean): void;
}

/** The host's end of a cable. */
export interface NetworkBackend {
  /** Its -netdev id. */
  readonly id: string;
  /** This cable is plugged in: frames for the guest go there. */
  plugged(cable: NetworkCable): void;
  /** As `info network` shows it, "index=0,type=stream,…". */
  describe(): string;
  /** Takes a frame, which is its own from now on; false if it has to drop it. */
  send(frame: Uint8Array): boolean;
  /** The cable has no room (false), or has some again (true): whoever sends to us is to wait meanwhile. */
  flow(open: boolean): void;
}

/** Who sees all frames of a cable that are handed over, in both directions (a packet dump). */
export type NetworkTap = (frame: Uint8Array) => void;

/** Counted since the cable was made. */
export interface NetworkCounters {
  /** From the guest. */
  sentFrames: number;
  sentBytes: number;
  /** Not sent: the link was down, or the back end had no room. */
  sentDropped: number;
  /** Taken by the card. */
  receivedFrames: number;
  receivedBytes: number;
  /** Not delivered: the link was down, or too many frames waited. */
  receivedDropped: number;
}

/** Frames that wait for the card; from there on the back end is asked to wait. */
const QUEUE_FRAMES = 256;
/** Frames beyond that which were under way already are kept too, up to here; then they are dropped. */
const MAX_QUEUE_FRAMES = 1024;

/** A cable from a card to a back end. Either end may be missing: what is sent then goes nowhere. */
export class NetworkCable {
  readonly counters: NetworkCounters = {
    sentFrames: 0,
    sentBytes: 0,
    sentDropped: 0,
    receivedFrames: 0,
    receivedBytes: 0,
    receivedDropped: 0,
  };
  #card: NetworkCard | undefined;
  #backend: NetworkBackend | undefined;
  readonly #taps = new Set<NetworkTap>();
  #waiting: Uint8Array[] = [];
  #up = true;
  #held = true;
  #delivering = false;
  #open = true;

  get card(): NetworkCard | undefined {
    return this.#card;
  }

  get backend(): NetworkBackend | undefined {
    return this.#backend;
  }

  plugCard(card: NetworkCard): void {
    this.#card = card;
  }

  plugBackend(backend: NetworkBackend): void {
    this.#backend = backend;
    backend.plugged(this);
  }

  /** Returns the function that takes the tap away. */
  tap(tap: NetworkTap): () => void {
    this.#taps.add(tap);
    return () => this.#taps.delete(tap);
  }

  /** Whether frames pass. */
  get up(): boolean {
    return this.#up;
  }

  /** Pulls the cable or plugs it in, and tells the card. */
  setLink(up: boolean): void {
    if (up === this.#up) return;
    this.restoreLink(up);
    this.#card?.linkChanged(up);
  }

  /** The cable as it was when the card's state was saved: the card knows. */
  restoreLink(up: boolean): void {
    this.#up = up;
    if (up) return;
    this.counters.receivedDropped += this.#waiting.length;
    this.#waiting = [];
    this.#setFlow(true);
  }

  /**
   * While held (as it is made), nothing reaches the card: the machine stands still, and its memory with it.
   * What arrives waits.
   */
  hold(held: boolean): void {
    this.#held = held;
    this.ready();
  }

  /** From the card: sends a frame, which is the cable's from now on. */
  send(frame: Uint8Array): void {
    if (!this.#up || this.#backend === undefined) {
      this.counters.sentDropped++;
      return;
    }
    for (const tap of this.#taps) tap(frame);
    if (this.#backend.send(frame)) {
      this.counters.sentFrames++;
      this.counters.sentBytes += frame.length;
    } else this.counters.sentDropped++;
  }

  /** From the back end: a frame for the card, which is the cable's from now on. */
  deliver(frame: Uint8Array): void {
    if (!this.#up || this.#card === undefined || this.#waiting.length >= MAX_QUEUE_FRAMES) {
      this.counters.receivedDropped++;
      return;
    }
    this.#waiting.push(frame);
    this.ready();
  }

  /** The card may have room again: frames that wait are offered to it. */
  ready(): void {
    // A card may say so while it takes a frame.
    if (this.#delivering) return;
    this.#delivering = true;
    let taken = 0;
    while (!this.#held && taken < this.#waiting.length && this.#offer(this.#waiting[taken] as Uint8Array))
      taken++;
    this.#waiting.splice(0, taken);
    this.#delivering = false;
    this.#setFlow(this.#waiting.length < QUEUE_FRAMES);
  }

  #offer(frame: Uint8Array): boolean {
    if (this.#card?.receive(frame) !== true) return false;
    for (const tap of this.#taps) tap(frame);
    this.counters.receivedFrames++;
    this.counters.receivedBytes += frame.length;
    return true;
  }

  #setFlow(open: boolean): void {
    if (open === this.#open) return;
    this.#open = open;
    this.#backend?.flow(open);
  }
}

/** "52:54:00:12:34:56" */
export function macText(mac: Uint8Array): string {
  return [...mac].map((byte) => byte.toString(16).padStart(2, '0')).join(':');
}

/** Six bytes in hexadecimal, with colons. */
export const MAC_PATTERN = /^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i;

export function parseMac(text: string): Uint8Array {
  return Uint8Array.from(text.split(':'), (byte) => Number.parseInt(byte, 16));
}

/** The address of the adapter with this number, where none was given: QEMU's. */
export function defaultMac(index: number): string {
  return macText(Uint8Array.of(0x52, 0x54, 0x00, 0x12, 0x34, 0x56 + index));
}

const SHORTEST_FRAME = 60;

/**
 * A frame by which switches learn where an address is, and which nobody answers: a reverse ARP request for itself, as
 * QEMU sends it. RFC 903.
 */
export function announcement(mac: Uint8Array): Uint8Array {
  const frame = new Uint8Array(SHORTEST_FRAME);
  frame.fill(0xff, 0, MAC_BYTES);
  frame.set(mac, 6);
  // RARP; Ethernet and IPv4 addresses of 6 and 4 bytes; reverse request.
  frame.set([0x80, 0x35, 0, 1, 0x08, 0, 6, 4, 0, 3], 12);
  frame.set(mac, 22);
  frame.set(mac, 32);
  return frame;
}
