/**
 * The interrupt controller of the RISC-V Advanced Interrupt Architecture 1.0: an APLIC with a domain at each level, which
 * interrupts the harts itself or sends messages to the IMSICs.
 */
import { AplicDomain } from './aplic.ts';
import type { InterruptLine, MsiSink } from './device.ts';
import { Imsic } from './imsic.ts';
import type { Imsics, InterruptController, InterruptDevice } from './interrupt-controller.ts';
import type { ExternalLines } from './plic.ts';

/** First physical addresses at the two levels. */
interface Bases {
  readonly machine: number;
  readonly supervisor: number;
}

export interface AiaOptions {
  readonly aplic: Bases;
  /** IMSICs, and how a message reaches them; without them the APLIC interrupts the harts. */
  readonly imsic?: { readonly bases: Bases; readonly send: MsiSink };
  /** By hart id. */
  readonly lines: readonly ExternalLines[];
}

/** "interrupts" cells: level-sensitive, high (Linux, interrupt-controller.yaml). */
const IRQ_TYPE_LEVEL_HIGH = 4;

export class Aia implements InterruptController {
  readonly label: string;
  readonly devices: readonly InterruptDevice[];
  readonly imsics: Imsics | undefined;
  readonly #root: AplicDomain;

  constructor({ aplic, imsic, lines }: AiaOptions) {
    const meip = lines.map((hart) => hart.meip);
    const seip = lines.map((hart) => hart.seip);
    this.imsics = imsic && {
      machine: new Imsic({ level: 'machine', base: imsic.bases.machine, lines: meip }),
      supervisor: new Imsic({ level: 'supervisor', base: imsic.bases.supervisor, lines: seip }),
    };
    const messages = (to: Imsic | undefined) =>
      to === undefined || imsic === undefined ? {} : { msi: { send: imsic.send, parent: to.label } };
    this.#root = new AplicDomain({
      level: 'machine',
      base: aplic.machine,
      lines: meip,
      ...messages(this.imsics?.machine),
    });
    const child = new AplicDomain({
      level: 'supervisor',
      base: aplic.supervisor,
      lines: seip,
      parent: this.#root,
      ...messages(this.imsics?.supervisor),
    });
    this.label = child.label;
    // A message comes after what sends it.
    this.devices = [this.#root, child, ...Object.values(this.imsics ?? {})];
  }

  line(source: number): InterruptLine {
    return (level) => this.#root.input(source, level);
  }

  specifier(source: number): readonly number[] {
    return [source, IRQ_TYPE_LEVEL_HIGH];
  }
}
