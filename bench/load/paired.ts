import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { RepeatedRequest } from './send-request.ts';

/**
 * Requests to several targets, in turn and over one connection each. In a round each target gets a few, one after
 * another, so that a busy moment of the machine meets all targets.
 */
export interface PairedLoad {
  readonly targets: readonly PairedTarget[];
  /** Requests per target before measuring starts, which warm up connections, compilers and pools. */
  readonly warmUpAnswers: number;
  readonly rounds: number;
  /** Requests per target and round. The first is not measured: others have used the processor's caches before it. */
  readonly requests: number;
}

export interface PairedTarget extends RepeatedRequest {
  /** The process whose processor time is measured; absent to measure none. */
  readonly pid?: number | undefined;
}

/** The measurements of one target. */
export interface PairedResult {
  /** Milliseconds from sending to the first byte of the answer's body: the median of each round. */
  readonly firstByteMs: readonly number[];
  /** Milliseconds of processor time per request, user and system: the mean of all rounds. 0 without a process. */
  readonly cpuMs: number;
}

/**
 * Runs the client in its own process. Returns the results in the order of the targets.
 * @throws Error if a request fails or an answer is incomplete, because failures make the figures meaningless
 */
export async function runPaired(load: PairedLoad): Promise<PairedResult[]> {
  const file = join(import.meta.dirname, 'paired-client.ts');
  const running = promisify(execFile)(process.execPath, [file], { maxBuffer: 16 * 1024 * 1024 });
  // Not an argument, because Linux allows at most 128 KiB for one.
  running.child.stdin?.end(JSON.stringify(load));
  const { stdout } = await running;
  return JSON.parse(stdout) as PairedResult[];
}
