/** What a disk device and its back end say to each other. Nothing here waits: what takes time is a promise. */

/** Bytes of a sector, the unit of all requests. */
export const SECTOR_BYTES = 512;

/** What becomes of a request that failed: the guest hears of it, or not, or the VM stops and it is tried again later. */
export type BlockErrorAction = 'report' | 'ignore' | 'stop';

/**
 * The host's end of a disk. Offsets and lengths are bytes, multiples of SECTOR_BYTES, and lie within `size`. Requests
 * that are under way together are done in any order. A promise rejects if the request could not be done, with an error
 * whose `code` is the system's ("EIO", "ENOSPC"); what it did until then may be half done.
 */
export interface BlockBackend {
  /** Its -drive id. */
  readonly id: string;
  /** Bytes. */
  readonly size: number;
  readonly readonly: boolean;
  /** Fills `target`; it is not in shared memory. */
  read(offset: number, target: Uint8Array): Promise<void>;
  /** The bytes are the back end's until the promise is settled. */
  write(offset: number, bytes: Uint8Array): Promise<void>;
  /** Makes the range read as zero. @param unmap whether the host may keep no space for it. */
  zero(offset: number, length: number, unmap: boolean): Promise<void>;
  /** The contents of the range are not needed any more; it may be done or not. */
  discard(offset: number, length: number): Promise<void>;
  /** When it resolves, all that was written before the call survives the host's end. */
  flush(): Promise<void>;
  /** Says what to do about a failed request, and tells whom it may concern. */
  failed(operation: 'read' | 'write', error: unknown): BlockErrorAction;
}
