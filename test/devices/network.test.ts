import { describe, expect, test } from 'vitest';
import { NetworkCable } from '../../src/devices/network.ts';

/** A cable with a card that has room for `room` frames, and a back end that takes everything. */
function wired(room = Number.POSITIVE_INFINITY) {
  const cable = new NetworkCable();
  const got: number[] = [];
  const sent: number[] = [];
  const links: boolean[] = [];
  const flows: boolean[] = [];
  const card = {
    room,
    label: 'nic.0',
    model: 'nic',
    mac: () => new Uint8Array(6),
    receive(frame: Uint8Array): boolean {
      if (card.room === 0) return false;
      card.room--;
      got.push(frame[0] as number);
      return true;
    },
    linkChanged: (up: boolean) => void links.push(up),
  };
  cable.plugCard(card);
  cable.plugBackend({
    id: 'n0',
    plugged() {},
    describe: () => '',
    send: (frame) => sent.push(frame[0] as number) > 0,
    flow: (open) => void flows.push(open),
  });
  return { cable, card, got, sent, links, flows };
}

describe('a cable', () => {
  test('holds frames while the machine stands still, and delivers them in order when it runs', () => {
    const { cable, got } = wired();
    for (const n of [1, 2, 3]) cable.deliver(Uint8Array.of(n));
    expect(got).toEqual([]);
    cable.hold(false);
    expect(got).toEqual([1, 2, 3]);
    cable.hold(true);
    cable.deliver(Uint8Array.of(4));
    expect(got).toEqual([1, 2, 3]);
  });

  test('keeps what the card has no room for, in order, and asks the back end to wait and to go on', () => {
    const { cable, card, got, flows } = wired(2);
    cable.hold(false);
    for (let n = 0; n < 300; n++) cable.deliver(Uint8Array.of(n & 0xff));
    expect(got).toEqual([0, 1]);
    expect(flows).toEqual([false]);
    card.room = 1000;
    cable.ready();
    expect(got).toEqual(Array.from({ length: 300 }, (_, n) => n & 0xff));
    expect(flows).toEqual([false, true]);
  });

  test('drops and counts what no bounded queue could keep', () => {
    const { cable, card, got } = wired(0);
    cable.hold(false);
    for (let n = 0; n < 3000; n++) cable.deliver(Uint8Array.of(1));
    const { receivedDropped } = cable.counters;
    expect(receivedDropped).toBeGreaterThan(0);
    card.room = 3000;
    cable.ready();
    expect(got.length).toBe(3000 - receivedDropped);
  });

  test('carries nothing while it is pulled, and says so to the card once', () => {
    const { cable, got, sent, links } = wired();
    cable.hold(false);
    cable.setLink(false);
    cable.setLink(false);
    cable.send(Uint8Array.of(1));
    cable.deliver(Uint8Array.of(2));
    cable.setLink(true);
    cable.send(Uint8Array.of(3));
    cable.deliver(Uint8Array.of(4));
    expect(links).toEqual([false, true]);
    expect(sent).toEqual([3]);
    expect(got).toEqual([4]);
    expect(cable.counters).toMatchObject({
      sentDropped: 1,
      receivedDropped: 1,
      sentFrames: 1,
      receivedFrames: 1,
    });
  });

  test('a tap sees both directions until it is taken away', () => {
    const { cable } = wired();
    const seen: number[] = [];
    const remove = cable.tap((frame) => void seen.push(frame[0] as number));
    cable.hold(false);
    cable.send(Uint8Array.of(1));
    cable.deliver(Uint8Array.of(2));
    remove();
    cable.send(Uint8Array.of(3));
    expect(seen).toEqual([1, 2]);
  });
});
