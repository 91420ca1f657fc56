/**
 * `-object filter-dump`: the frames of a cable in a file that tcpdump and Wireshark read. PCAP Capture File Format
 * (draft-ietf-opsawg-pcap), version 2.4, microseconds.
 */
import { Buffer } from 'node:buffer';
import { openSync, writeSync } from 'node:fs';
import type { NetworkTap } from '../devices/network.ts';
import { errorMessage, GodwitError } from '../error.ts';

export interface FilterDumpSpec {
  readonly id: string;
  /** Id of the back end whose cable it watches. */
  readonly netdev: string;
  readonly file: string;
  /** Bytes of a frame that are kept. */
  readonly maxlen: number;
  /** The option as it was written, for errors. */
  readonly where: string;
}

export interface FilterDump {
  readonly netdev: string;
  readonly tap: NetworkTap;
}

const MAGIC_MICROSECONDS = 0xa1b2_c3d4;
const LINKTYPE_ETHERNET = 1;

/** @throws GodwitError kind 'file'. */
export function openFilterDump({ netdev, file, maxlen, where }: FilterDumpSpec): FilterDump {
  let fd: number;
  try {
    fd = openSync(file, 'w', 0o644);
    writeSync(fd, header(maxlen));
  } catch (error) {
    throw new GodwitError(
      'file',
      `${where}: can't write ${file}: ${errorMessage(error)}`,
      { where: file },
      error,
    );
  }
  let waiting: Uint8Array[] = [];
  let broken = false;
  const flush = (): void => {
    const all = Buffer.concat(waiting);
    waiting = [];
    try {
      writeSync(fd, all);
    } catch {
      // The disk is full, say. The guest's network is not to suffer from it.
      broken = true;
    }
  };
  return {
    netdev,
    tap(frame) {
      if (broken) return;
      if (waiting.length === 0) setImmediate(flush);
      waiting.push(record(frame, maxlen));
    },
  };
}

function header(maxlen: number): Buffer {
  const bytes = Buffer.alloc(24);
  bytes.writeUInt32LE(MAGIC_MICROSECONDS, 0);
  bytes.writeUInt16LE(2, 4);
  bytes.writeUInt16LE(4, 6);
  bytes.writeUInt32LE(maxlen, 16);
  bytes.writeUInt32LE(LINKTYPE_ETHERNET, 20);
  return bytes;
}

/** A frame with the time of day. */
function record(frame: Uint8Array, maxlen: number): Buffer {
  const kept = frame.subarray(0, maxlen);
  const microseconds = Math.round((performance.timeOrigin + performance.now()) * 1000);
  const bytes = Buffer.alloc(16 + kept.length);
  bytes.writeUInt32LE(Math.floor(microseconds / 1e6), 0);
  bytes.writeUInt32LE(microseconds % 1e6, 4);
  bytes.writeUInt32LE(kept.length, 8);
  bytes.writeUInt32LE(frame.length, 12);
  bytes.set(kept, 16);
  return bytes;
}
