import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { startUpstream, type Upstream } from '../../../../upstreams/openai-upstream.ts';
import { EVENT_STREAM, encodeEvent, type Reply, streamChunks, streamEvents } from '../../../../upstreams/reply.ts';
import { type CallOptions, call, collectOutcome, expectUpstreamError, summarize } from './calls.ts';
import { readEvents, readStream } from './streams.ts';

let upstream: Upstream;
let reply: Reply;

beforeAll(async () => {
  upstream = await startUpstream(() => reply);
});
afterAll(() => upstream.close());

const delta = (content: object, reason: string | null = null) => ({
  choices: [{ index: 0, delta: content, finish_reason: reason }],
});
const text = (content: string, reason: string | null = null) => delta({ content }, reason);
const toolCall = (fragment: object, reason: string | null = null) => delta({ tool_calls: [fragment] }, reason);
const buffered: CallOptions = { streamed: false };

async function callWith(answer: Reply, options?: CallOptions) {
  reply = answer;
  return await call(upstream.baseUrl, options);
}

/** Reads chunks between which time passes. */
async function readSlowly(steps: readonly (object | string | number)[]) {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  try {
    let closed = false;
    async function* send() {
      for (const step of steps) {
        if (typeof step !== 'number') yield Buffer.from(encodeEvent(step));
        else await vi.advanceTimersByTimeAsync(step);
        if (closed) throw new Error('Premature close');
      }
    }
    return await collectOutcome(readStream(send(), { close: () => (closed = true) }));
  } finally {
    vi.useRealTimers();
  }
}

describe('the finish_reason of a stream', () => {
  it('an answer with a finish_reason in every chunk is read to its end, however slow it is', async () => {
    const chunks = [text('one ', 'stop'), 9_000, text('two ', 'stop'), 9_000, text('three', 'stop'), 9_000, '[DONE]'];
    const { events, error } = await readSlowly(chunks);
    expect(error).toBeUndefined();
    expect(summarize(events)).toMatchObject({ text: 'one two three', reason: 'stop' });
  });

  it('an answer is no whole one if its upstream goes silent after a finish_reason that came with content', async () => {
    const { events, error } = await readSlowly([text('one ', 'stop'), 31_000, text('two', 'stop'), '[DONE]']);
    expect(error).toMatchObject({ code: 'upstream_cut' });
    expect(events).toEqual([{ type: 'text', text: 'one ' }]);
  });

  it('an answer is no whole one if its upstream goes silent after content that followed a finish_reason', async () => {
    const chunks = [text('one '), delta({}, 'stop'), text('two '), delta({}, 'stop'), 31_000, '[DONE]'];
    expect((await readSlowly(chunks)).error).toMatchObject({ code: 'upstream_cut' });
  });

  it('an answer with a finish_reason by itself is whole after 3 s of silence', async () => {
    const { events, error } = await readSlowly([text('one'), delta({}, 'stop'), 3_100, '[DONE]']);
    expect(error).toBeUndefined();
    expect(summarize(events)).toMatchObject({ text: 'one', reason: 'stop' });
  });

  it('an answer is cut if its stream ends after content that followed the finish_reason', async () => {
    for (const ending of [undefined, 'cut'] as const) {
      const outcome = await callWith(streamEvents([text('one '), delta({}, 'stop'), text('two')], ending));
      expect(expectUpstreamError(outcome).code).toBe('upstream_cut');
    }
  });

  it('an answer is cut if its connection breaks after content with a finish_reason', async () => {
    const outcome = await callWith(streamEvents([text('one ', 'stop')], 'cut'));
    expect(expectUpstreamError(outcome).code).toBe('upstream_cut');
  });

  it.each([
    ['length', 'stop', 'length'],
    ['content_filter', 'stop', 'contentFilter'],
    ['stop', 'length', 'length'],
    ['null', 'stop', 'stop'],
  ])('of the finish_reasons %s and %s, %s counts', async (first, second, reason) => {
    const { events } = await callWith(streamEvents([text('a'), delta({}, first), delta({}, second), '[DONE]']));
    expect(summarize(events).reason).toBe(reason);
  });

  it.each(['MALFORMED_FUNCTION_CALL', 'function_call_filter: MALFORMED_FUNCTION_CALL', 'timeout'])(
    'an answer with the finish_reason %s is cut, even if another follows',
    async (reason) => {
      const outcome = await callWith(streamEvents([text('a'), delta({}, reason), delta({}, 'stop'), '[DONE]']));
      expect(expectUpstreamError(outcome).code).toBe('upstream_cut');
    },
  );

  it('a stream without a finish_reason is cut if its [DONE] comes in the middle of a call or of reasoning', async () => {
    const half = toolCall({ index: 0, id: 'c', function: { name: 'f', arguments: '{"a":' } });
    for (const chunk of [half, delta({ reasoning_content: 'Hm' }), text('<think>Hm')]) {
      const outcome = await callWith(streamEvents([chunk, '[DONE]']));
      expect(expectUpstreamError(outcome).code).toBe('upstream_cut');
    }
  });
});

