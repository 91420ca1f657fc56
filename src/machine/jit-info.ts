/** `info jit`: what the JIT has translated, what it costs, and how much of the guest runs in it. */
import type { Engine } from '../cpu/engine.ts';

const NS_PER_MS = 1e6;

export function jitLines(engine: Engine): string[] {
  const { jit } = engine;
  if (jit === undefined) return ['no JIT: guest code is interpreted (-accel interp)'];
  const { statistics } = jit;
  const ran = { instructions: 0, entered: 0, bailed: 0 };
  for (const { translated } of engine.harts) {
    ran.instructions += translated.instructions;
    ran.entered += translated.entered;
    ran.bailed += translated.bailed;
  }
  const all = engine.instructions;
  const percent = (part: number, whole: number): string =>
    whole === 0 ? '-' : `${((100 * part) / whole).toFixed(1)} %`;
  const ms = (ns: number): string => (ns / NS_PER_MS).toFixed(0);
  const { regions, pages, instructions, bytes } = statistics;
  return [
    `regions: ${regions} of at most ${statistics.maxRegions}, on ${pages} pages`,
    `guest code in them: ${instructions} instructions`,
    `WebAssembly: ${bytes} of at most ${statistics.maxBytes} bytes`,
    `translated: ${statistics.translated} regions, and ${statistics.recalled} that were known`,
    `forgotten: ${statistics.invalidated} for new or changed code, ${statistics.evicted} for want of room`,
    `time: ${ms(statistics.generateNs)} ms to write, ${ms(statistics.compileNs)} ms to compile`,
    `instructions run: ${all}, translated ${percent(ran.instructions, all)}`,
    `regions entered: ${ran.entered}, ${ratio(ran.instructions, ran.entered)} instructions each`,
    `left to the interpreter: ${percent(ran.bailed, ran.entered)}`,
  ];
}

function ratio(part: number, whole: number): string {
  return whole === 0 ? '-' : (part / whole).toFixed(1);
}
