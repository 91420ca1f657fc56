import { describe, expect, test } from 'vitest';
import { RECEIVER_STATUS, RECEIVER_TABLE } from '../../src/migration/receiver-states.ts';
import { SENDER_STATUS, SENDER_TABLE } from '../../src/migration/sender-states.ts';
import { StateMachine } from '../../src/migration/state-machine.ts';

type AnyTable = Record<string, Record<string, readonly [string, string]>>;

describe.each([
  ['source', SENDER_TABLE as AnyTable, SENDER_STATUS as object, 'none', ['completed', 'cancelled', 'failed']],
  ['destination', RECEIVER_TABLE as AnyTable, RECEIVER_STATUS as object, 'setup', ['completed', 'failed']],
])('the table of the %s', (_side, table, statuses, first, finals) => {
  const events = [...new Set(Object.values(table).flatMap((row) => Object.keys(row)))];

  test('says for every state and event what happens', () => {
    for (const [state, row] of Object.entries(table)) {
      expect(Object.keys(statuses), `${state} has a status`).toContain(state);
      for (const event of events) {
        const transition = row[event];
        expect(transition, `${state} × ${event}`).toBeDefined();
        const [to, action] = transition as readonly [string, string];
        expect(Object.keys(table), `${state} × ${event} leads to a state`).toContain(to);
        expect(action).toMatch(/\w/);
      }
    }
  });

  test('reaches every state, and leaves every state that is not final', () => {
    const reached = new Set([first]);
    for (const state of reached) {
      for (const [to, action] of Object.values(table[state] ?? {})) if (action !== 'defect') reached.add(to);
    }
    expect([...reached].sort()).toEqual(Object.keys(table).sort());
    for (const [state, row] of Object.entries(table)) {
      const leaves = Object.values(row).some(([to, action]) => to !== state && action !== 'defect');
      expect(leaves, state).toBe(!finals.includes(state));
    }
  });

  test('takes a cancel in every state', () => {
    for (const [state, row] of Object.entries(table)) {
      expect(row.cancel?.[1], state).toMatch(/^(interrupt|ignore)$/);
    }
  });
});

test('the source takes back from every state in which it has the guest, and only from "go" on is anything unclear', () => {
  const unclear = { handover: 'leaveStopped', 'postcopy-handover': 'pause' } as Record<string, string>;
  for (const state of [
    'setup',
    'active',
    'device',
    'handover',
    'postcopy-device',
    'postcopy-handover',
  ] as const) {
    expect(SENDER_TABLE[state].error).toEqual(['failing', 'takeBack']);
    expect(SENDER_TABLE[state].unclear[1]).toBe(unclear[state] ?? 'defect');
  }
});

test('the destination starts the guest only where "go" comes', () => {
  const starts = Object.entries(RECEIVER_TABLE).flatMap(([state, row]) =>
    Object.entries(row).flatMap(([event, [, action]]) => (action === 'start' ? [`${state} × ${event}`] : [])),
  );
  expect(starts).toEqual(['ready × go', 'postcopy-ready × go', 'postcopy-recover × approved']);
});

test('an event that can not occur is a defect that names state and event', () => {
  const machine = new StateMachine(SENDER_TABLE, 'none', () => {});
  expect(() => machine.fire('ready')).toThrow('event "ready" in state "none"');
  expect(machine.state).toBe('none');
});
