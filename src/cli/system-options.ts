/**
 * The command line of godwit-system-riscv64: QEMU's spelling, from the table in system-options-table.ts, to a typed
 * description of the machine to run. Which serial port and monitor there are by default follows QEMU 7.2's
 * softmmu/vl.c, as tried out with it.
 */
import { ACCELERATORS, type Accelerator } from '../cpu/accelerator.ts';
import { GodwitError } from '../error.ts';
import type { ChardevSpec } from '../host/chardev-spec.ts';
import type { DriveSpec } from '../host/drive.ts';
import type { FilterDumpSpec } from '../host/filter-dump.ts';
import type { LogItem } from '../host/log.ts';
import type { NetdevSpec } from '../host/netdev.ts';
import type { RtcOptions } from '../host/real-time.ts';
import type { TlsCredentials } from '../host/tls-credentials.ts';
import type { AiaType } from '../machine/configuration.ts';
import type { DeviceRequest } from '../machine/device-configuration.ts';
import { didYouMean } from '../suggest.ts';
import { driveDevices, type Globals } from './device-options.ts';
import {
  type Draft,
  type OptionRow,
  type ShapingOption,
  SYSTEM_OPTIONS,
  UNAVAILABLE_OPTIONS,
} from './system-options-table.ts';
import { MiB, usageError } from './system-options-values.ts';

/** A machine as the command line asks for it. */
export interface MachineOptions {
  readonly machine: { readonly type: 'virt'; readonly properties: ReadonlyMap<string, string> };
  readonly aia: AiaType;
  readonly aclint: boolean;
  readonly memoryBytes: number;
  readonly harts: number;
  readonly cpu: string;
  readonly bios: Draft['bios'];
  readonly kernel?: string;
  readonly initrd?: string;
  readonly dtb?: string;
  readonly append?: string;
  /** One per serial port; the machine has one, so there is exactly one entry (perhaps of kind 'none'). */
  readonly serial: readonly ChardevSpec[];
  /**
   * Human monitors with a character device of their own. A serial port with `mux` has another one behind Ctrl-A c.
   */
  readonly monitors: readonly ChardevSpec[];
  readonly qmp: readonly ChardevSpec[];
  /** Where debuggers come to, perhaps nowhere. */
  readonly gdb: ChardevSpec;
  readonly drives: readonly DriveSpec[];
  /** What -device and -drive add. */
  readonly devices: readonly DeviceRequest[];
  readonly netdevs: readonly NetdevSpec[];
  /** Packet dumps. */
  readonly dumps: readonly FilterDumpSpec[];
  readonly tlsCredentials: readonly TlsCredentials[];
  readonly globals: Readonly<Globals>;
  /** A URI, or "defer". */
  readonly incoming?: string;
  readonly startPaused: boolean;
  /** -nographic was given or stands for a missing -display: Ctrl-C belongs to the guest. */
  readonly nographic: boolean;
  readonly name?: string;
  readonly uuid?: string;
  readonly pidfile?: string;
  readonly accel: Accelerator;
  /** -accel jit,cache=: whether translations are kept from one run to the next. */
  readonly keepTranslations: boolean;
  /** Virtual time: 2^icount ns an instruction. */
  readonly icount?: number;
  readonly rtc: RtcOptions;
  readonly logItems: ReadonlySet<LogItem>;
  readonly logFile?: string;
  readonly noReboot: boolean;
  readonly noShutdown: boolean;
  readonly onlyMigratable: boolean;
  /** Which of the options that shape the machine were given, for the comparison with an incoming one. */
  readonly given: ReadonlySet<ShapingOption>;
}

/** What a command line asks for. */
export type SystemCommand =
  | { readonly action: 'run'; readonly options: MachineOptions }
  | { readonly action: 'help' }
  | { readonly action: 'version' }
  /** Lines to print (`-M help`). */
  | { readonly action: 'list'; readonly lines: readonly string[] };

function newDraft(): Draft {
  return {
    machineType: 'virt',
    machineProperties: new Map(),
    aia: 'none',
    aclint: false,
    memoryBytes: 128 * MiB,
    harts: 1,
    cpu: 'rv64',
    bios: { kind: 'default' },
    nographic: false,
    serial: [],
    serialText: [],
    monitors: [],
    monitorText: [],
    qmp: [],
    qmpText: [],
    gdb: { kind: 'none', mux: false },
    gdbText: '',
    drives: [],
    devices: [],
    netdevs: [],
    dumps: [],
    tlsCredentials: [],
    globals: {},
    snapshot: false,
    startPaused: false,
    rtc: {},
    logItems: new Set(),
    accel: ACCELERATORS[0],
    keepTranslations: true,
    noReboot: false,
    noShutdown: false,
    onlyMigratable: false,
    given: new Set(),
  };
}

function findOption(word: string): OptionRow {
  const name = word.replace(/^--?/, '');
  const row = SYSTEM_OPTIONS.find(({ names }) => names.includes(name));
  if (row !== undefined) return row;
  if (UNAVAILABLE_OPTIONS.includes(name)) {
    throw new GodwitError('usage', `${word}: this option of QEMU's is not available in this version`, {
      where: word,
    });
  }
  const known = SYSTEM_OPTIONS.flatMap(({ names }) => names);
  throw new GodwitError('usage', `${word}: unknown option${didYouMean(name, known, '-')}`, { where: word });
}

