/**
 * Runs a VM as a command line asks: opens its character devices, builds the machine or waits for one, and ends the
 * process as the guest or the user says.
 */
import { rmSync, writeFileSync } from 'node:fs';
import type { BackendFacts } from '../devices/model.ts';
import { errorMessage, GodwitError } from '../error.ts';
import type { Chardev } from '../host/chardev.ts';
import { openChardev, serveHmp, serveMux, serveQmp } from '../host/chardev-open.ts';
import { type Drive, driveFacts, openDrives } from '../host/drive.ts';
import { GdbServer, parseGdbDevice } from '../host/gdb-server.ts';
import { Log } from '../host/log.ts';
import { netdevFacts } from '../host/netdev.ts';
import { type MachineRequest, type NewMachine, newMachine } from '../host/new-machine.ts';
import { describeBoot } from '../host/rom-hashes.ts';
import { VERSION } from '../host/version.ts';
import { Vm } from '../host/vm.ts';
import type { WantedMachine } from '../host/vm-migration.ts';
import { configureDevices } from '../machine/device-configuration.ts';
import type { MonitorContext } from '../monitor/command.ts';
import { monitorContext } from '../monitor/commands.ts';
import type { MonitorHost } from '../monitor/target.ts';
import type { MachineOptions } from './system-options.ts';

const hostOfMonitors: Omit<MonitorHost, 'gdbserver'> = {
  version: VERSION,
  wallClockUs: () => Math.round((performance.timeOrigin + performance.now()) * 1000),
  every(ms, run) {
    const timer = setInterval(run, ms);
    return () => clearInterval(timer);
  },
};

/**
 * Runs the VM to its end.
 * @param program names the program in messages.
 * @returns the exit status.
 * @throws GodwitError for what is wrong with the options, files or sockets.
 */
export async function runSystem(options: MachineOptions, program: string): Promise<number> {
  const drives = openDrives(options.drives);
  const dumpdtb = options.machine.properties.get('dumpdtb');
  if (dumpdtb !== undefined) {
    writeFile('-machine dumpdtb=', dumpdtb, newMachine(request(options, facts(options, drives))).boot.fdt);
    process.stderr.write(`${program}: info: dtb dumped to ${dumpdtb}. Exiting.\n`);
    return 0;
  }
  const opened: Pick<Chardev, 'close'>[] = [];
  const log = new Log(options.logItems, options.logFile);
  let toConsole: (bytes: Uint8Array) => void = () => {};
  let end: (status: number) => void = () => {};
  const ended = new Promise<number>((resolve) => {
    end = resolve;
  });
  // First of all: the machine's thread takes its time to start, and the rest goes on meanwhile.
  const vm = new Vm({
    ...(options.name === undefined ? {} : { name: options.name }),
    console: (bytes) => toConsole(bytes),
    startPaused: options.startPaused,
    noReboot: options.noReboot,
    noShutdown: options.noShutdown,
    onlyMigratable: options.onlyMigratable,
    accel: options.accel,
    keepTranslations: options.keepTranslations,
    ...(options.icount === undefined ? {} : { icount: options.icount }),
    rtc: options.rtc,
    drives,
    tlsCredentials: options.tlsCredentials,
    log,
    onWarning: (text) => process.stderr.write(`${program}: warning: ${text}\n`),
    onEnd(status, reason) {
      if (reason !== undefined) process.stderr.write(`${program}: ${reason}\n`);
      end(status);
    },
  });
  const context = monitorContext(vm, {
    ...hostOfMonitors,
    async gdbserver(device) {
      await gdb.open(parseGdbDevice(device, 'gdbserver'));
      gdb.serve();
    },
  });
  const gdb = new GdbServer(vm, context, (message) => process.stderr.write(`${program}: ${message}\n`));
  opened.push(gdb);
  try {
    const started = start(options, drives, { vm, context, gdb }, opened, (console) => {
      toConsole = (bytes) => console.write(bytes);
    });
    // It can end while it still waits for a client.
    const status = await Promise.race([ended, started.then(() => ended)]);
    gdb.exited(status);
    return status;
  } finally {
    await vm.close();
    for (const chardev of opened) await chardev.close();
    log.close();
    if (options.pidfile !== undefined) rmSync(options.pidfile, { force: true });
  }
}

/**
 * Opens the devices, and launches or awaits the machine.
 * @param opened takes every device that was opened, to be closed at the end.
 * @param attach takes where the guest's output goes.
 */
