/** Expressions and formats of the human monitor; every value and error text is what QEMU 7.2 answered. */
import { expect, test } from 'vitest';
import { FIRST_DUMP, parseExpression, parseFormat } from '../../src/monitor/expression.ts';

const REGISTERS = new Map([['pc', 0x8000_0000n]]);
const read = (text: string) => parseExpression(text, (name) => REGISTERS.get(name));

test.each([
  ['12', 12n],
  ['0x1000+8', 0x1008n],
  ['(0x1000 + 8) * 2', 0x2010n],
  ['010', 8n],
  ['-8', -8n],
  ['+8', 8n],
  ['~0', -1n],
  ["'a'", 97n],
  ['0x80000000|4', 0x8000_0004n],
  ['1+2|4', 7n], // | binds before +
  ['0x80000000&0xf0000000^4', 0x8000_0004n],
  ['7/2', 3n],
  ['7%4', 3n],
  ['18446744073709551615', -1n],
  ['$pc+4', 0x8000_0004n],
])('%s', (text, value) => {
  expect(read(text)).toEqual({ value, rest: '' });
});

test('what stands behind an expression is left', () => {
  expect(read('12 34')).toEqual({ value: 12n, rest: '34' });
  expect(read('0x')).toEqual({ value: 0n, rest: 'x' });
  expect(read('8)')).toEqual({ value: 8n, rest: ')' });
});

test.each([
  ['', 'unexpected end of expression'],
  ['zzz', "invalid char 'z' in expression"],
  ['1||2', "invalid char '|' in expression"],
  ['5/0', 'division by zero'],
  ['5%0', 'division by zero'],
  ['(8', "')' expected"],
  ['18446744073709551616', 'number too large'],
  ['$', 'unknown register'],
  ['$nosuch', 'unknown register'],
  ["'", 'character constant expected'],
  ["'ab'", "missing terminating ' character"],
])('"%s" is refused: %s', (text, message) => {
  expect(() => read(text)).toThrow(message);
});

test.each([
  ['/4xw 0x10', { count: 4, letter: 'x', size: 4 }, '0x10'],
  ['/i $pc', { count: 1, letter: 'i', size: 4 }, '$pc'],
  ['/10gd', { count: 10, letter: 'd', size: 8 }, ''],
  ['/0x 1', { count: 0, letter: 'x', size: 4 }, '1'],
  ['/ 1', { count: 1, letter: 'x', size: 4 }, '1'],
  ['1', { count: 1, letter: 'x', size: 4 }, '1'],
] as const)('format %s', (text, value, rest) => {
  expect(parseFormat(text, FIRST_DUMP)).toEqual({ value, rest });
});

test('what a format leaves out is as before', () => {
  expect(parseFormat('/3 1', { letter: 'c', size: 8 }).value).toEqual({ count: 3, letter: 'c', size: 8 });
});

test.each([
  ['/s 1', "invalid char in format: 's'"],
  ['/-3xw 1', "invalid char in format: '-'"],
])('format %s is refused', (text, message) => {
  expect(() => parseFormat(text, FIRST_DUMP)).toThrow(message);
});
