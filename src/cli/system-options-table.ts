/**
 * The options of godwit-system-riscv64, once: the parser, `-help` and the README's table derive from this table.
 * Spelling and meaning are those of QEMU 7.2's qemu-options.hx.
 */
import { ACCELERATORS, type Accelerator } from '../cpu/accelerator.ts';
import { GodwitError } from '../error.ts';
import { type ChardevSpec, parseChardev } from '../host/chardev-spec.ts';
import type { FilterDumpSpec } from '../host/filter-dump.ts';
import { parseGdbDevice } from '../host/gdb-server.ts';
import { LOG_ITEM_LIST, LOG_NAMES, type LogItem } from '../host/log.ts';
import type { NetdevSpec } from '../host/netdev.ts';
import type { Bios } from '../host/new-machine.ts';
import { RTC_CLOCKS, type RtcOptions } from '../host/real-time.ts';
import type { TlsCredentials } from '../host/tls-credentials.ts';
import { AIA_TYPES, type AiaType } from '../machine/configuration.ts';
import type { DeviceRequest } from '../machine/device-configuration.ts';
import { MAX_ICOUNT_SHIFT } from '../machine/icount.ts';
import { DEFAULT_GDB_DEVICE } from '../monitor/commands-machine.ts';
import { logHelpLines } from '../monitor/log-help.ts';
import { type Globals, parseDevice, parseGlobal } from './device-options.ts';
import { type DriveOption, parseDrive } from './drive-options.ts';
import { NETDEV_TYPES, parseNetdev, parseNic } from './netdev-options.ts';
import { parseObject } from './object-options.ts';
import {
  parseChoice,
  parseHarts,
  parseKeyValues,
  parseMemory,
  parseRtcBase,
  parseUuid,
  usageError,
} from './system-options-values.ts';

/** Machine-shaping options: a destination that was given one of them is compared with the source in it. */
export type ShapingOption =
  | 'machine'
  | 'aia'
  | 'aclint'
  | 'memory'
  | 'harts'
  | 'cpu'
  | 'bios'
  | 'kernel'
  | 'append'
  | 'initrd'
  | 'dtb'
  | 'uuid'
  | 'global'
  | 'device';

/** What the options fill in, one after the other; defaults that depend on others come at the end. */
export interface Draft {
  machineType: 'virt';
  machineProperties: Map<string, string>;
  aia: AiaType;
  aclint: boolean;
  memoryBytes: number;
  harts: number;
  cpu: string;
  bios: Bios;
  kernel?: string;
  initrd?: string;
  dtb?: string;
  append?: string;
  nographic: boolean;
  display?: 'none';
  serial: ChardevSpec[];
  serialText: string[];
  monitors: ChardevSpec[];
  monitorText: string[];
  qmp: ChardevSpec[];
  qmpText: string[];
  /** Where debuggers come to; the last one given counts. */
  gdb: ChardevSpec;
  gdbText: string;
  drives: DriveOption[];
  devices: DeviceRequest[];
  netdevs: NetdevSpec[];
  dumps: FilterDumpSpec[];
  tlsCredentials: TlsCredentials[];
  globals: Globals;
  /** -snapshot */
  snapshot: boolean;
  incoming?: string;
  startPaused: boolean;
  name?: string;
  uuid?: string;
  pidfile?: string;
  accel: Accelerator;
  keepTranslations: boolean;
  icount?: number;
  rtc: RtcOptions;
  logItems: Set<LogItem>;
  logFile?: string;
  noReboot: boolean;
  noShutdown: boolean;
  onlyMigratable: boolean;
  given: Set<ShapingOption>;
  action?: 'help' | 'version' | { readonly list: readonly string[] };
}

export interface OptionRow {
  /** Without dashes; the first is the main one. */
  readonly names: readonly [string, ...string[]];
  /** What the value is called in help; without it the option takes none. */
  readonly value?: string;
  readonly help: string;
  readonly shapes?: ShapingOption;
  /** `option` is the spelling used, with its dash. */
  apply(draft: Draft, value: string, option: string): void;
}

