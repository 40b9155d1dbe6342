import fc from 'fast-check';
import type { ChatCompletionChunk } from 'openai/resources/chat/completions';
import type { ResponseStreamEvent } from 'openai/resources/responses/responses';
import { describe, expect, it } from 'vitest';
import { LambentError } from '../../../shared/core/errors.ts';
import type { GenerationEvent, TokenLogprob } from '../../../shared/inference/generation.ts';
import { encodeChatCompletion } from '../../../shared/openai/chat/completion.ts';
import { encodeChatStream } from '../../../shared/openai/chat/stream.ts';
import { encodeResponse, type ResponseObject } from '../../../shared/openai/responses/response.ts';
import { responsesRequestSchema } from '../../../shared/openai/responses/schema.ts';
import { encodeResponseStream } from '../../../shared/openai/responses/stream.ts';
import { validate } from '../../../shared/openai/validation.ts';
import { finishEvent, textEvents, tokenLogprob, toStream } from './events.ts';

/** Text chunks that may end anywhere, also in the middle of a surrogate pair. */
const chunk = fc.oneof(
  fc.string({ unit: 'binary' }),
  fc.string(),
  fc.constantFrom('', '\ud83d', '\ude00', 'a\ud83d', '\ude00b', '"\\\n\u2028', '\u0085a\u2029'),
);
const logprobs = fc.option(fc.array(fc.constantFrom('a', 'é', '').map(tokenLogprob), { minLength: 1, maxLength: 2 }), {
  nil: undefined,
});

/** All valid event sequences: calls are numbered and precede their arguments, and the last event is `finish`. */
const eventSequence: fc.Arbitrary<GenerationEvent[]> = fc
  .tuple(
    fc.array(
      fc.oneof(
        { weight: 4, arbitrary: fc.tuple(chunk, logprobs).map(([value, tokens]) => textEvent('text', value, tokens)) },
        {
          weight: 1,
          arbitrary: fc.tuple(chunk, logprobs).map(([value, tokens]) => textEvent('refusal', value, tokens)),
        },
        { weight: 2, arbitrary: chunk.map((value): GenerationEvent => ({ type: 'reasoning', text: value })) },
        {
          weight: 1,
          arbitrary: fc.constantFrom<GenerationEvent>(
            { type: 'reasoningEnd' },
            { type: 'reasoningEnd', continuation: { provider: 'p', data: [1] } },
          ),
        },
        { weight: 1, arbitrary: fc.constant<GenerationEvent>({ type: 'toolCall', index: 0, id: '', name: 'f' }) },
        {
          weight: 4,
          arbitrary: fc
            .tuple(fc.nat({ max: 5 }), chunk)
            .map(([index, fragment]): GenerationEvent => ({ type: 'toolArguments', index, fragment })),
        },
      ),
      { maxLength: 25 },
    ),
    fc.constantFrom('stop', 'length', 'toolCalls', 'contentFilter'),
    fc.option(fc.constant({ inputTokens: 4, cachedInputTokens: 1, outputTokens: 2, reasoningTokens: 1 }), {
      nil: undefined,
    }),
    fc.option(fc.constantFrom('default', 'flex'), { nil: undefined }),
  )
  .map(([parts, reason, usage, serviceTier]) => {
    let calls = 0;
    const events = parts.flatMap((event): GenerationEvent[] => {
      if (event.type === 'toolCall') {
        const index = calls++;
        return [{ ...event, index, id: `call_${index}` }];
      }
      if (event.type !== 'toolArguments') return [event];
      return calls === 0 ? [] : [{ ...event, index: event.index % calls }];
    });
    return [...events, { type: 'finish', reason, usage, ...(serviceTier && { serviceTier }) }];
  });

function textEvent(type: 'text' | 'refusal', value: string, tokens: TokenLogprob[] | undefined): GenerationEvent {
  return { type, text: value, ...(tokens && value !== '' && { logprobs: tokens }) };
}

const chatOptions = {
  head: { id: 'chatcmpl-1', created: 1, model: 'default', system_fingerprint: 'fp_1' },
  includeLogprobs: true,
  includeUsage: true,
};

function responsesOptions(more: object = {}) {
  let count = 0;
  return {
    body: validate(responsesRequestSchema, { model: 'default', input: 'Hi' }),
    id: 'resp_1',
    createdAt: 1,
    now: () => 2,
    createItemId: () => String(++count),
    tools: [],
    includeLogprobs: true,
    reasoningSummary: true,
    includeContinuations: true,
    ...more,
  };
}

