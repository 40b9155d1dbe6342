import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startUpstream, type Upstream } from '../../../../upstreams/openai-upstream.ts';
import { EVENT_STREAM, encodeEvent, type Reply, streamChunks, streamEvents } from '../../../../upstreams/reply.ts';
import { call, collectOutcome, expectUpstreamError, readRecording, summarize } from './calls.ts';
import { expectOrder, readEvents, readStream, splitAt } from './streams.ts';

let upstream: Upstream;
let reply: Reply;

beforeAll(async () => {
  upstream = await startUpstream(() => reply);
});
afterAll(() => upstream.close());

const usage = (inputTokens: number, cachedInputTokens: number, outputTokens: number, reasoningTokens: number) => ({
  inputTokens,
  cachedInputTokens,
  outputTokens,
  reasoningTokens,
});

it.each([
  ['OpenAI', { prompt_tokens_details: { cached_tokens: 5, cache_write_tokens: 3 } }],
  ['LiteLLM', { prompt_tokens_details: { cached_tokens: 5 }, cache_creation_input_tokens: 3 }],
])('an answer reports the tokens that %s has written to the cache', async (_, details) => {
  reply = {
    body: {
      choices: [{ message: { content: 'ok' }, finish_reason: 'stop' }],
      usage: { prompt_tokens: 9, completion_tokens: 1, ...details },
    },
  };
  const { events } = await call(upstream.baseUrl, { streamed: false });
  expect(events.at(-1)).toMatchObject({ usage: { inputTokens: 9, cachedInputTokens: 5, cacheWriteTokens: 3 } });
});

it.each(['stop_reason', 'matched_stop'])('an answer names the stop sequence in the field %s', async (field) => {
  reply = { body: { choices: [{ message: { content: 'ok' }, finish_reason: 'stop', [field]: 'END' }] } };
  const { events } = await call(upstream.baseUrl, { streamed: false });
  expect(events.at(-1)).toMatchObject({ type: 'finish', stopSequence: 'END' });
});

/** The expected content of each recorded stream, by file name. */
const RECORDINGS = {
  'openai-text': { text: 'Grüße 👋🏽!\n', reason: 'stop', usage: usage(19, 8, 5, 0) },
  'openai-parallel-tools': {
    calls: [
      { id: 'call_DdmO9pD3xa9XTPNJ32zg2hcA', name: 'get_weather', arguments: '{"city":"Zürich"}' },
      { id: 'call_aBcD1234efGH5678ijKL9012', name: 'get_time', arguments: '{}' },
    ],
    reason: 'toolCalls',
    usage: usage(82, 0, 34, 0),
  },
  'openai-refusal': { refusal: "I'm sorry, I can't help with that.", reason: 'stop', usage: undefined },
  'azure-content-filter': { text: 'The first step', reason: 'contentFilter', usage: undefined },
  'deepseek-reasoner': {
    reasoning: '9.11 is 9.11, 9.8 is 9.80…',
    text: '9.8 is greater.',
    reason: 'stop',
    usage: usage(15, 0, 40, 31),
  },
  'deepseek-tools': {
    reasoning: 'I need the date.',
    calls: [{ id: 'call_00_xYz', name: 'get_date', arguments: '{}' }],
    reason: 'toolCalls',
    usage: usage(300, 256, 20, 0),
  },
  'siliconflow-reasoning': { reasoning: '好的，', text: '\n\n你好！', reason: 'stop', usage: usage(9, 0, 7, 3) },
  'vllm-reasoning-tools': {
    reasoning: 'The user wants a sum.',
    calls: [{ id: 'chatcmpl-tool-1f', name: 'add', arguments: '{"a": 1, "b": 2}' }],
    reason: 'toolCalls',
    usage: usage(150, 0, 40, 0),
  },
  'ollama-tools': {
    reasoning: 'Weather, then.',
    calls: [{ id: 'call_2qk1', name: 'get_weather', arguments: '{"city":"Oslo"}' }],
    reason: 'toolCalls',
    usage: usage(26, 0, 12, 0),
  },
  'openrouter-reasoning': { reasoning: 'Short thought.', text: 'Done.', reason: 'stop', usage: usage(11, 3, 9, 5) },
  'mistral-thinking-tools': {
    reasoning: 'Let me look.',
    text: 'Voilà : ',
    calls: [
      { id: 'D681PevKs', name: 'search', arguments: '{"q": "café"}' },
      { id: 'x7Yt2KqLm', name: 'search', arguments: '{"q": "thé"}' },
    ],
    reason: 'toolCalls',
    usage: usage(61, 0, 39, 0),
  },
  'groq-usage': { text: 'Fast.', reason: 'stop', usage: usage(36, 0, 2, 0) },
  'gemini-tools': {
    calls: [
      { id: 'function-call-1', name: 'get_weather', arguments: '{"city":"Rome"}' },
      { id: 'function-call-2', name: 'get_weather', arguments: '{"city":"Bari"}' },
    ],
    reason: 'toolCalls',
    // The total includes 75 thinking tokens that the completion doesn't.
    usage: usage(60, 0, 105, 75),
  },
  'gemini-tools-without-ids': {
    text: 'Looking. ',
    calls: [
      { id: 'id-0', name: 'get_weather', arguments: '{"city":"Rome"}' },
      { id: 'id-1', name: 'get_weather', arguments: '{"city":"Bari"}' },
    ],
    reason: 'toolCalls',
    usage: undefined,
  },
  'local-odd-tools': {
    calls: [
      { id: 'a1', name: 'first', arguments: '{"x":1}' },
      { id: 'a2', name: 'second', arguments: '{}' },
    ],
    reason: 'toolCalls',
    usage: undefined,
  },
  'legacy-function-call': {
    calls: [{ id: 'id-0', name: 'lookup', arguments: '{"id":7}' }],
    reason: 'toolCalls',
    usage: undefined,
  },
  'xai-reasoning-usage': { text: 'Ja', reason: 'length', usage: usage(32, 6, 103, 94) },
  'moonshot-usage-in-choice': { text: 'Kimi', reason: 'stop', usage: usage(8, 4, 1, 0) },
} as const;

