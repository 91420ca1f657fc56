/** Axes: where values lie, and which of them are named. */

/** A number line from `min` to `max` laid over pixels from `from` to `to`. */
export interface Scale {
  readonly min: number;
  readonly max: number;
  at(value: number): number;
}

export function scale(min: number, max: number, from: number, to: number): Scale {
  const span = max > min ? max - min : 1;
  return { min, max, at: (value) => from + ((value - min) / span) * (to - from) };
}

/** Round numbers from 0 on that divide 0 to `max` into at most `count` parts; the last one is `max` or more. */
export function ticks(max: number, count: number): number[] {
  if (!(max > 0)) return [0, 1];
  const rough = max / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = ([1, 2, 2.5, 5, 10].find((factor) => factor * power >= rough * 0.999999) ?? 10) * power;
  const all: number[] = [];
  for (let i = 0; (i - 1) * step < max * 0.999999; i++) all.push(i * step);
  return all;
}

/** Without the noise of binary fractions, and not longer than need be. */
export function tickText(value: number): string {
  return value >= 1e6 ? `${Number((value / 1e6).toPrecision(6))}M` : `${Number(value.toPrecision(6))}`;
}
