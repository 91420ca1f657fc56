import { describe, expect, it } from 'vitest';
import { type MachineOptions, parseSystemOptions } from '../../src/cli/system-options.ts';
import { SYSTEM_OPTIONS, systemHelp, UNAVAILABLE_OPTIONS } from '../../src/cli/system-options-table.ts';
import { didYouMean, editDistance, nearest } from '../../src/suggest.ts';

/** Words divided by blanks. */
function parse(line: string): MachineOptions {
  const command = parseSystemOptions(line.split(' ').filter((word) => word !== ''));
  if (command.action !== 'run') throw new Error(`asks for ${command.action}`);
  return command.options;
}

const stdio = { kind: 'stdio', mux: false };
const muxed = { kind: 'stdio', mux: true };
const unix = { kind: 'unix', path: '/m', server: true, wait: false, mux: false };

describe('the command line of godwit-system-riscv64', () => {
  it('has the defaults of QEMU', () => {
    expect(parse('-nographic')).toMatchObject({
      ...{
        aia: 'none',
        memoryBytes: 128 * 2 ** 20,
        harts: 1,
        cpu: 'rv64',
        bios: { kind: 'default' },
        startPaused: false,
      },
      ...{ noReboot: false, noShutdown: false, given: new Set(), qmp: [] },
    });
  });

  it('takes everything in the spelling of QEMU, with one dash or two', () => {
    const uuid = '550E8400-e29b-41d4-a716-446655440000';
    const options = parseSystemOptions([
      ...[
        '-M',
        'virt,aia=aplic,aclint=on',
        '--m',
        '1.5G',
        '-smp',
        '4',
        '-cpu',
        'rv64',
        '-bios',
        'none',
        '-kernel',
        'k.elf',
      ],
      ...['-append', 'mib=64 rate=20000', '-nographic', '-S', '-name', 'guest=a,,b,process=x', '-uuid', uuid],
      ...['-pidfile', 'p', '-d', 'int,migration', '-D', 'log', '-no-reboot', '--no-shutdown'],
      ...[
        '-rtc',
        'base=2006-06-17T16:01:21,clock=vm',
        '-incoming',
        'defer',
        '-display',
        'none',
        '-nodefaults',
      ],
    ]);
    expect(options).toMatchObject({
      action: 'run',
      options: {
        aia: 'aplic',
        aclint: true,
        rtc: { base: Date.UTC(2006, 5, 17, 16, 1, 21), clock: 'vm' },
        ...{ memoryBytes: 1536 * 2 ** 20, harts: 4, bios: { kind: 'none' }, kernel: 'k.elf' },
        ...{ append: 'mib=64 rate=20000', startPaused: true, name: 'a,b', uuid: uuid.toLowerCase() },
        ...{ pidfile: 'p', logItems: new Set(['int', 'migration']), logFile: 'log', noReboot: true },
        ...{ noShutdown: true, incoming: 'defer' },
        given: new Set([
          'machine',
          'aia',
          'aclint',
          'memory',
          'harts',
          'cpu',
          'bios',
          'kernel',
          'append',
          'uuid',
        ]),
      },
    });
  });

  // As observed with QEMU 7.2: which of serial port and monitors is on the terminal.
  it.each([
    ['-nographic', [muxed], []],
    ['', [muxed], []],
    ['-nographic -display none', [muxed], []],
    ['-nographic -monitor unix:/m,server=on,wait=off', [stdio], [unix]],
    ['-nographic -monitor none', [stdio], []],
    ['-nographic -qmp unix:/m,server=on,wait=off', [stdio], []],
    ['-nographic -serial null', [{ kind: 'null', mux: false }], [stdio]],
    ['-nographic -serial mon:stdio', [muxed], []],
    ['-nographic -serial null -monitor none', [{ kind: 'null', mux: false }], []],
    ['-display none', [{ kind: 'null', mux: false }], []],
    ['-display none -serial stdio', [stdio], []],
    ['-display none -monitor stdio', [{ kind: 'null', mux: false }], [stdio]],
    ['-display none -serial stdio -monitor unix:/m,server,nowait', [stdio], [unix]],
  ])('"%s" puts serial port and monitors where QEMU does', (line, serial, monitors) => {
    const options = parse(line);
    expect({ serial: options.serial, monitors: options.monitors }).toEqual({ serial, monitors });
  });

  it.each([
    ['-m 512', 512],
    ['-m 512M', 512],
    ['-m size=1G', 1024],
    ['-m 16M', 16],
    ['-m 3584M', 3584],
    ['-m 3.5G', 3584],
  ])('%s is %i MiB', (line, mib) => {
    expect(parse(line).memoryBytes).toBe(mib * 2 ** 20);
  });

  it.each([
    ['-smp 1', 1],
    ['-smp cpus=8', 8],
    ['-smp cores=2,threads=2', 4],
    ['-smp 2,sockets=2,maxcpus=2', 2],
  ])('%s is %i harts', (line, harts) => {
    expect(parse(line).harts).toBe(harts);
  });

  it.each([
    ['-s', { kind: 'tcp', host: '', port: 1234, server: true, wait: false, mux: false }],
    ['-gdb tcp::1234', { kind: 'tcp', host: '', port: 1234, server: true, wait: false, mux: false }],
    [
      '-gdb tcp:localhost:99,server=on',
      { kind: 'tcp', host: 'localhost', port: 99, server: true, wait: false, mux: false },
    ],
    ['-gdb unix:/m,server=on,wait=off', unix],
    ['-gdb unix:/m', { kind: 'unix', path: '/m', server: false, wait: true, mux: false }],
    ['-s -gdb none', { kind: 'none', mux: false }],
    ['', { kind: 'none', mux: false }],
  ])('"%s" waits for gdb at %j', (line, device) => {
    expect(parse(line).gdb).toEqual(device);
  });

  it('numbers drives without an id, and knows the cache modes', () => {
    const { drives } = parse(
      '-drive file=a,if=none -drive file=b,if=none,cache=writethrough,readonly=on -drive file=c,cache=unsafe,id=x',
    );
    expect(drives).toMatchObject([
      { id: 'none0', file: 'a', readonly: false, writeback: true, noFlush: false, werror: 'enospc' },
      { id: 'none1', file: 'b', readonly: true, writeback: false, noFlush: false, rerror: 'report' },
      { id: 'x', file: 'c', readonly: false, writeback: true, noFlush: true },
    ]);
  });

  it.each(['virtio-mmio.force-legacy=false', 'driver=virtio-mmio,property=force-legacy,value=off'])(
    '-global %s makes the transports modern',
    (global) => {
      expect(parse(`-global ${global}`).globals).toEqual({ virtioMmioLegacy: false });
    },
  );

  it.each([
    ['-kernl x', '-kernl: unknown option; did you mean -kernel?'],
    ['--nographics', '--nographics: unknown option; did you mean -nographic?'],
    ['-zzz', '-zzz: unknown option'],
    ['-vnc :0', "-vnc: this option of QEMU's is not available in this version"],
    ['-drive if=none', '-drive if=none: expected file=FILE, got none'],
    [
      '-drive file=d,cache=fast',
      "-drive: cache: expected writeback or none or writethrough or directsync or unsafe, got 'fast'",
    ],
    [
      '-drive file=d,cach=none',
      "-drive file=d,cach=none: Block format 'raw' does not support the option 'cach'; did you mean cache?",
    ],
    ['-drive file=d,format=qcow2', "-drive: format: expected raw, got 'qcow2'"],
    ['-drive file=d,id=a -drive file=e,id=a', "-drive file=e,id=a: Duplicate ID 'a' for drive"],
    ['-device nosuch', "-device nosuch: 'nosuch' is not a valid device model name"],
    ['-global e1000.x=1', "-global: only virtio-mmio.force-legacy can be set, got 'e1000.x'"],
    ['-icount shift=99', "-icount: expected shift=0 to shift=20, got 'shift=99'"],
    ['disk.img', "'disk.img': disk images are given with -drive, and a kernel with -kernel"],
    ['-kernel', '-kernel: expected FILE, got nothing'],
    ['-m 1x', "-m: expected a size such as 256M or 1G (MiB without suffix), got '1x'"],
    ['-m 8M', "-m: expected RAM of 16M to 3584M (3.5G), got '8M'"],
    ['-m 4G', "-m: expected RAM of 16M to 3584M (3.5G), got '4G'"],
    [
      '-m 99999999999999999999',
      "-m: expected a size such as 256M or 1G (MiB without suffix), got '99999999999999999999'",
    ],
    ['-m 16385K', "-m: expected whole MiB, got '16385K'"],
    ['-m siez=1G', "-m: expected one of size, slots, maxmem, got 'siez'; did you mean size?"],
    ['-smp 0', "-smp: expected 1 to 8 harts, got '0'"],
    ['-smp 9', "-smp: expected 1 to 8 harts, got '9'"],
    ['-smp x', "-smp: expected a number for cpus, got 'x'"],
    ['-smp 4,cores=2', '-smp: expected sockets × cores × threads to be 4 harts, got 2'],
    ['-smp 2,maxcpus=4', "-smp: expected maxcpus=2 (harts can't be added later), got maxcpus=4"],
    ['-M pc', "-M: expected virt, got 'pc'"],
    [
      '-rtc base=now',
      "-rtc base: expected utc, localtime or a date as in '2006-06-17T16:01:21' or '2006-06-17', got 'now'",
    ],
    [
      '-rtc base=2006-13-17',
      "-rtc base: expected utc, localtime or a date as in '2006-06-17T16:01:21' or '2006-06-17', got '2006-13-17'",
    ],
    ['-rtc clock=tsc', "-rtc clock: expected host or rt or vm, got 'tsc'"],
    ['-icount 1 -rtc clock=host', "-rtc clock: expected vm, for -icount makes time virtual, got 'host'"],
    ['-M virt,usb=on', "-M: the property 'usb' of virt is not available in this version"],
    ['-M virt,aclint=yes', "-M aclint: expected on or off, got 'yes'"],
    ['-M virt,aia=imsic', "-M aia: expected none or aplic or aplic-imsic, got 'imsic'"],
    ['-uuid x', "-uuid: expected a UUID such as 550e8400-e29b-41d4-a716-446655440000, got 'x'"],
    [
      '-incoming /tmp/x',
      "-incoming: expected a URI such as tcp:HOST:PORT or unix:PATH, or defer, got '/tmp/x'",
    ],
    [
      '-d cpu_rest',
      "-d: expected in_asm or int or cpu or fpu or mmu or cpu_reset or guest_errors or migration, got 'cpu_rest'; did you mean cpu_reset?",
    ],
    ['-display gtk', "-display: expected none, got 'gtk'"],
    ['-append x', '-append: expected a -kernel to give the command line to, got none'],
    [
      '-serial foo:bar',
      "-serial: expected stdio, none, null, unix:PATH, tcp:HOST:PORT, file:PATH or mon:stdio, got 'foo:bar'",
    ],
    ['-gdb tcp:1234', "-gdb tcp:1234: expected HOST:PORT with a port of 0 to 65535, got '1234'"],
    ['-gdb mon:stdio -display none', "-gdb: expected a character device of its own, got 'mon:'"],
    [
      '-display none -serial stdio -gdb stdio',
      'cannot use stdio by multiple character devices: -serial stdio and -gdb stdio (-serial mon:stdio shares it with the monitor)',
    ],
    ['-serial null -serial null', '-serial: expected one serial port, which is what virt has, got 2 of them'],
    [
      '-nographic -serial stdio',
      'cannot use stdio by multiple character devices: -serial stdio and the default of -nographic (-serial mon:stdio shares it with the monitor)',
    ],
    [
      '-display none -serial stdio -monitor stdio',
      'cannot use stdio by multiple character devices: -serial stdio and -monitor stdio (-serial mon:stdio shares it with the monitor)',
    ],
  ])('refuses "%s" in one line', (line, message) => {
    expect(() => parse(line)).toThrow(expect.objectContaining({ kind: 'usage', message }));
  });

  it('gives help, version and lists whatever comes after them', () => {
    expect(parseSystemOptions(['-m', '256', '-h', '-bogus'])).toEqual({ action: 'help' });
    expect(parseSystemOptions(['--version'])).toEqual({ action: 'version' });
    expect(parseSystemOptions(['-M', 'help'])).toMatchObject({ action: 'list' });
    expect(parseSystemOptions(['-M', 'virt,help'])).toMatchObject({
      action: 'list',
      lines: expect.arrayContaining([expect.stringMatching(/^ {2}aia=<string> .*aplic-imsic/)]),
    });
    expect(parseSystemOptions(['-d', 'help'])).toMatchObject({ action: 'list' });
  });

  it('describes every option once', () => {
    const names = [...SYSTEM_OPTIONS.flatMap((row) => row.names), ...UNAVAILABLE_OPTIONS];
    expect(new Set(names).size).toBe(names.length);
    for (const {
      names: [name],
    } of SYSTEM_OPTIONS)
      expect(systemHelp()).toContain(`-${name}`);
    for (const line of systemHelp().split('\n')) expect(line.length).toBeLessThan(160);
  });
});

describe('a suggestion', () => {
  it.each([
    ['', '', 0],
    ['abc', '', 3],
    ['kernl', 'kernel', 1],
    ['sotp', 'stop', 1],
    ['kitten', 'sitting', 3],
  ])('counts the edits from %j to %j', (a, b, edits) => {
    expect(editDistance(a, b)).toBe(edits);
    expect(editDistance(b, a)).toBe(edits);
  });

  it('is made only when it is near', () => {
    const words = ['stop', 'cont', 'migrate_incoming', 'c', 's', '?'];
    expect(nearest('stpo', words)).toBe('stop');
    expect(nearest('migrate_inc', words)).toBe('migrate_incoming');
    expect(nearest('xyz', words)).toBeUndefined();
    expect(nearest('!', words)).toBeUndefined();
    expect(nearest('x'.repeat(100_000), words)).toBeUndefined();
    expect(didYouMean('stpo', words, '-')).toBe('; did you mean -stop?');
  });
});