async function collectFrames(stream: AsyncIterable<string>): Promise<string[]> {
  const frames: string[] = [];
  for await (const text of stream) {
    expect(text.endsWith('\n\n')).toBe(true);
    expect(text).not.toMatch(/[\u0085\u2028\u2029]/);
    frames.push(...text.split('\n\n').slice(0, -1));
  }
  return frames;
}

function parseData(frame: string): string {
  const line = frame.split('\n').at(-1) ?? '';
  expect(line.startsWith('data: ')).toBe(true);
  return line.slice('data: '.length);
}

type Delta = ChatCompletionChunk.Choice.Delta & { reasoning_content?: string };

/** Joins the deltas of a chat stream, as a client does. */
async function joinChatDeltas(events: GenerationEvent[]) {
  const frames = (await collectFrames(encodeChatStream(toStream(events), chatOptions))).map(parseData);
  expect(frames.pop()).toBe('[DONE]');
  const joined = {
    content: '',
    refusal: '',
    reasoning: '',
    calls: [] as { id: string; name: string; arguments: string }[],
    tokens: 0,
    finish: '',
  };
  for (const frame of frames) {
    const chunk: ChatCompletionChunk = JSON.parse(frame);
    const choice = chunk.choices[0];
    if (!choice) continue;
    const delta: Delta = choice.delta;
    for (const text of [delta.content, delta.refusal, delta.reasoning_content])
      expect(text?.isWellFormed()).not.toBe(false);
    joined.content += delta.content ?? '';
    joined.refusal += delta.refusal ?? '';
    joined.reasoning += delta.reasoning_content ?? '';
    joined.finish += choice.finish_reason ?? '';
    joined.tokens += (choice.logprobs?.content?.length ?? 0) + (choice.logprobs?.refusal?.length ?? 0);
    for (const { index, id, function: called } of delta.tool_calls ?? []) {
      const call = joined.calls[index] ?? { id: id ?? '', name: called?.name ?? '', arguments: '' };
      call.arguments += called?.arguments ?? '';
      joined.calls[index] = call;
    }
  }
  return joined;
}

/** Joins the deltas of a response stream by item, as a client does. */
function joinResponseDeltas(events: readonly ResponseStreamEvent[]): string[] {
  const items: string[] = [];
  for (const event of events) {
    if (event.type === 'response.output_item.added') items[event.output_index] = '';
    if (!('delta' in event) || !('output_index' in event) || typeof event.delta !== 'string') continue;
    expect(event.delta.isWellFormed()).toBe(true);
    items[event.output_index] += event.delta;
  }
  return items;
}

function itemTexts({ output }: ResponseObject): string[] {
  return output.map((item) => {
    if (item.type === 'message')
      return item.content.map((part) => (part.type === 'refusal' ? part.refusal : part.text)).join('');
    if (item.type === 'function_call') return item.arguments;
    if (item.type === 'reasoning') return item.summary.map((part) => part.text).join('');
    throw new Error(`Unexpected item type ${item.type}`);
  });
}

