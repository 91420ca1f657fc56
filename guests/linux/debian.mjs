#!/usr/bin/env node
/**
 * Gets Debian 13's own riscv64 kernel, exactly as it is packaged, and puts a small initramfs beside it.
 *
 *   node guests/linux/debian.mjs OUT    makes OUT/vmlinux and OUT/initrd.gz
 *
 * For hosts with Debian's package tools (apt-get, dpkg-deb, xz). Packages come from where the host's own come from, and
 * are checked as apt checks them; lists and packages are kept in OUT, and the host's stay as they are.
 */
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { cpio } from './cpio.mjs';

const RELEASE = 'trixie';
const KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg';
const PROGRAMS = ['busybox-static', 'memtester', 'libc6'];
/** What the initramfs loads, with what they depend on, or ask for when they run. Others are built into the kernel. */
const MODULES = ['crc32c_generic', 'ext4', 'virtio_mmio', 'virtio_blk', 'virtio_net', 'virtio-rng', 'e1000'];

/** The first file below the folder whose path there matches; undefined if there is none. */
function find(folder, pattern) {
  const found = readdirSync(folder, { recursive: true }).find((path) => pattern.test(path));
  return found && `${folder}/${found}`;
}

const say = (text) => process.stderr.write(`${text}\n`);

class Apt {
  #options;

  /** @param folder where lists and packages are kept. */
  constructor(folder) {
    mkdirSync(`${folder}/lists/partial`, { recursive: true });
    mkdirSync(`${folder}/archives/partial`, { recursive: true });
    writeFileSync(`${folder}/status`, '');
    writeFileSync(`${folder}/sources.list`, `deb [signed-by=${KEYRING}] ${Apt.#archive()} ${RELEASE} main\n`);
    this.#options = [
      ...['Dir::State', 'Dir::Cache'].map((key) => `${key}=${folder}`),
      `Dir::State::status=${folder}/status`,
      `Dir::Etc::sourcelist=${folder}/sources.list`,
      ...['Dir::Etc::sourceparts=/dev/null', 'Dir::Etc::preferencesparts=/dev/null'],
      ...['APT::Architecture=riscv64', 'APT::Architectures::=riscv64', 'APT::Sandbox::User='],
    ].flatMap((option) => ['-o', option]);
  }

  /** Where the host gets Debian's main archive. */
  static #archive() {
    const targets = ['indextargets', '--format', '$(REPO_URI)', 'Created-By: Packages'];
    const archives = execFileSync('apt-get', targets, { encoding: 'utf8' }).split('\n');
    const found = archives.find((uri) => /\/debian\/?$/.test(uri));
    if (found === undefined)
      throw new Error("apt-get indextargets: expected an archive of Debian's, got none");
    return found;
  }

  run(tool, args, cwd) {
    const stdio = ['ignore', 'pipe', 'inherit'];
    return execFileSync(tool, ['-q', ...this.#options, ...args], { cwd, encoding: 'utf8', stdio });
  }
}

/** Downloads the packages, if they are not there yet. @returns their files by name. */
function packages(out) {
  const folder = `${out}/packages`;
  mkdirSync(folder, { recursive: true });
  const there = (name) => find(folder, new RegExp(`^${name}_.*\\.deb$`));
  const kernelThere = () => find(folder, /^linux-image-\d.*\.deb$/);
  if (kernelThere() === undefined || PROGRAMS.some((name) => there(name) === undefined)) {
    const apt = new Apt(`${out}/apt`);
    say(`Debian's lists of ${RELEASE} for riscv64 …`);
    apt.run('apt-get', ['-q', 'update']);
    const depends = apt.run('apt-cache', ['depends', 'linux-image-riscv64']);
    const kernel = /Depends: (linux-image-\d\S*)/.exec(depends)?.[1];
    if (kernel === undefined)
      throw new Error('apt-cache depends linux-image-riscv64: expected a kernel, got none');
    say(`${kernel}, ${PROGRAMS.join(', ')} …`);
    apt.run('apt-get', ['-q', 'download', kernel, ...PROGRAMS], folder);
  }
  return [kernelThere(), ...PROGRAMS.map(there)];
}

/** The modules' contents, each behind those that it depends on. */
function modules(root) {
  const paths = readdirSync(root, { recursive: true }).filter((path) => path.endsWith('.ko.xz'));
  const files = new Map(paths.map((path) => [basename(path, '.ko.xz'), `${root}/${path}`]));
  const loaded = new Map();
  const load = (name) => {
    // A module and its file may be written with either.
    const file =
      files.get(name) ?? files.get(name.replaceAll('_', '-')) ?? files.get(name.replaceAll('-', '_'));
    if (file === undefined || loaded.has(file)) return;
    const bytes = execFileSync('xz', ['-dc', file], { maxBuffer: 2 ** 28 });
    const [, depends = ''] = /\0depends=([^\0]*)\0/.exec(bytes.toString('latin1')) ?? [];
    for (const other of depends.split(',').filter((word) => word !== '')) load(other);
    loaded.set(file, bytes);
  };
  MODULES.forEach(load);
  return [...loaded].map(([file, bytes]) => ({ name: basename(file, '.xz'), bytes }));
}

function expected(root, pattern) {
  const found = find(root, pattern);
  if (found === undefined) throw new Error(`packages: expected a file like ${pattern.source}, got none`);
  return found;
}

function initramfs(root) {
  const file = (name, mode, bytes) => ({ name, mode: 0o100000 | mode, bytes });
  const take = (name, pattern) => file(name, 0o755, readFileSync(expected(root, pattern)));
  const folders = ['bin', 'dev', 'etc', 'lib', 'lib/modules', 'mnt', 'proc', 'root', 'sys', 'tmp'];
  const list = modules(root);
  return cpio([
    ...folders.map((name) => ({ name, mode: 0o040755 })),
    { name: 'dev/console', mode: 0o020600, device: [5, 1] },
    file('init', 0o755, readFileSync(fileURLToPath(new URL('init', import.meta.url)))),
    take('bin/busybox', /^usr\/bin\/busybox$/),
    take('bin/memtester', /^usr\/s?bin\/memtester$/),
    take('lib/ld-linux-riscv64-lp64d.so.1', /\/ld-linux-riscv64-lp64d\.so\.1$/),
    take('lib/libc.so.6', /\/libc\.so\.6$/),
    ...list.map(({ name, bytes }) => file(`lib/modules/${name}`, 0o644, bytes)),
    file('lib/modules/order', 0o644, Buffer.from(list.map(({ name }) => `${name}\n`).join(''))),
  ]);
}

function main([given]) {
  if (given === undefined || given.startsWith('-')) {
    say('usage: debian.mjs OUT');
    return 64;
  }
  const out = resolve(given);
  const root = `${out}/root`;
  rmSync(root, { recursive: true, force: true });
  for (const file of packages(out)) execFileSync('dpkg-deb', ['-x', file, root]);
  const kernel = expected(root, /^boot\/vmlinu[xz]-/);
  copyFileSync(kernel, `${out}/vmlinux`);
  writeFileSync(`${out}/initrd.gz`, gzipSync(initramfs(root), { level: 6 }));
  rmSync(root, { recursive: true });
  say(`${out}/vmlinux (${basename(kernel)}), ${out}/initrd.gz`);
  return 0;
}

try {
  process.exitCode = main(process.argv.slice(2));
} catch (error) {
  say(
    `debian.mjs: ${error.code === 'ENOENT' && error.syscall?.startsWith('spawn') ? `${error.path} is not installed` : error.message}`,
  );
  process.exitCode = 1;
}
