import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { TenantSecret } from '../../../shared/vault/derivation.ts';
import { openRecord, sealRecord, startOpening, startSealing } from '../../../shared/vault/record.ts';
import { openChunks, sealChunks } from '../../../shared/vault/record-stream.ts';
import { NAME, SIZES } from './records.ts';

const secret = new TenantSecret(randomBytes(32));
const KEY = { version: 1, secret };
const sealStream = (plaintext: AsyncIterable<Uint8Array>) => sealChunks(async () => startSealing(NAME, KEY), plaintext);
const openStream = (sealed: AsyncIterable<Uint8Array>) =>
  openChunks(async (header) => startOpening(header, NAME, secret), sealed);

/** Splits `bytes` into chunks whose sizes repeat `sizes`. */
async function* pieces(bytes: Uint8Array, sizes: readonly number[]): AsyncGenerator<Uint8Array> {
  let start = 0;
  for (let index = 0; start < bytes.length; index++) {
    const end = start + (sizes[index % sizes.length] ?? 1);
    yield bytes.subarray(start, end);
    start = end;
  }
}

/** Collects a stream's bytes, and its error if it failed. */
async function collect(stream: AsyncIterable<Uint8Array>): Promise<{ bytes: Buffer; error?: unknown }> {
  const parts: Uint8Array[] = [];
  try {
    for await (const part of stream) parts.push(part);
  } catch (error) {
    return { bytes: Buffer.concat(parts), error };
  }
  return { bytes: Buffer.concat(parts) };
}

// Chunks may be empty, a few bytes long, or longer than a segment.
const anySizes = fc
  .array(fc.oneof(fc.integer({ min: 500, max: 200_000 }), fc.constantFrom(0, 69, 65_536, 65_552)), {
    minLength: 1,
    maxLength: 4,
  })
  .filter((sizes) => sizes.some((size) => size > 0));

describe('a stream', () => {
  it.each(SIZES)('a stream of %i bytes makes the same record, however it is split into chunks', async (size) => {
    const plaintext = randomBytes(size);
    await fc.assert(
      fc.asyncProperty(anySizes, anySizes, async (before, after) => {
        const { bytes: sealed } = await collect(sealStream(pieces(plaintext, before)));
        expect(Buffer.compare(openRecord(sealed, NAME, secret), plaintext)).toBe(0);
        const whole = sealRecord(plaintext, NAME, KEY);
        const { bytes, error } = await collect(openStream(pieces(whole, after)));
        expect(error).toBeUndefined();
        expect(Buffer.compare(bytes, plaintext)).toBe(0);
      }),
      { numRuns: 10 },
    );
  });

  it('a stream of single bytes opens', async () => {
    const sealed = sealRecord(Buffer.from('one by one'), NAME, KEY);
    expect((await collect(openStream(pieces(sealed, [1])))).bytes.toString()).toBe('one by one');
  });

  it('opening a stream yields no changed segment, and nothing after it', async () => {
    const plaintext = randomBytes(300_000);
    const sealed = sealRecord(plaintext, NAME, KEY);
    await fc.assert(
      fc.asyncProperty(fc.nat(sealed.length - 1), anySizes, async (at, sizes) => {
        const changed = Buffer.from(sealed);
        changed[at] = (changed[at] ?? 0) ^ 1;
        const { bytes, error } = await collect(openStream(pieces(changed, sizes)));
        expect(error).toMatchObject({ code: 'record_unreadable' });
        expect(Buffer.compare(bytes, plaintext.subarray(0, bytes.length))).toBe(0);
        expect(bytes.length).toBe(65_536 * Math.floor(Math.max(0, at - 69) / 65_552));
      }),
      { numRuns: 50 },
    );
  });

  it.each([0, 1, 68, 69, 70, 84, 85, 65_620, 65_621, 65_622, 131_172, 131_173, 131_174, -1])(
    'a stream that is truncated after %i bytes fails',
    async (length) => {
      const sealed = sealRecord(randomBytes(300_000), NAME, KEY);
      const { error } = await collect(openStream(pieces(sealed.subarray(0, length), [10_000])));
      expect(error).toMatchObject({ code: 'record_unreadable' });
    },
  );

  it.each(SIZES)('a stream of %i bytes with bytes after its end fails', async (size) => {
    const sealed = sealRecord(randomBytes(size), NAME, KEY);
    const { error } = await collect(openStream(pieces(Buffer.concat([sealed, Buffer.alloc(1)]), [10_000])));
    expect(error).toMatchObject({ code: 'record_unreadable' });
  });

  it('a stream reads no more than it needs, and yields a segment as soon as it is complete', async () => {
    let reads = 0;
    async function* endless(): AsyncGenerator<Uint8Array> {
      for (;;) yield Buffer.alloc(1_024, reads++);
    }
    const stream = sealStream(endless());
    await stream.next();
    await stream.next();
    expect(reads).toBe(65);
    await stream.return();
  });

  it('a stream fails with the error of its source', async () => {
    async function* broken(): AsyncGenerator<Uint8Array> {
      yield randomBytes(100);
      throw new Error('the connection was lost');
    }
    expect((await collect(sealStream(broken()))).error).toEqual(new Error('the connection was lost'));
    const sealed = sealRecord(randomBytes(100_000), NAME, KEY);
    async function* lost(): AsyncGenerator<Uint8Array> {
      yield sealed.subarray(0, 90_000);
      throw new Error('the connection was lost');
    }
    expect((await collect(openStream(lost()))).error).toEqual(new Error('the connection was lost'));
  });
});
