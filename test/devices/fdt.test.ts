import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, describe as suite, test } from 'vitest';
import { type FdtNode, phandle, present, raw, text, u32, u64, writeFdt } from '../../src/devices/fdt.ts';
import { type FdtTree, readFdt } from '../../src/devices/fdt-reader.ts';
import { GodwitError } from '../../src/error.ts';
import { bootContents } from '../../src/machine/boot-contents.ts';
import type { AiaType } from '../../src/machine/configuration.ts';
import { isaOf } from '../../src/machine/cpu-models.ts';

const has = (tool: string) => spawnSync(tool, ['--version']).error === undefined;
const root = (properties: FdtNode['properties'], children: FdtNode[] = []): FdtNode => ({
  name: '',
  properties,
  children,
});

const TREE = root({ '#address-cells': u32(2), model: text('riscv-virtio,qemu'), ranges: present }, [
  {
    name: 'soc',
    properties: { compatible: text('a', 'bc', ''), odd: raw(Uint8Array.of(1, 2, 3)) },
    children: [
      { name: 'plic@c000000', label: 'plic', properties: { reg: u64(0xc00_0000, 2n ** 63n) } },
      { name: 'serial@10000000', properties: { 'interrupt-parent': u32(phandle('plic'), 0xffff_ffff) } },
    ],
  },
  { name: 'chosen', properties: { bootargs: text('é=1') } },
]);

/** A tree as nested plain objects, property values in hexadecimal. */
function plain(tree: FdtTree): unknown {
  const properties = [...tree.properties].map(([name, value]) => [name, Buffer.from(value).toString('hex')]);
  return {
    ...Object.fromEntries(properties),
    nodes: Object.fromEntries(tree.children.map((c) => [c.name, plain(c)])),
  };
}

suite('a flattened tree', () => {
  test('reads back as it was written', () => {
    expect(plain(readFdt(writeFdt(TREE)))).toEqual({
      '#address-cells': '00000002',
      model: Buffer.from('riscv-virtio,qemu\0').toString('hex'),
      ranges: '',
      nodes: {
        soc: {
          compatible: Buffer.from('a\0bc\0\0').toString('hex'),
          odd: '010203',
          nodes: {
            'plic@c000000': { reg: '000000000c0000008000000000000000', phandle: '00000001', nodes: {} },
            'serial@10000000': { 'interrupt-parent': '00000001ffffffff', nodes: {} },
          },
        },
        chosen: { bootargs: 'c3a93d3100', nodes: {} },
      },
    });
  });

  test('has the header of version 17, aligned blocks, and each property name once', () => {
    const blob = writeFdt(TREE);
    const view = new DataView(blob.buffer);
    const words = Array.from({ length: 10 }, (_, i) => view.getUint32(4 * i));
    const [magic, total, struct = 0, strings = 0, reservations = 0, version, compatible, boot, size = 0] =
      words;
    expect([magic, total, version, compatible, boot]).toEqual([0xd00dfeed, blob.length, 17, 16, 0]);
    expect([struct % 4, reservations % 8]).toEqual([0, 0]);
    const names = new TextDecoder()
      .decode(blob.subarray(strings, strings + size))
      .split('\0')
      .slice(0, -1);
    expect(new Set(names).size).toBe(names.length);
  });

  test.skipIf(!has('dtc'))('is taken by dtc, which gives the same blob back', () => {
    const blob = writeFdt(TREE);
    const run = spawnSync('dtc', ['-q', '-I', 'dtb', '-O', 'dtb', '-p', '0'], { input: blob });
    expect(run.status).toBe(0);
    expect(plain(readFdt(run.stdout))).toEqual(plain(readFdt(blob)));
  });

  test.each<[string, FdtNode, RegExp]>([
    ['a root with a name', { name: 'root', properties: {} }, /not a node name/],
    ['a node name with a space', root({}, [{ name: 'a b', properties: {} }]), /\/a b: not a node name/],
    [
      'equal siblings',
      root({}, [
        { name: 'a', properties: {} },
        { name: 'a', properties: {} },
      ]),
      /\/a: stands twice/,
    ],
    ['a bad property name', root({ 'a b': present }), /not a property name/],
    ['a cell that is too large', root({ a: u32(2 ** 32) }), /4294967296 does not fit a cell/],
    ['a negative cell', root({ a: u32(-1) }), /does not fit/],
    ['a number that is too large', root({ a: u64(2n ** 64n) }), /does not fit 64 bits/],
    ['a string with a NUL', root({ a: text('a\0b') }), /NUL/],
    ['a reference to nothing', root({ a: u32(phandle('gone')) }), /no node is labelled gone/],
    [
      'a label that stands twice',
      root({}, [
        { name: 'a', label: 'l', properties: {} },
        { name: 'b', label: 'l', properties: {} },
      ]),
      /label l stands twice/,
    ],
  ])('is not made of %s', (_, tree, message) => {
    expect(() => writeFdt(tree)).toThrow(
      expect.objectContaining({ kind: 'machine', message: expect.stringMatching(message) }),
    );
  });

  test('that is cut or changed anywhere is read or refused, never worse', () => {
    const blob = writeFdt(TREE);
    const attempt = (bytes: Uint8Array) => {
      try {
        readFdt(bytes);
        return 'read';
      } catch (error) {
        expect(error).toBeInstanceOf(GodwitError);
        expect((error as GodwitError).kind).toBe('format');
        return 'refused';
      }
    };
    for (let length = 0; length < blob.length; length++)
      expect(attempt(blob.subarray(0, length))).toBe('refused');
    let refused = 0;
    for (let at = 0; at < blob.length; at++) {
      const changed = Uint8Array.from(blob);
      changed[at] = 0xff;
      if (attempt(changed) === 'refused') refused++;
    }
    expect(refused).toBeGreaterThan(50);
  });
});

