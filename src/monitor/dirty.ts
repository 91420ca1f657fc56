/**
 * How fast the guest makes pages dirty, and limits of that, as monitors see them. Names, ranges and lines are QEMU 7.2's
 * (qapi/migration.json: DirtyRateInfo, DirtyLimitInfo); rates are in MiB per second, which QEMU calls MB/s.
 */

/** How the rate is measured. */
export const DIRTY_RATE_MODES = ['page-sampling', 'dirty-ring', 'dirty-bitmap'] as const;
export type DirtyRateMode = (typeof DIRTY_RATE_MODES)[number];

/** Seconds that a measurement may take, and pages per GiB that page-sampling may look at. */
export const CALC_TIME_RANGE = [1, 60] as const;
export const SAMPLE_PAGES_RANGE = [128, 16384] as const;
export const DEFAULT_SAMPLE_PAGES = 512;

export interface DirtyRateRequest {
  /** Seconds. */
  readonly calcTime: number;
  readonly mode: DirtyRateMode;
  /** Per GiB; of page-sampling. */
  readonly samplePages: number;
}

/** `query-dirty-rate`. */
export interface DirtyRateInfo {
  readonly status: 'unstarted' | 'measuring' | 'measured';
  /** Seconds on the host's monotonic clock. */
  readonly 'start-time': number;
  readonly 'calc-time': number;
  /** 0 if the mode takes no samples. */
  readonly 'sample-pages': number;
  readonly mode: DirtyRateMode;
  /** Only once measured. */
  readonly 'dirty-rate'?: number;
  readonly 'vcpu-dirty-rate'?: readonly { readonly id: number; readonly 'dirty-rate': number }[];
}

/** One of `query-vcpu-dirty-limit`. */
export interface DirtyLimitInfo {
  readonly 'cpu-index': number;
  readonly 'limit-rate': number;
  readonly 'current-rate': number;
}

/** What monitors may do about it. */
export interface DirtyTarget {
  queryRate(): DirtyRateInfo;
  /** Resolves when it has begun. @throws GodwitError kind "state" if one is under way. */
  measureRate(request: DirtyRateRequest): Promise<void>;
  limits(): Promise<DirtyLimitInfo[]>;
  /** @param limit undefined lifts it. @param hart all, if none is named. */
  setLimit(limit: number | undefined, hart?: number): Promise<void>;
}

/** The lines of `info dirty_rate`. */
export function dirtyRateLines(info: DirtyRateInfo): string[] {
  const rate = info['dirty-rate'];
  return [
    `Status: ${info.status}`,
    `Start Time: ${info['start-time'] * 1000} (ms)`,
    `Sample Pages: ${info['sample-pages']} (per GB)`,
    `Period: ${info['calc-time']} (sec)`,
    `Mode: ${info.mode}`,
    `Dirty rate: ${rate === undefined ? '(not ready)' : `${rate} (MB/s)`}`,
    ...(info['vcpu-dirty-rate'] ?? []).map(
      (vcpu) => `vcpu[${vcpu.id}], Dirty rate: ${vcpu['dirty-rate']} (MB/s)`,
    ),
  ];
}

/** The lines of `info vcpu_dirty_limit`. */
export function dirtyLimitLines(limits: readonly DirtyLimitInfo[]): string[] {
  if (limits.length === 0) return ['Dirty page limit not enabled!'];
  return limits.map(
    (limit) =>
      `vcpu[${limit['cpu-index']}], limit rate ${limit['limit-rate']} (MB/s), ` +
      `current rate ${limit['current-rate']} (MB/s)`,
  );
}
