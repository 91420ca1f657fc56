/** Rates from a migration's samples, which hold sums. */
import type { MigrationSamples } from '../../monitor/target.ts';
import type { Point } from './panel.ts';

type Sample = MigrationSamples[number];

/** As many steps as a plot can show. */
const STEPS = 180;

/**
 * What `sum` grew by per second, in equal steps of time; each point stands in the middle of its step.
 * @param stepMs shorter steps would show how the machine is made: a guest runs in bursts, a cap on sending has windows. A
 * short migration has at least ten steps all the same.
 */
export function rates(samples: MigrationSamples, stepMs: number, sum: (sample: Sample) => number): Point[] {
  const [first, last] = [samples[0], samples.at(-1)];
  if (first === undefined || last === undefined || last.time <= first.time) return [];
  const span = last.time - first.time;
  const count = Math.min(STEPS, Math.max(10, Math.round(span / stepMs)));
  const step = span / count;
  const at = interpolated(samples, sum);
  const points: Point[] = [];
  for (let i = 0; i < count; i++) {
    const [from, to] = [first.time + i * step, first.time + (i + 1) * step];
    // A sum that falls was set back by the guest: it says nothing.
    points.push({ x: (from + to) / 2, y: Math.max(0, ((at(to) - at(from)) / step) * 1000) });
  }
  return points;
}

/** The sum at any time, on straight lines between samples; to be asked for times that rise. */
function interpolated(samples: MigrationSamples, sum: (sample: Sample) => number): (time: number) => number {
  let i = 0;
  return (time) => {
    while (i > 0 && (samples[i]?.time ?? 0) > time) i--;
    while (i + 2 < samples.length && (samples[i + 1]?.time ?? 0) < time) i++;
    const [a, b] = [samples[i], samples[i + 1]];
    if (a === undefined) return 0;
    if (b === undefined || b.time <= a.time) return sum(a);
    const part = Math.min(1, Math.max(0, (time - a.time) / (b.time - a.time)));
    return sum(a) + part * (sum(b) - sum(a));
  };
}

/** A value as a line with corners: it holds until the next sample says another one. */
export function steps(samples: MigrationSamples, value: (sample: Sample) => number): Point[] {
  return corners(samples.map((sample) => ({ x: sample.time, y: value(sample) })));
}

/** A value of each pass, by its number, over the time that the pass took. */
export function passSteps(samples: MigrationSamples, value: (pass: number) => number): Point[] {
  const points: Point[] = [];
  let [begun, passes] = [samples.find(({ remaining }) => remaining > 0)?.time ?? 0, 0];
  for (const sample of samples) {
    if (sample.passes === passes) continue;
    points.push({ x: begun, y: value(sample.passes) });
    [begun, passes] = [sample.time, sample.passes];
  }
  if (passes > 0) points.push({ x: begun, y: points.at(-1)?.y ?? 0 });
  return corners(points);
}

function corners(values: readonly Point[]): Point[] {
  return values.flatMap((point, i) => {
    const before = values[i - 1];
    if (before === undefined) return [point];
    if (before.y !== point.y) return [{ x: point.x, y: before.y }, point];
    return i === values.length - 1 ? [point] : [];
  });
}
