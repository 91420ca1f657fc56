/** -netdev, -nic and -object, as QEMU 7.2 spells them. */
import { describe, expect, test } from 'vitest';
import { parseNetdev, parseNic } from '../../src/cli/netdev-options.ts';
import { parseObject } from '../../src/cli/object-options.ts';
import { netdevFacts } from '../../src/host/netdev.ts';
import { checkDevices, configureDevices } from '../../src/machine/device-configuration.ts';

const netdev = (text: string) => parseNetdev('-netdev', text, []);

describe('-netdev', () => {
  test.each([
    [
      'stream,id=n0,addr.type=unix,addr.path=/tmp/a,,b',
      { type: 'stream', server: false, address: { kind: 'unix', path: '/tmp/a,b' } },
    ],
    [
      'stream,id=n0,server=on,addr.type=inet,addr.host=::1,addr.port=1234',
      { type: 'stream', server: true, address: { kind: 'tcp', host: '::1', port: 1234 } },
    ],
    [
      'stream,id=n0,addr.type=unix,addr.path=p,reconnect=5',
      { type: 'stream', server: false, address: { kind: 'unix', path: 'p' }, reconnectMs: 5000 },
    ],
    [
      'socket,id=n0,listen=:1234',
      { type: 'socket', server: true, address: { kind: 'tcp', host: '', port: 1234 } },
    ],
    [
      'socket,id=n0,connect=[::1]:1234',
      { type: 'socket', server: false, address: { kind: 'tcp', host: '::1', port: 1234 } },
    ],
    [
      'socket,id=n0,udp=1.2.3.4:5,localaddr=127.0.0.1:6',
      { type: 'socket', remote: { host: '1.2.3.4', port: 5 }, local: { host: '127.0.0.1', port: 6 } },
    ],
    [
      'dgram,id=n0,local.type=inet,local.host=127.0.0.1,local.port=1,remote.type=inet,remote.host=127.0.0.1,remote.port=2',
      { type: 'dgram', local: { host: '127.0.0.1', port: 1 }, remote: { host: '127.0.0.1', port: 2 } },
    ],
    [
      'user,id=n0,hostfwd=tcp::2222-:22,hostfwd=udp:127.0.0.1:53-10.0.2.15:5353',
      { type: 'user', passt: ['-t', '2222:22', '-u', '127.0.0.1/53:5353'] },
    ],
  ])('%s', (text, expected) => {
    const { id, where, ...rest } = netdev(text);
    expect([id, where, rest]).toEqual(['n0', `-netdev ${text}`, expected]);
  });

  test.each([
    ['stream,addr.type=unix,addr.path=p', "Parameter 'id' is missing"],
    ['stream,id=n0,addr.type=unix', "Parameter 'addr.path' is missing"],
    [
      'stream,id=n0,addr.type=unix,addr.path=p,adr.port=1',
      "Parameter 'adr.port' is unexpected; did you mean addr.port?",
    ],
    ['stream,id=n0,addr.type=fd,addr.str=3', 'addr.type'],
    ['stream,id=n0,server=on,addr.type=unix,addr.path=p,reconnect=1', 'incompatible with a server'],
    ['stream,id=n0,addr.type=inet,addr.host=h,addr.port=70000', 'a port of 0 to 65535'],
    ['socket,id=n0', 'exactly one of listen=, connect= or udp= is required'],
    ['socket,id=n0,listen=:1,connect=:2', 'exactly one of'],
    ['socket,id=n0,udp=h:1', "Parameter 'localaddr' is missing"],
    ['dgram,id=n0,local.type=unix,local.path=p', 'unexpected'],
    [
      'dgram,id=n0,local.type=inet,local.host=h,local.port=1,remote.type=inet,remote.host=230.0.0.1,remote.port=2',
      'multicast',
    ],
    ['tap,id=n0', "network backend 'tap' is not available in this version"],
    ['strem,id=n0', 'did you mean stream?'],
    ['user,id=n0,hostfwd=22', 'hostfwd'],
  ])('%s is refused', (text, message) => {
    expect(() => netdev(text)).toThrow(message);
    expect(() => netdev(text)).toThrow(expect.objectContaining({ kind: 'usage' }));
  });

  test('an id is there once', () => {
    const one = netdev('socket,id=n0,listen=:1');
    expect(() => parseNetdev('-netdev', 'socket,id=n0,listen=:2', [one])).toThrow("Duplicate ID 'n0'");
  });
});