describe('an answer without content', () => {
  const empty = [
    ['no choice', { choices: [], usage: { prompt_tokens: 12, completion_tokens: 0 } }],
    ['a choice without message and finish_reason', { choices: [{ index: 0 }] }],
    ['an empty message without finish_reason', { choices: [{ message: { content: '' }, finish_reason: null }] }],
  ] as const;

  it.each(empty)('%s in a body is upstream_malformed and tried once more', async (_, body) => {
    const error = expectUpstreamError(await callWith({ body }, buffered));
    expect(error).toMatchObject({ code: 'upstream_malformed', recovery: 'retryOnce' });
  });

  it.each(empty)('%s in a stream is upstream_malformed and tried once more', async (_, body) => {
    const error = expectUpstreamError(await callWith(streamEvents([body, '[DONE]'])));
    expect(error).toMatchObject({ code: 'upstream_malformed', recovery: 'retryOnce' });
  });

  it('a regular end without text is passed on', async () => {
    const body = { choices: [{ index: 0, message: { role: 'assistant', content: null }, finish_reason: 'stop' }] };
    expect(summarize((await callWith({ body }, buffered)).events)).toEqual({ reason: 'stop', usage: undefined });
    const stream = streamEvents([delta({ role: 'assistant' }), delta({}, 'content_filter'), '[DONE]']);
    expect(summarize((await callWith(stream)).events)).toEqual({ reason: 'contentFilter', usage: undefined });
  });
});

