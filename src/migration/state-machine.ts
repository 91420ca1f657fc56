/** State machines as tables: every state names, for every event, the next state and what is to be done. */
import { GodwitError } from '../error.ts';

export type Table<State extends string, Event extends string, Action extends string> = Readonly<
  Record<State, Readonly<Record<Event, readonly [to: State, action: Action]>>>
>;

/** Actions that every table may use. */
export type CommonAction =
  /** The event changes nothing here. */
  | 'ignore'
  /** The event can't occur here: a defect of godwit. */
  | 'defect';

export class StateMachine<State extends string, Event extends string, Action extends string> {
  readonly #table: Table<State, Event, Action>;
  readonly #onChange: (state: State) => void;
  #state: State;

  constructor(table: Table<State, Event, Action>, initial: State, onChange: (state: State) => void) {
    this.#table = table;
    this.#state = initial;
    this.#onChange = onChange;
  }

  get state(): State {
    return this.#state;
  }

  /** Takes the transition and returns what is to be done. @throws GodwitError kind "internal" for a defect. */
  fire(event: Event): Action {
    const from = this.#state;
    const [to, action] = this.#table[from][event];
    if (action === 'defect')
      throw new GodwitError('internal', `migration: event "${event}" in state "${from}"`);
    this.#state = to;
    if (to !== from) this.#onChange(to);
    return action;
  }
}
