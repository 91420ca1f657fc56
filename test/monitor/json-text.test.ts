/** What is written can be read again, whatever it is. */
import { expect, test } from 'vitest';
import { parseJson, stringifyJson } from '../../src/monitor/json-text.ts';

test.each([0, -1.5, 1e300, 'ä\n"', true, null, [1, 'a'], { a: { b: [] } }])(
  '%j is read as it was',
  (value) => {
    expect(parseJson(stringifyJson(value))).toEqual(value);
  },
);

test.each([Number.NaN, Infinity, -Infinity])('%d, which JSON does not have, is null', (value) => {
  expect(parseJson(stringifyJson({ a: value, b: [value] }))).toEqual({ a: null, b: [null] });
});