describe('tool calls', () => {
  const read = async (...chunks: readonly (object | string)[]) => {
    const tools = ['get_time', 'get_weather', 'get_weather_report'];
    const events = await readEvents(
      [...chunks, '[DONE]'].map((chunk) => Buffer.from(encodeEvent(chunk))),
      { tools },
    );
    return summarize(events).calls;
  };
  const end = delta({}, 'tool_calls');

  it('two calls that are numbered 0 and have no ids stay two', async () => {
    const made = await read(
      toolCall({ index: 0, id: '', function: { name: 'get_weather', arguments: '{"city":"Oslo"}' } }),
      toolCall({ index: 0, id: '', function: { name: 'get_time', arguments: '{}' } }),
      end,
    );
    expect(made).toEqual([
      { id: 'id-0', name: 'get_weather', arguments: '{"city":"Oslo"}' },
      { id: 'id-1', name: 'get_time', arguments: '{}' },
    ]);
  });

  it('a name that comes in pieces is joined, even if a piece is the name of another tool', async () => {
    for (const [first, second] of [
      ['get_wea', 'ther_report'],
      ['get_weather', '_report'],
      ['get_wea', 'get_weather_report'],
    ]) {
      const made = await read(
        toolCall({ index: 0, id: 'a', function: { name: first, arguments: '' } }),
        toolCall({ index: 0, function: { name: second, arguments: '' } }),
        toolCall({ index: 0, function: { arguments: '{}' } }),
        end,
      );
      expect(made).toEqual([{ id: 'a', name: 'get_weather_report', arguments: '{}' }]);
    }
  });

  it('a known name is passed on at once, before arguments come', async () => {
    const chunk = toolCall({ index: 0, id: 'a', function: { name: 'get_time', arguments: '' } });
    const answer = readStream([Buffer.from(encodeEvent(chunk))], { tools: ['get_time', 'get_weather'] });
    expect((await answer.next()).value).toMatchObject({ type: 'toolCall', name: 'get_time' });
    await answer.return(undefined);
  });

  it('a name that no tool has is passed on as the model wrote it', async () => {
    const made = await read(
      toolCall({ index: 0, id: 'a', function: { name: 'functions.get_time', arguments: '' } }),
      end,
    );
    expect(made).toEqual([{ id: 'a', name: 'functions.get_time', arguments: '{}' }]);
  });

  it('calls with the same id get ids of their own', async () => {
    const made = await read(
      toolCall({ index: 0, id: 'x', function: { name: 'get_time', arguments: '{"a":1}' } }),
      toolCall({ index: 1, id: 'x', function: { name: 'get_time', arguments: '{"a":2}' } }),
      end,
    );
    expect(made?.map(({ id, arguments: text }) => [id, text])).toEqual([
      ['x', '{"a":1}'],
      ['id-0', '{"a":2}'],
    ]);
  });

  it('a complete call that is repeated at the end counts once', async () => {
    const whole = { index: 0, id: 'x', function: { name: 'get_time', arguments: '{"a":1}' } };
    const made = await read(
      toolCall({ index: 0, id: 'x', function: { name: 'get_time', arguments: '{"a"' } }),
      toolCall({ index: 0, function: { arguments: ':1}' } }),
      toolCall(whole, 'tool_calls'),
    );
    expect(made).toEqual([{ id: 'x', name: 'get_time', arguments: '{"a":1}' }]);
  });

  it('each element of a buffered message is a call, even if all are equal', async () => {
    const roll = { index: 0, function: { name: 'roll', arguments: '' } };
    const body = { choices: [{ message: { tool_calls: [roll, roll] }, finish_reason: 'tool_calls' }] };
    expect(summarize((await callWith({ body }, buffered)).events).calls).toHaveLength(2);
  });
});

describe('a message that repeats the deltas', () => {
  const words = ['The first of four words, ', 'the second, ', 'the third ', 'and the last.'];

  it.each([
    ['a message', { choices: [{ message: { content: words.join('') }, finish_reason: 'stop' }] }],
    ['a delta', text(words.join(''), 'stop')],
  ])('text that is repeated in %s at the end counts once', async (_, last) => {
    const { events } = await callWith(streamEvents([...words.map((word) => text(word)), last, '[DONE]']));
    expect(summarize(events)).toMatchObject({ text: words.join(''), reason: 'stop' });
  });

  it('text that only the last message has is not lost', async () => {
    const last = { choices: [{ message: { content: 'all of it' }, finish_reason: 'stop' }] };
    const { events } = await callWith(streamEvents([delta({ role: 'assistant' }), last, '[DONE]']));
    expect(summarize(events)).toMatchObject({ text: 'all of it' });
  });

  it('a model that repeats itself is not corrected', async () => {
    const { events } = await callWith(streamEvents([text('ha'), text('ha'), text('haha', 'stop'), '[DONE]']));
    expect(summarize(events)).toMatchObject({ text: 'hahahaha' });
  });
});

