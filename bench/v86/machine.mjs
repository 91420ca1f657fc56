/**
 * Runs one Multiboot image in v86, without firmware, screen or disks. What its serial port says goes to stdout.
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

emulator.add_listener('serial0-output-byte', (byte) => process.stdout.write(Uint8Array.of(byte)));
