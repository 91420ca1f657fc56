/**
 * How fast does memory move between two processes? An idle guest of zero pages and one of random pages, over a unix
 * socket, without a cap. No CPU runs: what is measured is scanning, framing, checksums, sockets and applying.
 *
 * "touched": the same random pages when the destination's memory was used before, so that the host need not find any.
 * "socket": as many bytes between the same two processes and nothing else, written from shared memory in pieces of 1 MiB
 * and read into a buffer of 256 KiB. No stream can be faster.
 *
 * Usage: node bench/migration-stream.mjs [MiB] [rounds] [socket,zero,random,touched]   (after `npm run build`)
 */
import { fork } from 'node:child_process';
import { randomFillSync } from 'node:crypto';
import { rmSync } from 'node:fs';
import { createServer, connect as netConnect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const dist = pathToFileURL(`${process.env.GODWIT_DIST ?? join(import.meta.dirname, '..', 'dist')}/`);
const load = (path) => import(new URL(path, dist).href);
const { createLayout, createSharedMemory, PAGE_SIZE } = await load('memory/layout.js');
const { connectTransport, listenTransport } = await load('host/transport-open.js');
const { hostTimers } = await load('host/transport-timers.js');
const { Sender } = await load('migration/sender.js');
const { Receiver } = await load('migration/receiver.js');

const clock = { nowNs: () => performance.now() * 1e6 };
const machine = (mib) => {
  const layout = createLayout(1, [{ name: 'ram', size: mib * 1024 * 1024 }]);
  return { layout, memory: createSharedMemory(layout) };
};

async function receive(mib, uri, fill) {
  const made = machine(mib);
  if (fill === 'touched') new Uint8Array(made.memory.buffer).fill(0);
  const listener = await listenTransport(uri);
  process.send('ready');
  const transport = await listener.accept();
  const vm = {
    ...made,
    checkState: async () => {},
    loadState: async () => {},
    start: async () => {},
  };
  const before = process.cpuUsage();
  await new Receiver({ builder: { build: async () => vm }, transport, clock, timers: hostTimers }).run();
  const { user, system } = process.cpuUsage(before);
  process.send({ cpuMs: (user + system) / 1000 }, () => process.disconnect());
}

/** Reads until the end, and says so with one byte. */
async function drain(path) {
  const before = process.cpuUsage();
  const buffer = new Uint8Array(256 * 1024);
  const socket = netConnect({ path, allowHalfOpen: true, onread: { buffer, callback: () => true } });
  await new Promise((resolve) => socket.once('end', resolve));
  socket.end('.');
  const { user, system } = process.cpuUsage(before);
  process.send({ cpuMs: (user + system) / 1000 }, () => process.disconnect());
}

/** The bytes alone. */
async function copy(mib) {
  const bytes = new Uint8Array(new SharedArrayBuffer(mib * 1024 * 1024));
  for (let at = 0; at < bytes.length; at += 4096) bytes[at] = 1;
  const path = join(tmpdir(), `godwit-bench-${process.pid}`);
  const server = createServer({ allowHalfOpen: true });
  await new Promise((resolve) => server.listen(path, resolve));
  const child = fork(import.meta.filename, ['--drain', path], { stdio: 'inherit' });
  const told = new Promise((resolve) => child.once('message', resolve));
  const gone = new Promise((resolve) => child.once('exit', resolve));
  const socket = await new Promise((resolve) => server.once('connection', resolve));
  const before = process.cpuUsage();
  const start = clock.nowNs();
  const answer = new Promise((resolve) => socket.once('data', resolve));
  for (let at = 0; at < bytes.length; at += 1024 * 1024) {
    await new Promise((resolve) => socket.write(bytes.subarray(at, at + 1024 * 1024), resolve));
  }
  socket.end();
  await answer;
  const ms = (clock.nowNs() - start) / 1e6;
  const { user, system } = process.cpuUsage(before);
  const { cpuMs } = await told;
  await gone;
  server.close();
  const info = { ram: { transferred: bytes.length }, pause: {} };
  return { ms, sentCpuMs: (user + system) / 1000, info, receivedCpuMs: cpuMs };
}

async function send(mib, fill) {
  if (fill === 'socket') return copy(mib);
  const { layout, memory } = machine(mib);
  const bytes = new Uint8Array(memory.buffer, layout.blocksBase, mib * 1024 * 1024);
  if (fill !== 'zero') {
    const block = randomFillSync(new Uint8Array(1024 * 1024));
    for (let at = 0; at < bytes.length; at += block.length) bytes.set(block, at);
  }
  const path = join(tmpdir(), `godwit-bench-${process.pid}`);
  const child = fork(import.meta.filename, ['--receive', String(mib), `unix:${path}`, fill], {
    stdio: 'inherit',
  });
  const messages = [];
  await new Promise((resolve) => child.once('message', resolve));
  child.on('message', (message) => messages.push(message));
  const gone = new Promise((resolve) => child.once('exit', resolve));
  const none = async () => {};
  const sender = new Sender({
    vm: {
      layout,
      memory,
      configuration: {},
      startDirtyLog: none,
      setThrottle: none,
      setDirtyLimit: none,
      syncDirtyLog: none,
      stopDirtyLog: none,
      instructions: () => 0,
      stop: async () => ({ ran: true }),
      resume: none,
      saveState: async () => new Uint8Array(1000),
    },
    open: () => connectTransport(`unix:${path}`),
    clock,
    timers: hostTimers,
    parameters: { maxBandwidth: 0 },
  });
  const before = process.cpuUsage();
  const start = clock.nowNs();
  await sender.run();
  const ms = (clock.nowNs() - start) / 1e6;
  const { user, system } = process.cpuUsage(before);
  await gone;
  rmSync(path, { force: true });
  return { ms, sentCpuMs: (user + system) / 1000, info: sender.info(), receivedCpuMs: messages[0]?.cpuMs };
}

const median = (list) => list.toSorted((a, b) => a - b)[list.length >> 1];

if (process.argv[2] === '--receive') {
  await receive(Number(process.argv[3]), process.argv[4], process.argv[5]);
} else if (process.argv[2] === '--drain') {
  await drain(process.argv[3]);
} else {
  const mib = Number(process.argv[2] ?? 256);
  const rounds = Number(process.argv[3] ?? 5);
  const kinds = (process.argv[4] ?? 'socket,zero,random,touched').split(',');
  const runs = Object.fromEntries(kinds.map((kind) => [kind, []]));
  for (let i = 0; i < rounds; i++)
    for (const fill of Object.keys(runs)) runs[fill].push(await send(mib, fill));
  for (const [fill, list] of Object.entries(runs)) {
    const ms = list.map((run) => run.ms);
    const rate = (mib * 1024 * 1024) / (median(ms) * 1e6);
    const { pause, ram } = list[0].info;
    if (process.env.V) console.log(JSON.stringify(list.at(-1).info));
    console.log(
      `${fill.padEnd(7)} ${mib} MiB: median ${median(ms).toFixed(0)} ms (${Math.min(...ms).toFixed(0)} to ` +
        `${Math.max(...ms).toFixed(0)}), ${rate.toFixed(2)} GB/s of guest memory, ${ram.transferred} bytes sent, pause ` +
        `${Object.values(pause)
          .reduce((a, b) => a + b, 0)
          .toFixed(1)} ms, CPU ${median(list.map((r) => r.sentCpuMs)).toFixed(0)} + ` +
        `${median(list.map((r) => r.receivedCpuMs)).toFixed(0)} ms`,
    );
  }
  console.log(`pages of ${PAGE_SIZE} bytes, Node ${process.version}`);
}