describe('encoding any event sequence', () => {
  it('a chat stream’s joined deltas equal the buffered completion and contain all text', async () => {
    await fc.assert(
      fc.asyncProperty(eventSequence, async (events) => {
        const joined = await joinChatDeltas(events);
        const completion = await encodeChatCompletion(toStream(events), chatOptions);
        const choice = completion.choices[0];
        const message = choice?.message;
        expect(joined).toEqual({
          content: message?.content ?? '',
          refusal: message?.refusal ?? '',
          reasoning: message?.reasoning_content ?? '',
          calls: (message?.tool_calls ?? []).map((call) =>
            call.type === 'function'
              ? { id: call.id, name: call.function.name, arguments: call.function.arguments }
              : null,
          ),
          tokens: (choice?.logprobs?.content?.length ?? 0) + (choice?.logprobs?.refusal?.length ?? 0),
          finish: choice?.finish_reason,
        });
        const all = events.map((event) => (event.type === 'text' ? event.text : '')).join('');
        expect(joined.content).toBe(all.toWellFormed());
      }),
      { numRuns: 300 },
    );
  });

  it('a response stream’s joined deltas equal the items of the buffered response', async () => {
    await fc.assert(
      fc.asyncProperty(eventSequence, async (events) => {
        const frames = await collectFrames(encodeResponseStream(toStream(events), responsesOptions()));
        const streamed: ResponseStreamEvent[] = frames.map((frame) => {
          const event: ResponseStreamEvent = JSON.parse(parseData(frame));
          expect(frame.startsWith(`event: ${event.type}\n`)).toBe(true);
          return event;
        });
        const whole = await encodeResponse(toStream(events), responsesOptions());
        const last = streamed.at(-1);
        expect(last && 'response' in last ? last.response : undefined).toEqual(JSON.parse(JSON.stringify(whole)));
        expect(joinResponseDeltas(streamed)).toEqual(itemTexts(whole));
        const done = streamed.flatMap((event) => (event.type === 'response.output_item.done' ? [event] : []));
        expect(done.sort((a, b) => a.output_index - b.output_index).map(({ item }) => item)).toEqual(
          JSON.parse(JSON.stringify(whole.output)),
        );
        const all = events
          .map((event) => (event.type === 'text' || event.type === 'refusal' ? event.text : ''))
          .join('');
        expect(
          whole.output
            .flatMap((item) => (item.type === 'message' ? itemTexts({ ...whole, output: [item] }) : []))
            .join('').length,
        ).toBe(all.length);
      }),
      { numRuns: 300 },
    );
  });

  it('text is encoded unchanged by both APIs, except for unpaired surrogates', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(chunk), async (chunks) => {
        const events = [...textEvents(...chunks), finishEvent()];
        const all = chunks.join('').toWellFormed();
        const response = await encodeResponse(toStream(events), responsesOptions());
        expect(itemTexts(response).join('')).toBe(all);
        expect((await encodeChatCompletion(toStream(events), chatOptions)).choices[0]?.message.content).toBe(all);
      }),
    );
  });

  it('a response that was cut off ends with an error and never looks complete', async () => {
    const cut = new LambentError('upstream_cut', 'secret');
    await fc.assert(
      fc.asyncProperty(eventSequence, fc.boolean(), async (events, thrown) => {
        const incomplete = [...textEvents('Hi'), ...events.slice(0, -1)];
        const stream = () => toStream(incomplete, thrown ? cut : undefined);
        const chat = await collectFrames(encodeChatStream(stream(), chatOptions));
        expect(JSON.parse(parseData(chat.at(-1) ?? ''))).toMatchObject({ error: { code: 'upstream_cut' } });
        expect(chat.join('\n')).not.toMatch(/\[DONE\]|"finish_reason":"|secret/);
        const response = await collectFrames(encodeResponseStream(stream(), responsesOptions()));
        expect(response.at(-2)).toMatch(/^event: error\n/);
        expect(response.at(-1)).toMatch(/^event: response\.failed\n/);
        expect(response.join('\n')).not.toMatch(/event: response\.(completed|incomplete)|secret/);
        const numbers = response.map((frame) => JSON.parse(parseData(frame)).sequence_number);
        expect(numbers).toEqual([...numbers.keys()]);
        await expect(encodeChatCompletion(stream(), chatOptions)).rejects.toMatchObject({ code: 'upstream_cut' });
        await expect(encodeResponse(stream(), responsesOptions())).rejects.toMatchObject({ code: 'upstream_cut' });
      }),
      { numRuns: 100 },
    );
  });
});

describe('encoding streams', () => {
  const encoders = {
    chat: (events: AsyncIterable<GenerationEvent>) => encodeChatStream(events, chatOptions),
    responses: (events: AsyncIterable<GenerationEvent>) => encodeResponseStream(events, responsesOptions()),
  };
  it.each(Object.entries(encoders))(
    'a stream of the %s API reads each event only when its frame is requested',
    async (_, encode) => {
      let made = 0;
      let closed = false;
      const endless = async function* (): AsyncGenerator<GenerationEvent> {
        try {
          for (;;) yield { type: 'text', text: `chunk ${++made}` };
        } finally {
          closed = true;
        }
      };
      const frames = encode(endless());
      for (let taken = 1; taken <= 3; taken += 1) {
        await frames.next();
        expect(made).toBe(taken);
      }
      await frames.return(undefined);
      expect(closed).toBe(true);
    },
  );

  it.each(Object.entries(encoders))(
    'a stream of the %s API that fails before its first event throws',
    async (_, encode) => {
      const failure = new LambentError('overloaded', 'Too much');
      await expect(encode(toStream([], failure)).next()).rejects.toBe(failure);
    },
  );

  it.each(Object.entries(encoders))(
    'a stream of the %s API encodes an exceeded deadline as an error event',
    async (_, encode) => {
      const frames = await collectFrames(
        encode(toStream(textEvents('Hi'), new LambentError('deadline_exceeded', 'The total deadline has passed'))),
      );
      expect(frames.join('\n')).toMatch(/"code":"deadline_exceeded"/);
    },
  );
});
