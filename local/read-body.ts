import type { IncomingMessage } from 'node:http';

/**
 * Maximum number of bytes that are read of a body that is too large. They are discarded, but if the connection closed
 * earlier, the sender could not read the error response.
 */
const MAX_DISCARDED_BYTES = 128 * 1024 * 1024;

/**
 * Reads a request's body.
 * @returns the body, or undefined as soon as it is larger than `maxBytes`; the rest is discarded
 * @throws Error if the sender disconnects before the end
 */
export function readBody(request: IncomingMessage, maxBytes: number): Promise<Buffer | undefined> {
  return new Promise((resolve, reject) => {
    let chunks: Buffer[] = [];
    let size = 0;
    request.on('data', (chunk: Buffer) => {
      size += chunk.length;
      if (size <= maxBytes) {
        chunks.push(chunk);
        return;
      }
      chunks = [];
      resolve(undefined);
      if (size > MAX_DISCARDED_BYTES) request.destroy();
    });
    request.once('end', () => {
      const [first] = chunks;
      resolve(chunks.length === 1 ? first : Buffer.concat(chunks));
    });
    request.once('error', reject);
    if (Number(request.headers['content-length'] ?? 0) > maxBytes) resolve(undefined);
  });
}
