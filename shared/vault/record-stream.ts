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
 * Seals a record whose plaintext arrives in chunks of any size.
 * @param begin creates the header and the cipher; called when the first chunk is requested
 */
export async function* sealChunks(
  begin: () => Promise<{ readonly header: Uint8Array; readonly cipher: RecordCipher }>,
  plaintext: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array, void> {
  const { header, cipher } = await begin();
  yield header;
  const pending = new ByteQueue();
  let index = 0;
  for await (const chunk of plaintext) {
    pending.add(chunk);
    // A full segment is sealed only when another byte follows, because the nonce marks the last segment.
    while (pending.size > SEGMENT_BYTES) yield* sealSegment(cipher, index++, false, pending.take(SEGMENT_BYTES));
  }
  yield* sealSegment(cipher, index, true, pending.take(pending.size));
}

/**
 * Opens a record that arrives in chunks of any size. Yields only plaintext that has been authenticated.
 * @param begin reads the header and returns the cipher for the segments
 * @throws LambentError `record_unreadable`
 */
export async function* openChunks(
  begin: (header: Uint8Array) => Promise<RecordCipher>,
  sealed: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array, void> {
  const pending = new ByteQueue();
  let cipher: RecordCipher | undefined;
  let index = 0;
  for await (const chunk of sealed) {
    pending.add(chunk);
    if (cipher === undefined && pending.size >= HEADER_BYTES) cipher = await begin(pending.take(HEADER_BYTES));
    while (cipher !== undefined && pending.size > SEALED_SEGMENT_BYTES) {
      yield openSegment(cipher, index++, false, pending.take(SEALED_SEGMENT_BYTES));
    }
  }
  if (cipher === undefined) throw unreadableRecordError('it is too short');
  yield openSegment(cipher, index, true, pending.take(pending.size));
}

/** Bytes that have arrived and are not processed yet. */
class ByteQueue {
  #chunks: Uint8Array[] = [];
  #size = 0;

  get size(): number {
    return this.#size;
  }

  add(chunk: Uint8Array): void {
    this.#chunks.push(chunk);
    this.#size += chunk.length;
  }

  /** Removes and returns the first `size` bytes. The queue must hold at least that many. */
  take(size: number): Uint8Array {
    const [only] = this.#chunks;
    const joined = this.#chunks.length === 1 && only !== undefined ? only : Buffer.concat(this.#chunks);
    this.#chunks = joined.length > size ? [joined.subarray(size)] : [];
    this.#size = joined.length - size;
    return joined.subarray(0, size);
  }
}
