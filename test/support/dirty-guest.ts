/** How fast the guest `dirty` writes, as it counts itself. */
import { poll, type VmProcess } from './vm-process.ts';

/** Pages per second over five of its reports. */
export async function pagesPerSecond(vm: VmProcess): Promise<number> {
  const figures = (match: RegExpExecArray): number[] => match.slice(1).map(Number);
  const line = (number: string): RegExp => new RegExp(`^dirty (${number}) (\\d+\\.\\d+) s pages (\\d+)`);
  const [number = 0, start = 0, before = 0] = figures(await vm.waitForNewLine(line('\\d+')));
  const [, end = 0, pages = 0] = figures(await vm.waitForLine(line(`${number + 5}`)));
  return (pages - before) / (end - start);
}

/** Waits until it keeps a pace that is fine: what else the host does shows in it, too, but not for ever. */
export async function untilPace(vm: VmProcess, fine: (pagesPerSecond: number) => boolean): Promise<void> {
  const seen: number[] = [];
  await poll(
    async () => {
      seen.push(await pagesPerSecond(vm));
      return fine(seen.at(-1) as number) || undefined;
    },
    () => `the guest's pace was ${seen.map(Math.round).join(', ')} pages/s`,
  );
}