const NAMES = Object.keys(RECORDINGS) as (keyof typeof RECORDINGS)[];

describe('a recorded stream', () => {
  it.each(NAMES)('the recorded stream %s is converted', async (name) => {
    reply = { headers: EVENT_STREAM, body: readRecording(name) };
    const { events, error } = await call(upstream.baseUrl);
    expect(error).toBeUndefined();
    expect(summarize(events)).toEqual(RECORDINGS[name]);
    expect(events.filter(({ type }) => type === 'finish')).toHaveLength(1);
    expect(events.at(-1)?.type).toBe('finish');
  });

  it.each(NAMES)('the recorded stream %s gives the same answer if it is requested buffered', async (name) => {
    reply = { headers: EVENT_STREAM, body: readRecording(name) };
    const { events, error } = await call(upstream.baseUrl, { streamed: false });
    expect(error).toBeUndefined();
    expect(summarize(events)).toEqual(RECORDINGS[name]);
  });
});

describe('the chunks of a stream', () => {
  it.each(NAMES)('the recorded stream %s can be split at every byte', async (name) => {
    const bytes = readRecording(name);
    const whole = await readEvents([bytes]);
    for (let at = 1; at < bytes.length; at += 1) {
      expect(await readEvents([bytes.subarray(0, at), bytes.subarray(at)]), `cut at ${at}`).toEqual(whole);
    }
  });

  it('a stream can be split into any chunks, with any line endings, with or without a byte order mark', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...NAMES),
        fc.constantFrom('\n', '\r\n', '\r'),
        fc.constantFrom('', '\uFEFF'),
        fc.array(fc.nat(3_000), { maxLength: 40 }),
        async (name, lineEnd, mark, cuts) => {
          const bytes = Buffer.from(mark + readRecording(name).toString('utf8').replaceAll('\n', lineEnd));
          expect(summarize(await readEvents(splitAt(bytes, cuts)))).toEqual(RECORDINGS[name]);
        },
      ),
      { numRuns: 300 },
    );
  });

  it('a stream can be split into any chunks over a real connection', async () => {
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...NAMES), fc.array(fc.nat(3_000), { maxLength: 12 }), async (name, cuts) => {
        reply = streamChunks(splitAt(readRecording(name), cuts));
        const { events, error } = await call(upstream.baseUrl);
        expect(error).toBeUndefined();
        expect(summarize(events)).toEqual(RECORDINGS[name]);
      }),
      { numRuns: 60 },
    );
  });
});

