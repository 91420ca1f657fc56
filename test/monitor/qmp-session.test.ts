import { describe, expect, it } from 'vitest';
import { QmpSession } from '../../src/monitor/qmp-session.ts';
import { FarEnd, NOW_US, setUp } from './fake-target.ts';

/** A session that has been greeted and negotiated; `ask` sends and gives the next message. */
async function negotiated() {
  const fixture = setUp();
  const { far, context } = fixture;
  new QmpSession(far, context);
  far.send('{"execute":"qmp_capabilities"}');
  await far.messages(2);
  let seen = 2;
  const ask = async (request: string | Uint8Array, count = 1) => {
    far.send(request);
    seen += count;
    return (await far.messages(seen)).slice(-count);
  };
  return { ...fixture, ask };
}

const generic = (desc: string) => ({ error: { class: 'GenericError', desc } });
const unknown = (desc: string) => ({ error: { class: 'CommandNotFound', desc } });

// What QEMU 7.2.22 answered to the same input (`-M virt -S`), byte for byte where nothing else is said.
const GOLDEN: [request: string, answer: object][] = [
  ['{"execute":"query-status"}', { return: { status: 'running', singlestep: false, running: true } }],
  [
    '{"execute":"query-status","id":null}',
    { return: { status: 'running', singlestep: false, running: true }, id: null },
  ],
  ["{'execute':'query-name','id':'single'}", { return: {}, id: 'single' }],
  ['{"execute":"foo"}', unknown('The command foo has not been found')],
  [
    '{"execute":"qmp_capabilities","id":{"a":[1,"x"]}}',
    {
      id: { a: [1, 'x'] },
      ...unknown('Capabilities negotiation is already complete, command ignored'),
    },
  ],
  ['{"execute":"query-uuid"}', { return: { UUID: '00000000-0000-0000-0000-000000000000' } }],
  ['{"execute":"migrate"}', generic("Parameter 'uri' is missing")],
  [
    '{"execute":"migrate","arguments":{"uri":5}}',
    generic("Invalid parameter type for 'uri', expected: string"),
  ],
  [
    '{"execute":"migrate","arguments":{"uri":"foo:bar"}}',
    generic("Parameter 'uri' expects a valid migration protocol"),
  ],
  ['{"execute":"migrate","arguments":{"uri":"x","yy":2}}', generic("Parameter 'yy' is unexpected")],
  [
    '{"execute":"migrate","arguments":{"uri":"exec:true","detach":"no"}}',
    generic("Invalid parameter type for 'detach', expected: boolean"),
  ],
  [
    '{"execute":"migrate-incoming","arguments":{"uri":"tcp:0:0"}}',
    generic("'-incoming' was not specified on the command line"),
  ],
  ['{"execute":"migrate_cancel"}', { return: {} }],
  ['{"execute":"query-migrate"}', { return: {} }],
  [
    '{"execute":"migrate-set-capabilities","arguments":{"capabilities":[{"capability":"foo","state":true}]}}',
    generic("Parameter 'capability' does not accept value 'foo'"),
  ],
  [
    '{"execute":"migrate-set-capabilities","arguments":{"capabilities":[{"capability":"xbzrle"}]}}',
    generic("Parameter 'capabilities[0].state' is missing"),
  ],
  [
    '{"execute":"migrate-set-capabilities","arguments":{"capabilities":[{"capability":"xbzrle","state":1}]}}',
    generic("Invalid parameter type for 'capabilities[0].state', expected: boolean"),
  ],
  [
    '{"execute":"migrate-set-capabilities","arguments":{"capabilities":{}}}',
    generic("Invalid parameter type for 'capabilities', expected: array"),
  ],
  [
    '{"execute":"migrate-set-capabilities","arguments":{"capabilities":[5]}}',
    generic("Invalid parameter type for 'capabilities[0]', expected: object"),
  ],
  [
    '{"execute":"migrate-set-capabilities","arguments":{"capabilities":[{"capability":"xbzrle","state":true,"q":1}]}}',
    generic("Parameter 'capabilities[0].q' is unexpected"),
  ],
  ['{"execute":"migrate-set-parameters","arguments":{"foo":1}}', generic("Parameter 'foo' is unexpected")],
  [
    '{"execute":"migrate-set-parameters","arguments":{"max-bandwidth":"1"}}',
    generic("Parameter 'max-bandwidth' expects uint64"),
  ],
  [
    '{"execute":"migrate-set-parameters","arguments":{"max-bandwidth":1.5}}',
    generic("Parameter 'max-bandwidth' expects uint64"),
  ],
  [
    '{"execute":"migrate-set-parameters","arguments":{"multifd-compression":"foo"}}',
    generic("Parameter 'multifd-compression' does not accept value 'foo'"),
  ],
  ['{"execute":"migrate-set-parameters","arguments":{}}', { return: {} }],
  ['{"execute":5}', generic("QMP input member 'execute' must be a string")],
  ['{}', generic("QMP input lacks member 'execute'")],
  ['[]', generic('QMP input must be a JSON object')],
  ['5 ', generic('QMP input must be a JSON object')],
  ['"abc"', generic('QMP input must be a JSON object')],
  ['{"execute":"stop","foo":1}', generic("QMP input member 'foo' is unexpected")],
  ['{"execute":"stop","arguments":[]}', generic("QMP input member 'arguments' must be an object")],
  ['{"execute":"stop","arguments":{"a":1}}', generic("Parameter 'a' is unexpected")],
  ['garbage\n', generic("JSON parse error, invalid keyword 'garbage'")],
  ['{"execute": nul}\n', generic("JSON parse error, invalid keyword 'nul'")],
  [']\n', generic('JSON parse error, expecting value')],
  ['}\n', generic('JSON parse error, expecting value')],
  ['{"a":}\n', generic('JSON parse error, expecting value')],
  ['{"execute":"query-status","id":2,}\n', generic('JSON parse error, expecting value')],
  ['"\n', generic("JSON parse error, stray '\"\n'")],
  ['{"execute":"query-status","id":2,"execute":"foo"}', generic('JSON parse error, duplicate key')],
  ['{ 1:2}\n', generic('JSON parse error, key is not a string in object')],
  [
    '{"execute":"human-monitor-command","arguments":{"command-line":"info status"}}',
    { return: 'VM status: running\r\n' },
  ],
  [
    '{"execute":"human-monitor-command","arguments":{"command-line":"foo"}}',
    { return: "unknown command: 'foo'\r\n" },
  ],
];

