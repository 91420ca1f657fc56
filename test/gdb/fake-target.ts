/** A machine of two harts for the stub: it runs when told, stops when told, and notes what it was asked. */
import { GdbSession } from '../../src/gdb/session.ts';
import type { GdbTarget, Point, ResumePlan, Stop } from '../../src/gdb/target.ts';
import { FarEnd } from '../monitor/fake-target.ts';

export const MEMORY = 0x8000_0000n;

export class FakeGdbTarget implements GdbTarget {
  readonly harts = 2;
  readonly features = [
    {
      name: 'org.gnu.gdb.riscv.cpu',
      registers: [
        { name: 'ra', number: 1, bits: 64, type: 'code_ptr' },
        { name: 'pc', number: 32, bits: 64, type: 'code_ptr' },
      ],
    },
    {
      name: 'org.gnu.gdb.riscv.fpu',
      registers: [{ name: 'ft0', number: 33, bits: 64, type: 'riscv_double' }],
    },
  ];
  exactSteps = false;
  running = true;
  plans: ResumePlan[] = [];
  points: Point[] = [];
  readonly log: string[] = [];
  readonly registers = [
    new Map([
      [1, 0x11n],
      [32, 0x1000n],
      [33, 0n],
    ]),
    new Map([
      [1, 0x22n],
      [32, 0x2000n],
      [33, 0n],
    ]),
  ];
  readonly memory = Uint8Array.from({ length: 256 }, (_, i) => i);
  refuseToRun: Error | undefined;
  #stopped: (stop: Stop) => void = () => {};

  async stop() {
    if (this.running) this.comeToStop({ reason: 'paused' });
  }
  async resume(plan: ResumePlan) {
    if (this.refuseToRun !== undefined) throw this.refuseToRun;
    this.running = true;
    this.plans.push(plan);
  }
  onStop(listener: (stop: Stop) => void) {
    this.#stopped = listener;
  }
  comeToStop(stop: Stop) {
    this.running = false;
    this.#stopped(stop);
  }
  async waiting() {
    return [false, true];
  }
  async readRegisters(hart: number, numbers: readonly number[]) {
    return numbers.map((number) => this.registers[hart]?.get(number));
  }
  async writeRegisters(hart: number, values: ReadonlyMap<number, bigint>) {
    const known = [...values].every(([number]) => this.registers[hart]?.has(number));
    if (known) for (const [number, value] of values) this.registers[hart]?.set(number, value);
    return known;
  }
  async readMemory(hart: number | undefined, address: bigint, length: number) {
    this.log.push(`read ${hart ?? 'physical'}`);
    const at = Number(address - MEMORY);
    return at < 0 || at + length > this.memory.length ? undefined : this.memory.slice(at, at + length);
  }
  async writeMemory(hart: number | undefined, address: bigint, bytes: Uint8Array) {
    this.log.push(`write ${hart ?? 'physical'}`);
    const at = Number(address - MEMORY);
    if (at < 0 || at + bytes.length > this.memory.length) return false;
    this.memory.set(bytes, at);
    return true;
  }
  async insertPoint(point: Point) {
    this.points.push(point);
  }
  async removePoint(point: Point) {
    this.points = this.points.filter((other) => JSON.stringify(keys(other)) !== JSON.stringify(keys(point)));
  }
  async removeAllPoints() {
    this.points = [];
  }
  async monitor(line: string) {
    return `you said ${line}\n`;
  }
  async reset() {
    this.log.push('reset');
  }
  kill() {
    this.log.push('kill');
  }
}

const keys = (point: Point) => ({ ...point, address: String(point.address) });

/** A debugger at the far end. */
export class Debugger {
  readonly target = new FakeGdbTarget();
  readonly far = new FarEnd();
  readonly session: GdbSession;
  closed = false;

  constructor(attached: (target: GdbTarget) => Promise<GdbTarget> = async (target) => target) {
    this.session = new GdbSession(this.far, attached(this.target), () => {
      this.closed = true;
    });
  }

  /** All that came, for one packet's length or more, since the last time. */
  async receive(done: (text: string) => boolean): Promise<string> {
    const text = await this.far.until(done);
    this.far.text = '';
    return text;
  }

  /** Sends a packet; the body of what comes back, after its acknowledgement. */
  async ask(body: string): Promise<string> {
    this.far.send(framed(body));
    const answer = await this.receive((text) => /#[0-9a-f]{2}$/.test(text));
    return answer.replace(/^\+?\$/, '').replace(/#[0-9a-f]{2}$/, '');
  }

  /** Sends a packet that has no reply yet. */
  async send(body: string): Promise<void> {
    this.far.send(framed(body));
    await this.receive((text) => text === '+');
    await settled();
  }
}

/** Lets all promises that can be kept be kept. */
export const settled = () => new Promise<void>((resolve) => setImmediate(resolve));

export function framed(body: string): Uint8Array {
  const bytes = Array.from(body, (character) => character.charCodeAt(0));
  const sum = bytes.reduce((all, byte) => all + byte, 0) & 0xff;
  return Uint8Array.from(`$${body}#${sum.toString(16).padStart(2, '0')}`, (character) =>
    character.charCodeAt(0),
  );
}