/** A file name, which must not be empty. */
function path(option: string, value: string): string {
  if (value === '') throw usageError(option, 'a file name', "''");
  return value;
}

const ignored = () => {};

/** Properties of `-machine virt`. */
const MACHINE_PROPERTIES: Readonly<Record<string, string>> = {
  aclint: 'on: an ACLINT with software interrupts of supervisor level; off: a CLINT (the default)',
  aia: `the interrupt controller: ${AIA_TYPES.join(', ')} (none: a PLIC)`,
  dumpdtb: 'dump the device tree to a file and quit',
};

export const SYSTEM_OPTIONS: readonly OptionRow[] = [
  {
    names: ['machine', 'M'],
    value: 'virt[,KEY=VALUE…]',
    help: "the machine; only QEMU's RISC-V virt; 'virt,help' lists its properties, such as aia=none|aplic|aplic-imsic",
    shapes: 'machine',
    apply(draft, value, option) {
      if (value === 'help') {
        draft.action = { list: ['virt  RISC-V VirtIO board'] };
        return;
      }
      const properties = new Map(parseKeyValues(option, value, 'any', 'type'));
      if (properties.has('help')) {
        const lines = Object.entries(MACHINE_PROPERTIES).map(
          ([name, help]) => `  ${name}=<string>  - ${help}`,
        );
        draft.action = { list: ['virt-machine options:', ...lines] };
        return;
      }
      const type = properties.get('type');
      if (type !== undefined) draft.machineType = parseChoice(option, type, ['virt']);
      properties.delete('type');
      const aia = properties.get('aia');
      if (aia !== undefined) {
        draft.aia = parseChoice(`${option} aia`, aia, AIA_TYPES);
        draft.given.add('aia');
        properties.delete('aia');
      }
      const aclint = properties.get('aclint');
      if (aclint !== undefined) {
        draft.aclint = parseChoice(`${option} aclint`, aclint, ['on', 'off']) === 'on';
        draft.given.add('aclint');
        properties.delete('aclint');
      }
      const unknown = [...properties.keys()].find((key) => !Object.hasOwn(MACHINE_PROPERTIES, key));
      if (unknown !== undefined) {
        throw new GodwitError(
          'usage',
          `${option}: the property '${unknown}' of virt is not available in this version`,
        );
      }
      draft.machineProperties = properties;
    },
  },
  {
    names: ['m'],
    value: '[size=]SIZE',
    help: 'RAM, 16M to 3584M; MiB without suffix (default 128M)',
    shapes: 'memory',
    apply: (draft, value, option) => {
      draft.memoryBytes = parseMemory(option, value);
    },
  },
  {
    names: ['smp'],
    value: '[cpus=]N',
    help: 'harts, 1 to 8 (default 1)',
    shapes: 'harts',
    apply: (draft, value, option) => {
      draft.harts = parseHarts(option, value);
    },
  },
  {
    names: ['cpu'],
    value: 'MODEL',
    help: 'CPU model (default rv64)',
    shapes: 'cpu',
    apply: (draft, value, option) => {
      if (value === '') throw usageError(option, 'a CPU model such as rv64', "''");
      draft.cpu = value;
    },
  },
  {
    names: ['bios'],
    value: 'none|default|FILE',
    help: 'firmware: our own SBI (the default), a file (ELF or raw), or none: the kernel starts in machine mode',
    shapes: 'bios',
    apply: (draft, value, option) => {
      if (value === 'none' || value === 'default') draft.bios = { kind: value };
      else draft.bios = { kind: 'file', path: path(option, value) };
    },
  },
  {
    names: ['kernel'],
    value: 'FILE',
    help: 'kernel: ELF, Linux Image or raw, also compressed with gzip',
    shapes: 'kernel',
    apply: (draft, value, option) => {
      draft.kernel = path(option, value);
    },
  },
  {
    names: ['initrd'],
    value: 'FILE',
    help: 'initial RAM disk for the kernel',
    shapes: 'initrd',
    apply: (draft, value, option) => {
      draft.initrd = path(option, value);
    },
  },
  {
    names: ['dtb'],
    value: 'FILE',
    help: "device tree in place of the machine's own",
    shapes: 'dtb',
    apply: (draft, value, option) => {
      draft.dtb = path(option, value);
    },
  },
  {
    names: ['append'],
    value: 'TEXT',
    help: "the kernel's command line",
    shapes: 'append',
    apply: (draft, value) => {
      draft.append = value;
    },
  },
  {
    names: ['drive'],
    value:
      'file=FILE[,id=ID][,if=none|virtio][,format=raw][,readonly=on][,snapshot=on][,cache=MODE][,discard=unmap]',
    help: 'a disk image; with if=none a -device shows it, with if=virtio (the default) a virtio-blk-pci',
    apply: (draft, value, option) => {
      draft.drives.push(parseDrive(option, value, draft.drives));
    },
  },
  {
    names: ['snapshot'],
    help: 'snapshot=on for every -drive: what is written is lost at the end',
    apply: (draft) => {
      draft.snapshot = true;
    },
  },
  {
    names: ['device'],
    value: 'DRIVER[,id=ID][,bus=BUS][,KEY=VALUE…]',
    help: "adds a device ('help' lists them, 'DRIVER,help' what can be said of one)",
    shapes: 'device',
    apply: (draft, value, option) => {
      const device = parseDevice(option, value);
      if ('list' in device) draft.action = device;
      else draft.devices.push(device);
    },
  },
  {
    names: ['netdev'],
    value: 'TYPE,id=ID[,KEY=VALUE…]',
    help: 'a network back end for a -device: stream, dgram, socket or user (README, "Networks")',
    apply: (draft, value, option) => {
      if (value === 'help') draft.action = { list: ['Available netdev backend types:', ...NETDEV_TYPES] };
      else draft.netdevs.push(parseNetdev(option, value, draft.netdevs));
    },
  },
  {
    names: ['nic'],
    value: 'none|TYPE[,model=e1000][,mac=MAC][,KEY=VALUE…]',
    help: 'a -netdev and a -device in one',
    shapes: 'device',
    apply: (draft, value, option) => {
      const nic = parseNic(option, value, draft.netdevs);
      if (nic === undefined) return;
      draft.netdevs.push(nic.netdev);
      draft.devices.push(nic.device);
    },
  },
  {
    names: ['net'],
    value: 'none',
    help: 'accepted: no default network, which there is none of',
    apply: (_draft, value, option) => void parseChoice(option, value, ['none']),
  },
  {
    names: ['object'],
    value: 'TYPE,id=ID,KEY=VALUE…',
    help: 'filter-dump (netdev, file, maxlen): packets to a pcap file; tls-creds-x509, -psk (dir, endpoint): for migrations',
    apply: (draft, value, option) => {
      const { dump, tls } = parseObject(option, value);
      if (dump !== undefined) draft.dumps.push(dump);
      if (tls === undefined) return;
      if (draft.tlsCredentials.some(({ id }) => id === tls.id)) {
        throw new GodwitError('usage', `${option}: attempt to add duplicate property '${tls.id}' to object`);
      }
      draft.tlsCredentials.push(tls);
    },
  },
  {
    names: ['global'],
    value: 'DRIVER.PROPERTY=VALUE',
    help: 'virtio-mmio.force-legacy=false: the transports speak virtio 1.x (default true, as in QEMU)',
    shapes: 'global',
    apply: (draft, value, option) => parseGlobal(option, value, draft.globals),
  },
  {
    names: ['nographic'],
    help: 'console and monitor on this terminal (Ctrl-A h for help)',
    apply: (draft) => {
      draft.nographic = true;
    },
  },
  {
    names: ['display'],
    value: 'none',
    help: 'no window (there never is one)',
    apply: (draft, value, option) => {
      draft.display = parseChoice(option, value, ['none']);
    },
  },
  {
    names: ['serial'],
    value: 'DEV',
    help: 'where the serial port goes: stdio, mon:stdio, unix:PATH[,server=on][,wait=off], tcp:HOST:PORT, file:PATH, null, none',
    apply: (draft, value, option) => {
      draft.serial.push(parseChardev(value, option));
      draft.serialText.push(`${option} ${value}`);
    },
  },
  {
    names: ['monitor'],
    value: 'DEV',
    help: 'where the human monitor goes (as -serial)',
    apply: (draft, value, option) => {
      draft.monitors.push(parseChardev(value, option));
      draft.monitorText.push(`${option} ${value}`);
    },
  },
  {
    names: ['qmp'],
    value: 'DEV',
    help: 'where QMP goes (as -serial)',
    apply: (draft, value, option) => {
      draft.qmp.push(parseChardev(value, option));
      draft.qmpText.push(`${option} ${value}`);
    },
  },
  {
    names: ['incoming'],
    value: 'URI|defer',
    help: 'wait for a guest that migrates in; defer: until migrate_incoming says where from',
    apply: (draft, value, option) => {
      if (value !== 'defer' && !/^[a-z][a-z0-9+]*:./.test(value)) {
        throw usageError(option, 'a URI such as tcp:HOST:PORT or unix:PATH, or defer', `'${value}'`);
      }
      draft.incoming = value;
    },
  },
  {
    names: ['S'],
    help: 'do not start; cont in a monitor does',
    apply: (draft) => {
      draft.startPaused = true;
    },
  },
  {
    names: ['gdb'],
    value: 'DEV',
    help: 'wait for gdb there: tcp:[HOST]:PORT, unix:PATH[,server=on][,wait=off], stdio, none',
    apply: (draft, value, option) => {
      draft.gdb = parseGdbDevice(value, option);
      draft.gdbText = `${option} ${value}`;
    },
  },
  {
    names: ['s'],
    help: `shorthand for -gdb ${DEFAULT_GDB_DEVICE}`,
    apply: (draft, _value, option) => {
      draft.gdb = parseGdbDevice(DEFAULT_GDB_DEVICE, option);
      draft.gdbText = option;
    },
  },
  {
    names: ['name'],
    value: '[guest=]NAME',
    help: "the machine's name",
    apply: (draft, value, option) => {
      const values = parseKeyValues(option, value, ['guest', 'process', 'debug-threads'], 'guest');
      const name = values.get('guest');
      if (name === undefined || name === '') throw usageError(option, 'a name', `'${value}'`);
      draft.name = name;
    },
  },
  {
    names: ['uuid'],
    value: 'UUID',
    help: "the machine's UUID",
    shapes: 'uuid',
    apply: (draft, value, option) => {
      draft.uuid = parseUuid(option, value);
    },
  },
  {
    names: ['pidfile'],
    value: 'FILE',
    help: "write the process's id there",
    apply: (draft, value, option) => {
      draft.pidfile = path(option, value);
    },
  },
  {
    names: ['icount'],
    value: '[shift=]N',
    help: 'virtual time: 2^N ns an instruction, idle time skipped; runs repeat to the instruction',
    apply: (draft, value, option) => {
      const values = parseKeyValues(option, value, ['shift', 'sleep', 'align'], 'shift');
      const shift = values.get('shift') ?? '';
      if (!/^\d+$/.test(shift) || Number(shift) > MAX_ICOUNT_SHIFT) {
        throw usageError(option, `shift=0 to shift=${MAX_ICOUNT_SHIFT}`, `'${value}'`);
      }
      draft.icount = Number(shift);
    },
  },
  {
    names: ['accel'],
    value: 'jit[,cache=on|off]|interp',
    help: 'how guest code is run: translated where hot (jit, the default; cache=off: nothing is kept) or interpreted; tcg means jit',
    apply: (draft, value, option) => {
      // QEMU's other properties of tcg (thread=, tb-size=) have no meaning here.
      const { accel = '', cache = 'on' } = Object.fromEntries(parseKeyValues(option, value, 'any', 'accel'));
      draft.accel = accel === 'tcg' ? 'jit' : parseChoice(option, accel, ACCELERATORS);
      draft.keepTranslations = parseChoice(`${option} cache`, cache, ['on', 'off']) === 'on';
    },
  },
  {
    names: ['rtc'],
    value: '[base=utc|localtime|DATE][,clock=host|rt|vm]',
    help: 'the real-time clock: its time at power-on (utc; DATE: 2006-06-17T16:01:21), and what it follows (host)',
    apply: (draft, value, option) => {
      const values = parseKeyValues(option, value, ['base', 'clock', 'driftfix']);
      if (values.has('driftfix')) {
        throw usageError(option, 'base or clock (driftfix is for x86 alone)', 'driftfix');
      }
      const [base, clock] = [values.get('base'), values.get('clock')];
      draft.rtc = {
        ...draft.rtc,
        ...(base === undefined ? {} : { base: parseRtcBase(`${option} base`, base) }),
        ...(clock === undefined ? {} : { clock: parseChoice(`${option} clock`, clock, RTC_CLOCKS) }),
      };
    },
  },
  {
    names: ['d'],
    value: 'ITEM,…',
    help: `log: ${LOG_NAMES.join(', ')} ('help' lists)`,
    apply: (draft, value, option) => {
      if (value === 'help') draft.action = { list: logHelpLines(LOG_ITEM_LIST) };
      else for (const item of value.split(',')) draft.logItems.add(parseChoice(option, item, LOG_NAMES));
    },
  },
  {
    names: ['D'],
    value: 'FILE',
    help: 'log to a file instead of stderr',
    apply: (draft, value, option) => {
      draft.logFile = path(option, value);
    },
  },
  {
    names: ['no-reboot'],
    help: 'exit instead of rebooting',
    apply: (draft) => {
      draft.noReboot = true;
    },
  },
  {
    names: ['no-shutdown'],
    help: 'stop instead of exiting when the guest powers off',
    apply: (draft) => {
      draft.noShutdown = true;
    },
  },
  {
    names: ['only-migratable'],
    help: 'refuse to start with anything that keeps the guest from being moved',
    apply: (draft) => {
      draft.onlyMigratable = true;
    },
  },
  { names: ['nodefaults'], help: 'accepted: no default devices, which there are none of', apply: ignored },
  { names: ['no-user-config'], help: 'accepted: there are no configuration files', apply: ignored },
  {
    names: ['version'],
    help: 'show the version',
    apply: (draft) => {
      draft.action ??= 'version';
    },
  },
  {
    names: ['help', 'h'],
    help: 'show this help',
    apply: (draft) => {
      draft.action ??= 'help';
    },
  },
];

