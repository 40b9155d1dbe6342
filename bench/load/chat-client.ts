/** Client process of chat users: `node chat-client.ts <ChatLoad as JSON>` prints `ChatResult[]` as JSON. */
import { Agent, request as httpRequest, type IncomingMessage } from 'node:http';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { createParser } from 'eventsource-parser';
import { createSeededRandom } from '../../local/faults/random.ts';
import type { ChatLoad, ChatResult } from './chats.ts';

interface Chunk {
  readonly choices?: readonly { readonly delta?: { readonly content?: string | null } }[];
  readonly usage?: { readonly completion_tokens: number } | null;
}

const { url, headers, model, promptTokens, perSecond, startAt, seconds, seed } = JSON.parse(
  process.argv[2] ?? '',
) as ChatLoad;
const agent = new Agent({ keepAlive: true });
const PROSE = 'Why is the sky blue, and why are sunsets red? ';
const BYTES_PER_TOKEN = 4;

function now(): number {
  return performance.timeOrigin + performance.now();
}

/** Returns a request body with a unique beginning, so that no prefix cache saves the engine work. */
function createBody(dueAt: number): string {
  const begin = `${seed} ${dueAt} `;
  const content = begin + PROSE.repeat(Math.ceil((promptTokens * BYTES_PER_TOKEN) / PROSE.length));
  const messages = [{ role: 'user', content: content.slice(0, promptTokens * BYTES_PER_TOKEN) }];
  return JSON.stringify({ model, messages, stream: true, stream_options: { include_usage: true } });
}

/** Sends a request at `dueAt`. */
async function chat(dueAt: number): Promise<ChatResult> {
  const body = createBody(dueAt);
  await sleep(Math.max(0, dueAt - now()));
  const answer = await sendRequest(body).catch((error: Error & { code?: string }) => ({
    refusal: error.code ?? 'cut',
  }));
  return { dueAt, ...answer };
}

function sendRequest(body: string): Promise<Omit<ChatResult, 'dueAt'>> {
  const length = String(Buffer.byteLength(body));
  return new Promise((resolve, reject) => {
    const options = { method: 'POST', agent, headers: { ...headers, 'content-length': length } };
    const request = httpRequest(new URL(url), options, (response) => {
      const read = response.statusCode === 200 ? readStream(response) : readRefusal(response);
      read.then(resolve, reject);
    });
    request.on('error', reject);
    request.end(body);
  });
}

async function readStream(response: IncomingMessage): Promise<Omit<ChatResult, 'dueAt'>> {
  let firstTokenAt: number | undefined;
  let lastTokenAt = 0;
  let tokens: number | undefined;
  const parser = createParser({
    onEvent({ data }) {
      if (data === '[DONE]') return;
      const { choices = [], usage }: Chunk = JSON.parse(data);
      if (choices.some(({ delta }) => delta?.content)) {
        lastTokenAt = now();
        firstTokenAt ??= lastTokenAt;
      }
      tokens ??= usage?.completion_tokens;
    },
  });
  response.setEncoding('utf8');
  for await (const piece of response) parser.feed(String(piece));
  if (firstTokenAt === undefined || tokens === undefined) return { refusal: 'cut' };
  return { firstTokenAt, lastTokenAt, tokens };
}

async function readRefusal(response: IncomingMessage): Promise<Omit<ChatResult, 'dueAt'>> {
  await text(response);
  return { refusal: String(response.statusCode) };
}

/** Yields the times of independent arrivals (a Poisson process). */
function* generateArrivals(): Generator<number> {
  const random = createSeededRandom(seed);
  for (let at = startAt; ; ) {
    at -= (Math.log(1 - random()) * 1000) / perSecond;
    if (at >= startAt + seconds * 1000) return;
    yield at;
  }
}

const chatted = await Promise.all(Array.from(generateArrivals(), chat));
process.stdout.write(JSON.stringify(chatted), () => process.exit(0));
