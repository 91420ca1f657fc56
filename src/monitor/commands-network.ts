/** Commands about networks. QEMU: qapi/net.json. */
import { type Command, command } from './command.ts';
import { array, boolean, optional, required, string, uint } from './schema.ts';

export const NETWORK_COMMANDS: readonly Command[] = [
  command({
    name: 'set_link',
    help: 'change the link status of a network adapter',
    arguments: { name: required(string), up: required(boolean) },
    human: {
      names: ['set_link'],
      arguments: [
        { kind: 'word', name: 'name' },
        { kind: 'switch', name: 'up' },
      ],
    },
    run: async ({ target }, { name, up }) => void (await target.setLink(name, up)),
  }),
  command({
    name: 'announce-self',
    help: "tell the network where the machine's adapters are",
    arguments: {
      initial: optional(uint),
      max: optional(uint),
      rounds: optional(uint),
      step: optional(uint),
      interfaces: optional(array(string)),
      id: optional(string),
    },
    human: {
      names: ['announce_self'],
      arguments: [
        { kind: 'word', name: 'interfaces', optional: true },
        { kind: 'word', name: 'id', optional: true },
      ],
      async run({ target }, { interfaces, id }) {
        await target.announceSelf({
          ...(interfaces === undefined ? {} : { interfaces: String(interfaces).split(',') }),
          ...(id === undefined ? {} : { id: String(id) }),
        });
      },
    },
    run: async ({ target }, changes) => void (await target.announceSelf(changes)),
  }),
];
