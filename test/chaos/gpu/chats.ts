import { setTimeout as sleep } from 'node:timers/promises';
import { EventSourceParserStream } from 'eventsource-parser/stream';
import * as v from 'valibot';
import type { Cloud } from '../../../local/cloud.ts';
import { LOCAL_API_KEY } from '../../../local/seed.ts';
import { createPreamble, createQuestion, MODEL, parseSignature } from './questions.ts';

/** Outcomes of interactive requests. */
export interface ChatCounts {
  asked: number;
  /** Complete answers to their own question. */
  answered: number;
  /** Complete answers to another question. */
  wrong: number;
  /** Streams that broke off or ended in an error. */
  cut: number;
  /** Refusals by status. */
  readonly refused: Record<string, number>;
  /** Requests without an answer or a refusal until the timeout. */
  unanswered: number;
  /** Milliseconds to the first token of each answer. */
  readonly firstTokenMs: number[];
}

export interface Chats {
  readonly counts: ChatCounts;
  /** Sends no more requests, and resolves when the last one has ended. */
  stop(): Promise<void>;
}

/** Concurrent requests. */
const CLIENTS = 2;
const LONGEST_PAUSE_MS = 1_500;
/** Longer than the alias's timeout. */
const RESPONSE_TIMEOUT_MS = 120_000;

const chunkSchema = v.object({
  choices: v.array(v.object({ delta: v.object({ content: v.optional(v.nullable(v.string())) }) })),
});

/** Sends chat requests beside the jobs until stopped. Refused requests are not repeated. */
export function startChats({ url }: Pick<Cloud, 'url'>, random: () => number): Chats {
  const ended = new AbortController();
  const counts: ChatCounts = { asked: 0, answered: 0, wrong: 0, cut: 0, refused: {}, unanswered: 0, firstTokenMs: [] };

  async function sendChats(): Promise<void> {
    while (!ended.signal.aborted) {
      await sleep(random() * LONGEST_PAUSE_MS, undefined, { signal: ended.signal }).catch(() => {});
      if (ended.signal.aborted) return;
      counts.asked += 1;
      await sendChat(`${url}/chat/completions`, counts.asked, counts);
    }
  }

  const running = Promise.all(Array.from({ length: CLIENTS }, sendChats));
  return {
    counts,
    async stop() {
      ended.abort();
      await running;
    },
  };
}

async function sendChat(url: string, number: number, counts: ChatCounts): Promise<void> {
  const question = createQuestion('chat', number);
  const signal = AbortSignal.timeout(RESPONSE_TIMEOUT_MS);
  const askedAt = performance.now();
  try {
    const response = await fetch(url, {
      method: 'POST',
      signal,
      headers: { authorization: `Bearer ${LOCAL_API_KEY}`, 'content-type': 'application/json' },
      body: JSON.stringify({
        model: MODEL,
        stream: true,
        messages: [
          { role: 'system', content: createPreamble(number) },
          { role: 'user', content: question },
        ],
      }),
    });
    if (response.status !== 200) {
      counts.refused[response.status] = (counts.refused[response.status] ?? 0) + 1;
      return void (await response.arrayBuffer());
    }
    const { text, firstTokenAt } = await readStream(response);
    if (text === undefined) counts.cut += 1;
    else if (parseSignature(text, question) === undefined) counts.wrong += 1;
    else {
      counts.answered += 1;
      counts.firstTokenMs.push(firstTokenAt - askedAt);
    }
  } catch {
    if (signal.aborted) counts.unanswered += 1;
    else counts.cut += 1;
  }
}

/** Reads a stream. The text is undefined if the stream is incomplete. */
async function readStream({
  body,
}: Response): Promise<{ readonly text: string | undefined; readonly firstTokenAt: number }> {
  let text = '';
  let firstTokenAt = Number.NaN;
  const events = body?.pipeThrough(new TextDecoderStream()).pipeThrough(new EventSourceParserStream());
  for await (const { data } of events ?? []) {
    if (data === '[DONE]') return { text, firstTokenAt };
    const chunk = v.safeParse(v.pipe(v.string(), v.parseJson(), chunkSchema), data);
    if (!chunk.success) return { text: undefined, firstTokenAt };
    const piece = chunk.output.choices[0]?.delta.content ?? '';
    if (piece !== '' && text === '') firstTokenAt = performance.now();
    text += piece;
  }
  return { text: undefined, firstTokenAt };
}
