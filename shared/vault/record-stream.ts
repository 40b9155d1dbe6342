import {
  HEADER_BYTES,
  openSegment,
  type RecordCipher,
  SEALED_SEGMENT_BYTES,
  SEGMENT_BYTES,
  sealSegment,
  unreadableRecordError,
} from './record.ts';

/**
 * Seals a record whose plaintext comes in pieces of any size.
 * @param begin makes the header and the cipher, when the first piece is asked for
 */
export async function* sealChunks(
  begin: () => Promise<{ readonly header: Uint8Array; readonly cipher: RecordCipher }>,
  plaintext: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array, void> {
  const { header, cipher } = await begin();
  yield header;
  const pending = new ByteQueue();
  let index = 0;
  for await (const piece of plaintext) {
    pending.add(piece);
    // A segment that is full waits for the byte that proves it not to be the last.
    while (pending.size > SEGMENT_BYTES) yield* sealSegment(cipher, index++, false, pending.take(SEGMENT_BYTES));
  }
  yield* sealSegment(cipher, index, true, pending.take(pending.size));
}

/**
 * Opens a record that comes in pieces of any size, and hands on only what was verified.
 * @param begin reads the header
 * @throws LambentError `record_unreadable`
 */
export async function* openChunks(
  begin: (header: Uint8Array) => Promise<RecordCipher>,
  sealed: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array, void> {
  const pending = new ByteQueue();
  let cipher: RecordCipher | undefined;
  let index = 0;
  for await (const piece of sealed) {
    pending.add(piece);
    if (cipher === undefined && pending.size >= HEADER_BYTES) cipher = await begin(pending.take(HEADER_BYTES));
    while (cipher !== undefined && pending.size > SEALED_SEGMENT_BYTES) {
      yield openSegment(cipher, index++, false, pending.take(SEALED_SEGMENT_BYTES));
    }
  }
  if (cipher === undefined) throw unreadableRecordError('it is too short');
  yield openSegment(cipher, index, true, pending.take(pending.size));
}

/** Bytes that came and were not taken yet. */
class ByteQueue {
  #pieces: Uint8Array[] = [];
  #size = 0;

  get size(): number {
    return this.#size;
  }

  add(piece: Uint8Array): void {
    this.#pieces.push(piece);
    this.#size += piece.length;
  }

  /** Takes the first `size` bytes, of which there must be as many. */
  take(size: number): Uint8Array {
    const [only] = this.#pieces;
    const whole = this.#pieces.length === 1 && only !== undefined ? only : Buffer.concat(this.#pieces);
    this.#pieces = whole.length > size ? [whole.subarray(size)] : [];
    this.#size = whole.length - size;
    return whole.subarray(0, size);
  }
}