describe('a streamed answer', () => {
  const createTextChunk = (content: string) => ({ choices: [{ index: 0, delta: { content }, finish_reason: null }] });
  const finished = { choices: [{ index: 0, delta: {}, finish_reason: 'stop' }] };

  it('a streamed answer contains log probabilities and their alternatives', async () => {
    reply = { headers: EVENT_STREAM, body: readRecording('openai-text') };
    const { events } = await call(upstream.baseUrl, { request: { topLogprobs: 2 } });
    const tokens = events.flatMap((event) => (event.type === 'text' ? (event.logprobs ?? []) : []));
    expect(tokens.map(({ token }) => token)).toEqual(['Grüße', ' 👋🏽', '!\n']);
    expect(tokens[0]).toEqual({
      token: 'Grüße',
      logprob: -0.0031,
      bytes: [...Buffer.from('Grüße')],
      alternatives: [
        { token: 'Grüße', logprob: -0.0031, bytes: [...Buffer.from('Grüße')] },
        { token: 'Hallo', logprob: -5.8, bytes: [...Buffer.from('Hallo')] },
      ],
    });
  });

  it('a streamed answer ends its reasoning, with the continuation, before text and tool calls', async () => {
    reply = { headers: EVENT_STREAM, body: readRecording('deepseek-tools') };
    const { events } = await call(upstream.baseUrl);
    expect(events.map(({ type }) => type)).toEqual([
      'reasoning',
      'reasoningEnd',
      'toolCall',
      'toolArguments',
      'toolArguments',
      'finish',
    ]);
    expect(events[1]).toMatchObject({
      continuation: { provider: 'openai-compatible', data: { field: 'reasoning_content' } },
    });
  });

  it('a streamed answer contains the service tier if it is a known one', async () => {
    reply = { headers: EVENT_STREAM, body: readRecording('openai-text') };
    expect((await call(upstream.baseUrl)).events.at(-1)).toMatchObject({ serviceTier: 'default' });
    reply = { headers: EVENT_STREAM, body: readRecording('groq-usage') };
    expect((await call(upstream.baseUrl)).events.at(-1)).not.toHaveProperty('serviceTier');
  });

  it.each([
    ['fast', 'priority'],
    ['ultrafast', 'priority'],
    ['scale', 'default'],
  ])('an answer of the tier %s is of the tier %s', async (service_tier, expected) => {
    const choices = [{ message: { content: 'a' }, finish_reason: 'stop' }];
    reply = { body: { choices, service_tier } };
    const { events } = await call(upstream.baseUrl, { streamed: false });
    expect(events.at(-1)).toMatchObject({ serviceTier: expected });
  });

  it.each([
    ['[DONE] without a finish_reason', [createTextChunk('a'), '[DONE]']],
    ['a finish_reason without [DONE]', [createTextChunk('a'), finished]],
  ])('a streamed answer is complete with %s', async (_, chunks) => {
    reply = streamEvents(chunks);
    const { events, error } = await call(upstream.baseUrl);
    expect(error).toBeUndefined();
    expect(summarize(events)).toMatchObject({ text: 'a', reason: 'stop' });
  });

  it('a streamed answer is complete if the connection breaks after the finish_reason', async () => {
    reply = streamEvents([createTextChunk('a'), finished], 'cut');
    const { events, error } = await call(upstream.baseUrl);
    expect(error).toBeUndefined();
    expect(events.at(-1)).toEqual({ type: 'finish', reason: 'stop', usage: undefined });
  });

  it('a streamed answer is complete if only the blank line after its last event is missing', async () => {
    reply = streamChunks([`data: ${JSON.stringify(createTextChunk('a'))}\n\ndata: ${JSON.stringify(finished)}`]);
    expect((await call(upstream.baseUrl)).error).toBeUndefined();
  });

  it('a streamed answer ignores events after [DONE], in the same packet or in another', async () => {
    const events = [
      createTextChunk('a'),
      finished,
      '[DONE]',
      createTextChunk('b'),
      { error: { message: 'too late' } },
      'garbage',
    ].map(encodeEvent);
    for (const pieces of [events, [events.join('')]]) {
      reply = streamChunks(pieces);
      const outcome = await call(upstream.baseUrl);
      expect(outcome.error).toBeUndefined();
      expect(summarize(outcome.events)).toMatchObject({ text: 'a' });
    }
  });

  it('a streamed answer ignores events after an error, in the same packet or in another', async () => {
    const events = [createTextChunk('a'), { error: { message: 'broken' } }, createTextChunk('b'), '[DONE]'].map(
      encodeEvent,
    );
    for (const pieces of [events, [events.join('')]]) {
      reply = streamChunks(pieces);
      const outcome = await call(upstream.baseUrl);
      expect(expectUpstreamError(outcome).code).toBe('upstream_cut');
      expect(outcome.events).toEqual([{ type: 'text', text: 'a' }]);
    }
  });

  it.each([
    ['ends', undefined],
    ['breaks', 'cut'],
  ] as const)(
    'a streamed answer fails with upstream_cut if the connection %s before finish_reason and [DONE]',
    async (_, ending) => {
      reply = streamEvents([createTextChunk('a'), createTextChunk('b')], ending);
      for (const streamed of [true, false]) {
        const outcome = await call(upstream.baseUrl, { streamed });
        expect(expectUpstreamError(outcome)).toMatchObject({ code: 'upstream_cut', recovery: 'retry' });
        expect(outcome.events.map(({ type }) => type)).toEqual(streamed ? ['text', 'text'] : []);
      }
    },
  );

  it.each([
    ['an empty body', []],
    ['comments only', [': hello\n\n', ': world\n\n']],
    ['half an event', ['data: {"choices":[{"delta":{"content":"lost']],
  ])('a streamed answer fails with upstream_cut if it is %s', async (_, pieces) => {
    reply = streamChunks(pieces);
    expect(expectUpstreamError(await call(upstream.baseUrl)).code).toBe('upstream_cut');
  });

  it.each(['error', 'abort', 'insufficient_system_resource'])(
    'a streamed answer fails with upstream_cut if its finish_reason is %s',
    async (reason) => {
      reply = streamEvents([createTextChunk('a'), { choices: [{ delta: {}, finish_reason: reason }] }, '[DONE]']);
      const outcome = await call(upstream.baseUrl);
      expect(expectUpstreamError(outcome).code).toBe('upstream_cut');
      expect(outcome.events).toEqual([{ type: 'text', text: 'a' }]);
    },
  );

  it('an event that is not JSON is upstream_malformed, and upstream_cut after the first token', async () => {
    reply = streamEvents(['<oops>', '[DONE]']);
    expect(expectUpstreamError(await call(upstream.baseUrl)).code).toBe('upstream_malformed');
    reply = streamEvents([createTextChunk('a'), '<oops>', '[DONE]']);
    const outcome = await call(upstream.baseUrl);
    expect(expectUpstreamError(outcome)).toMatchObject({ code: 'upstream_cut', cause: { code: 'upstream_malformed' } });
    expect(outcome.events).toEqual([{ type: 'text', text: 'a' }]);
  });

  it.each([true, false])('calls of custom tools become calls of functions (streamed: %s)', async (streamed) => {
    const first = { id: 'c0', type: 'custom', custom: { name: 'edit', input: streamed ? 'a "' : 'a "b"\n' } };
    const second = { id: 'c1', type: 'custom', custom: { name: 'note', input: '' } };
    const delta = (...calls: object[]) => ({ choices: [{ delta: { tool_calls: calls } }] });
    reply = streamed
      ? streamEvents([
          delta({ index: 0, ...first }),
          delta({ index: 0, custom: { input: 'b"\n' } }, { index: 1, ...second }),
          { choices: [{ delta: {}, finish_reason: 'tool_calls' }] },
          '[DONE]',
        ])
      : { body: { choices: [{ message: { tool_calls: [first, second] }, finish_reason: 'tool_calls' }] } };
    const { events } = await call(upstream.baseUrl, { streamed });
    expect(summarize(events)).toMatchObject({
      calls: [
        { id: 'c0', name: 'edit', arguments: JSON.stringify({ input: 'a "b"\n' }) },
        { id: 'c1', name: 'note', arguments: JSON.stringify({ input: '' }) },
      ],
    });
  });

  it('a tool call without a name fails with upstream_malformed', async () => {
    reply = streamEvents([{ choices: [{ delta: { tool_calls: [{ index: 0, id: 'x' }] } }] }, '[DONE]']);
    expect(expectUpstreamError(await call(upstream.baseUrl)).code).toBe('upstream_malformed');
  });

  it('tool calls are numbered 0, 1, 2 whatever the upstream’s numbers and the order of fragments', async () => {
    const fragment = (index: unknown, text: string, name?: string) => ({
      choices: [{ delta: { tool_calls: [{ index, ...(name && { id: name }), function: { name, arguments: text } }] } }],
    });
    const chunks = [fragment(3, '[', 'a'), fragment('7', '{', 'b'), fragment(3, ']'), fragment('7', '}'), '[DONE]'];
    reply = streamEvents(chunks);
    const { events } = await call(upstream.baseUrl);
    expect(events.flatMap((event) => (event.type === 'toolCall' ? [event.index] : []))).toEqual([0, 1]);
    expect(summarize(events).calls?.map((made) => made.arguments)).toEqual(['[]', '{}']);
  });

  it('a tool call is kept together if its fragments have different ids or repeat the name', async () => {
    const fragment = (call: object) => ({ choices: [{ delta: { tool_calls: [call] } }] });
    reply = streamEvents([
      fragment({ index: 0, id: 'one', function: { name: 'f', arguments: '{"a"' } }),
      fragment({ index: 0, id: 'other', function: { arguments: ':' } }),
      fragment({ index: 0, id: 'one', function: { name: 'f', arguments: '1}' } }),
      '[DONE]',
    ]);
    const { events } = await call(upstream.baseUrl);
    expect(summarize(events).calls).toEqual([{ id: 'one', name: 'f', arguments: '{"a":1}' }]);
  });
});

