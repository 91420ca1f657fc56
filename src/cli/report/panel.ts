/** One plot of a report: lines over time, with axes, grid, legend and marks. Everything is SVG text. */
import { type Scale, scale, ticks, tickText } from './scale.ts';

export interface Point {
  /** ms since the start. */
  readonly x: number;
  readonly y: number;
}

export interface Line {
  readonly name: string;
  readonly color: string;
  readonly points: readonly Point[];
  /** Fill the area below it. */
  readonly filled?: boolean;
}

export interface PanelOptions {
  readonly title: string;
  /** Of the vertical axis. */
  readonly unit: string;
  readonly lines: readonly Line[];
  /** A fixed end of the vertical axis: 100 for percent. */
  readonly max?: number;
}

/** What all plots over time share. */
export interface TimeAxis {
  /** ms. */
  readonly end: number;
  /** Where passes ended, in ms. */
  readonly passes: readonly { readonly number: number; readonly at: number }[];
  /** When the guest stood still, in ms. */
  readonly pause?: { readonly from: number; readonly to: number };
  /** Since when the guest ran at the destination, without all of its memory. */
  readonly late?: { readonly from: number };
}

export const WIDTH = 920;
export const LEFT = 78;
export const RIGHT = 20;
const TOP = 46;
const PLOT = 130;
const BOTTOM = 40;
export const PANEL_HEIGHT = TOP + PLOT + BOTTOM;
/** Pixels that a pass's number takes. */
const PASS_LABEL = 22;

export function escapeText(text: string): string {
  return text.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);
}

export function text(
  x: number,
  y: number,
  content: string,
  { anchor = 'start', kind = '' }: { anchor?: 'start' | 'middle' | 'end'; kind?: string } = {},
): string {
  const css = kind === '' ? '' : ` class="${kind}"`;
  return `<text x="${fixed(x)}" y="${fixed(y)}" text-anchor="${anchor}"${css}>${escapeText(content)}</text>`;
}

export const fixed = (value: number): string => String(Number(value.toFixed(1)));

/** A plot whose top left corner is (0, `top`). */
export function panel(top: number, options: PanelOptions, axis: TimeAxis): string {
  const { title, unit, lines } = options;
  const largest = Math.max(0, ...lines.flatMap(({ points }) => points.map(({ y }) => y)));
  const marks = ticks(options.max ?? largest, 4);
  const [yTop, yBottom] = [top + TOP, top + TOP + PLOT];
  const y = scale(0, marks.at(-1) ?? 1, yBottom, yTop);
  const x = scale(0, axis.end, LEFT, WIDTH - RIGHT);
  return [
    text(LEFT, top + 16, title, { kind: 'title' }),
    legend(top + 16, lines),
    band('pause', axis.pause, x, yTop, yBottom),
    band(
      'late',
      axis.late === undefined ? undefined : { from: axis.late.from, to: axis.end },
      x,
      yTop,
      yBottom,
    ),
    ...marks.map(
      (value) =>
        `<line class="grid" x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${fixed(y.at(value))}" y2="${fixed(y.at(value))}"/>` +
        text(LEFT - 8, y.at(value) + 4, tickText(value), { anchor: 'end' }),
    ),
    `<text class="unit" text-anchor="middle" transform="translate(16 ${fixed((yTop + yBottom) / 2)}) rotate(-90)">${escapeText(unit)}</text>`,
    passMarks(x, yTop, yBottom, axis),
    ...lines.map((line) => path(line, x, y)),
    timeMarks(x, yBottom, axis),
  ].join('\n');
}

function legend(y: number, lines: readonly Line[]): string {
  if (lines.length < 2) return '';
  let right = WIDTH - RIGHT;
  return [...lines]
    .reverse()
    .map(({ name, color }) => {
      right -= 7 * name.length;
      const entry =
        text(right, y, name) +
        `<line x1="${right - 28}" x2="${right - 6}" y1="${y - 4}" y2="${y - 4}" stroke="${color}" stroke-width="3"/>`;
      right -= 48;
      return entry;
    })
    .join('');
}

function band(
  kind: string,
  time: { readonly from: number; readonly to: number } | undefined,
  x: Scale,
  top: number,
  bottom: number,
): string {
  if (time === undefined) return '';
  const from = x.at(Math.min(time.from, x.max));
  const width = Math.max(1.5, x.at(Math.min(time.to, x.max)) - from);
  return `<rect class="${kind}" x="${fixed(from)}" y="${top}" width="${fixed(width)}" height="${bottom - top}"/>`;
}

/** A line at the end of each pass, and its number over it as long as numbers have room. */
function passMarks(x: Scale, top: number, bottom: number, { passes }: TimeAxis): string {
  let labelled = LEFT - PASS_LABEL;
  let drawn = Number.NEGATIVE_INFINITY;
  let before = 0;
  return passes
    .map(({ number, at }) => {
      const [here, middle] = [x.at(at), (x.at(before) + x.at(at)) / 2];
      before = at;
      let svg = '';
      if (here - drawn >= 3) {
        svg += `<line class="pass" x1="${fixed(here)}" x2="${fixed(here)}" y1="${top}" y2="${bottom}"/>`;
        drawn = here;
      }
      if (middle - labelled >= PASS_LABEL) {
        const content = labelled < LEFT ? `pass ${number}` : String(number);
        svg += text(Math.max(middle, LEFT + (labelled < LEFT ? 18 : 0)), top - 5, content, {
          anchor: 'middle',
          kind: 'pass',
        });
        labelled = middle;
      }
      return svg;
    })
    .join('');
}

function path({ points, color, filled }: Line, x: Scale, y: Scale): string {
  if (points.length === 0) return '';
  const d = points.map((point, i) => `${i === 0 ? 'M' : 'L'}${fixed(x.at(point.x))} ${fixed(y.at(point.y))}`);
  const [first, last] = [points[0] as Point, points.at(-1) as Point];
  const area = [
    ...d,
    `L${fixed(x.at(last.x))} ${fixed(y.at(0))}`,
    `L${fixed(x.at(first.x))} ${fixed(y.at(0))}`,
  ];
  return (
    (filled === true ? `<path d="${area.join('')}Z" fill="${color}" fill-opacity="0.15"/>` : '') +
    `<path d="${d.join('')}" fill="none" stroke="${color}" stroke-width="1.8" stroke-linejoin="round"/>`
  );
}

function timeMarks(x: Scale, bottom: number, { end }: TimeAxis): string {
  const seconds = end >= 2000;
  const marks = ticks(end, 10).filter((ms) => ms <= end);
  const lines = marks.map((ms) => {
    const at = fixed(x.at(ms));
    return (
      `<line class="axis" x1="${at}" x2="${at}" y1="${bottom}" y2="${bottom + 4}"/>` +
      text(x.at(ms), bottom + 17, tickText(seconds ? ms / 1000 : ms), { anchor: 'middle' })
    );
  });
  return [
    `<line class="axis" x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${bottom}" y2="${bottom}"/>`,
    ...lines,
    text((LEFT + WIDTH - RIGHT) / 2, bottom + 33, `time since the start, ${seconds ? 's' : 'ms'}`, {
      anchor: 'middle',
      kind: 'unit',
    }),
  ].join('');
}
