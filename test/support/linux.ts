/** Debian's kernel for tests: what guests/linux/debian.mjs makes, in the folder that GODWIT_LINUX names. */
import { existsSync } from 'node:fs';

const folder = process.env.GODWIT_LINUX;
export const linuxFiles = ['vmlinux', 'initrd.gz'].map((name) => `${folder}/${name}`);
export const linuxMissing = folder === undefined || linuxFiles.some((file) => !existsSync(file));
if (linuxMissing) {
  console.log(
    folder === undefined
      ? 'skipped: test/boot/linux*.test.ts (npm run test:linux runs it)'
      : `skipped: test/boot/linux*.test.ts (no kernel in ${folder}: node guests/linux/debian.mjs ${folder})`,
  );
}

/** How long a boot may take: 5 to 30 s on a machine that does nothing else. */
export const BOOT_MS = 600_000;

/** A host that is busy with other things is not the guest's fault. */
export const PATIENT = 'nosoftlockup rcupdate.rcu_cpu_stall_suppress=1';

export function linux(append: string, ...more: string[]): string[] {
  const [kernel = '', initrd = ''] = linuxFiles;
  return [
    '-M',
    'virt',
    '-m',
    '512M',
    '-kernel',
    kernel,
    '-initrd',
    initrd,
    '-append',
    `${append} ${PATIENT}`,
    ...more,
  ];
}

/** What a kernel says when something is wrong. */
export const TROUBLE = /Call Trace|BUG|WARNING|Oops|panic|FAILED/;
