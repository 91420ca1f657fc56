/** Commands about networks. QEMU: qapi/net.json. */
import { type Command, command } from './command.ts';
import { boolean, required, string } from './schema.ts';

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
];
