import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { MonitorClient, parseMonitorSocket } from '../../src/cli/monitor-client.ts';
import { qmpRequest, runMonitor } from '../../src/cli/monitor-terminal.ts';
import { GodwitError } from '../../src/error.ts';
import type { Chardev } from '../../src/host/chardev.ts';
import { ChardevMux } from '../../src/host/chardev-mux.ts';
import { openChardev, serveHmp, serveMux, serveQmp } from '../../src/host/chardev-open.ts';
import { parseChardev } from '../../src/host/chardev-spec.ts';
import { StdioChardev, type TerminalInput } from '../../src/host/chardev-stdio.ts';
import { setUp } from '../monitor/fake-target.ts';

let folder: string;
const open: { close(): unknown }[] = [];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'godwit-'));
});
afterEach(async () => {
  for (const each of open.splice(0).reverse()) await each.close();
  rmSync(folder, { recursive: true });
});

async function device(text: string): Promise<Chardev> {
  const chardev = await openChardev(parseChardev(text, '-serial'));
  open.push(chardev);
  return chardev;
}

/** A client of a socket that collects what it reads. */
class Client {
  readonly socket: Socket;
  text = '';
  #woken: (() => void)[] = [];
  ended = false;

  constructor(path: string) {
    this.socket = connect(path);
    open.push({ close: () => this.socket.destroy() });
    const wake = () => {
      for (const each of this.#woken.splice(0)) each();
    };
    this.socket.on('data', (bytes) => {
      this.text += bytes.toString();
      wake();
    });
    this.socket.on('close', () => {
      this.ended = true;
      wake();
    });
    this.socket.on('error', () => {});
  }

  async until(done: () => boolean): Promise<void> {
    while (!done()) await new Promise<void>((resolve) => void this.#woken.push(resolve));
  }
}

describe('the spelling of character devices', () => {
  it.each([
    ['stdio', { kind: 'stdio', mux: false }],
    ['mon:stdio', { kind: 'stdio', mux: true }],
    ['none', { kind: 'none', mux: false }],
    ['vc:80Cx24C', { kind: 'null', mux: false }],
    ['file:/tmp/a,b', { kind: 'file', path: '/tmp/a,b', mux: false }],
    [
      'unix:/q.sock,server=on,wait=off',
      { kind: 'unix', path: '/q.sock', server: true, wait: false, mux: false },
    ],
    ['unix:q,server,nowait', { kind: 'unix', path: 'q', server: true, wait: false, mux: false }],
    ['unix:a,,b,server', { kind: 'unix', path: 'a,b', server: true, wait: true, mux: false }],
    ['unix:q', { kind: 'unix', path: 'q', server: false, wait: true, mux: false }],
    [
      'tcp:localhost:4444,server=on,wait=off,nodelay=on',
      { kind: 'tcp', host: 'localhost', port: 4444, server: true, wait: false, mux: false },
    ],
    ['tcp::0', { kind: 'tcp', host: '', port: 0, server: false, wait: true, mux: false }],
    ['tcp:[::1]:5', { kind: 'tcp', host: '::1', port: 5, server: false, wait: true, mux: false }],
  ])('%s', (text, spec) => {
    expect(parseChardev(text, '-serial')).toEqual(spec);
  });

  it.each([
    [
      'stdoi',
      "-serial: expected stdio, none, null, unix:PATH, tcp:HOST:PORT, file:PATH or mon:stdio, got 'stdoi'; did you mean stdio?",
    ],
    ['', "got ''"],
    ['unix:', 'expected unix:PATH'],
    ['unix:q,sever=on', "got 'sever=on'; did you mean server?"],
    ['unix:q,server=maybe', 'expected server=on or server=off'],
    ['tcp:localhost', 'expected HOST:PORT'],
    ['tcp:localhost:99999', 'port of 0 to 65535'],
    ['pty', "'pty' is not available in this version"],
    ['mon:none', 'typed at'],
  ])('refuses %j', (text, message) => {
    expect(() => parseChardev(text, '-serial')).toThrow(message);
  });
});

describe('a socket character device', () => {
  it('serves one client after the other, the next waits its turn', async () => {
    const { context } = setUp();
    const path = join(folder, 'm.sock');
    serveHmp(await device(`unix:${path},server=on,wait=off`), context);
    const first = new Client(path);
    await first.until(() => first.text.endsWith('(qemu) '));
    const second = new Client(path);
    const third = new Client(path);
    first.socket.write('info uuid\n');
    await first.until(() => first.text.endsWith('000000000000\r\n(qemu) '));
    expect(second.text).toBe('');
    first.socket.destroy();
    await second.until(() => second.text.endsWith('(qemu) '));
    expect(third.text).toBe('');
    second.socket.destroy();
    await third.until(() => third.text.endsWith('(qemu) '));
  });

  it('answers a client that pipes in its commands and closes its side', async () => {
    const { context } = setUp();
    const path = join(folder, 'q.sock');
    serveQmp(await device(`unix:${path},server,nowait`), context);
    const client = new Client(path);
    client.socket.end('{"execute":"qmp_capabilities"}{"execute":"stop"}{"execute":"query-status"}');
    await client.until(() => client.ended);
    expect(client.text).toContain('"status": "paused"');
  });

  it('replaces a socket file that nobody listens on, but not one in use, nor a file', async () => {
    const path = join(folder, 's.sock');
    const stale = createServer().listen(path);
    await new Promise((resolve) => stale.once('listening', resolve));
    await expect(device(`unix:${path},server=on,wait=off`)).rejects.toThrow(
      `unix:${path} is in use by another process`,
    );
    // A listener that dies leaves its file; one that closes removes it, so the file is made again by hand.
    const linked = `${path}.old`;
    const { linkSync } = await import('node:fs');
    linkSync(path, linked);
    await new Promise((resolve) => stale.close(resolve));
    const chardev = await device(`unix:${linked},server=on,wait=off`);
    const client = new Client(linked);
    await new Promise<void>((resolve) => chardev.onOpen(resolve));
    client.socket.destroy();
    await chardev.close();
    expect(existsSync(linked)).toBe(false);
    const file = join(folder, 'file');
    writeFileSync(file, 'precious');
    await expect(device(`unix:${file},server=on,wait=off`)).rejects.toThrow('exists and is no socket');
    expect(readFileSync(file, 'utf8')).toBe('precious');
  });

  it('says in one line what is wrong, and where', async () => {
    const cases: [text: string, message: string][] = [
      [`unix:${folder}/no/q.sock,server=on,wait=off`, 'no such file or directory'],
      [`unix:${folder}/${'x'.repeat(120)},server=on,wait=off`, 'longer than 107 bytes'],
      [`unix:${folder}/nobody`, 'no such file or directory'],
      ['tcp:127.0.0.1:1', 'connection refused'],
      [`file:${folder}/no/log`, 'ENOENT'],
    ];
    for (const [text, message] of cases) {
      const error = await device(text).then(
        () => undefined,
        (thrown: unknown) => thrown,
      );
      expect(error, text).toBeInstanceOf(GodwitError);
      expect(error).toMatchObject({ kind: 'transport' });
      expect((error as Error).message).toContain(message);
      expect((error as Error).message).toContain(text.split(',')[0]);
      expect((error as Error).message).not.toContain('\n');
    }
    const busy = await device('tcp:127.0.0.1:0,server=on,wait=off');
    await expect(device(`${busy.label},server=on,wait=off`)).rejects.toThrow(`${busy.label} is in use`);
  });

  it('with wait=on is there when its first client is', async () => {
    const path = join(folder, 'w.sock');
    const opening = device(`unix:${path},server=on`);
    let opened = false;
    void opening.then(() => {
      opened = true;
    });
    // The socket file appears before the first client can come.
    while (!existsSync(path)) await new Promise((resolve) => setImmediate(resolve));
    expect(opened).toBe(false);
    const client = new Client(path);
    const chardev = await opening;
    expect(chardev.connected).toBe(true);
    chardev.write(new TextEncoder().encode('hello'));
    await client.until(() => client.text === 'hello');
  });

  it('keeps what a client sends before anybody serves it', async () => {
    const path = join(folder, 'e.sock');
    const opening = device(`unix:${path},server=on`);
    while (!existsSync(path)) await new Promise((resolve) => setImmediate(resolve));
    const client = new Client(path);
    client.socket.write('{"execute":"qmp_capabilities"}{"execute":"query-name","id":7}');
    const chardev = await opening;
    await new Promise<void>((resolve) => client.socket.write('', () => resolve()));
    // The bytes have been read by the time a second connection, made later, has been seen.
    const later = new Client(path);
    await new Promise<void>((resolve) => later.socket.once('connect', () => resolve()));
    serveQmp(chardev, setUp().context);
    await client.until(() => client.text.includes('"id": 7'));
  });

  it('drops what nobody reads instead of keeping it', async () => {
    const chardev = await device(`unix:${join(folder, 'd.sock')},server=on,wait=off`);
    chardev.write(new Uint8Array(1000));
    expect(chardev.backlogBytes).toBe(0);
    new Client(join(folder, 'd.sock')).socket.pause();
    await new Promise<void>((resolve) => chardev.onOpen(resolve));
    for (let round = 0; round < 100; round++) chardev.write(new Uint8Array(1024 * 1024));
    expect(chardev.backlogBytes).toBeLessThan(6 * 1024 * 1024);
  });
});

describe('the terminal', () => {
  it('is raw while it is used and given back as it was', async () => {
    const modes: boolean[] = [];
    const input: TerminalInput = Object.assign(new PassThrough(), {
      isTTY: true,
      setRawMode: (raw: boolean) => modes.push(raw),
    });
    let interrupts = 0;
    const stdio = new StdioChardev(input, new PassThrough(), () => interrupts++);
    expect(modes).toEqual([true]);
    input.emit('data', Uint8Array.of(0x03));
    expect(interrupts).toBe(1);
    await stdio.close();
    await stdio.close();
    expect(modes).toEqual([true, false]);
  });

  it('may be a pipe, whose input is kept until it is wanted', async () => {
    const input = new PassThrough();
    const output = new PassThrough();
    const stdio = new StdioChardev(input, output);
    input.end('typed early');
    await new Promise<void>((resolve) => input.once('end', () => resolve()));
    let seen = '';
    stdio.onData((bytes) => {
      seen += new TextDecoder().decode(bytes);
    });
    expect(seen).toBe('typed early');
    stdio.write(new TextEncoder().encode('shown'));
    expect(String(output.read())).toBe('shown');
    await stdio.close();
  });

  it('is shared by console and monitor with Ctrl-A', () => {
    const log: string[] = [];
    const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
    const mux = new ChardevMux({
      write: (bytes) => log.push(`write ${text(bytes)}`),
      console: (bytes) => log.push(`console ${text(bytes)}`),
      monitor: (bytes) => log.push(`monitor ${text(bytes)}`),
      focus: (to) => log.push(`focus ${to}`),
      quit: () => log.push('quit'),
      break: () => log.push('break'),
    });
    const type = (keys: string) => {
      log.length = 0;
      mux.feed(new TextEncoder().encode(keys));
      return [...log];
    };
    expect(type('ab\x01\x01c')).toEqual(['console ab', 'console \x01', 'console c']);
    expect(type('\x01')).toEqual([]);
    expect(type('cinfo')).toEqual(['focus monitor', 'monitor info']);
    expect(type('\x01b')).toEqual([]);
    expect(type('x\x01cy\x01b\x01qz')).toEqual([
      'monitor x',
      'focus console',
      'console y',
      'break',
      'console z',
    ]);
    expect(type('\x01h')[0]).toContain('C-a x    exit emulator');
    expect(type('\x01x')).toEqual(['write \r\ngodwit: terminated\r\n', 'quit']);
  });

  it('has a monitor behind Ctrl-A c that greets once and keeps its line', async () => {
    const { context } = setUp();
    const path = join(folder, 'mux.sock');
    let quit = 0;
    const console = serveMux(await device(`mon:unix:${path},server=on,wait=off`), context, () => quit++);
    let typed = '';
    console.onData((bytes) => {
      typed += new TextDecoder().decode(bytes);
    });
    const client = new Client(path);
    client.socket.write('guest\x01cinfo u');
    await client.until(() => client.text.endsWith('(qemu) info u'));
    expect(typed).toBe('guest');
    client.socket.write('\x01c\x01cuid\r');
    await client.until(() => client.text.endsWith('000000000000\r\n(qemu) '));
    expect(client.text.match(/monitor - type/g)).toHaveLength(1);
    console.write(new TextEncoder().encode('guest output'));
    await client.until(() => client.text.endsWith('guest output'));
    client.socket.write('\x01x');
    await client.until(() => client.text.includes('terminated'));
    expect(quit).toBe(1);
  });
});

describe('the client of a monitor', () => {
  async function qmp() {
    const fixture = setUp();
    const path = join(folder, 'q.sock');
    const chardev = await device(`unix:${path},server=on,wait=off`);
    serveQmp(chardev, fixture.context);
    return { ...fixture, path, chardev };
  }

  it('negotiates, runs commands, and tells errors from answers', async () => {
    const { path } = await qmp();
    const client = await MonitorClient.connect(parseMonitorSocket(path));
    open.push(client);
    expect(client.greeting).toMatchObject({ version: { package: 'godwit 0.1.0' } });
    expect(await client.execute('query-status')).toMatchObject({ status: 'running' });
    await expect(client.execute('migrate', { uri: 'foo:' })).rejects.toMatchObject({
      kind: 'refused',
      errorClass: 'GenericError',
      message: `unix:${path}: migrate: Parameter 'uri' expects a valid migration protocol`,
    });
  });

  it('gives events in order, and ends when the connection does', async () => {
    const { path, target, chardev } = await qmp();
    const client = await MonitorClient.connect(parseMonitorSocket(path));
    const events = client.events();
    await client.execute('stop');
    await client.execute('cont');
    expect((await events.next()).value).toMatchObject({ event: 'STOP', timestampUs: 1_795_176_000_250_000 });
    expect((await events.next()).value).toMatchObject({ event: 'RESUME' });
    let release = () => {};
    target.gate = new Promise((resolve) => {
      release = resolve;
    });
    const failing = client.execute('stop');
    const refused = expect(failing).rejects.toMatchObject({ kind: 'transport' });
    await chardev.close();
    await refused;
    expect(await events.next()).toEqual({ done: true, value: undefined });
    await expect(client.execute('stop')).rejects.toThrow(/the connection was (closed|broken off)/);
    release();
  });

  it('refuses what is no QMP monitor, or is busy with another client', async () => {
    const { path } = await qmp();
    const first = await MonitorClient.connect(parseMonitorSocket(path));
    open.push(first);
    await expect(MonitorClient.connect(parseMonitorSocket(path), 50)).rejects.toThrow(
      'does not answer; is another client connected to it?',
    );
    const human = join(folder, 'h.sock');
    serveHmp(await device(`unix:${human},server=on,wait=off`), setUp().context);
    await expect(MonitorClient.connect(parseMonitorSocket(`unix:${human}`))).rejects.toThrow(
      'no QMP monitor',
    );
    await expect(MonitorClient.connect(parseMonitorSocket(join(folder, 'none')))).rejects.toThrow(
      `unix:${folder}/none: can't connect: no such file or directory`,
    );
  });

  it.each([
    ['/x', { kind: 'unix', path: '/x' }],
    ['a,b', { kind: 'unix', path: 'a,b' }],
    ['unix:q', { kind: 'unix', path: 'q' }],
    ['localhost:5', { kind: 'tcp', host: 'localhost', port: 5 }],
    ['tcp:localhost:5', { kind: 'tcp', host: 'localhost', port: 5 }],
  ])('finds the socket %s', (text, spec) => {
    expect(parseMonitorSocket(text)).toMatchObject(spec);
  });

  it.each([
    ['', undefined],
    ['query-status', '{"execute": "query-status"}'],
    [
      'migrate uri="unix:/a b" detach=true',
      '{"execute": "migrate", "arguments": {"uri": "unix:/a b", "detach": true}}',
    ],
    ['x a=5 b=[1] c="q"', '{"execute": "x", "arguments": {"a": 5, "b": [1], "c": "q"}}'],
    ["{'execute':'stop'}", '{"execute": "stop"}'],
  ])('reads the line %j', (line, request) => {
    expect(qmpRequest(line)).toBe(request);
  });

  it('lets a person talk to either kind of monitor', async () => {
    const { path } = await qmp();
    const human = join(folder, 'h.sock');
    serveHmp(await device(`unix:${human},server=on,wait=off`), setUp().context);
    for (const [socket, input, expected] of [
      [path, 'query-status\n{"execute":"stop"}\nnonsense x\n', '"status": "running"'],
      [human, 'info status\n', 'VM status: running\r\n'],
    ] as const) {
      const stdin = new PassThrough();
      const stdout = new PassThrough();
      let shown = '';
      stdout.on('data', (bytes) => {
        shown += String(bytes);
      });
      stdin.end(input);
      await runMonitor(`unix:${socket}`, { stdin, stdout });
      expect(shown).toContain(expected);
    }
  });
});
