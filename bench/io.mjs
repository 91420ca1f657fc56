/**
 * How fast are the disk and the network of a Linux guest, and what does it cost while it does nothing? Two Debian guests
 * of each emulator boot once and stay; then measurements alternate between the sides. Disk: dd on virtio-blk, past the
 * guest's page cache. Network: one TCP connection from e1000 to e1000, joined by a unix socket.
 *
 * Usage: npm run bench:io -- [--rounds N] [--folder DIR] [--only idle,read,write,network] [--json]
 */

import { randomBytes } from 'node:crypto';
import { closeSync, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import {
  benchOptions,
  emulators,
  environment,
  progress,
  ranged,
  ratio,
  report,
  usage,
} from './support/bench.mjs';
import { cpuSeconds } from './support/cpu-time.mjs';
import { withDirectory } from './support/emulator.mjs';
import { FOLDER, LinuxGuest, linuxArgs } from './support/linux-guest.mjs';

const MIB = 2 ** 20;
const DISK_MIB = 256;
const NETWORK_MIB = 16;
const IDLE_MS = 5000;
const PORT = 5001;
const address = (host) => `10.0.0.${host}`;

/**
 * @param guests that work at it.
 * @returns figures by unit: speed by the bench's clock, the start of the programs included, and what it cost their processes.
 */
async function speed(mib, guests, run) {
  const processorTime = () => guests.reduce((sum, { pid }) => sum + cpuSeconds(pid), 0);
  const [cpu, start] = [processorTime(), performance.now()];
  await run();
  return {
    'MiB/s': (mib * 1000) / (performance.now() - start),
    'ms of processor time per MiB': ((processorTime() - cpu) * 1000) / mib,
  };
}

/** Reads or writes the disk from its start: `mib` in blocks of `size`. */
const dd =
  (direction, size, mib) =>
  ([guest]) => {
    const [files, flag] =
      direction === 'read'
        ? ['if=/dev/vda of=/dev/null', 'iflag=direct']
        : ['if=/dev/zero of=/dev/vda', 'oflag=direct'];
    const count = (mib * MIB) / (size === '1M' ? MIB : 4096);
    return speed(mib, [guest], () => guest.run(`dd ${files} ${flag} bs=${size} count=${count}`));
  };

async function network([receiver, sender]) {
  // Its input never ends: nc would take that for the end of the connection.
  await receiver.run('[ -p /tmp/never ] || mkfifo /tmp/never');
  await receiver.run(`{ nc -l -p ${PORT} 0<>/tmp/never | wc -c > /tmp/count; } & true`);
  await receiver.run(`until netstat -ltn | grep -q ':${PORT} '; do usleep 10000; done`);
  let count = '';
  const result = await speed(NETWORK_MIB, [receiver, sender], async () => {
    await sender.run(`dd if=/dev/zero bs=64k count=${NETWORK_MIB * 16} | nc ${address(1)} ${PORT}`);
    count = await receiver.run('wait; cat /tmp/count');
  });
  // The receiver's count of bytes is the proof that all have come.
  if (!count.includes(`\n${NETWORK_MIB * MIB}\r`))
    throw new Error(`expected ${NETWORK_MIB * MIB} bytes received, got: ${count}`);
  return result;
}

/** What the second guest's process takes while nobody asks it for anything. */
async function idle([, guest]) {
  const [cpu, start] = [cpuSeconds(guest.pid), performance.now()];
  await new Promise((resolve) => setTimeout(resolve, IDLE_MS));
  const used = cpuSeconds(guest.pid) - cpu;
  return { '% of a core': (used * 100_000) / (performance.now() - start) };
}

const MEASUREMENTS = [
  { kind: 'idle', name: 'idle', measure: idle },
  { kind: 'read', name: 'virtio-blk, reads of 4 KiB', measure: dd('read', '4k', 32) },
  { kind: 'read', name: 'virtio-blk, reads of 1 MiB', measure: dd('read', '1M', DISK_MIB) },
  { kind: 'write', name: 'virtio-blk, writes of 4 KiB', measure: dd('write', '4k', 16) },
  { kind: 'write', name: 'virtio-blk, writes of 1 MiB', measure: dd('write', '1M', DISK_MIB) },
  { kind: 'network', name: 'e1000 to e1000, TCP', measure: network },
];

const options = benchOptions({
  rounds: 3,
  more: { ...FOLDER, only: { type: 'string', default: 'idle,read,write,network' } },
});
const only = options.only.split(',');
const known = new Set(MEASUREMENTS.map(({ kind }) => kind));
const strange = only.find((kind) => !known.has(kind));
if (strange !== undefined) usage(`--only: expected some of ${[...known].join(', ')}, got '${strange}'`);
const linux = linuxArgs(options.folder);
const machine = environment();

/** A disk full of bytes that are no holes. */
function newDisk(path) {
  const file = openSync(path, 'w');
  for (let i = 0; i < DISK_MIB; i++) writeSync(file, randomBytes(MIB));
  closeSync(file);
}

/** Two guests of a side, joined. */
async function pair(side, directory) {
  const disk = join(directory, `${side.name}.img`);
  newDisk(disk);
  const socket = `addr.type=unix,addr.path=${join(directory, side.name)}`;
  const nic = (host, server) => [
    ...['-netdev', `stream,id=n0,server=${server},${socket}`],
    ...['-device', `e1000,netdev=n0,romfile=,mac=52:54:00:00:00:0${host}`],
  ];
  const drive = ['-drive', `file=${disk},if=none,format=raw,id=d0`, '-device', 'virtio-blk-device,drive=d0'];
  const guests = [new LinuxGuest(side, [...linux, ...nic(1, 'on'), ...drive])];
  await guests[0].shell();
  guests.push(new LinuxGuest(side, [...linux, ...nic(2, 'off')]));
  await guests[1].shell();
  for (const [i, guest] of guests.entries()) {
    await guest.run(`dmesg -n 1; ip addr add ${address(i + 1)}/24 dev eth0; ip link set eth0 up`);
  }
  await guests[1].run(`for i in 1 2 3 4 5 6 7 8 9 10; do ping -c 1 -W 2 ${address(1)} && break; done`);
  return { name: side.name, guests };
}

const chosen = MEASUREMENTS.filter(({ kind }) => only.includes(kind));
/** One for each measurement and unit. */
const results = [];
function keep(name, side, figures) {
  for (const [unit, value] of Object.entries(figures)) {
    let result = results.find((known) => known.name === name && known.unit === unit);
    if (result === undefined) {
      result = { name, unit, godwit: [], qemu: [] };
      results.push(result);
    }
    result[side].push(value);
  }
}

await withDirectory(async (directory) => {
  const sides = [];
  try {
    for (const side of emulators()) {
      progress(`${side.name} boots`);
      sides.push(await pair(side, directory));
    }
    for (let round = 1; round <= options.rounds; round++) {
      for (const { name, measure } of chosen) {
        for (const side of sides) {
          progress(`round ${round}: ${name}, ${side.name}`);
          keep(name, side.name, await measure(side.guests));
        }
      }
    }
  } finally {
    for (const { guests } of sides) for (const guest of guests) await guest.end();
  }
});
progress('');

report({
  options,
  bench: 'io of a Linux guest',
  machine,
  results,
  rows: [
    ['', '', 'godwit', 'QEMU', 'godwit/QEMU'],
    ...results.map(({ name, unit, godwit, qemu }) => [
      ...[name, unit, ranged(godwit, 2), ranged(qemu, 2), ratio(godwit, qemu)],
    ]),
  ],
});
