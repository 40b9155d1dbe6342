import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';

/**
 * The requests of one client: each is sent at its scheduled time, whether or not earlier requests have been answered.
 */
export interface PostLoad {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  readonly perSecond: number;
  readonly seconds: number;
}

/** The outcome of one request. Times are epoch milliseconds, so that processes can compare them. */
export interface PostResult {
  /** Scheduled time, from which the caller waits even if the client sends late. */
  readonly dueAt: number;
  readonly answeredAt: number;
  /** Id of the created object. Absent if the request was refused. */
  readonly id?: string;
  /** Status and code of a refusal, such as `503 vault_unavailable`. */
  readonly refusal?: string;
}

/** Runs the client in its own process. Resolves when the last request has ended. */
export async function runPosts(posts: PostLoad): Promise<PostResult[]> {
  const file = join(import.meta.dirname, 'post-client.ts');
  const { stdout } = await promisify(execFile)(process.execPath, [file, JSON.stringify(posts)], {
    maxBuffer: 64 * 1024 * 1024,
  });
  return JSON.parse(stdout) as PostResult[];
}
