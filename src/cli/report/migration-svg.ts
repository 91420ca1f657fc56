/** A migration as plots: one SVG picture, from its figures and samples. */
import type { MigrationInfo, MigrationSamples } from '../../monitor/target.ts';
import type { MigrationOutcome } from '../migrate.ts';
import { HISTOGRAM_HEIGHT, histogramPanel, type Part, partsHeight, partsPanel } from './bars.ts';
import { PANEL_HEIGHT, type PanelOptions, panel, type TimeAxis, text, WIDTH } from './panel.ts';
import { passSteps, rates, steps } from './rates.ts';

const MiB = 1024 * 1024;
const BLUE = '#2b6cb0';
const RED = '#c53030';
const ORANGE = '#b7791f';
const GREEN = '#2f7d4f';
const GAP = 14;
/** A cap on sending holds over so long. */
const CAP_WINDOW_MS = 100;
/** Some slices of some harts. */
const SLICES_MS = 25;

const STYLE = `
text { font: 12px "Helvetica Neue", Helvetica, Arial, "DejaVu Sans", sans-serif; fill: #333 }
.title { font-size: 14px; font-weight: bold; fill: #111 }
.heading { font-size: 18px; font-weight: bold; fill: #111 }
.unit { fill: #666 }
text.pass { font-size: 10px; fill: #888 }
.grid { stroke: #e4e4e4 }
.axis { stroke: #888 }
line.pass { stroke: #b5b5b5; stroke-dasharray: 3 3 }
.late { fill: ${BLUE}; fill-opacity: 0.06 }
.pause { fill: ${RED}; fill-opacity: 0.18 }`;

