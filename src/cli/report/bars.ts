/** Plots that are not over time: the parts of a whole, and how often values occur. */
import { escapeText, fixed, LEFT, RIGHT, text, WIDTH } from './panel.ts';
import { scale, ticks, tickText } from './scale.ts';

const COLORS = ['#4477aa', '#ee6677', '#228833', '#ccbb44', '#66ccee', '#aa3377', '#bbbbbb'];
const BAR = 26;
const LEGEND_COLUMNS = 4;

export interface Part {
  readonly name: string;
  readonly value: number;
}

export function partsHeight(parts: readonly Part[]): number {
  return 46 + BAR + 40 + 20 * Math.ceil(parts.length / LEGEND_COLUMNS);
}

/** One bar of parts that follow each other. */
export function partsPanel(top: number, title: string, unit: string, parts: readonly Part[]): string {
  const sum = parts.reduce((all, { value }) => all + value, 0);
  const marks = ticks(sum, 8);
  const x = scale(0, marks.at(-1) ?? 1, LEFT, WIDTH - RIGHT);
  const y = top + 30;
  let from = 0;
  const bars = parts.map(({ name, value }, i) => {
    const at = x.at(from);
    from += value;
    const width = Math.max(0.5, x.at(from) - at);
    const color = COLORS[i % COLORS.length] as string;
    return `<rect x="${fixed(at)}" y="${y}" width="${fixed(width)}" height="${BAR}" fill="${color}"><title>${escapeText(name)}</title></rect>`;
  });
  const axisY = y + BAR;
  const legendY = axisY + 48;
  const column = (WIDTH - LEFT - RIGHT) / LEGEND_COLUMNS;
  const legend = parts.map(({ name, value }, i) => {
    const lx = LEFT + (i % LEGEND_COLUMNS) * column;
    const ly = legendY + 20 * Math.floor(i / LEGEND_COLUMNS);
    const color = COLORS[i % COLORS.length] as string;
    return (
      `<rect x="${fixed(lx)}" y="${ly - 10}" width="12" height="12" fill="${color}"/>` +
      text(lx + 18, ly, `${name}  ${value.toFixed(1)} ${unit}`)
    );
  });
  return [
    text(LEFT, top + 16, title, { kind: 'title' }),
    ...bars,
    `<line class="axis" x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${axisY}" y2="${axisY}"/>`,
    ...marks.map(
      (value) =>
        `<line class="axis" x1="${fixed(x.at(value))}" x2="${fixed(x.at(value))}" y1="${axisY}" y2="${axisY + 4}"/>` +
        text(x.at(value), axisY + 17, `${tickText(value)}`, { anchor: 'middle' }),
    ),
    text(16, y + BAR / 2 + 4, unit, { kind: 'unit' }),
    ...legend,
  ].join('\n');
}

const HISTOGRAM = 110;
export const HISTOGRAM_HEIGHT = 46 + HISTOGRAM + 44;

/** How often values fell into each of these classes. */
export function histogramPanel(top: number, title: string, unit: string, classes: readonly Part[]): string {
  const marks = ticks(Math.max(1, ...classes.map(({ value }) => value)), 4);
  const [yTop, yBottom] = [top + 40, top + 40 + HISTOGRAM];
  const y = scale(0, marks.at(-1) ?? 1, yBottom, yTop);
  const width = (WIDTH - LEFT - RIGHT) / Math.max(1, classes.length);
  return [
    text(LEFT, top + 16, title, { kind: 'title' }),
    ...marks.map(
      (value) =>
        `<line class="grid" x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${fixed(y.at(value))}" y2="${fixed(y.at(value))}"/>` +
        text(LEFT - 8, y.at(value) + 4, tickText(value), { anchor: 'end' }),
    ),
    ...classes.map(({ name, value }, i) => {
      const x = LEFT + i * width;
      return (
        `<rect x="${fixed(x + 2)}" y="${fixed(y.at(value))}" width="${fixed(width - 4)}" height="${fixed(yBottom - y.at(value))}" fill="${COLORS[0]}"/>` +
        text(x + width / 2, yBottom + 17, name, { anchor: 'middle' })
      );
    }),
    `<line class="axis" x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${yBottom}" y2="${yBottom}"/>`,
    text((LEFT + WIDTH - RIGHT) / 2, yBottom + 33, unit, { anchor: 'middle', kind: 'unit' }),
  ].join('\n');
}
