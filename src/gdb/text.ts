/** How the protocol writes numbers, bytes, registers and threads; readers answer undefined to what they can't read. */

export function hexOfBytes(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes) text += byte.toString(16).padStart(2, '0');
  return text;
}

export function bytesOfHex(text: string): Uint8Array | undefined {
  if (text.length % 2 !== 0 || !/^[0-9a-f]*$/i.test(text)) return undefined;
  return Uint8Array.from({ length: text.length / 2 }, (_, i) =>
    Number.parseInt(text.slice(2 * i, 2 * i + 2), 16),
  );
}

/** Text in UTF-8, as the protocol's hexadecimal bytes. */
export const hexOfText = (text: string): string => hexOfBytes(new TextEncoder().encode(text));

/** A register of 64 bits: bytes in the guest's order. */
export function hexOfRegister(value: bigint): string {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, value, true);
  return hexOfBytes(bytes);
}

export function registerOfHex(text: string): bigint | undefined {
  const bytes = bytesOfHex(text);
  return bytes?.length === 8 ? new DataView(bytes.buffer).getBigUint64(0, true) : undefined;
}

/** At most 64 bits. */
export function addressOfHex(text: string): bigint | undefined {
  return /^[0-9a-f]{1,16}$/i.test(text) ? BigInt(`0x${text}`) : undefined;
}

/** A count or a register's number. */
export function numberOfHex(text: string): number | undefined {
  return /^[0-9a-f]{1,8}$/i.test(text) ? Number.parseInt(text, 16) : undefined;
}

/** "ADDRESS,LENGTH". */
export function rangeOfHex(text: string): { address: bigint; length: number } | undefined {
  const [first = '', second = '', ...more] = text.split(',');
  const address = addressOfHex(first);
  const length = numberOfHex(second);
  return address === undefined || length === undefined || more.length > 0 ? undefined : { address, length };
}

export type ThreadId = { readonly hart: number } | 'any' | 'all';

/** A thread ("1", "p1.1"), any ("0") or all ("-1"). */
export function threadOf(text: string): ThreadId | undefined {
  const match = /^(?:p-?[0-9a-f]+\.)?(-1|[0-9a-f]{1,8})$/i.exec(text);
  if (match === null) return undefined;
  const [, thread = ''] = match;
  if (thread === '-1') return 'all';
  const number = Number.parseInt(thread, 16);
  return number === 0 ? 'any' : { hart: number - 1 };
}

export const textOfThread = (hart: number): string => (hart + 1).toString(16).padStart(2, '0');
