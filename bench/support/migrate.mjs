/** One live migration from a fresh process to another, as an observer sees it who reads both serial ports. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { guestImage } from './bench.mjs';
import { Emulator, TimeoutError, withDirectory } from './emulator.mjs';

export const DIRTY_LINE = /^dirty (\d+) (\d+\.\d{3}) s pages (\d+) passes (\d+)$/;
export const TICK_LINE = /^tick (\d+) (\d+\.\d{3}) s$/;

const POSTCOPY = ['postcopy-ram', 'postcopy-blocktime'];

/** The largest gap (ms) between neighbours of a list of times. */
const largestGap = (times) => Math.max(...times.slice(1).map((time, i) => time - times[i]));

/**
 * The guest's numbered lines, each with the arrival of its end, joined over the two ports: a line that the source began
 * is finished by the destination.
 */
function guestLines(source, destination) {
  const lines = [];
  let text = '';
  for (const [port, pieces] of [source.serial.pieces, destination.serial.pieces].entries()) {
    for (const piece of pieces) {
      const parts = (text + piece.text).split('\n');
      text = parts.pop();
      for (const part of parts) lines.push({ at: piece.at, port, text: part });
    }
  }
  return lines.filter(({ text: line }) => !/^dirty 0x[0-9a-f]+ 0x[0-9a-f]+$/.test(line));
}

/** What the guest's output shows that must never be: a line lost, repeated or in disorder, an ERROR, or silence. */
function damageIn(lines, pattern) {
  for (const [i, line] of lines.entries()) {
    const number = pattern.exec(line.text)?.[1];
    if (number === undefined) return `the guest said "${line.text}"`;
    if (Number(number) !== i + 1) return `line ${number} came where ${i + 1} was expected`;
  }
  return lines.at(-1)?.port === 1 ? undefined : 'the destination has printed nothing';
}

/** The gaps (ms) that an observer sees between the guest's lines. */
function gapsOf(lines, begin) {
  const before = lines.filter(({ at }) => at <= begin).map(({ at }) => at);
  const during = lines.filter(({ at }) => at >= (before.at(-1) ?? begin)).map(({ at }) => at);
  const last = lines.findLast(({ port }) => port === 0);
  const first = lines.find(({ port }) => port === 1);
  if (last === undefined || first === undefined) return {};
  return {
    gap: largestGap(during),
    switchGap: first.at - last.at,
    // The same without a migration, in the second before it.
    baselineGap: largestGap(before.filter((at) => at > begin - 1000)),
  };
}

/** How long the guest waited for pages, in µs. */
function latencies({ 'postcopy-latency-median': median, ...rest }) {
  if (median === undefined) return {};
  const us = (ns) => ns / 1000;
  return {
    latencyMedian: us(median),
    latencyP99: us(rest['postcopy-latency-p99']),
    latencyMax: us(rest['postcopy-latency-max']),
    latencyDistribution: rest['postcopy-latency-dist'],
  };
}

/** That the migration is over, well or not. */
const migrationOver = ({ event, data }) =>
  event === 'MIGRATION' && ['completed', 'failed'].includes(data.status);

/**
 * Part of its undisturbed speed with which a `dirty` guest went on from `begin` to `end`, its pause included; the speed
 * before is that of the last second.
 */
function shareOf(lines, begin, end) {
  const speed = (from, to) => {
    const within = lines.filter(({ at }) => at >= from && at <= to);
    const [first, last] = [within[0], within.at(-1)];
    const pages = (line) => Number(DIRTY_LINE.exec(line.text)?.[3]);
    return first === last ? Number.NaN : (pages(last) - pages(first)) / (last.at - first.at);
  };
  // The line before begins the time during which it was moved, the one behind ends it.
  const from = lines.findLast(({ at }) => at <= begin)?.at ?? begin;
  const to = lines.find(({ at }) => at >= end)?.at ?? end;
  const share = speed(from, to) / speed(begin - 1000, begin);
  if (!Number.isFinite(share)) return {};
  return { share, speed: 100 * share, lost: (1 - share) * (to - from) };
}

