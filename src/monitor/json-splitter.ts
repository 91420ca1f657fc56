/**
 * Cuts a byte stream into JSON documents, which need no separator (QMP: a client may send several in one chunk, or one
 * in many). It only follows quotes and brackets; whether a piece is JSON is for parseJson to say. After damage it
 * finds its feet again: at a bracket that doesn't match, at a line end inside a string, at byte 0xff (which the QMP
 * specification gives clients for this), and after an over-long document at the next line end.
 */
import { MAX_JSON_DEPTH } from './json-text.ts';

/** Longest document, bytes. */
export const MAX_JSON_BYTES = 1024 * 1024;

const NEWLINE = 0x0a;
const QUOTE = 0x22;
const APOSTROPHE = 0x27;
const BACKSLASH = 0x5c;
const RESET = 0xff;

const isSpace = (byte: number) => byte === 0x20 || byte === 0x09 || byte === 0x0d || byte === NEWLINE;
/** The bracket that closes `byte`, or 0. */
const closerOf = (byte: number) => (byte === 0x7b ? 0x7d : byte === 0x5b ? 0x5d : 0);
const isCloser = (byte: number) => byte === 0x7d || byte === 0x5d;
/** Bytes that end a bare word or number at top level. */
const endsWord = (byte: number) =>
  isSpace(byte) || closerOf(byte) !== 0 || isCloser(byte) || byte === QUOTE || byte === APOSTROPHE;

export interface JsonSplitterSink {
  /** A document, or what must be taken for one; not necessarily JSON, nor UTF-8. */
  document(bytes: Uint8Array): void;
  /** Input was thrown away; the reason is a sentence. */
  dropped(reason: string): void;
}

export class JsonSplitter {
  readonly #sink: JsonSplitterSink;
  /** Parts of the unfinished document from earlier chunks. */
  #parts: Uint8Array[] = [];
  #partsBytes = 0;
  #closers: number[] = [];
  /** The quote that ends the string we are in, or 0. */
  #quote = 0;
  #escaped = false;
  #inWord = false;
  /** Throwing away until the next line end. */
  #skipping = false;

  constructor(sink: JsonSplitterSink) {
    this.#sink = sink;
  }

  /** Takes the next bytes; documents that they complete are reported before this returns. */
  feed(chunk: Uint8Array): void {
    let start = 0;
    for (let at = 0; at < chunk.length; at++) {
      const byte = chunk[at] as number;
      if (this.#skipping) {
        start = at + 1;
        if (byte === NEWLINE || byte === RESET) this.#skipping = false;
        continue;
      }
      if (byte === RESET) {
        const unfinished = this.#partsBytes + at - start > 0;
        this.#reset();
        start = at + 1;
        this.#sink.dropped(
          unfinished ? 'JSON parse error, input was reset' : "JSON parse error, stray '\ufffd'",
        );
        continue;
      }
      if (this.#inWord && endsWord(byte)) {
        this.#finish(chunk.subarray(start, at));
        start = at;
      }
      const idle = this.#closers.length === 0 && this.#quote === 0 && !this.#inWord;
      if (idle && isSpace(byte)) {
        start = at + 1;
        continue;
      }
      if (this.#partsBytes + at + 1 - start > MAX_JSON_BYTES) {
        this.#drop('JSON token size limit exceeded', byte);
        start = at + 1;
        continue;
      }
      if (this.#step(byte)) {
        this.#finish(chunk.subarray(start, at + 1));
        start = at + 1;
      } else if (this.#closers.length > MAX_JSON_DEPTH) {
        this.#drop('JSON nesting depth limit exceeded', byte);
        start = at + 1;
      }
    }
    if (start < chunk.length) {
      // Copied, because the chunk belongs to whoever gave it.
      this.#parts.push(chunk.slice(start));
      this.#partsBytes += chunk.length - start;
    }
  }

  /** Follows one byte of a document; true if it is its last. */
  #step(byte: number): boolean {
    if (this.#quote !== 0) {
      if (this.#escaped) this.#escaped = false;
      else if (byte === BACKSLASH) this.#escaped = true;
      else if (byte === this.#quote) {
        this.#quote = 0;
        return this.#closers.length === 0;
      }
      return byte === NEWLINE;
    }
    if (byte === QUOTE || byte === APOSTROPHE) {
      this.#quote = byte;
      return false;
    }
    const closer = closerOf(byte);
    if (closer !== 0) {
      this.#closers.push(closer);
      return false;
    }
    if (isCloser(byte)) {
      // A bracket that doesn't match ends the document: as an error, when it is parsed.
      return this.#closers.pop() !== byte || this.#closers.length === 0;
    }
    if (this.#closers.length === 0) this.#inWord = true;
    return false;
  }

  #finish(rest: Uint8Array): void {
    const document = new Uint8Array(this.#partsBytes + rest.length);
    let at = 0;
    for (const part of [...this.#parts, rest]) {
      document.set(part, at);
      at += part.length;
    }
    this.#reset();
    this.#sink.document(document);
  }

  #drop(reason: string, byte: number): void {
    this.#reset();
    this.#skipping = byte !== NEWLINE;
    this.#sink.dropped(reason);
  }

  #reset(): void {
    this.#parts = [];
    this.#partsBytes = 0;
    this.#closers = [];
    this.#quote = 0;
    this.#escaped = false;
    this.#inWord = false;
  }
}