describe('an error in a 200 response', () => {
  const chunk = { choices: [{ index: 0, delta: { role: 'assistant', content: '' }, finish_reason: null }] };

  it.each([
    [{ error: { message: 'slow down', type: 'rate_limit_error', code: null } }, 'rate_limit_exceeded', 'retry'],
    [{ error: { message: 'bad', code: 400 } }, 'upstream_rejected', 'fail'],
    [{ error: { message: 'no key', code: 401 } }, 'upstream_misconfigured', 'nextTarget'],
    [{ error: { message: 'pay', code: 402 } }, 'insufficient_quota', 'nextTarget'],
    [{ error: 'something broke' }, 'upstream_unavailable', 'retry'],
    [{ object: 'error', message: 'too long', type: 'BadRequestError', code: 400 }, 'upstream_rejected', 'fail'],
    [{ error: { message: 'x', type: 'overloaded_error' } }, 'upstream_unavailable', 'retry'],
    [
      { error: { message: "This model's maximum context length is 8192 tokens.", code: 'context_length_exceeded' } },
      'context_length_exceeded',
      'fail',
    ],
  ])('an error in a 200 response before the first token is mapped: %j', async (body, code, recovery) => {
    reply = streamEvents([chunk, body]);
    expect(expectUpstreamError(await call(upstream.baseUrl))).toMatchObject({ code, recovery });
    reply = { body };
    expect(expectUpstreamError(await call(upstream.baseUrl, { streamed: false }))).toMatchObject({ code, recovery });
  });

  it('an error in a stream may have the event name "error"', async () => {
    reply = streamChunks(['event: error\ndata: {"message":"slow down","code":"429"}\n\n']);
    expect(expectUpstreamError(await call(upstream.baseUrl)).code).toBe('rate_limit_exceeded');
  });

  it('an error in a stream after the first token becomes upstream_cut, with the error as its cause', async () => {
    reply = { headers: EVENT_STREAM, body: readRecording('openrouter-error-in-band') };
    const outcome = await call(upstream.baseUrl);
    expect(outcome.events).toEqual([{ type: 'text', text: 'Half an' }]);
    expect(expectUpstreamError(outcome)).toMatchObject({
      code: 'upstream_cut',
      cause: { code: 'upstream_unavailable' },
    });
  });
});

