/** Bad input is one line on stderr that names what and where, and a non-zero exit; never a stack trace. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { describe, expect } from 'vitest';
import { guest, guestImage } from '../support/guests.ts';
import { type Bench, freePort, test } from '../support/vm-process.ts';

const VIRT = ['-M', 'virt', '-bios', 'none'];

/** Runs to the end and expects a refusal. Returns the one line. */
async function refusal(bench: Bench, args: string[], status: number): Promise<string> {
  const vm = bench.spawn(args, { qmp: false, console: false });
  const { code } = await vm.exited();
  const lines = vm.errors();
  expect({ stderr: vm.stderr.text, lines: lines.length, code }).toMatchObject({ lines: 1, code: status });
  expect(vm.stderr.text).not.toMatch(/\n {4}at /);
  expect(vm.stdout.text).toBe('');
  const [line = ''] = lines;
  expect(line).toMatch(/^godwit-system-riscv64: /);
  return line;
}

describe('options', () => {
  const hello = guestImage('hello');
  test.for<[args: string[], status: number, names: RegExp[]]>([
    [['-kernl', hello], 2, [/-kernl: unknown option/, /did you mean -kernel\?/]],
    [['-smbios', 'x'], 2, [/-smbios/, /not available/]],
    [['-drive', 'file=x'], 1, [/-drive/, /'x'/]],
    [['image.img'], 2, [/'image\.img'/]],
    [['-kernel'], 2, [/-kernel/, /nothing/]],
    [[...VIRT, '-m', '1M', '-kernel', hello], 2, [/-m/, /16M to 3584M/, /'1M'/]],
    [[...VIRT, '-m', '5G', '-kernel', hello], 2, [/-m/, /16M to 3584M/, /'5G'/]],
    [[...VIRT, '-m', 'lots', '-kernel', hello], 2, [/-m/, /'lots'/]],
    [[...VIRT, '-m', '', '-kernel', hello], 2, [/-m/, /''/]],
    [[...VIRT, '-smp', '0', '-kernel', hello], 2, [/-smp/, /1 to 8/, /'0'/]],
    [[...VIRT, '-smp', '9', '-kernel', hello], 2, [/-smp/, /1 to 8/, /'9'/]],
    [['-M', 'vrit'], 2, [/-M/, /did you mean virt\?/]],
    [['-M', 'virt,aia=apic'], 2, [/aia/, /none or aplic/, /'apic'/]],
    [[...VIRT, '-uuid', 'x'], 2, [/-uuid/, /'x'/]],
    [[...VIRT, '-d', 'itn'], 2, [/-d/, /int/]],
    [[...VIRT, '-serial', 'garbage'], 2, [/-serial/, /'garbage'/, /stdio/]],
    [[...VIRT, '-serial', 'unix:'], 2, [/-serial unix:/]],
    [[...VIRT, '-serial', 'tcp:localhost:notaport'], 2, [/-serial/, /HOST:PORT/]],
    [[...VIRT, '-qmp', 'unix:/tmp/x,sevrer=on'], 2, [/-qmp/, /did you mean server\?/]],
    [[...VIRT, '-serial', 'stdio', '-monitor', 'stdio'], 2, [/stdio/, /-serial stdio/, /-monitor stdio/]],
    [['-incoming', 'nonsense'], 2, [/-incoming/, /'nonsense'/]],
    [['-display', 'none', '-incoming', 'uinx:/x'], 2, [/unix:PATH/]],
    [['-display', 'none', '-incoming', 'tcp:localhost:99999'], 2, [/tcp:HOST:PORT/, /99999/]],
  ])('%j ends with status %i', async ([args, status, names], { bench }) => {
    const line = await refusal(bench, args, status);
    for (const name of names) expect(line).toMatch(name);
  });

  test.for([
    [['-initrd', hello], /-initrd: expected a -kernel/],
    [['-dtb', hello, '-kernel', hello], /hello\.elf: expected 0xd00dfeed, got 0x7f454c46/],
    [['-machine', 'dumpdtb=/nowhere/dtb'], /dumpdtb=\/nowhere\/dtb: can't be written/],
    [['-bios', '/nowhere/fw', '-kernel', hello], /\/nowhere\/fw: can't be read/],
  ] as const)('%j', async ([args, message], { bench }) => {
    expect(await refusal(bench, [...VIRT, ...args], args[0] === '-initrd' ? 2 : 1)).toMatch(message);
  });

  test('an unknown CPU model is named, with those that are known', async ({ bench }) => {
    const vm = bench.spawn([...VIRT, '-cpu', 'foo', '-kernel', hello], { qmp: false });
    expect([1, 2]).toContain((await vm.exited()).code);
    expect(vm.errors()).toHaveLength(1);
    expect(vm.errors()[0]).toMatch(/foo/);
    expect(vm.errors()[0]).toMatch(/rv64/);
  });

  test('several mistakes in files are found before anything is listened on', async ({ bench }) => {
    const line = await refusal(
      bench,
      [...VIRT, '-kernel', '/no/such/kernel', '-serial', 'unix:/no/such/dir/s,server=on'],
      1,
    );
    expect(line).toContain('/no/such/kernel');
  });
});

describe('kernels', () => {
  const elf = readFileSync(guestImage('hello'));
  const changed = (at: number, ...bytes: number[]): Uint8Array => {
    const copy = Uint8Array.from(elf);
    copy.set(bytes, at);
    return copy;
  };
  test.for<[what: string, bytes: Uint8Array, names: RegExp]>([
    ['an empty file', new Uint8Array(0), /empty|at least/],
    ['an ELF cut after its header', elf.subarray(0, 70), /offset|end|bytes/],
    ['an ELF cut in a segment', elf.subarray(0, 0xe00), /segment|end|bytes/],
    ['an ELF of another machine', changed(18, 62, 0), /62|x86/],
    ['a 32-bit ELF', changed(4, 1), /64/],
    ['a big-endian ELF', changed(5, 2), /little|endian/],
    ['an ELF with an entry outside RAM', changed(24, 0, 0, 0, 0), /entry/],
  ])('%s is refused', async ([, bytes, names], { bench }) => {
    const file = bench.path('kernel');
    writeFileSync(file, bytes);
    const line = await refusal(bench, [...VIRT, '-kernel', file], 1);
    expect(line).toContain(file);
    expect(line).toMatch(names);
  });

  test('a missing file, a folder and one that does not fit are refused', async ({ bench }) => {
    expect(await refusal(bench, [...VIRT, '-kernel', '/no/such/kernel'], 1)).toMatch(
      /\/no\/such\/kernel.*no such file/i,
    );
    const folder = bench.path('folder');
    mkdirSync(folder);
    expect(await refusal(bench, [...VIRT, '-kernel', folder], 1)).toContain(folder);
    const large = bench.path('large');
    writeFileSync(large, Buffer.alloc(17 * 1024 * 1024, 0x13));
    expect(await refusal(bench, [...VIRT, '-m', '16M', '-kernel', large], 1)).toContain(large);
  });

  test('a kernel command line that is too long is refused, or taken by the guest', async ({ bench }) => {
    const vm = bench.spawn(guest('hello', `spin=1 ${'x'.repeat(5000)}`), { qmp: false });
    expect((await vm.exited()).code).toBe(1);
    expect(vm.stderr.text).not.toMatch(/\n {4}at /);
  });
});

describe('files and sockets', () => {
  test('files that cannot be written are named', async ({ bench }) => {
    for (const option of ['-D', '-pidfile']) {
      const args = [...guest('ticks'), '-display', 'none', '-d', 'int', option, '/no/such/dir/file'];
      expect(await refusal(bench, args, 1)).toMatch(new RegExp(`${option} /no/such/dir/file`));
    }
    const args = [...guest('ticks'), '-display', 'none', '-serial', 'file:/no/such/dir/file'];
    expect(await refusal(bench, args, 1)).toContain('/no/such/dir/file');
  });

  test('a socket that somebody listens on is left to them', async ({ bench }) => {
    const path = bench.path('busy');
    const server = createServer().listen(path);
    bench.onEnd(() => void server.close());
    await new Promise((resolve) => server.once('listening', resolve));
    for (const option of ['-qmp', '-monitor', '-serial']) {
      const line = await refusal(
        bench,
        ['-display', 'none', ...guest('ticks'), option, `unix:${path},server=on,wait=off`],
        1,
      );
      expect(line).toMatch(/in use/);
      expect(line).toContain(path);
    }
    expect(await refusal(bench, ['-display', 'none', '-incoming', `unix:${path}`], 1)).toMatch(/in use/);
    expect(server.listening).toBe(true);
  });

  test('a tcp port in use and a file in a socket’s place are named', async ({ bench }) => {
    const port = await freePort();
    const server = createServer().listen(port, '127.0.0.1');
    bench.onEnd(() => void server.close());
    await new Promise((resolve) => server.once('listening', resolve));
    const tcp = `tcp:127.0.0.1:${port}`;
    expect(await refusal(bench, ['-display', 'none', '-incoming', tcp], 1)).toContain(tcp);
    expect(
      await refusal(bench, ['-display', 'none', ...guest('ticks'), '-qmp', `${tcp},server=on,wait=off`], 1),
    ).toContain(tcp);
    const file = bench.path('notes');
    writeFileSync(file, 'keep me');
    expect(await refusal(bench, ['-display', 'none', '-incoming', `unix:${file}`], 1)).toContain(file);
    expect(
      await refusal(
        bench,
        ['-display', 'none', ...guest('ticks'), '-qmp', `unix:${file},server=on,wait=off`],
        1,
      ),
    ).toContain(file);
    expect(readFileSync(file, 'utf8')).toBe('keep me');
  });

  test('a socket left behind by a process that was killed is taken over', async ({ bench }) => {
    const path = bench.path('left');
    const monitor = ['-display', 'none', '-monitor', `unix:${path},server=on,wait=off`];
    const first = await bench.start([...guest('ticks', 'interval=10'), ...monitor], { console: false });
    await first.kill('SIGKILL');
    const second = await bench.start([...guest('ticks'), ...monitor], { console: false });
    expect(await second.status()).toBe('running');
  });

  test('incoming from what is no saved guest', async ({ bench }) => {
    const incoming = (file: string): string[] => ['-display', 'none', '-incoming', `file:${file}`];
    expect(await refusal(bench, incoming('/no/such/file'), 1)).toContain('/no/such/file');
    expect(await refusal(bench, incoming(bench.dir), 1)).toContain(bench.dir);
    const file = bench.path('saved');
    writeFileSync(file, '');
    expect(await refusal(bench, incoming(file), 1)).toMatch(/end of the stream|empty/);
    writeFileSync(file, 'QEVM this is no stream of ours, but long enough for one');
    expect(await refusal(bench, incoming(file), 1)).toMatch(/stream opening/);
  });
});