/** @returns a whole SVG document, 920 pixels wide, that needs nothing else. */
export function migrationSvg(info: MigrationOutcome, samples: MigrationSamples): string {
  const parts = ['<rect width="100%" height="100%" fill="white"/>'];
  let top = 56;
  parts.push(text(16, 28, heading(info), { kind: 'heading' }));
  parts.push(text(16, 47, explanation(info), { kind: 'unit' }));
  const add = (height: number, svg: string): void => {
    parts.push(svg);
    top += height + GAP;
  };
  if (samples.length > 1) {
    const axis = timeAxis(info, samples);
    for (const options of timePlots(info, samples)) add(PANEL_HEIGHT, panel(top, options, axis));
  }
  const pause = pauseParts(info);
  if (pause.length > 0) {
    add(partsHeight(pause), partsPanel(top, `The pause, ${info.downtime} ms in all`, 'ms', pause));
  }
  const latencies = latencyClasses(info.destination ?? {});
  if (latencies.length > 0) {
    const title = 'Post-copy: how long the guest waited for a page (number of pages)';
    add(HISTOGRAM_HEIGHT, histogramPanel(top, title, 'up to so many µs', latencies));
  }
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${top}" width="${WIDTH}" height="${top}">
<style>${STYLE}</style>
${parts.join('\n')}
</svg>
`;
}

function heading({ status, 'total-time': total }: MigrationInfo): string {
  return `Migration ${status ?? 'none'}${total === undefined ? '' : ` after ${total} ms`}`;
}

function explanation(info: MigrationInfo): string {
  if (info['error-desc'] !== undefined) return info['error-desc'].slice(0, 140);
  const pause = info.downtime === undefined ? '' : '; red: the guest stands still';
  const late = latePart(info) === undefined ? '' : '; blue: it runs at the destination, and its memory comes';
  return `Dashed lines: the end of a pass over memory${pause}${late}`;
}

function timePlots(info: MigrationInfo, samples: MigrationSamples): PanelOptions[] {
  const throttled = samples.some((sample) => sample['cpu-throttle-percentage'] > 0);
  const pageSize = info.ram?.['page-size'] ?? 0;
  const dirtied = new Map((info.passes ?? []).map((pass) => [pass.pass, pass['dirty-pages-rate']]));
  const pageRate = (pass: number): number => ((dirtied.get(pass) ?? 0) * pageSize) / MiB;
  const begun = samples.slice(
    samples.findIndex((sample) => sample.remaining > 0 || sample['disk-remaining'] > 0),
  );
  const disks = samples.some((sample) => sample['disk-remaining'] > 0);
  const late = latePart(info);
  return [
    {
      title: disks ? 'What is still to be sent' : 'Memory that is still to be sent',
      unit: 'MiB',
      lines: [
        {
          name: 'memory',
          color: BLUE,
          filled: true,
          points: begun.map(({ time, remaining }) => ({ x: time, y: remaining / MiB })),
        },
        ...(disks
          ? [
              {
                name: 'disks, with holes',
                color: ORANGE,
                points: begun.map((sample) => ({ x: sample.time, y: sample['disk-remaining'] / MiB })),
              },
            ]
          : []),
      ],
    },
    {
      title: 'Bandwidth against dirty rate',
      unit: 'MiB/s',
      lines: [
        {
          name: 'sent',
          color: BLUE,
          points: rates(samples, CAP_WINDOW_MS, ({ transferred }) => transferred / MiB),
        },
        { name: 'dirtied by the guest, whole pages', color: RED, points: passSteps(samples, pageRate) },
      ],
    },
    ...(throttled
      ? [
          {
            title: 'Throttle: time that the guest is held back',
            unit: '%',
            max: 100,
            lines: [
              {
                name: 'throttle',
                color: RED,
                filled: true,
                points: steps(samples, (sample) => sample['cpu-throttle-percentage']),
              },
            ],
          },
        ]
      : []),
    {
      title: late === undefined ? "The guest's own speed" : "The guest's own speed at the source",
      unit: 'million instructions/s',
      lines: [
        {
          name: 'instructions',
          color: GREEN,
          filled: true,
          points: rates(
            samples.filter(({ time }) => late === undefined || time <= late.from),
            SLICES_MS,
            ({ instructions }) => instructions / 1e6,
          ),
        },
      ],
    },
  ];
}

function timeAxis(info: MigrationInfo, samples: MigrationSamples): TimeAxis {
  const end = samples.at(-1)?.time ?? 0;
  const passes: { number: number; at: number }[] = [];
  let seen = 0;
  for (const { time, passes: over } of samples) {
    if (over > seen) passes.push({ number: over, at: time });
    seen = over;
  }
  const from = info['stopped-at'];
  const pause = from === undefined ? undefined : { from, to: from + (info.downtime ?? 0) };
  const late = latePart(info);
  return {
    ...{ end, passes },
    ...(pause === undefined ? {} : { pause }),
    ...(late === undefined ? {} : { late }),
  };
}

/** When the guest ran at the destination before its memory was there, in ms. */
function latePart(info: MigrationInfo): { from: number } | undefined {
  const from = info['stopped-at'];
  if (from === undefined || info.downtime === undefined) return undefined;
  return (info.ram?.['postcopy-bytes'] ?? 0) > 0 ? { from: from + info.downtime } : undefined;
}

const PAUSE_NAMES: Readonly<Record<string, string>> = {
  held: 'held by the user',
  'final-pass': 'final pass',
  'take-state': 'take state',
  'send-state': 'send state',
  load: 'load, until ready',
  resume: 'resume',
};

function pauseParts({ pause, downtime }: MigrationInfo): Part[] {
  if (downtime === undefined) return [];
  return Object.entries(pause ?? {}).map(([part, value]) => ({
    name: PAUSE_NAMES[part] ?? part,
    value: value as number,
  }));
}

/** Class n counts what took up to 2^(n+1) µs, as in QEMU; leading and trailing classes that are empty are left out. */
function latencyClasses({ 'postcopy-latency-dist': counts = [] }: MigrationInfo): Part[] {
  const classes = counts.map((value, n) => ({ name: String(2 ** (n + 1)), value }));
  const first = classes.findIndex(({ value }) => value > 0);
  if (first < 0) return [];
  return classes.slice(first, classes.findLastIndex(({ value }) => value > 0) + 1);
}
