import type { IncomingMessage } from 'node:http';

/** What is read, and thrown away, of a body that is too large, so that its sender gets to read the refusal. */
const MAX_DISCARDED_BYTES = 128 * 1024 * 1024;

/**
 * Reads a request's body.
 * @returns undefined as soon as it is known to be larger than `maxBytes`; what follows is discarded
 * @throws when the sender goes away midway
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
