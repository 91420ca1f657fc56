import { existsSync, mkdtempSync, readFileSync, rmSync, truncateSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { connectTransport, listenTransport } from '../../src/host/transport-open.ts';
import { hostTimers } from '../../src/host/transport-timers.ts';
import { Receiver } from '../../src/migration/receiver.ts';
import { Sender } from '../../src/migration/sender.ts';
import { checkSweep, contents, FakeDestination, FakeSourceVm, giveBack } from '../migration/fake-vm.ts';
import { VirtualTime } from '../migration/virtual-time.ts';

const dir = mkdtempSync(join(tmpdir(), 'godwit-migration-'));
afterAll(() => rmSync(dir, { recursive: true }));
const clock = { nowNs: () => Number(process.hrtime.bigint()) };

function sides(): { source: FakeSourceVm; destination: FakeDestination; send: (uri: string) => Sender } {
  const source = new FakeSourceVm(new VirtualTime(), { nsPerPage: 2000 });
  const destination = new FakeDestination();
  const send = (uri: string): Sender =>
    new Sender({ vm: source, open: () => connectTransport(uri), clock, timers: hostTimers });
  return { source, destination, send };
}

function checkMoved(source: FakeSourceVm, destination: FakeDestination): void {
  expect(destination.running).toBe(true);
  expect(source.running).toBe(false);
  expect(source.guest.logging).toBe(false);
  const moved = contents(destination.memory, destination.layout);
  expect(Buffer.compare(moved, source.atStop as Uint8Array)).toBe(0);
  checkSweep(destination.memory, destination.layout);
  giveBack(source.memory);
  giveBack(destination.memory);
}

test.each([
  ['unix', `unix:${join(dir, 'socket')}`],
  ['tcp', 'tcp:127.0.0.1:0'],
])('a guest moves over a real %s socket, three times in a row', async (_kind, uri) => {
  for (let round = 0; round < 3; round++) {
    const { source, destination, send } = sides();
    const listener = await listenTransport(uri);
    const receiving = listener
      .accept()
      .then((transport) =>
        new Receiver({ builder: destination, transport, clock, timers: hostTimers }).run(),
      );
    const sender = send(listener.address);
    const [arrival] = await Promise.all([receiving, sender.run()]);
    expect(arrival.runningAtSource).toBe(true);
    expect(sender.info().status).toBe('completed');
    checkMoved(source, destination);
  }
});

test('a guest is kept in a file and goes on from it; a file that was cut is refused', async () => {
  const path = join(dir, 'state');
  const { source, destination, send } = sides();
  await send(`file:${path}`).run();
  expect(existsSync(`${path}.partial`)).toBe(false);
  const read = async (builder: FakeDestination): Promise<unknown> => {
    const transport = await (await listenTransport(`file:${path}`)).accept();
    return new Receiver({ builder, transport, clock, timers: hostTimers }).run();
  };
  await read(destination);
  checkMoved(source, destination);
  truncateSync(path, readFileSync(path).length - 1);
  const second = new FakeDestination();
  await expect(read(second)).rejects.toThrow('the end of the stream');
  expect(second.started).toBeUndefined();
  giveBack(second.memory);
});

test('a reason given by the destination arrives over a real socket, though it hangs up with data under way', async () => {
  for (const uri of [`unix:${join(dir, 'socket')}`, 'tcp:127.0.0.1:0']) {
    const { source, destination, send } = sides();
    const listener = await listenTransport(uri);
    const receiving = listener.accept().then(async (transport) => {
      const receiver = new Receiver({ builder: destination, transport, clock, timers: hostTimers });
      const run = receiver.run();
      const tick = (): void => {
        if (receiver.state === 'active') receiver.cancel('the disk is on fire');
        else if (receiver.state !== 'failed') setImmediate(tick);
      };
      tick();
      return run;
    });
    const [received, sent] = await Promise.allSettled([receiving, send(listener.address).run()]);
    expect(received.status).toBe(sent.status);
    if (sent.status === 'rejected') {
      expect(sent.reason.message).toBe('the destination failed: the disk is on fire');
      expect(source.running).toBe(true);
    }
    giveBack(source.memory);
    giveBack(destination.memory);
  }
});

test('a destination that dies in the middle leaves the guest running at the source', async () => {
  const { source, destination, send } = sides();
  const listener = await listenTransport('tcp:127.0.0.1:0');
  const dying = listener.accept().then(async (transport) => {
    await transport.read();
    transport.destroy();
  });
  await expect(send(listener.address).run()).rejects.toMatchObject({ kind: 'transport' });
  await dying;
  expect(source.running).toBe(true);
  expect(source.guest.logging).toBe(false);
  giveBack(source.memory);
  giveBack(destination.memory);
});
