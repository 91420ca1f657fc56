/** Writes a cpio archive in the form that Linux unpacks: Linux, Documentation/driver-api/early-userspace/buffer-format.rst. */

/** Everything stands at a multiple of this. */
const ALIGNMENT = 4;

const padded = (bytes) => Buffer.concat([bytes, Buffer.alloc(-bytes.length & (ALIGNMENT - 1))]);

/**
 * @param {readonly {name: string, mode: number, bytes?: Uint8Array, device?: [number, number]}[]} entries in the order
 *   in which they are to be made; mode with the file type.
 * @returns {Buffer} the same for the same entries: no times, all of it root's.
 */
export function cpio(entries) {
  const whole = [...entries, { name: 'TRAILER!!!', mode: 0 }];
  return Buffer.concat(
    whole.flatMap(({ name, mode, bytes = Buffer.alloc(0), device: [major, minor] = [0, 0] }, i) => {
      const [links, uid, gid, time, check] = [mode >> 12 === 4 ? 2 : 1, 0, 0, 0, 0];
      const fields = [
        i + 1,
        mode,
        uid,
        gid,
        links,
        time,
        bytes.length,
        0,
        0,
        major,
        minor,
        name.length + 1,
        check,
      ];
      const header = `070701${fields.map((field) => field.toString(16).padStart(8, '0')).join('')}${name}\0`;
      return [padded(Buffer.from(header, 'latin1')), padded(bytes)];
    }),
  );
}