describe('-nic', () => {
  test('is a back end and an adapter', () => {
    const nic = parseNic('-nic', 'stream,model=e1000,mac=52:54:00:00:00:01,addr.type=unix,addr.path=p', []);
    expect(nic?.netdev).toMatchObject({ type: 'stream', address: { kind: 'unix', path: 'p' } });
    expect(nic?.device.driver).toBe('e1000');
    expect(nic?.device.values.get('netdev')).toBe(nic?.netdev.id);
    expect(nic?.device.values.get('mac')).toBe('52:54:00:00:00:01');
    expect(parseNic('-nic', 'none', [])).toBeUndefined();
  });
});

describe('-object tls-creds-…', () => {
  test('names a folder and an end', () => {
    expect(
      parseObject('-object', 'tls-creds-x509,id=tls0,dir=/etc/pki,endpoint=server,verify-peer=off'),
    ).toEqual({
      tls: { type: 'x509', id: 'tls0', dir: '/etc/pki', endpoint: 'server', verifyPeer: false },
    });
    expect(parseObject('-object', 'tls-creds-psk,id=k,dir=/k')).toEqual({
      tls: { type: 'psk', id: 'k', dir: '/k', endpoint: 'client', username: 'qemu' },
    });
    expect(() => parseObject('-object', 'tls-creds-x509,id=tls0')).toThrow("Parameter 'dir' is missing");
    expect(() => parseObject('-object', 'tls-creds-x509,id=t,dir=d,endpoint=both')).toThrow(
      /expected client or server/,
    );
  });
});

describe('-object filter-dump', () => {
  test('names a back end and a file', () => {
    expect(parseObject('-object', 'filter-dump,id=f,netdev=n0,file=x.pcap,maxlen=100')).toMatchObject({
      dump: { id: 'f', netdev: 'n0', file: 'x.pcap', maxlen: 100 },
    });
    expect(() => parseObject('-object', 'filter-dmp,id=f')).toThrow('did you mean filter-dump?');
    expect(() => parseObject('-object', 'filter-dump,id=f,file=x')).toThrow("Parameter 'netdev' is missing");
  });
});

describe('e1000s in a machine', () => {
  const backends = [netdevFacts(netdev('socket,id=n0,listen=:1'))];
  const request = (text: string) => {
    const values = new Map(
      text
        .split(',')
        .filter(Boolean)
        .map((part) => part.split('=') as [string, string]),
    );
    return { driver: 'e1000', values, where: `-device e1000,${text}` };
  };

  test('get slots and addresses of their own, as QEMU gives them', () => {
    const devices = configureDevices(
      [
        request('netdev=n0'),
        request('mac=52:54:00:12:34:57'),
        request('addr=5'),
        request('mac=52:54:00:AB:CD:EF'),
      ],
      backends,
    );
    expect(devices.map(({ addr, properties }) => [addr >> 3, properties.mac])).toEqual([
      [1, '52:54:00:12:34:56'],
      [2, '52:54:00:12:34:57'],
      [5, '52:54:00:12:34:58'],
      [3, '52:54:00:ab:cd:ef'],
    ]);
    expect(checkDevices(structuredClone(devices))).toEqual(devices);
  });

  test('an address that is none is refused, from a user and from a stream', () => {
    expect(() => configureDevices([request('mac=1:2:3')], backends)).toThrow(
      'six bytes as 52:54:00:12:34:56',
    );
    const [device] = configureDevices([request('')], backends);
    const bad = { ...device, properties: { ...device?.properties, mac: '52:54:00:12:34' } };
    expect(() => checkDevices([bad])).toThrow(expect.objectContaining({ kind: 'format' }));
  });
});
