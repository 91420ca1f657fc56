/**
 * Packets of GDB's remote serial protocol (GDB manual, "Remote Protocol", "Overview"): `$body#checksum`, escapes,
 * acknowledgements, and the interrupt character. Bodies are strings with one character for each byte.
 */

/** Bytes of a packet's body that are taken; what we offer as PacketSize. */
export const PACKET_SIZE = 0x4000;

/** What comes in. */
export type Arrival =
  | { readonly kind: 'packet'; readonly body: string }
  /** The checksum was wrong, or it is none. */
  | { readonly kind: 'bad' }
  /** The packet was whole, but longer than PACKET_SIZE. */
  | { readonly kind: 'oversized' }
  /** Our last packet arrived, or is to be sent again. */
  | { readonly kind: 'ack' | 'nak' }
  /** Ctrl-C. */
  | { readonly kind: 'interrupt' };

const START = 0x24;
const END = 0x23;
const ESCAPE = 0x7d;
const ESCAPE_XOR = 0x20;
const SINGLES: ReadonlyMap<number, Arrival> = new Map([
  [0x2b, { kind: 'ack' }],
  [0x2d, { kind: 'nak' }],
  [0x03, { kind: 'interrupt' }],
]);

/** Cuts what comes in, in pieces of any size, into packets. What stands between packets is skipped. */
export class PacketReader {
  #state: 'between' | 'body' | 'checksum' = 'between';
  #body = '';
  #length = 0;
  #sum = 0;
  #escaped = false;
  #checksum = '';

  feed(bytes: Uint8Array): Arrival[] {
    const arrivals: Arrival[] = [];
    for (const byte of bytes) {
      const arrival = this.#byte(byte);
      if (arrival !== undefined) arrivals.push(arrival);
    }
    return arrivals;
  }

  #byte(byte: number): Arrival | undefined {
    if (this.#state === 'checksum') return this.#checksumDigit(byte);
    // In a body it is escaped: here it begins another packet, whatever became of the one before.
    if (byte === START) this.#begin();
    else if (this.#state === 'between') return SINGLES.get(byte);
    else if (byte === END) {
      this.#state = 'checksum';
      this.#checksum = '';
    } else this.#bodyByte(byte);
    return undefined;
  }

  #begin(): void {
    this.#state = 'body';
    this.#body = '';
    this.#length = 0;
    this.#sum = 0;
    this.#escaped = false;
  }

  #bodyByte(byte: number): void {
    this.#sum = (this.#sum + byte) & 0xff;
    if (byte === ESCAPE && !this.#escaped) {
      this.#escaped = true;
      return;
    }
    if (++this.#length <= PACKET_SIZE) {
      this.#body += String.fromCharCode(this.#escaped ? byte ^ ESCAPE_XOR : byte);
    }
    this.#escaped = false;
  }

  #checksumDigit(byte: number): Arrival | undefined {
    this.#checksum += String.fromCharCode(byte);
    if (this.#checksum.length < 2) return undefined;
    this.#state = 'between';
    const given = /^[0-9a-f]{2}$/i.test(this.#checksum) ? Number.parseInt(this.#checksum, 16) : undefined;
    if (given !== this.#sum) return { kind: 'bad' };
    return this.#length > PACKET_SIZE ? { kind: 'oversized' } : { kind: 'packet', body: this.#body };
  }
}

/** A packet as it is sent. */
export function packet(body: string): Uint8Array {
  const escaped = body.replace(
    /[$#}*]/g,
    (character) => `}${String.fromCharCode(character.charCodeAt(0) ^ ESCAPE_XOR)}`,
  );
  let sum = 0;
  for (let i = 0; i < escaped.length; i++) sum += escaped.charCodeAt(i);
  const whole = `$${escaped}#${(sum & 0xff).toString(16).padStart(2, '0')}`;
  return Uint8Array.from(whole, (character) => character.charCodeAt(0));
}
