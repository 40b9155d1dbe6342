import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';

/**
 * The requests of one chat client: each streamed request is sent at its scheduled time, whether or not earlier requests
 * have been answered.
 */
export interface ChatLoad {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly model: string;
  readonly promptTokens: number;
  /** Mean rate. Arrivals are random, as those of independent users. */
  readonly perSecond: number;
  /** Epoch milliseconds. */
  readonly startAt: number;
  readonly seconds: number;
  /** Seed of the random arrivals. */
  readonly seed: number;
}

/** The outcome of one request. Times are epoch milliseconds, so that processes can compare them. */
export interface ChatResult {
  /** Scheduled time, from which the user waits. */
  readonly dueAt: number;
  /** Absent, like the next two fields, if the request was refused. */
  readonly firstTokenAt?: number;
  readonly lastTokenAt?: number;
  readonly tokens?: number;
  /** Status or error code of a request without a complete answer. */
  readonly refusal?: string;
}

/** Runs the chat client in its own process. Resolves when the last request has ended. */
export async function runChats(chats: ChatLoad): Promise<ChatResult[]> {
  const file = join(import.meta.dirname, 'chat-client.ts');
  const { stdout } = await promisify(execFile)(process.execPath, [file, JSON.stringify(chats)], {
    maxBuffer: 64 * 1024 * 1024,
  });
  return JSON.parse(stdout) as ChatResult[];
}
