import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { RepeatedRequest } from './send-request.ts';

/** The requests of one load client: each connection sends one request after another. */
export interface Load extends RepeatedRequest {
  readonly connections: number;
  /** Answers per connection before measuring starts, which warm up connections, compilers and pools. */
  readonly warmUpAnswers: number;
  readonly durationMs: number;
}

/** Milliseconds, one value for each request that started and ended within the measured time. */
export interface LoadResult {
  readonly requestsPerSecond: number;
  /** From sending to the last byte of the answer. */
  readonly wholeMs: readonly number[];
  /** From sending to the first byte of the answer's body. */
  readonly firstByteMs: readonly number[];
  /** From the upstream's write of its first token to its arrival. Streams only. */
  readonly firstTokenTravelMs: readonly number[];
}

/**
 * Runs the load client in its own process.
 * @throws Error if a request fails or an answer is incomplete, because failures make the figures meaningless
 */
export async function runLoad(load: Load): Promise<LoadResult> {
  const file = join(import.meta.dirname, 'client.ts');
  const { stdout } = await promisify(execFile)(process.execPath, [file, JSON.stringify(load)], {
    maxBuffer: 256 * 1024 * 1024,
  });
  return JSON.parse(stdout) as LoadResult;
}
