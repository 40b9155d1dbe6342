import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';

/** What one posting process does: a request when it is due, whether or not earlier ones have been answered. */
export interface PostLoad {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  readonly perSecond: number;
  readonly seconds: number;
}

/** What became of one request. Times are epoch milliseconds, so that processes can compare them. */
export interface PostResult {
  /** When it was to be sent: from then on a caller waits, whether or not the client got round to it. */
  readonly dueAt: number;
  readonly answeredAt: number;
  /** Of what it made; absent when it was refused. */
  readonly id?: string;
  /** Status and code of a refusal, such as `503 vault_unavailable`. */
  readonly refusal?: string;
}

/** Runs them in a process of its own; settles when the last one has been answered. */
export async function runPosts(posts: PostLoad): Promise<PostResult[]> {
  const file = join(import.meta.dirname, 'post-client.ts');
  const { stdout } = await promisify(execFile)(process.execPath, [file, JSON.stringify(posts)], {
    maxBuffer: 64 * 1024 * 1024,
  });
  return JSON.parse(stdout) as PostResult[];
}
