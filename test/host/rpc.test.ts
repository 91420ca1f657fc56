import { MessageChannel } from 'node:worker_threads';
import { expect, test } from 'vitest';
import { GodwitError } from '../../src/error.ts';
import { connect } from '../../src/host/rpc.ts';

class Counter {
  readonly seen: number[] = [];

  add(number: number): number {
    if (number < 0) throw new GodwitError('usage', 'only up');
    return this.seen.push(number);
  }
}

test('what is told is served in its turn among the calls, and not answered', async () => {
  const { port1, port2 } = new MessageChannel();
  const counter = new Counter();
  connect(port1, counter);
  let answers = 0;
  port2.on('message', () => answers++);
  let rings = 0;
  const { remote, told, close } = connect<Counter>(port2, {}, { ring: () => rings++ });
  try {
    told.add(1);
    const second = remote.add(2);
    told.add(3);
    expect(await second).toBe(2);
    expect(await remote.add(4)).toBe(4);
    expect(counter.seen).toEqual([1, 2, 3, 4]);
    expect(answers).toBe(2);
    expect(rings).toBe(4);
    await expect(remote.add(-1)).rejects.toThrow('only up');
    close(new GodwitError('state', 'over'));
    told.add(5);
    await expect(remote.add(6)).rejects.toThrow('over');
    expect(counter.seen).toEqual([1, 2, 3, 4]);
  } finally {
    port1.close();
  }
});