/**
 * One migration. All times in ms.
 * @param scenario `guest`, its `append` and the `line`s it prints; `memory`, if not 256M; `capabilities` of both sides and
 *   `parameters` of the source; `ready` is a line to wait for, `settleMs` how long the guest runs then before it is moved,
 *   `afterMs` how long it is watched afterwards, `limitMs` after how long it is given up; `postcopyMs` when to switch to
 *   post-copy.
 * @returns figures; without `total` if it was given up.
 */
export function migrate(side, scenario) {
  return withDirectory(async (directory) => {
    const machine = ['-M', 'virt', '-bios', 'none', '-m', scenario.memory ?? '256M'];
    const args = [...machine, '-kernel', guestImage(scenario.guest), '-append', scenario.append];
    const link = join(directory, 'link');
    const running = [];
    const start = async (name, more) => {
      const emulator = await Emulator.start(side, { directory, name, args: [...args, ...more] });
      running.push(emulator);
      const { capabilities = [], postcopyMs } = scenario;
      const wanted = ['events', ...capabilities, ...(postcopyMs === undefined ? [] : POSTCOPY)];
      await emulator.execute('migrate-set-capabilities', {
        capabilities: wanted.map((capability) => ({ capability, state: true })),
      });
      return emulator;
    };
    try {
      const source = await start('source', []);
      const destination = await start('destination', ['-incoming', `unix:${link}`]);
      while (!existsSync(link)) await sleep(5);
      if (scenario.parameters !== undefined) {
        await source.execute('migrate-set-parameters', scenario.parameters);
      }
      if (scenario.ready !== undefined) {
        while (!guestLines(source, destination).some(({ text }) => scenario.ready.test(text)))
          await sleep(20);
      }
      await sleep(scenario.settleMs);
      const begin = performance.now();
      await source.execute('migrate', { uri: `unix:${link}` });
      if (scenario.postcopyMs !== undefined) {
        await sleep(scenario.postcopyMs);
        await source.execute('migrate-start-postcopy');
      }
      const over = await source.event(migrationOver, 'migration', scenario.limitMs).catch((error) => {
        if (scenario.limitMs === undefined || !(error instanceof TimeoutError)) throw error;
      });
      if (over === undefined) {
        const { passes, decisions } = await source.execute('query-migrate');
        const lines = guestLines(source, destination);
        return { ...shareOf(lines, begin, performance.now()), passList: passes, decisions };
      }
      if (over.data.status === 'failed') {
        throw new Error(`the migration failed: ${(await source.execute('query-migrate'))['error-desc']}`);
      }
      const resumed = await destination.event(({ event }) => event === 'RESUME', 'destination');
      if (!destination.ended) await destination.rearmTimer().catch(() => {});
      await sleep(scenario.afterMs);
      const info = await source.execute('query-migrate');
      // A guest that finds itself damaged powers off.
      const waits = await destination.execute('query-migrate').catch(() => ({}));
      const lines = guestLines(source, destination);
      return {
        total: over.at - begin,
        reportedTotal: info['total-time'],
        reportedDowntime: info.downtime,
        passes: info.ram['dirty-sync-count'],
        mib: info.ram.transferred / 1024 / 1024,
        requests: info.ram['postcopy-requests'],
        // Of godwit; QEMU 7.2 does not measure them.
        ...latencies(waits),
        ...gapsOf(lines, begin),
        ...(scenario.guest === 'dirty' ? shareOf(lines, begin, over.at) : {}),
        damage: damageIn(lines, scenario.line),
        // Where the time went, for --json.
        events: [...source.events, ...destination.events].map(({ at, event, data }) => ({
          at: at - begin,
          event,
          ...data,
        })),
        running: resumed.at - begin,
        passList: info.passes,
        pause: info.pause,
        decisions: info.decisions,
      };
    } finally {
      await Promise.all(running.map((emulator) => emulator.end()));
    }
  });
}
