/** The migration engine's figures and addresses in the form that monitors show. */
import type { WaitFigures } from '../machine/wait-times.ts';
import type { MigrationSample as EngineSample } from '../migration/samples.ts';
import type { MigrationInfo as EngineInfo } from '../migration/statistics.ts';
import type { MigrationInfo, MigrationSamples, MigrationStatus } from '../monitor/target.ts';
import { parseTransportAddress } from './transport-address.ts';

/** QEMU's SocketAddress of what a source can connect to; a file is shown as one, too. None for the rest. */
export function socketAddresses(uri: string): Readonly<Record<string, string>>[] {
  const address = parseTransportAddress(uri);
  switch (address.kind) {
    case 'tcp':
      if (address.server === false) return [];
      return [{ type: 'inet', host: address.host, port: String(address.port) }];
    case 'unix':
      if (address.server === false) return [];
      return [{ type: 'unix', path: address.path }];
    case 'file':
      return [{ type: 'file', path: address.path }];
    default:
      return [];
  }
}

/** Milliseconds, to a hundredth. */
const rounded = (ms: number): number => Math.round(ms * 100) / 100;

/** A sample in the monitors' form. */
export function monitorSample(sample: EngineSample): MigrationSamples[number] {
  return {
    time: rounded(sample.ms),
    passes: sample.passes,
    remaining: sample.remaining,
    'disk-remaining': sample.diskRemaining,
    transferred: sample.transferred,
    'dirty-pages-rate': Math.round(sample.dirtyPagesPerSecond),
    'cpu-throttle-percentage': sample.throttle,
    instructions: sample.instructions,
  };
}

/** The engine's figures in the monitors' form. */
export function monitorInfo(info: EngineInfo, status: MigrationStatus): MigrationInfo {
  const { passes, pause, arrival, 'stopped-at': stoppedAt, ...rest } = info;
  return {
    ...rest,
    status,
    ...(stoppedAt === undefined ? {} : { 'stopped-at': rounded(stoppedAt) }),
    ...(passes === undefined
      ? {}
      : {
          passes: passes.map((pass) => ({
            pass: pass.number,
            duration: rounded(pass.durationMs),
            bytes: pass.bytes,
            pages: pass.pages,
            duplicate: pass.zeroPages,
            normal: pass.pages - pass.zeroPages - pass.deltaPages,
            'normal-bytes': pass.wholeBytes,
            delta: pass.deltaPages,
            'delta-bytes': pass.deltaBytes,
            'disk-bytes': pass.diskBytes,
            'dirty-pages-rate': Math.round(pass.dirtyPagesPerSecond),
          })),
        }),
    ...(arrival === undefined
      ? {}
      : { pause: { load: rounded(arrival.loadMs ?? 0), start: rounded(arrival.startMs ?? 0) } }),
    ...(pause === undefined
      ? {}
      : {
          pause: {
            ...(pause.heldMs === 0 ? {} : { held: rounded(pause.heldMs) }),
            'final-pass': rounded(pause.finalPassMs),
            'take-state': rounded(pause.takeStateMs),
            'send-state': rounded(pause.sendStateMs),
            load: rounded(pause.loadAndReadyMs),
            resume: rounded(pause.resumeMs),
          },
        }),
  };
}

/** What `postcopy-blocktime` adds, of how long harts waited for pages. */
export function waitInfo({ blocked, harts, distribution, median, p99, longest }: WaitFigures): MigrationInfo {
  const ms = (ns: number): number => Math.round(ns / 1e6);
  const mean = (of: readonly { blocked: number; waits: number }[]): number => {
    const waits = of.reduce((sum, hart) => sum + hart.waits, 0);
    return waits === 0 ? 0 : Math.round(of.reduce((sum, hart) => sum + hart.blocked, 0) / waits);
  };
  return {
    'postcopy-blocktime': ms(blocked),
    'postcopy-vcpu-blocktime': harts.map((hart) => ms(hart.blocked)),
    'postcopy-latency': mean(harts),
    'postcopy-vcpu-latency': harts.map((hart) => mean([hart])),
    'postcopy-latency-dist': distribution,
    'postcopy-latency-median': median,
    'postcopy-latency-p99': p99,
    'postcopy-latency-max': longest,
  };
}