/** Options of QEMU's that are known but not available yet: an error says so, instead of calling them unknown. */
export const UNAVAILABLE_OPTIONS: readonly string[] = [
  'blockdev',
  ...['chardev', 'mon', 'loadvm', 'daemonize'],
  ...['parallel', 'boot', 'trace', 'sandbox', 'run-with', 'action', 'semihosting', 'semihosting-config'],
  ...['qmp-pretty', 'vga', 'usb', 'audio', 'vnc', 'numa', 'readconfig', 'watchdog-action', 'watchdog', 'set'],
  ...[
    'fw_cfg',
    'smbios',
    'acpitable',
    'virtfs',
    'fsdev',
    'sd',
    'hda',
    'cdrom',
    'mtdblock',
    'pflash',
    'tpmdev',
  ],
  ...['enable-kvm', 'mem-path', 'mem-prealloc', 'overcommit', 'msg', 'dump-vmstate', 'seed', 'preconfig'],
];

/** The text of -help. */
export function systemHelp(program = 'godwit-system-riscv64'): string {
  const rows = SYSTEM_OPTIONS.map(({ names, value, help }) => {
    const spelled = names.map((name) => `-${name}`).join(', ');
    return [value === undefined ? spelled : `${spelled} ${value}`, help] as const;
  });
  const width = Math.min(32, Math.max(...rows.map(([left]) => left.length)));
  const lines = rows.map(([left, help]) =>
    left.length > width ? `  ${left}\n  ${''.padEnd(width)}  ${help}` : `  ${left.padEnd(width)}  ${help}`,
  );
  return [
    `usage: ${program} [options]`,
    '',
    "QEMU's options, with one dash or two:",
    ...lines,
    '',
    'Without -display, the machine behaves as with -nographic, for it has no window.',
    '',
  ].join('\n');
}