describe('a buffered answer', () => {
  const createCompletion = (message: object, rest: object = {}) => ({
    choices: [{ index: 0, message: { role: 'assistant', ...message }, finish_reason: 'stop', ...rest }],
    usage: { prompt_tokens: 3, completion_tokens: 2, total_tokens: 5 },
  });

  it('a buffered answer contains everything that a stream contains', async () => {
    reply = {
      body: createCompletion({
        content: 'Hi',
        reasoning_content: 'Hm.',
        tool_calls: [{ id: 'c', type: 'function', function: { name: 'f', arguments: '{"a":1}' } }],
      }),
    };
    const { events } = await call(upstream.baseUrl, { streamed: false });
    expect(summarize(events)).toEqual({
      reasoning: 'Hm.',
      text: 'Hi',
      calls: [{ id: 'c', name: 'f', arguments: '{"a":1}' }],
      reason: 'toolCalls',
      usage: usage(3, 0, 2, 0),
    });
  });

  it('a buffered answer is accepted if a stream was requested', async () => {
    reply = { body: createCompletion({ content: 'Hi' }) };
    expect(summarize((await call(upstream.baseUrl)).events)).toMatchObject({ text: 'Hi', reason: 'stop' });
  });

  it.each([
    ['a page', { headers: { 'content-type': 'text/html' }, body: '<html>Sign in</html>' }],
    ['not JSON', { headers: { 'content-type': 'application/json' }, body: 'OK' }],
    ['half of a JSON object', { headers: { 'content-type': 'application/json' }, body: '{"choices":[{"mess' }],
    ['a JSON array', { body: ['a'] }],
    ['without choices', { body: { id: 'x' } }],
  ])('a buffered answer fails with upstream_malformed if it is %s', async (_, answer) => {
    reply = answer;
    expect(expectUpstreamError(await call(upstream.baseUrl, { streamed: false })).code).toBe('upstream_malformed');
  });

  it('an HTML page fails with upstream_malformed even if a stream was requested', async () => {
    reply = { headers: { 'content-type': 'text/html; charset=utf-8' }, body: '<html>Sign in</html>' };
    expect(expectUpstreamError(await call(upstream.baseUrl)).code).toBe('upstream_malformed');
  });

  it('a buffered answer fails with upstream_cut if the connection breaks in the middle', async () => {
    reply = {
      headers: { 'content-type': 'application/json', 'content-length': '500' },
      steps: [{ send: '{"choices":[' }, 'cut'],
    };
    const outcome = await call(upstream.baseUrl, { streamed: false });
    expect(expectUpstreamError(outcome)).toMatchObject({ code: 'upstream_cut', recovery: 'retry' });
  });
});

