/** What character devices and migrations share about sockets: why one failed, in words, and files left behind. */
import { lstatSync } from 'node:fs';
import { createConnection } from 'node:net';
import { errorMessage, GodwitError } from '../error.ts';

const REASONS: Readonly<Record<string, string>> = {
  EADDRINUSE: 'is in use by another process',
  EADDRNOTAVAIL: 'is no address of this machine',
  EACCES: 'permission denied',
  EPERM: 'permission denied',
  ENOENT: 'no such file or directory',
  ENOTDIR: 'a part of the path is no directory',
  ECONNREFUSED: 'connection refused: nobody listens there',
  ENOTSOCK: 'is no socket',
  ENOTFOUND: 'the host is not known',
  EAI_AGAIN: 'the host could not be looked up',
  ETIMEDOUT: 'no answer',
  ECONNRESET: 'the connection was broken off',
  EPIPE: 'the connection was broken off',
};

/** Why a socket failed, in words. */
export function socketReason(error: unknown): string {
  return REASONS[(error as NodeJS.ErrnoException).code ?? ''] ?? errorMessage(error);
}

/** A one-line GodwitError of kind 'transport' that names the address. */
export function socketError(label: string, action: string, error: unknown): GodwitError {
  const reason = socketReason(error);
  const inUse = (error as NodeJS.ErrnoException).code === 'EADDRINUSE';
  const message = inUse ? `${label} ${reason}` : `${label}: can't ${action}: ${reason}`;
  return new GodwitError('transport', message, { where: label }, error);
}

/**
 * Whether a file is the socket of a process that has gone, so that it may be replaced.
 * @throws GodwitError kind 'transport' if the file is no socket.
 */
export async function isStaleSocket(path: string): Promise<boolean> {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (stat === undefined) return false;
  if (!stat.isSocket()) {
    throw new GodwitError('transport', `unix:${path}: the file exists and is no socket`, { where: path });
  }
  return await new Promise((resolve) => {
    const probe = createConnection({ path });
    probe.once('connect', () => {
      probe.destroy();
      resolve(false);
    });
    probe.once('error', (error: NodeJS.ErrnoException) => resolve(error.code === 'ECONNREFUSED'));
  });
}