/** Serial port and monitors that were not given. */
function addDefaults(draft: Draft): void {
  const stdio: ChardevSpec = { kind: 'stdio', mux: false };
  const muxed = draft.serial.some(({ mux }) => mux) || draft.monitors.some(({ mux }) => mux);
  const defaultSerial = draft.serial.length === 0;
  // -qmp, too, takes the place of the default monitor in QEMU.
  const defaultMonitor = draft.monitors.length === 0 && draft.qmp.length === 0 && !muxed;
  if (!draft.nographic && draft.display === 'none') {
    // The default serial port and monitor would be in the window.
    if (defaultSerial) draft.serial.push({ kind: 'null', mux: false });
    return;
  }
  draft.nographic = true;
  const standsFor = 'the default of -nographic';
  if (defaultSerial) {
    draft.serial.push(defaultMonitor ? { ...stdio, mux: true } : stdio);
    draft.serialText.push(standsFor);
  } else if (defaultMonitor) {
    draft.monitors.push(stdio);
    draft.monitorText.push(standsFor);
  }
}

/** The terminal can be used once; what shares it must be multiplexed. */
function checkStdio(draft: Draft): void {
  const users = [
    ...draft.serial.map((spec, index) => ({ spec, text: draft.serialText[index] ?? '' })),
    ...draft.monitors.map((spec, index) => ({ spec, text: draft.monitorText[index] ?? '' })),
    ...draft.qmp.map((spec, index) => ({ spec, text: draft.qmpText[index] ?? '' })),
    { spec: draft.gdb, text: draft.gdbText },
  ].filter(({ spec }) => spec.kind === 'stdio');
  if (users.length < 2) return;
  const names = users.map(({ text }) => text).join(' and ');
  throw new GodwitError(
    'usage',
    `cannot use stdio by multiple character devices: ${names} (-serial mon:stdio shares it with the monitor)`,
  );
}

function checkWhole(draft: Draft): void {
  if (draft.icount !== undefined && (draft.rtc.clock ?? 'vm') !== 'vm') {
    throw usageError('-rtc clock', 'vm, for -icount makes time virtual', `'${draft.rtc.clock}'`);
  }
  if (draft.serial.length > 1) {
    throw usageError('-serial', 'one serial port, which is what virt has', `${draft.serial.length} of them`);
  }
  if (draft.append !== undefined && draft.kernel === undefined && draft.incoming === undefined) {
    throw usageError('-append', 'a -kernel to give the command line to', 'none');
  }
  if (draft.initrd !== undefined && draft.kernel === undefined && draft.incoming === undefined) {
    throw usageError('-initrd', 'a -kernel to give the initial RAM disk to', 'none');
  }
  if (draft.qmp.some(({ mux }) => mux)) {
    throw usageError('-qmp', 'a character device of its own', "'mon:'");
  }
  if (draft.gdb.mux) throw usageError('-gdb', 'a character device of its own', "'mon:'");
  checkStdio(draft);
  for (const { netdev, where } of draft.dumps) {
    if (draft.netdevs.some(({ id }) => id === netdev)) continue;
    const known = draft.netdevs.map(({ id }) => id);
    throw new GodwitError('usage', `${where}: Device '${netdev}' not found${didYouMean(netdev, known)}`);
  }
}

/**
 * Reads the arguments (without node and program).
 * @throws GodwitError kind 'usage', one line that names the option, what was expected, and what was given.
 */
export function parseSystemOptions(args: readonly string[]): SystemCommand {
  const draft = newDraft();
  for (let at = 0; at < args.length; at++) {
    const word = args[at] ?? '';
    if (!/^-./.test(word)) {
      throw new GodwitError(
        'usage',
        `'${word}': disk images are given with -drive, and a kernel with -kernel`,
        {
          expected: 'an option',
          got: word,
        },
      );
    }
    const row = findOption(word);
    let value = '';
    if (row.value !== undefined) {
      const next = args[++at];
      if (next === undefined) throw usageError(word, row.value, 'nothing');
      value = next;
    }
    row.apply(draft, value, word);
    if (row.shapes !== undefined) draft.given.add(row.shapes);
    // As in QEMU, help ends everything, whatever else is wrong.
    if (draft.action !== undefined) break;
  }
  const { action } = draft;
  if (action !== undefined) {
    return typeof action === 'string' ? { action } : { action: 'list', lines: action.list };
  }
  addDefaults(draft);
  checkWhole(draft);
  return { action: 'run', options: finish(draft) };
}

function finish(draft: Draft): MachineOptions {
  const { machineType, machineProperties, monitors, drives, devices, snapshot } = draft;
  const { serialText, monitorText, qmpText, gdbText, display, ...same } = draft;
  // At a destination the machine is the source's; a -drive there is a back end, unless it says that it is more.
  const adding =
    draft.incoming === undefined ? drives : drives.filter(({ interfaceGiven }) => interfaceGiven);
  const added = driveDevices(adding);
  if (added.length > 0) draft.given.add('device');
  return {
    ...same,
    drives: drives.map(({ spec }) => (snapshot ? { ...spec, snapshot } : spec)),
    devices: [...devices, ...added],
    machine: { type: machineType, properties: machineProperties },
    monitors: monitors.filter(({ kind }) => kind !== 'none'),
  };
}
