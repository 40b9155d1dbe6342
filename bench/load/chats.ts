import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';

/** What one chatting process does: a streamed request when it is due, whether or not earlier ones have been answered. */
export interface ChatLoad {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly model: string;
  readonly promptTokens: number;
  /** In the mean: they come by chance, as independent users do. */
  readonly perSecond: number;
  /** Epoch milliseconds. */
  readonly startAt: number;
  readonly seconds: number;
  /** Of that chance. */
  readonly seed: number;
}

/** What became of one request. Times are epoch milliseconds, so that processes can compare them. */
export interface ChatResult {
  /** When it was to be sent: from then on its user waits. */
  readonly dueAt: number;
  /** Absent, as all that follows, when it was refused. */
  readonly firstTokenAt?: number;
  readonly lastTokenAt?: number;
  readonly tokens?: number;
  /** Why it has no answer. */
  readonly refusal?: string;
}

/** Runs them in a process of its own; settles when the last one has been answered. */
export async function runChats(chats: ChatLoad): Promise<ChatResult[]> {
  const file = join(import.meta.dirname, 'chat-client.ts');
  const { stdout } = await promisify(execFile)(process.execPath, [file, JSON.stringify(chats)], {
    maxBuffer: 64 * 1024 * 1024,
  });
  return JSON.parse(stdout) as ChatResult[];
}
