/** Disks, as `query-block` and `info block` show them (QEMU 7.2: qapi/block-core.json). */
import type { Json } from './json-text.ts';

export type BlockIoStatus = 'ok' | 'failed' | 'nospace';

/** Counted since the start; bytes and operations as in BlockDeviceStats. */
export interface BlockCounters {
  readonly rd_bytes: number;
  readonly wr_bytes: number;
  readonly unmap_bytes: number;
  readonly rd_operations: number;
  readonly wr_operations: number;
  readonly flush_operations: number;
  readonly unmap_operations: number;
  readonly failed_rd_operations: number;
  readonly failed_wr_operations: number;
}

export interface BlockInfo {
  /** The drive's id. */
  readonly device: string;
  /** The device that shows it: its id, or where it is; undefined if none does. */
  readonly attachedTo?: string;
  readonly file: string;
  readonly readonly: boolean;
  /** What is written goes to a temporary file. */
  readonly snapshot: boolean;
  readonly writeback: boolean;
  readonly noFlush: boolean;
  /** Bytes. */
  readonly size: number;
  /** Bytes that the host keeps for the image. */
  readonly allocated: number;
  readonly ioStatus: BlockIoStatus;
}

/** One disk in the form of QMP's BlockInfo. */
export function blockJson(info: BlockInfo): Json {
  const { device, attachedTo, file, readonly, writeback, noFlush, size, allocated, ioStatus } = info;
  return {
    device,
    locked: false,
    removable: false,
    type: 'unknown',
    ...(attachedTo === undefined ? {} : { qdev: attachedTo, 'io-status': ioStatus }),
    inserted: {
      ...{ file, ro: readonly, drv: 'raw', 'node-name': device, encrypted: false },
      ...{ backing_file_depth: info.snapshot ? 1 : 0, detect_zeroes: 'off', write_threshold: 0 },
      ...{ bps: 0, bps_rd: 0, bps_wr: 0, iops: 0, iops_rd: 0, iops_wr: 0 },
      cache: { writeback, direct: false, 'no-flush': noFlush },
      image: {
        ...{ filename: file, format: 'raw', 'virtual-size': size, 'actual-size': allocated },
        'dirty-flag': false,
      },
    },
  };
}

/** The lines of `info block`, an empty one between two disks. */
export function blockLines(infos: readonly BlockInfo[]): string[] {
  return infos.flatMap(({ device, attachedTo, file, readonly, snapshot, writeback, noFlush }, index) => [
    ...(index === 0 ? [] : ['']),
    `${device}: ${file} (raw${readonly ? ', read-only' : ''}${snapshot ? ', snapshot' : ''})`,
    ...(attachedTo === undefined ? [] : [`    Attached to:      ${attachedTo}`]),
    `    Cache mode:       ${writeback ? 'writeback' : 'writethrough'}${noFlush ? ', ignore flushes' : ''}`,
  ]);
}

/** The lines of `info blockstats`. */
export function blockStatsLines(counters: ReadonlyMap<string, BlockCounters>): string[] {
  return [...counters].map(
    ([device, values]) =>
      `${device}: ${Object.entries(values)
        .map(([name, value]) => `${name}=${value}`)
        .join(' ')}`,
  );
}
