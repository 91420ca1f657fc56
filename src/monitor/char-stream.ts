/**
 * The byte stream between a monitor and whoever talks to it: a socket's connection, the terminal, a multiplexed
 * console, or a pair in a test. Monitors know nothing of sockets; `host/` makes these.
 */

/** One connection, open from the moment it is handed over until `onClose` has been called. */
export interface CharStream {
  /** Sends bytes; never blocks, and is silently without effect once the stream is closed. */
  write(bytes: Uint8Array): void;
  /** Registers the one receiver of incoming bytes. The chunks may be cut anywhere, also inside a character. */
  onData(listener: (bytes: Uint8Array) => void): void;
  /**
   * Called when the other side sends no more but may still read (`echo quit | nc …`): finish what was asked, then
   * `close`.
   */
  onEnd?(listener: () => void): void;
  /** Called once, when the other side has gone or `close` was called. */
  onClose(listener: () => void): void;
  /** Closes the connection after what was written has been sent. */
  close(): void;
  /** Asks the other side to wait; advisory, so data may still arrive. */
  pause?(): void;
  resume?(): void;
}