describe('a QMP session', () => {
  it('greets, and takes nothing but qmp_capabilities until it has come', async () => {
    const { far, context, target } = setUp();
    new QmpSession(far, context);
    far.send('{"execute":"query-status","id":1}{"execute":"foo"}{"execute":"qmp_capabilities","id":2}');
    const expected = unknown("Expecting capabilities negotiation with 'qmp_capabilities'");
    expect(await far.messages(4)).toEqual([
      {
        QMP: {
          version: { qemu: { major: 7, minor: 2, micro: 0 }, package: 'godwit 0.1.0' },
          capabilities: [],
        },
      },
      { id: 1, ...expected },
      expected,
      { return: {}, id: 2 },
    ]);
    expect(target.calls).toEqual([]);
  });

  it.each(GOLDEN)('answers %s as QEMU does', async (request, answer) => {
    const { ask } = await negotiated();
    expect(await ask(request)).toEqual([answer]);
    // And it has found its feet again.
    expect(await ask('{"execute":"query-name","id":"after"}')).toEqual([{ return: {}, id: 'after' }]);
  });

  it('writes with the spacing of QEMU and in ASCII, and keeps big ids exact', async () => {
    const { far, ask } = await negotiated();
    await ask('{"execute":"query-status","id":18446744073709551615}');
    expect(far.text.split('\r\n').at(-2)).toBe(
      '{"return": {"status": "running", "singlestep": false, "running": true}, "id": 18446744073709551615}',
    );
    await ask('{"execute":"query-name","id":"é"}');
    expect(far.text.split('\r\n').at(-2)).toBe('{"return": {}, "id": "\\u00E9"}');
  });

  it('reads requests however they are cut, also inside a character', async () => {
    const { far, ask } = await negotiated();
    const bytes = new TextEncoder().encode('{"execute":"query-name","id":"é€😀{[\\"]}"}');
    for (const byte of bytes.subarray(0, -1)) far.send(Uint8Array.of(byte));
    expect(await ask(bytes.subarray(-1))).toEqual([{ return: {}, id: 'é€😀{["]}' }]);
  });

  it('answers several requests of one chunk in order, each when the one before is done', async () => {
    const { far, target, ask } = await negotiated();
    let open = () => {};
    target.gate = new Promise((resolve) => {
      open = resolve;
    });
    far.send('{"execute":"stop","id":1}{"execute":"query-status","id":2}');
    await Promise.resolve();
    expect(target.calls).toEqual(['stop']);
    open();
    const messages = await ask('{"execute":"query-name","id":3}', 4);
    expect(messages).toMatchObject([
      { event: 'STOP' },
      { return: {}, id: 1 },
      { return: { status: 'paused' }, id: 2 },
      { return: {}, id: 3 },
    ]);
  });

  it('asks a client that floods it to pause, and lets it go on', async () => {
    const { far, target, ask } = await negotiated();
    let open = () => {};
    target.gate = new Promise((resolve) => {
      open = resolve;
    });
    far.send('{"execute":"stop"}'.repeat(20));
    expect(far.paused).toBe(true);
    open();
    await ask('{"execute":"query-name"}', 22);
    expect(far.paused).toBe(false);
  });

  it('sends events with their time, but none before negotiation and none after the client has gone', async () => {
    const { far, context, target } = setUp();
    new QmpSession(far, context);
    target.fire({ event: 'POWERDOWN' });
    far.send('{"execute":"qmp_capabilities"}');
    await far.messages(2);
    target.fire({ event: 'RESET', data: { guest: false, reason: 'host-qmp-system-reset' } });
    const timestamp = { seconds: Math.floor(NOW_US / 1e6), microseconds: 250_000 };
    expect((await far.messages(3)).at(-1)).toEqual({
      timestamp,
      event: 'RESET',
      data: { guest: false, reason: 'host-qmp-system-reset' },
    });
    far.close();
    expect(target.listeners).toBe(0);
  });

  it('sends migration events only while the capability events is on', async () => {
    const { far, ask } = await negotiated();
    await ask('{"execute":"migrate","arguments":{"uri":"unix:/x"}}');
    expect(far.text).not.toContain('"MIGRATION"');
    await ask(
      '{"execute":"migrate-set-capabilities","arguments":{"capabilities":[{"capability":"events","state":true}]}}',
    );
    expect(await ask('{"execute":"migrate","arguments":{"uri":"unix:/x"}}', 2)).toMatchObject([
      { event: 'MIGRATION', data: { status: 'setup' } },
      { return: {} },
    ]);
  });

  it('refuses what this version lacks, and leaves everything as it was', async () => {
    const { target, ask } = await negotiated();
    const set = (list: object[]) =>
      ask(JSON.stringify({ execute: 'migrate-set-capabilities', arguments: { capabilities: list } }));
    expect(
      await set([
        { capability: 'events', state: true },
        { capability: 'mapped-ram', state: true },
      ]),
    ).toEqual([generic("capability 'mapped-ram' is not available in this version")]);
    expect(target.capabilities().events).toBe(false);
    expect(await set([{ capability: 'mapped-ram', state: false }])).toEqual([{ return: {} }]);
    expect(target.calls).toEqual([]);
  });

  it('survives garbage, damaged UTF-8, floods and depth, and says what was wrong', async () => {
    const { ask } = await negotiated();
    const latin = Uint8Array.from('{"execute":"query-stat\xe9"}', (c) => c.charCodeAt(0));
    expect(await ask(latin)).toEqual([generic('JSON parse error, invalid UTF-8 sequence in string')]);
    expect(await ask(`{"id":"${'x'.repeat(1024 * 1024)}"}\n`)).toEqual([
      generic('JSON token size limit exceeded'),
    ]);
    expect(await ask(`${'['.repeat(100_000)}\n`)).toEqual([generic('JSON nesting depth limit exceeded')]);
    expect(await ask('{"id":9,"x":[1,2}\n')).toEqual([
      generic('JSON parse error, expected separator in list'),
    ]);
    expect(await ask('{"never closed\n')).toMatchObject([{ error: { class: 'GenericError' } }]);
    expect(await ask(Uint8Array.of(0x7b, 0xff))).toEqual([generic('JSON parse error, input was reset')]);
    expect(await ask('{"execute":"query-name","__proto__":{"x":1}}')).toEqual([
      generic("QMP input member '__proto__' is unexpected"),
    ]);
    expect(await ask('{"execute":"query-name","id":1}')).toEqual([{ return: {}, id: 1 }]);
  });

  it('finishes what was asked when the client will send no more, then closes', async () => {
    const { far, ask } = await negotiated();
    const answers = ask('{"execute":"stop"}{"execute":"query-status"}', 3);
    far.end();
    expect(await answers).toMatchObject([
      { event: 'STOP' },
      { return: {} },
      { return: { status: 'paused' } },
    ]);
    await far.until(() => far.closed);
  });

  it('begins nothing more for a client that has gone', async () => {
    const { far, target } = await negotiated();
    let open = () => {};
    const gate = new Promise<void>((resolve) => {
      open = resolve;
    });
    target.gate = gate;
    far.send('{"execute":"stop"}{"execute":"quit"}');
    far.close();
    open();
    await gate;
    const other = new FarEnd();
    const { context } = setUp();
    new QmpSession(other, context);
    await other.messages(1);
    expect(target.calls).toEqual(['stop']);
  });

  it('lists all its commands, each of which it knows', async () => {
    const { ask } = await negotiated();
    const [answer] = (await ask('{"execute":"query-commands"}')) as [{ return: { name: string }[] }];
    const names = answer.return.map(({ name }) => name);
    expect(names).toEqual(
      expect.arrayContaining([
        ...[
          'qmp_capabilities',
          'query-status',
          'query-version',
          'query-commands',
          'query-name',
          'query-uuid',
        ],
        ...['stop', 'cont', 'system_reset', 'system_powerdown', 'quit', 'migrate', 'migrate_cancel'],
        ...['migrate-incoming', 'query-migrate', 'migrate-set-capabilities', 'query-migrate-capabilities'],
        ...['migrate-set-parameters', 'query-migrate-parameters', 'human-monitor-command'],
      ]),
    );
    for (const name of names) {
      const [reply] = (await ask(JSON.stringify({ execute: name, arguments: { nonsense: 1 } }))) as [
        { error: { desc: string } },
      ];
      expect(reply.error.desc).not.toContain('has not been found');
    }
  });
});
