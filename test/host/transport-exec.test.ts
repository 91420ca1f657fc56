import { execFileSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { connectTransport, listenTransport, type TransportOptions } from '../../src/host/transport-open.ts';
import { hostTimers } from '../../src/host/transport-timers.ts';
import { Receiver } from '../../src/migration/receiver.ts';
import { Sender } from '../../src/migration/sender.ts';
import { checkSweep, contents, FakeDestination, FakeSourceVm, giveBack } from '../migration/fake-vm.ts';
import { VirtualTime } from '../migration/virtual-time.ts';

const dir = mkdtempSync(join(tmpdir(), 'godwit-exec-'));
afterAll(() => rmSync(dir, { recursive: true }));
const clock = { nowNs: () => Number(process.hrtime.bigint()) };
const vms = (): { source: FakeSourceVm; destination: FakeDestination } => ({
  source: new FakeSourceVm(new VirtualTime(), { nsPerPage: 2000 }),
  destination: new FakeDestination(),
});

const send = (vm: FakeSourceVm, uri: string, options: TransportOptions = {}): Promise<void> =>
  new Sender({ vm, open: () => connectTransport(uri, options), clock, timers: hostTimers }).run();

async function receive(
  builder: FakeDestination,
  uri: string,
  options: TransportOptions = {},
): Promise<unknown> {
  const transport = await (await listenTransport(uri, options)).accept();
  return new Receiver({ builder, transport, clock, timers: hostTimers }).run();
}

function checkMoved(source: FakeSourceVm, destination: FakeDestination): void {
  expect(destination.running).toBe(true);
  expect(source.running).toBe(false);
  const moved = contents(destination.memory, destination.layout);
  expect(Buffer.compare(moved, source.atStop as Uint8Array)).toBe(0);
  checkSweep(destination.memory, destination.layout);
  giveBack(source.memory);
  giveBack(destination.memory);
}

async function reason(promise: Promise<unknown>): Promise<string> {
  const message = await promise.then(
    () => 'it went well',
    (error: Error) => error.message,
  );
  expect(message).not.toContain('\n');
  return message;
}

describe('exec', () => {
  test('a guest is kept by one command and goes on from another', async () => {
    const { source, destination } = vms();
    await send(source, `exec:gzip -1 > ${dir}/kept.gz`);
    await receive(destination, `exec:gzip -dc ${dir}/kept.gz`);
    checkMoved(source, destination);
  });

  test('with return-path commands carry both directions', async () => {
    const { source, destination } = vms();
    // The two commands are the ends of one connection.
    const ends: Socket[] = [];
    const server = createServer({ allowHalfOpen: true }, (socket) => {
      ends.push(socket);
      const [one, other] = ends;
      if (one === undefined || other === undefined) return;
      one.pipe(other);
      other.pipe(one);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    const script = `const s = require('node:net').connect({ port: ${port}, host: '127.0.0.1', allowHalfOpen: true }); process.stdin.pipe(s); s.pipe(process.stdout);`;
    const uri = `exec:${process.execPath} -e "${script}"`;
    const options = { returnPath: true };
    await Promise.all([send(source, uri, options), receive(destination, uri, options)]);
    server.close();
    checkMoved(source, destination);
  });

  test.each([
    ['exit 3', /^exec:exit 3: the command ended with exit status 3, before it had everything$/],
    ['true', /^exec:true: the command ended with exit status 0, before it had everything$/],
    ['echo no room >&2; exit 28', /exit status 28, before it had everything: no room$/],
    [
      'head -c 1000 >/dev/null; echo a; echo b >&2; exit 1',
      /exit status 1, before it had everything: (a \/ b|b \/ a)$/,
    ],
    ['no-such-program', /exit status 127, before it had everything: .*no-such-program/],
    ['kill -9 $$', /was killed by SIGKILL/],
  ])('the source goes on when the command "%s" does not take everything', async (command, message) => {
    const { source } = vms();
    expect(await reason(send(source, `exec:${command}`))).toMatch(message);
    expect(source.running).toBe(true);
    expect(source.guest.logging).toBe(false);
    giveBack(source.memory);
  });

  test('a command that fails after it had "go" leaves the source stopped: somebody may have the guest', async () => {
    const { source } = vms();
    const message = await reason(send(source, 'exec:cat >/dev/null; echo the disk is full >&2; exit 5'));
    expect(message).toMatch(
      /ended with exit status 5: the disk is full; .*may be running at the destination/,
    );
    expect(source.running).toBe(false);
    giveBack(source.memory);
  });

  test('a command that fails at the destination: the guest does not run there', async () => {
    const { source } = vms();
    await send(source, `exec:cat > ${dir}/whole`);
    giveBack(source.memory);
    for (const [command, message] of [
      [`cat ${dir}/whole; echo bad checksum >&2; exit 2`, /exit status 2: bad checksum$/],
      [`head -c 5000 ${dir}/whole`, /the end of the stream/],
      [`head -c 5000 ${dir}/whole; exit 7`, /exit status 7$/],
      ['exit 0', /the end of the stream/],
    ] as const) {
      const destination = new FakeDestination();
      expect(await reason(receive(destination, `exec:${command}`))).toMatch(message);
      expect(destination.started).toBeUndefined();
      if (command.includes('whole')) giveBack(destination.memory);
    }
  });

  test('a migration that is cancelled ends its command', async () => {
    const { source } = vms();
    const sender = new Sender({
      vm: source,
      open: () => connectTransport(`exec:echo $$ > ${dir}/pid; exec sleep 1000`),
      clock,
      timers: hostTimers,
    });
    const run = reason(sender.run());
    while (!readableFile(`${dir}/pid`)) await new Promise((resolve) => setImmediate(resolve));
    const pid = Number(readFileSync(`${dir}/pid`, 'utf8'));
    sender.cancel();
    expect(await run).toBe('the migration was cancelled');
    expect(source.running).toBe(true);
    giveBack(source.memory);
    await expect
      .poll(() => {
        try {
          return process.kill(pid, 0);
        } catch {
          return false;
        }
      })
      .toBe(false);
  });
});

function readableFile(path: string): boolean {
  try {
    return readFileSync(path, 'utf8').includes('\n');
  } catch {
    return false;
  }
}

describe('fd', () => {
  test('a file that is open already takes a guest and gives it back', async () => {
    const { source, destination } = vms();
    await send(source, `fd:${openSync(join(dir, 'open'), 'w')}`);
    await receive(destination, `fd:${openSync(join(dir, 'open'), 'r')}`);
    checkMoved(source, destination);
  });

  test('a pipe carries a guest, one way', async () => {
    const { source, destination } = vms();
    const fifo = join(dir, 'fifo');
    execFileSync('mkfifo', [fifo]);
    // Neither end can be opened alone without waiting for the other.
    const both = openSync(fifo, 'r+');
    const [input, output] = [openSync(fifo, 'w'), openSync(fifo, 'r')];
    closeSync(both);
    const sending = send(source, `fd:${input}`);
    await Promise.all([sending, receive(destination, `fd:${output}`)]);
    checkMoved(source, destination);
  });

  test.each([
    ['fd:999', 'fd:999: expected a descriptor that this process was started with, got none'],
    ['fd:socket0', "can't be given others"],
    ['fd:', "can't be given others"],
  ])('%s is refused', async (uri, message) => {
    await expect(connectTransport(uri)).rejects.toThrow(message);
    await expect(listenTransport(uri)).rejects.toThrow(message);
  });
});

test('the source may listen and the destination connect, in either order', async () => {
  const path = `unix:${join(dir, 'reverse')}`;
  for (const first of ['source', 'destination']) {
    const { source, destination } = vms();
    const sendNow = (): Promise<void> => send(source, `${path},server=on`);
    const receiveNow = (): Promise<unknown> => receive(destination, `${path},server=off`);
    const one = first === 'source' ? sendNow() : receiveNow();
    const other = first === 'source' ? receiveNow() : sendNow();
    await Promise.all([one, other]);
    checkMoved(source, destination);
  }
});
