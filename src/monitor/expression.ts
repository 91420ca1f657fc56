/**
 * Numbers and formats on a line of the human monitor: "0x1000+8*$a0" and "/4xw". Grammar, precedence and error texts
 * are those of QEMU's monitor/hmp.c.
 */
import { GodwitError } from '../error.ts';

/** A mistake that QEMU reports without the command's name before it. */
export class ExpressionError extends GodwitError {
  constructor(message: string) {
    super('usage', message);
  }
}

/** A value, and what stands behind it on the line. */
export interface Parsed<T> {
  readonly value: T;
  readonly rest: string;
}

/** The value of `$name`; undefined if there is no such register. */
export type RegisterValue = (name: string) => bigint | undefined;

/** Whether reading the text needs registers. */
export const namesRegister = (text: string): boolean => text.includes('$');

const MAX_NUMBER = (1n << 64n) - 1n;

/**
 * The expression that `text` begins with, modulo 2⁶⁴, as a signed value.
 * @throws ExpressionError
 */
export function parseExpression(text: string, register: RegisterValue): Parsed<bigint> {
  const reader = new Reader(text, register);
  const value = reader.sum();
  return { value, rest: reader.rest };
}

type Operator = (a: bigint, b: bigint) => bigint;

function dividing(operator: Operator): Operator {
  return (a, b) => {
    if (b === 0n) throw new ExpressionError('division by zero');
    return operator(a, b);
  };
}

const SUMS: Readonly<Record<string, Operator>> = { '+': (a, b) => a + b, '-': (a, b) => a - b };
const LOGIC: Readonly<Record<string, Operator>> = {
  '&': (a, b) => a & b,
  '|': (a, b) => a | b,
  '^': (a, b) => a ^ b,
};
const PRODUCTS: Readonly<Record<string, Operator>> = {
  '*': (a, b) => a * b,
  '/': dividing((a, b) => a / b),
  '%': dividing((a, b) => a % b),
};
const UNARY: Readonly<Record<string, (a: bigint) => bigint>> = {
  '+': (a) => a,
  '-': (a) => -a,
  '~': (a) => ~a,
};

class Reader {
  rest: string;
  readonly #register: RegisterValue;

  constructor(text: string, register: RegisterValue) {
    this.rest = text.trimStart();
    this.#register = register;
  }

  sum(): bigint {
    return this.#chain(SUMS, () => this.#chain(LOGIC, () => this.#chain(PRODUCTS, () => this.#unary())));
  }

  #chain(operators: Readonly<Record<string, Operator>>, operand: () => bigint): bigint {
    let value = operand();
    for (;;) {
      const operator = operators[this.rest.charAt(0)];
      if (operator === undefined) return value;
      this.#take(1);
      value = BigInt.asIntN(64, operator(value, operand()));
    }
  }

  #unary(): bigint {
    const first = this.rest.charAt(0);
    const operator = UNARY[first];
    if (operator !== undefined) {
      this.#take(1);
      return BigInt.asIntN(64, operator(this.#unary()));
    }
    switch (first) {
      case '':
        throw new ExpressionError('unexpected end of expression');
      case '(': {
        this.#take(1);
        const value = this.sum();
        if (!this.rest.startsWith(')')) throw new ExpressionError("')' expected");
        this.#take(1);
        return value;
      }
      case "'": {
        if (this.rest.length < 2) throw new ExpressionError('character constant expected');
        if (this.rest.charAt(2) !== "'") throw new ExpressionError("missing terminating ' character");
        const value = BigInt(this.rest.charCodeAt(1));
        this.#take(3);
        return value;
      }
      case '$': {
        const name = /^\$[\w.:]*/.exec(this.rest)?.[0] ?? '$';
        const value = this.#register(name.slice(1));
        if (value === undefined) throw new ExpressionError('unknown register');
        this.#take(name.length);
        return BigInt.asIntN(64, value);
      }
      default:
        return this.#number();
    }
  }

  /** As C's strtoull with base 0: hexadecimal behind 0x, octal behind 0. */
  #number(): bigint {
    const digits = /^(?:0[xX][0-9a-fA-F]+|0[0-7]*|[1-9]\d*)/.exec(this.rest)?.[0];
    if (digits === undefined) {
      throw new ExpressionError(`invalid char '${this.rest.charAt(0)}' in expression`);
    }
    const octal = /^0\d/.test(digits);
    const value = BigInt(octal ? `0o${digits.slice(1)}` : digits);
    if (value > MAX_NUMBER) throw new ExpressionError('number too large');
    this.#take(digits.length);
    return BigInt.asIntN(64, value);
  }

  #take(length: number): void {
    this.rest = this.rest.slice(length).trimStart();
  }
}

/** What a unit of memory is shown as. */
export type DumpLetter = 'o' | 'd' | 'u' | 'x' | 'c' | 'i';

export interface DumpFormat {
  readonly count: number;
  readonly letter: DumpLetter;
  /** Bytes; without meaning for instructions. */
  readonly size: 1 | 2 | 4 | 8;
}

/** What a format leaves out is as in the last one. */
export type DumpDefaults = Omit<DumpFormat, 'count'>;

export const FIRST_DUMP: DumpDefaults = { letter: 'x', size: 4 };

const SIZES: Readonly<Record<string, DumpFormat['size']>> = { b: 1, h: 2, w: 4, g: 8, L: 8 };

/** The format that `text` may begin with: "/4xw", or nothing. @throws ExpressionError */
export function parseFormat(text: string, defaults: DumpDefaults): Parsed<DumpFormat> {
  if (!text.startsWith('/')) return { value: { count: 1, ...defaults }, rest: text };
  const digits = /^\/\d*/.exec(text)?.[0] ?? '/';
  let { letter, size } = defaults;
  let at = digits.length;
  for (; at < text.length && !/\s/.test(text.charAt(at)); at++) {
    const character = text.charAt(at);
    const bytes = SIZES[character];
    if (bytes !== undefined) size = bytes;
    else if ('oduxci'.includes(character)) letter = character as DumpLetter;
    else throw new ExpressionError(`invalid char in format: '${character}'`);
  }
  const count = digits === '/' ? 1 : Number(digits.slice(1));
  return { value: { count, letter, size }, rest: text.slice(at).trimStart() };
}
