import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';

/** What one load process does: as many requests as its connections can carry one after another. */
export interface Load {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  readonly streamed: boolean;
  readonly connections: number;
  /** Answers that each connection must have had before anything counts: connections, compilers and pools warm up. */
  readonly warmUpAnswers: number;
  readonly durationMs: number;
}

/** One value for each request that began and ended within the counted time, milliseconds. */
export interface LoadResult {
  readonly requestsPerSecond: number;
  /** From sending to the last byte of the answer. */
  readonly wholeMs: readonly number[];
  /** From sending to the first byte of the answer's body. */
  readonly firstByteMs: readonly number[];
  /** From the upstream's writing of its first token to its arrival; streams only. */
  readonly firstTokenTravelMs: readonly number[];
}

/**
 * Runs a load in a process of its own.
 * @throws Error when a request fails, or an answer is not whole: a figure over failures says nothing
 */
export async function runLoad(load: Load): Promise<LoadResult> {
  const file = join(import.meta.dirname, 'client.ts');
  const { stdout } = await promisify(execFile)(process.execPath, [file, JSON.stringify(load)], {
    maxBuffer: 256 * 1024 * 1024,
  });
  return JSON.parse(stdout) as LoadResult;
}
