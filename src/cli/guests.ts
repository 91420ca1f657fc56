/** The toy guests that come with godwit: the list in guests/guests.json, and how their settings are written. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { GodwitError } from '../error.ts';
import { didYouMean } from '../suggest.ts';

export interface GuestSetting {
  readonly name: string;
  readonly default: string;
  readonly help: string;
  /** The words it takes, divided by "|", if it takes words. */
  readonly values?: string;
}

export interface Guest {
  readonly name: string;
  /** File of the ELF image, relative to guests/. */
  readonly image: string;
  readonly summary: string;
  /** RAM that it wants, as -m takes it. */
  readonly memory: string;
  readonly settings: readonly GuestSetting[];
}

const FOLDER = new URL('../../guests/', import.meta.url);

export const GUESTS = JSON.parse(readFileSync(new URL('guests.json', FOLDER), 'utf8')) as readonly Guest[];

export function guestNamed(name: string): Guest | undefined {
  return GUESTS.find((guest) => guest.name === name);
}

export function imageOf(guest: Guest): string {
  return fileURLToPath(new URL(guest.image, FOLDER));
}

/**
 * The kernel command line for settings written as `name=value`.
 * @throws GodwitError kind "usage" for a setting that the guest does not have.
 */
export function commandLine(guest: Guest, settings: readonly string[]): string {
  const known = guest.settings.map((setting) => setting.name);
  for (const setting of settings) {
    const [name = ''] = setting.split('=');
    if (!setting.includes('=') || !known.includes(name)) {
      throw new GodwitError(
        'usage',
        `${guest.name}: "${setting}" is no setting; there is ${known.map((k) => `${k}=`).join(', ')}${didYouMean(name, known)}`,
      );
    }
  }
  return settings.join(' ');
}
