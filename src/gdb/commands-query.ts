/** General queries (GDB manual, "General Query Packets"), and those of QEMU's own ("GDB usage" in its manual). */
import { type Command, type Commands, ERROR } from './command.ts';
import { STEP } from './debuggee.ts';
import { targetDescription } from './description.ts';
import { PACKET_SIZE } from './packet.ts';
import { bytesOfHex, hexOfText, numberOfHex, rangeOfHex, textOfThread, threadOf } from './text.ts';

const supported = [
  `PacketSize=${PACKET_SIZE.toString(16)}`,
  'qXfer:features:read+',
  'vContSupported+',
  'QStartNoAckMode+',
].join(';');

/** A part of the target description: `m` if more follows, `l` if it is the last. */
const readFeatures: Command = ({ target }, text) => {
  const [annex, place = ''] = text.split(':');
  const range = rangeOfHex(place);
  if (annex !== 'target.xml' || range === undefined) return 'E00';
  const whole = targetDescription(target.features);
  const from = Number(range.address);
  const length = Math.min(range.length, PACKET_SIZE - 1);
  return `${from + length < whole.length ? 'm' : 'l'}${whole.slice(from, from + length)}`;
};

const threadInfo: Command = async (debuggee, text) => {
  const hart = debuggee.hartOf(threadOf(text));
  if (hart === undefined) return ERROR.invalid;
  const waits = (await debuggee.target.waiting())[hart];
  return hexOfText(`CPU#${hart} [${waits ? 'halted ' : 'running'}]`);
};

/** `monitor LINE`. */
const monitor: Command = async ({ target, print }, text) => {
  const bytes = bytesOfHex(text);
  if (bytes === undefined) return ERROR.invalid;
  print(await target.monitor(new TextDecoder().decode(bytes)));
  return 'OK';
};

const setStep: Command = (debuggee, text) => {
  const flags = numberOfHex(text.replace(/^0x/, ''));
  if (flags === undefined || (flags & ~debuggee.stepFlagsKnown) !== 0) return ERROR.invalid;
  debuggee.stepFlags = flags;
  return 'OK';
};

const stepBits: Command = ({ stepFlagsKnown }) =>
  (
    [
      ['ENABLE', STEP.enable],
      ['NOIRQ', STEP.noIrq],
      ['NOTIMER', STEP.noTimer],
    ] as const
  )
    .filter(([, bit]) => (stepFlagsKnown & bit) !== 0)
    .map(([name, bit]) => `${name}=${bit}`)
    .join(',');

export const QUERY_COMMANDS: Commands = {
  'qSupported*': () => supported,
  QStartNoAckMode: () => ({ reply: 'OK', next: 'noAck' }),
  'qXfer:features:read:*': readFeatures,
  qC: ({ current }) => `QC${textOfThread(current)}`,
  // The process was there before: gdb is to detach from it in the end, and not to kill it.
  'qAttached*': () => '1',
  qfThreadInfo: ({ target }) =>
    `m${Array.from({ length: target.harts }, (_, hart) => textOfThread(hart)).join(',')}`,
  qsThreadInfo: () => 'l',
  'qThreadExtraInfo,*': threadInfo,
  'qRcmd,*': monitor,
  'qqemu.sstepbits': stepBits,
  'qqemu.sstep': ({ stepFlags }) => `0x${stepFlags.toString(16)}`,
  'Qqemu.sstep=*': setStep,
  'qqemu.PhyMemMode': ({ physical }) => (physical ? '1' : '0'),
  'Qqemu.PhyMemMode:*': (debuggee, text) => {
    if (text !== '0' && text !== '1') return ERROR.invalid;
    debuggee.physical = text === '1';
    return 'OK';
  },
};