it('any JSON from an upstream leads to a finish event or an UpstreamError', async () => {
  const word = fc.constantFrom(
    ...[
      'choices',
      'delta',
      'message',
      'content',
      'tool_calls',
      'function',
      'arguments',
      'name',
      'id',
      'index',
      'error',
    ],
    ...[
      'finish_reason',
      'usage',
      'prompt_tokens',
      'logprobs',
      'reasoning',
      'refusal',
      'type',
      'text',
      'thinking',
      'code',
    ],
  );
  const { value } = fc.letrec<{ value: unknown }>((tie) => ({
    value: fc.oneof(
      { depthSize: 'medium', withCrossShrink: true },
      fc.oneof(fc.string(), fc.integer(), fc.constantFrom(null, true, 0.5, 'stop', 'thinking')),
      fc.array(tie('value'), { maxLength: 3 }),
      fc.dictionary(word, tie('value'), { maxKeys: 6 }),
    ),
  }));
  const chunk = fc.oneof(
    value,
    fc.record({
      choices: fc.array(fc.record({ delta: value, message: value, finish_reason: value, logprobs: value }), {
        maxLength: 2,
      }),
    }),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(chunk, { maxLength: 5 }), fc.boolean(), async (chunks, done) => {
      const text = [...chunks, ...(done ? ['[DONE]'] : [])].map((data) => `data: ${JSON.stringify(data)}\n\n`).join('');
      const outcome = await collectOutcome(readStream([Buffer.from(text)]));
      if (outcome.error === undefined) expect(outcome.events.at(-1)?.type).toBe('finish');
      else expectUpstreamError(outcome);
      expectOrder(outcome.events);
    }),
    { numRuns: 1_000 },
  );
});

it('tool calls are numbered in the order in which they are named', async () => {
  const fragment = (index: number, definition: object) => ({
    choices: [{ delta: { tool_calls: [{ index, function: definition }] } }],
  });
  const chunks = [
    fragment(0, { arguments: '{"a":1}' }),
    fragment(1, { name: 'second', arguments: '{"b":2}' }),
    fragment(0, { name: 'first' }),
    { choices: [{ delta: {}, finish_reason: 'tool_calls' }] },
  ];
  const events = await readEvents([Buffer.from(chunks.map((data) => `data: ${JSON.stringify(data)}\n\n`).join(''))]);
  expectOrder(events);
  expect(summarize(events).calls).toEqual([
    { id: expect.any(String), name: 'second', arguments: '{"b":2}' },
    { id: expect.any(String), name: 'first', arguments: '{"a":1}' },
  ]);
});

it('no call begins at another number than 0 if an earlier call has no name', async () => {
  const calls = [{ arguments: {} }, { name: ' ' }];
  const answer = { choices: [{ delta: null, message: { tool_calls: calls }, finish_reason: null, logprobs: 0 }] };
  const outcome = await collectOutcome(readStream([Buffer.from(`data: ${JSON.stringify(answer)}\n\n`)]));
  expectUpstreamError(outcome);
  expectOrder(outcome.events);
});