describe('an error without framing', () => {
  const error = { error: { message: 'slow down', type: 'rate_limit_error', code: 429 } };
  const errors = [
    ['a line', `${JSON.stringify(error)}\n`],
    ['a line that ends with the body', JSON.stringify(error)],
    ['several lines', JSON.stringify(error, undefined, 2)],
    ['an array', JSON.stringify([error])],
  ] as const;

  it.each(errors)('an error in %s is found in a stream, split anywhere', async (_, body) => {
    for (let at = 1; at < body.length; at += 1) {
      const outcome = await collectOutcome(readStream([Buffer.from(body.slice(0, at)), Buffer.from(body.slice(at))]));
      expect(expectUpstreamError(outcome)).toMatchObject({ code: 'rate_limit_exceeded', recovery: 'retry' });
    }
  });

  it.each(errors)('an error in %s after the first token becomes upstream_cut', async (_, body) => {
    const outcome = await callWith(streamChunks([encodeEvent(text('a')), body]));
    expect(expectUpstreamError(outcome)).toMatchObject({
      code: 'upstream_cut',
      cause: { code: 'rate_limit_exceeded' },
    });
  });

  it('the text of an error event needs no JSON', async () => {
    const outcome = await callWith(streamChunks(['event: error\ndata: Internal Server Error\n\n']));
    expect(expectUpstreamError(outcome)).toMatchObject({ code: 'upstream_unavailable', recovery: 'retry' });
  });

  it.each([
    [{ base_resp: { status_code: 1002, status_msg: 'rate limit' }, choices: null }, 'rate_limit_exceeded'],
    [{ base_resp: { status_code: 1008, status_msg: 'insufficient balance' } }, 'insufficient_quota'],
    [{ base_resp: { status_code: 1027, status_msg: 'sensitive output' } }, 'content_filter'],
    [{ code: 500, msg: 'broken', success: false }, 'upstream_unavailable'],
    [{ errors: [{ message: 'broken', code: 401 }] }, 'upstream_misconfigured'],
  ])('the error %j in a 200 response is found', async (body, code) => {
    expect(expectUpstreamError(await callWith({ body }, buffered)).code).toBe(code);
    expect(expectUpstreamError(await callWith(streamEvents([body]))).code).toBe(code);
  });
});

describe('the form of a body', () => {
  const chunks = [text('a'), text('b'), delta({}, 'stop')];

  it.each(['application/x-ndjson', 'application/jsonl', 'text/event-stream', 'text/plain'])(
    'lines of JSON are a stream with the content type %s',
    async (type) => {
      const lines = chunks.map((chunk) => `${JSON.stringify(chunk)}\n`);
      const { events, error } = await callWith({ ...streamChunks(lines), headers: { 'content-type': type } });
      expect(error).toBeUndefined();
      expect(summarize(events)).toMatchObject({ text: 'ab', reason: 'stop' });
    },
  );

  it('a stream with the content type of JSON is read', async () => {
    const body = [...chunks, '[DONE]'].map(encodeEvent).join('');
    for (const streamed of [true, false]) {
      const { events } = await callWith({ headers: { 'content-type': 'application/json' }, body }, { streamed });
      expect(summarize(events)).toMatchObject({ text: 'ab', reason: 'stop' });
    }
  });

  it('a completion with the content type of a stream is read', async () => {
    const body = JSON.stringify({ choices: [{ message: { content: 'whole' }, finish_reason: 'stop' }] });
    const { events } = await callWith({ headers: EVENT_STREAM, body });
    expect(summarize(events)).toMatchObject({ text: 'whole', reason: 'stop' });
  });
});

