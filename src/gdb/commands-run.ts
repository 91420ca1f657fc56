/** Threads, going on, and going away (GDB manual, "Packets"). */
import { type Answer, type Command, type Commands, ERROR } from './command.ts';
import { jumpTo } from './commands-data.ts';
import type { Debuggee } from './debuggee.ts';
import { stopReply } from './stop-reply.ts';
import type { HartAction } from './target.ts';
import { threadOf } from './text.ts';

/** `Hg` and `Hc`: the thread of later commands. */
const setThread: Command = (debuggee, text) => {
  const thread = threadOf(text.slice(1));
  const hart = debuggee.hartOf(thread);
  if (thread === undefined || (hart === undefined && thread !== 'all')) return ERROR.invalid;
  switch (text.charAt(0)) {
    case 'c':
      debuggee.resumed = thread;
      return 'OK';
    case 'g':
      // All of them means none in particular.
      debuggee.general = hart ?? debuggee.general;
      return 'OK';
    default:
      return ERROR.invalid;
  }
};

const threadAlive: Command = (debuggee, text) =>
  debuggee.hartOf(threadOf(text)) === undefined ? ERROR.invalid : 'OK';

/** A new debugger asks this first: what another one left is cleared away. */
const why: Command = async (debuggee) => {
  await debuggee.target.removeAllPoints();
  debuggee.general = debuggee.current;
  debuggee.resumed = 'any';
  return stopReply({ reason: 'step', hart: debuggee.current });
};

const goOn =
  (action: HartAction): Command =>
  async (debuggee, text) => {
    if (!(await jumpTo(debuggee, text))) return ERROR.invalid;
    const hart = debuggee.hartOf(debuggee.resumed) ?? debuggee.current;
    const some = action === 'step' ? new Map([[hart, action]]) : undefined;
    return { resume: debuggee.plan(debuggee.actions('run', some)) };
  };

/** The guest knows no signals of ours. */
const withoutSignal =
  (command: Command): Command =>
  (debuggee, text) => {
    const match = /^[0-9a-f]{2}(?:;(.*))?$/i.exec(text);
    return match === null ? ERROR.invalid : command(debuggee, match[1] ?? '');
  };

const VCONT_ACTIONS: Readonly<Record<string, HartAction>> = { c: 'run', C: 'run', s: 'step', S: 'step' };

/** "ACTION[:THREAD];…": of those that fit a thread, the first counts; a thread that none fits stays. */
function vCont(debuggee: Debuggee, text: string): Answer | string {
  const chosen = new Map<number, HartAction>();
  for (const part of text.split(';')) {
    const match = /^(?:([cs])|([CS])[0-9a-f]{2})(?::(.+))?$/.exec(part);
    const action = VCONT_ACTIONS[match?.[1] ?? match?.[2] ?? ''];
    const thread = match?.[3] === undefined ? 'all' : threadOf(match[3]);
    const hart = debuggee.hartOf(thread);
    if (action === undefined || (hart === undefined && thread !== 'all')) return ERROR.invalid;
    const meant = hart === undefined ? debuggee.actions('run').keys() : [hart];
    for (const one of meant) if (!chosen.has(one)) chosen.set(one, action);
  }
  if (chosen.size === 0) return ERROR.invalid;
  return { resume: debuggee.plan(debuggee.actions('stay', chosen)) };
}

export const RUN_COMMANDS: Commands = {
  'H*': setThread,
  'T*': threadAlive,
  '?': why,
  'c*': goOn('run'),
  's*': goOn('step'),
  'C*': withoutSignal(goOn('run')),
  'S*': withoutSignal(goOn('step')),
  'vCont?': () => 'vCont;c;C;s;S',
  'vCont;*': vCont,
  'D*': async ({ target }) => {
    await target.removeAllPoints();
    return { reply: 'OK', next: 'detach' };
  },
  k: () => ({ next: 'kill' }),
  'vKill;*': () => ({ reply: 'OK', next: 'kill' }),
  // Extended mode, and its restart: a reset.
  '!': () => 'OK',
  'R*': async ({ target }) => {
    await target.reset();
    return undefined;
  },
};