async function start(
  options: MachineOptions,
  drives: readonly Drive[],
  { vm, context, gdb }: { readonly vm: Vm; readonly context: MonitorContext; readonly gdb: GdbServer },
  opened: Pick<Chardev, 'close'>[],
  attach: (console: Pick<Chardev, 'write'>) => void,
): Promise<void> {
  const backends = facts(options, drives);
  const awaits = options.incoming !== undefined;
  // Of one that arrives, all is known only if everything that shapes its images was said.
  const known = !awaits || options.given.has('kernel');
  const machine = known ? newMachine(request(options, backends)) : undefined;
  const wanted = awaits ? wantedMachine(options, backends, machine) : {};
  if (options.pidfile !== undefined) writeFile('-pidfile ', options.pidfile, `${process.pid}\n`);
  const build = async (): Promise<void> => {
    if (options.netdevs.length > 0) await vm.openNetworks(options.netdevs, options.dumps);
    if (machine !== undefined && !awaits) await vm.build(machine);
  };
  // Meanwhile the others are opened, some of which wait for a client.
  const building = build();
  building.catch(() => {});
  const open = async (spec: Parameters<typeof openChardev>[0]): Promise<Chardev> => {
    const interrupt = options.nographic ? {} : { interrupt: () => vm.terminate() };
    const chardev = await openChardev(spec, interrupt);
    opened.push(chardev);
    return chardev;
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => vm.terminate());
  for (const spec of options.serial) {
    const chardev = await open(spec);
    const console = spec.mux === true ? serveMux(chardev, context, () => vm.terminate()) : chardev;
    attach(console);
    console.onData((bytes) => vm.input(bytes));
  }
  const monitors: (() => void)[] = [];
  for (const spec of options.monitors) {
    const chardev = await open(spec);
    monitors.push(() => serveHmp(chardev, context));
  }
  for (const spec of options.qmp) {
    const chardev = await open(spec);
    monitors.push(() => serveQmp(chardev, context));
  }
  await gdb.open(options.gdb);
  await building;
  if (!awaits) await vm.launch();
  else {
    const uri = options.incoming === 'defer' ? undefined : options.incoming;
    await vm.awaitIncoming(wanted, uri, machine?.configuration);
  }
  // Only now: a command finds the machine as the command line asks for it. What was sent before is kept.
  for (const serve of monitors) serve();
  gdb.serve();
}

function facts({ netdevs }: MachineOptions, drives: readonly Drive[]): BackendFacts[] {
  return [...drives.map(driveFacts), ...netdevs.map(netdevFacts)];
}

function request(options: MachineOptions, backends: readonly BackendFacts[]): MachineRequest {
  const { kernel, initrd, dtb, append, uuid, bios, globals } = options;
  return {
    harts: options.harts,
    aia: options.aia,
    aclint: options.aclint,
    ram: options.memoryBytes,
    cpu: options.cpu,
    bios,
    ...(kernel === undefined ? {} : { kernel }),
    ...(initrd === undefined ? {} : { initrd }),
    ...(dtb === undefined ? {} : { dtb }),
    ...(append === undefined ? {} : { append }),
    ...(uuid === undefined ? {} : { uuid }),
    ...globals,
    devices: configureDevices(options.devices, backends),
  };
}

/** What was said of an incoming machine. @param machine if a kernel was named: its images are compared, too. */
function wantedMachine(
  options: MachineOptions,
  backends: readonly BackendFacts[],
  machine: NewMachine | undefined,
): WantedMachine {
  const { given } = options;
  const boot = machine === undefined ? {} : describeBoot(machine.boot);
  return {
    ...(given.has('aia') ? { aia: options.aia } : {}),
    ...(given.has('aclint') ? { aclint: options.aclint } : {}),
    ...(given.has('harts') ? { harts: options.harts } : {}),
    ...(given.has('memory') ? { ram: options.memoryBytes } : {}),
    ...(given.has('cpu') ? { cpu: options.cpu } : {}),
    ...(options.uuid === undefined ? {} : { uuid: options.uuid }),
    ...options.globals,
    ...(given.has('device') ? { devices: configureDevices(options.devices, backends) } : {}),
    ...boot,
  };
}

/** @param option where the file was named, for errors: "-pidfile ". */
function writeFile(option: string, file: string, contents: string | Uint8Array): void {
  try {
    writeFileSync(file, contents);
  } catch (error) {
    throw new GodwitError('file', `${option}${file}: can't be written: ${errorMessage(error)}`, {}, error);
  }
}
