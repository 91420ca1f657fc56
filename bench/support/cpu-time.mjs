/** CPU time of another process, as Linux tells it: what others do on this machine at the same time counts little. */
import { readdirSync, readFileSync } from 'node:fs';

/** Linux shows times in hundredths of a second, whatever its own clock tick is (proc(5), sysconf(_SC_CLK_TCK)). */
const TICKS_PER_SECOND = 100;

/** Where utime is, counted from behind the command's name, which may hold anything (proc_pid_stat(5)). */
const UTIME = 11;

/**
 * @param what of /proc: a process's number, or `PID/task/TID` for a thread.
 * @returns its CPU time so far in s, the system's share included; undefined where there is no /proc, or it has ended.
 */
export function cpuSeconds(what) {
  try {
    const text = readFileSync(`/proc/${what}/stat`, 'latin1');
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    return (Number(fields[UTIME]) + Number(fields[UTIME + 1])) / TICKS_PER_SECOND;
  } catch {
    return undefined;
  }
}

/** The CPU time of each thread of a process, by its number; empty where there is no /proc. */
export function threadSeconds(pid) {
  try {
    const threads = readdirSync(`/proc/${pid}/task`);
    return new Map(threads.map((thread) => [thread, cpuSeconds(`${pid}/task/${thread}`) ?? 0]));
  } catch {
    return new Map();
  }
}
