import { createHmac, hash, type KeyObject } from 'node:crypto';

/** What the signature of each chunk depends on. */
export interface ChunkSigning {
  readonly key: KeyObject;
  readonly timestamp: string;
  readonly scope: string;
  /** The signature of the request, which the first chunk's signature continues. */
  readonly seed: string;
}

const EMPTY = hash('sha256', '');
const CHUNK_HEAD = /^([0-9a-f]{1,8});chunk-signature=([0-9a-f]{64})$/i;

/**
 * Checks the signatures of a body in chunks, `STREAMING-AWS4-HMAC-SHA256-PAYLOAD`, and of the trailing headers after
 * them, if there are any.
 * @see https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html
 * @see https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming-trailers.html
 */
export function areChunksSigned(
  body: Buffer,
  { key, timestamp, scope, seed }: ChunkSigning,
  trailers: boolean,
): boolean {
  let previous = seed;
  const sign = (algorithm: string, ...texts: string[]): string =>
    createHmac('sha256', key)
      .update([algorithm, timestamp, scope, previous, ...texts].join('\n'))
      .digest('hex');

  let offset = 0;
  for (;;) {
    const end = body.indexOf('\r\n', offset);
    const [, size = '', signature] = CHUNK_HEAD.exec(body.toString('latin1', offset, Math.max(offset, end))) ?? [];
    if (signature === undefined) return false;
    const start = end + 2;
    const data = body.subarray(start, start + Number.parseInt(size, 16));
    if (data.length !== Number.parseInt(size, 16)) return false;
    const expected = sign('AWS4-HMAC-SHA256-PAYLOAD', EMPTY, hash('sha256', data));
    if (signature !== expected) return false;
    previous = expected;
    offset = start + data.length;
    if (data.length === 0) break;
    offset += 2;
  }
  if (!trailers) return true;
  const lines = body
    .toString('utf8', offset)
    .split('\r\n')
    .filter((line) => line !== '');
  const [, signature] = /^x-amz-trailer-signature:\s*([0-9a-f]{64})$/i.exec(lines.pop() ?? '') ?? [];
  const canonical = lines.map((line) => `${line}\n`).join('');
  return signature === sign('AWS4-HMAC-SHA256-TRAILER', hash('sha256', canonical));
}