/** The machine's tree; phandles differ from QEMU's in number only. */
function ourTree(aia: AiaType = 'none', aclint = false): FdtTree {
  return readFdt(
    bootContents({ harts: 2, isa: isaOf('rv64', aia), aia, aclint, ram: 128 * 1024 * 1024 }).fdt,
  );
}

/** A node's properties, references to phandles replaced by the path of the node. */
function resolved(tree: FdtTree, path: string): Record<string, unknown> {
  const paths = new Map<number, string>();
  const visit = (node: FdtTree, at: string): void => {
    const own = node.properties.get('phandle');
    if (own !== undefined) paths.set(Buffer.from(own).readUInt32BE(), at);
    for (const child of node.children) visit(child, `${at}/${child.name}`);
  };
  visit(tree, '');
  let node: FdtTree | undefined = tree;
  for (const name of path.split('/').slice(1)) node = node?.children.find((child) => child.name === name);
  if (node === undefined) throw new Error(`no node ${path}`);
  const shown = ([name, value]: [string, Uint8Array]): [string, unknown] => {
    const cells = Array.from({ length: value.length / 4 }, (_, i) => Buffer.from(value).readUInt32BE(4 * i));
    if (name === 'phandle') return [name, 'own'];
    if (['regmap', 'interrupt-parent', 'msi-parent', 'riscv,children'].includes(name))
      return [name, paths.get(cells[0] as number)];
    if (name === 'interrupt-map') {
      // Five cells of the bus, the controller, and its own: one of a PLIC, two of an APLIC.
      const width = paths.get(cells[4] as number)?.includes('plic@c') ? 6 : 7;
      return [name, cells.map((cell, i) => (i % width === 4 ? paths.get(cell) : cell))];
    }
    if (name === 'interrupts-extended') {
      return [name, cells.map((cell, i) => (i % 2 === 0 ? paths.get(cell) : cell))];
    }
    if (name === 'riscv,delegate' || name === 'riscv,delegation') {
      return [name, [paths.get(cells[0] as number), ...cells.slice(1)]];
    }
    return [name, Buffer.from(value).toString('hex')];
  };
  return Object.fromEntries([...node.properties].map(shown));
}