describe('usage', () => {
  const all = { cached: 0, input: 240, output: 9, reasoning: 0, written: undefined as number | undefined };
  it.each([
    ['OpenAI', { prompt_tokens: 240, completion_tokens: 9, total_tokens: 249 }, all],
    ['input_tokens', { input_tokens: 240, output_tokens: 9, total_tokens: 249 }, all],
    ['strings', { prompt_tokens: '240', completion_tokens: '9' }, all],
    ['nulls', { prompt_tokens: 240, completion_tokens: 9, prompt_tokens_details: null, cached_tokens: null }, all],
    ['no completion', { prompt_tokens: 240, total_tokens: 249 }, all],
    [
      'Gemini',
      { promptTokenCount: 240, candidatesTokenCount: 4, thoughtsTokenCount: 5, totalTokenCount: 249 },
      { ...all, reasoning: 5 },
    ],
    [
      'the rest of the total',
      { prompt_tokens: 240, completion_tokens: 4, total_tokens: 249 },
      { ...all, reasoning: 5 },
    ],
    [
      'cached left out',
      { prompt_tokens: 140, completion_tokens: 9, total_tokens: 249, prompt_tokens_details: { cached_tokens: 100 } },
      { ...all, cached: 100 },
    ],
    [
      'more cached than input',
      { prompt_tokens: 40, completion_tokens: 9, prompt_tokens_details: { cached_tokens: 200 } },
      { ...all, cached: 200 },
    ],
    [
      'Anthropic',
      { input_tokens: 40, output_tokens: 9, cache_read_input_tokens: 150, cache_creation_input_tokens: 50 },
      { ...all, cached: 150, written: 50 },
    ],
    [
      'Anthropic by time',
      {
        input_tokens: 140,
        output_tokens: 9,
        cache_creation: { ephemeral_5m_input_tokens: 70, ephemeral_1h_input_tokens: 30 },
      },
      { ...all, written: 100 },
    ],
    [
      'Responses',
      {
        input_tokens: 240,
        output_tokens: 9,
        input_tokens_details: { cached_tokens: 150 },
        output_tokens_details: { reasoning_tokens: 3 },
      },
      { ...all, cached: 150, reasoning: 3 },
    ],
    [
      'DeepSeek',
      { prompt_cache_hit_tokens: 200, prompt_cache_miss_tokens: 40, completion_tokens: 9 },
      { ...all, cached: 200 },
    ],
    [
      'LiteLLM',
      {
        prompt_tokens: 240,
        completion_tokens: 9,
        total_tokens: 249,
        cache_read_input_tokens: 20,
        cache_creation_input_tokens: 5,
      },
      { ...all, cached: 20, written: 5 },
    ],
    [
      'reasoning left out',
      { prompt_tokens: 240, completion_tokens: 2, completion_tokens_details: { reasoning_tokens: 7 } },
      { ...all, reasoning: 7 },
    ],
  ])('usage in the form of %s is read', async (_, usage, expected) => {
    const body = { choices: [{ message: { content: 'Hi' }, finish_reason: 'stop' }], usage };
    const { usage: read } = summarize((await callWith({ body }, buffered)).events);
    expect(read).toEqual({
      inputTokens: expected.input,
      cachedInputTokens: expected.cached,
      ...(expected.written !== undefined && { cacheWriteTokens: expected.written }),
      ...(expected.written === 100 && { hourCacheWriteTokens: 30 }),
      outputTokens: expected.output,
      reasoningTokens: expected.reasoning,
    });
  });

  it.each([[{ total_tokens: 249 }], [{ completion_tokens: 9 }], [{}], ['none']])(
    'usage without input tokens is not reported: %j',
    async (usage) => {
      const body = { choices: [{ message: { content: 'Hi' }, finish_reason: 'stop' }], usage };
      expect(summarize((await callWith({ body }, buffered)).events).usage).toBeUndefined();
    },
  );

  it('the last usage of a stream counts, wherever it is, but not one of zeros', async () => {
    const counts = (output: number) => ({ prompt_tokens: 5, completion_tokens: output });
    const chunks = [
      { ...text('a'), usage: counts(1) },
      { choices: [{ delta: { content: 'b' }, usage: counts(2) }] },
      { ...delta({}, 'stop'), x_groq: { usage: counts(3) } },
      { choices: [], usage: { prompt_tokens: 0, completion_tokens: 0, total_tokens: 0 } },
      '[DONE]',
    ];
    const { events } = await callWith(streamEvents(chunks));
    expect(summarize(events).usage).toMatchObject({ inputTokens: 5, outputTokens: 3 });
  });
});
