/** Registers, memory, breakpoints and watchpoints (GDB manual, "Packets"). */
import { type Command, type Commands, ERROR } from './command.ts';
import type { Debuggee } from './debuggee.ts';
import { PACKET_SIZE } from './packet.ts';
import type { Point } from './target.ts';
import {
  addressOfHex,
  bytesOfHex,
  hexOfBytes,
  hexOfRegister,
  numberOfHex,
  rangeOfHex,
  registerOfHex,
} from './text.ts';

/** The registers that `g` and `G` carry; all others go one by one. */
const generalRegisters = ({ target }: Debuggee): number[] =>
  (target.features[0]?.registers ?? []).map(({ number }) => number);

/** Hexadecimal digits of a register. */
const REGISTER_DIGITS = 16;

async function readAll(debuggee: Debuggee): Promise<string> {
  const values = await debuggee.target.readRegisters(debuggee.general, generalRegisters(debuggee));
  return values.map((value) => hexOfRegister(value ?? 0n)).join('');
}

/** What is not given stays as it is. */
async function writeAll(debuggee: Debuggee, text: string): Promise<string> {
  const numbers = generalRegisters(debuggee);
  const values = new Map<number, bigint>();
  for (let at = 0; at < text.length; at += REGISTER_DIGITS) {
    const value = registerOfHex(text.slice(at, at + REGISTER_DIGITS));
    const number = numbers[at / REGISTER_DIGITS];
    if (value === undefined || number === undefined) return ERROR.invalid;
    values.set(number, value);
  }
  return (await debuggee.target.writeRegisters(debuggee.general, values)) ? 'OK' : ERROR.fault;
}

async function readOne(debuggee: Debuggee, text: string): Promise<string> {
  const number = numberOfHex(text);
  if (number === undefined) return ERROR.invalid;
  const [value] = await debuggee.target.readRegisters(debuggee.general, [number]);
  return value === undefined ? ERROR.fault : hexOfRegister(value);
}

async function writeOne(debuggee: Debuggee, text: string): Promise<string> {
  const [first = '', second = ''] = text.split('=');
  const number = numberOfHex(first);
  const value = registerOfHex(second);
  if (number === undefined || value === undefined) return ERROR.invalid;
  const written = await debuggee.target.writeRegisters(debuggee.general, new Map([[number, value]]));
  return written ? 'OK' : ERROR.fault;
}

async function readMemory(debuggee: Debuggee, text: string): Promise<string> {
  const range = rangeOfHex(text);
  if (range === undefined || range.length > PACKET_SIZE / 2) return ERROR.invalid;
  const bytes = await debuggee.target.readMemory(debuggee.memoryOf, range.address, range.length);
  return bytes === undefined ? ERROR.fault : hexOfBytes(bytes);
}

/** @param bytesOf reads what stands behind the colon. */
function writeMemory(bytesOf: (text: string) => Uint8Array | undefined): Command {
  return async (debuggee, text) => {
    const colon = text.indexOf(':');
    const range = rangeOfHex(text.slice(0, colon));
    const bytes = bytesOf(text.slice(colon + 1));
    if (colon < 0 || range === undefined || bytes?.length !== range.length) return ERROR.invalid;
    // gdb asks so whether there is an X.
    if (bytes.length === 0) return 'OK';
    const written = await debuggee.target.writeMemory(debuggee.memoryOf, range.address, bytes);
    return written ? 'OK' : ERROR.fault;
  };
}

const binary = (text: string): Uint8Array => Uint8Array.from(text, (character) => character.charCodeAt(0));

const POINT_KINDS = ['software', 'hardware', 'write', 'read', 'access'] as const;

/** "TYPE,ADDRESS,KIND": a breakpoint's kind is the length of its instruction, which does not matter here. */
function point(change: (debuggee: Debuggee, point: Point) => Promise<void>): Command {
  return async (debuggee, text) => {
    const kind = /^[0-4],/.test(text) ? POINT_KINDS[Number(text.charAt(0))] : undefined;
    if (kind === undefined) return '';
    // Conditions and commands, which we have not offered, would follow a semicolon.
    const range = rangeOfHex(text.slice(2));
    if (range === undefined) return ERROR.invalid;
    const { address, length } = range;
    if (kind === 'software' || kind === 'hardware') await change(debuggee, { kind, address });
    else if (length === 0) return ERROR.invalid;
    else await change(debuggee, { kind, address, length });
    return 'OK';
  };
}

export const DATA_COMMANDS: Commands = {
  g: readAll,
  'G*': writeAll,
  'p*': readOne,
  'P*': writeOne,
  'm*': readMemory,
  'M*': writeMemory(bytesOfHex),
  'X*': writeMemory(binary),
  'Z*': point(({ target }, given) => target.insertPoint(given)),
  'z*': point(({ target }, given) => target.removePoint(given)),
};

/** Sets the pc, if an address is given. @returns false if it can't be read. */
export async function jumpTo({ target, general }: Debuggee, text: string): Promise<boolean> {
  if (text === '') return true;
  const address = addressOfHex(text);
  const pc = target.features[0]?.registers.find(({ name }) => name === 'pc');
  if (address === undefined || pc === undefined) return false;
  return await target.writeRegisters(general, new Map([[pc.number, address]]));
}