const NODES = [
  ...[
    '/soc/serial@10000000',
    '/soc/rtc@101000',
    '/soc/test@100000',
    '/soc/clint@2000000',
    '/soc/plic@c000000',
  ],
  ...['/soc/pci@30000000', '/poweroff', '/reboot'],
];

suite('the devices’ nodes', () => {
  test('say what a driver needs', () => {
    const tree = ourTree();
    expect(resolved(tree, '/soc/serial@10000000')).toEqual({
      interrupts: '0000000a',
      'interrupt-parent': '/soc/plic@c000000',
      'clock-frequency': '00384000',
      reg: '00000000100000000000000000000100',
      compatible: Buffer.from('ns16550a\0').toString('hex'),
    });
    expect(resolved(tree, '/soc/clint@2000000')).toMatchObject({
      'interrupts-extended': [0, 0, 1, 1].flatMap((hart, i) => [
        `/cpus/cpu@${hart}/interrupt-controller`,
        [3, 7, 3, 7][i],
      ]),
      reg: '00000000020000000000000000010000',
    });
    expect(resolved(tree, '/poweroff')).toMatchObject({ value: '00005555', regmap: '/soc/test@100000' });
  });

  test.skipIf(!has('qemu-system-riscv64')).each(NODES)('%s is QEMU’s, property for property', (path) => {
    expect(resolved(ourTree(), path)).toEqual(resolved(qemuTree('none'), path));
  });

  test.skipIf(!has('qemu-system-riscv64')).each([
    ['aplic', '/soc/aplic@c000000'],
    ['aplic', '/soc/aplic@d000000'],
    ['aplic', '/soc/serial@10000000'],
    ['aplic', '/soc/pci@30000000'],
    ['aplic-imsic', '/soc/aplic@c000000'],
    ['aplic-imsic', '/soc/aplic@d000000'],
    ['aplic-imsic', '/soc/imsics@24000000'],
    ['aplic-imsic', '/soc/imsics@28000000'],
    ['aplic-imsic', '/soc/serial@10000000'],
    ['aplic-imsic', '/soc/pci@30000000'],
  ] as const)('with aia=%s, %s is QEMU’s, and has the newer name of a delegation', (aia, path) => {
    const { 'riscv,delegation': newer, ...ours } = resolved(ourTree(aia), path);
    expect(ours).toEqual(resolved(qemuTree(aia), path));
    expect(newer).toEqual(ours['riscv,delegate']);
  });

  test.skipIf(!has('qemu-system-riscv64')).each(['mswi@2000000', 'mtimer@2004000', 'sswi@2f00000'])(
    'with aclint=on, /soc/%s is QEMU’s, and there is no CLINT',
    (name) => {
      const tree = ourTree('none', true);
      expect(resolved(tree, `/soc/${name}`)).toEqual(resolved(qemuTree('none', 'on'), `/soc/${name}`));
      expect(() => resolved(tree, '/soc/clint@2000000')).toThrow('no node');
    },
  );
});

function qemuTree(aia: AiaType, aclint: 'on' | 'off' = 'off'): FdtTree {
  const folder = mkdtempSync(join(tmpdir(), 'godwit-fdt-'));
  try {
    const file = join(folder, 'virt.dtb');
    spawnSync('qemu-system-riscv64', [
      '-M',
      `virt,aia=${aia},aclint=${aclint},dumpdtb=${file}`,
      '-smp',
      '2',
      '-display',
      'none',
    ]);
    return readFdt(readFileSync(file));
  } finally {
    rmSync(folder, { recursive: true });
  }
}
