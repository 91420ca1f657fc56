/**
 * Runs one Multiboot image in v86, without firmware, screen or disks. What its serial port says goes to stdout; the
 * process ends when the program has printed its line.
 *
 * Usage: node machine.mjs IMAGE COMMAND-LINE
 */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { V86 } from 'v86';

const [image, commandLine] = process.argv.slice(2);
const bytes = readFileSync(image);
const build = dirname(createRequire(import.meta.url).resolve('v86'));

const emulator = new V86({
  wasm_path: join(build, 'v86.wasm'),
  memory_size: 128 * 1024 * 1024,
  vga_memory_size: 1024 * 1024,
  multiboot: { buffer: bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length) },
  cmdline: commandLine,
  autostart: true,
  disable_keyboard: true,
  disable_mouse: true,
  disable_speaker: true,
});

let line = '';
emulator.add_listener('serial0-output-byte', (byte) => {
  line += String.fromCharCode(byte);
  if (!line.endsWith('\n')) return;
  const over = line.includes(' loops ');
  process.stdout.write(line, () => over && process.exit(0));
  line = '';
});
