import { zodResponseFormat } from 'openai/helpers/zod';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { UpstreamError } from '../../../shared/inference/model.ts';
import { finishEvent, textEvents, tokenLogprob, toolCallEvents } from '../openai/events.ts';
import { type Script, startService } from './service.ts';

const QUESTION = { model: 'default', messages: [{ role: 'user' as const, content: 'Say it' }] };
const CUT = new UpstreamError('upstream_cut', 'The connection broke', { recovery: 'fail' });

const EDIT = {
  type: 'custom' as const,
  custom: {
    name: 'edit',
    description: 'Edits.',
    format: { type: 'grammar' as const, grammar: { syntax: 'regex' as const, definition: 'a+' } },
  },
};

/** Requests the same completion buffered and streamed, and returns both as the official client parses them. */
async function requestBothWays(script: Script, more: object = {}) {
  await using service = await startService([script, script]);
  const buffered = await service.client.chat.completions.create({ ...QUESTION, ...more });
  const streamed = await service.client.chat.completions
    .stream({ ...QUESTION, ...more, stream_options: { include_usage: true } })
    .finalChatCompletion();
  return { buffered, streamed };
}

/** Removes fields that differ between two completions, and those that the client adds. */
function normalize(completion: object): unknown {
  return JSON.parse(
    JSON.stringify(completion, (key, value) =>
      ['id', 'object', 'parsed', 'parsed_arguments', 'reasoning_content'].includes(key) ? undefined : value,
    ),
  );
}

describe('chat completions with the official client', () => {
  const cases: Record<string, { script: Script; more?: object }> = {
    text: { script: [...textEvents('Hel', 'lo, ', 'world'), finishEvent()] },
    'an empty response': { script: [finishEvent()] },
    'reasoning that reached the output limit': { script: [{ type: 'reasoning', text: 'Hm' }, finishEvent('length')] },
    'a refusal': {
      script: [{ type: 'refusal', text: "I can't" }, { type: 'refusal', text: ' do that' }, finishEvent()],
    },
    'parallel tool calls': {
      script: [
        ...textEvents('Let me see.'),
        ...toolCallEvents(0, 'weather', '{"city":', '"Rome"}'),
        ...toolCallEvents(1, 'time', '{', '}'),
        finishEvent('toolCalls'),
      ],
    },
    'interleaved tool calls': {
      script: [
        ...toolCallEvents(0, 'weather', '{"a'),
        ...toolCallEvents(1, 'time', '{"c'),
        { type: 'toolArguments', index: 0, fragment: 'b":1}' },
        { type: 'toolArguments', index: 1, fragment: 'd":2}' },
        finishEvent('toolCalls'),
      ],
    },
    'calls of a custom tool and of a function': {
      script: [
        ...toolCallEvents(0, 'edit', '{"input":"a\\n', '\\ud83d', '\\ude00"}'),
        ...toolCallEvents(1, 'time', '{}'),
        finishEvent('toolCalls'),
      ],
      more: { tools: [EDIT] },
    },
    'log probabilities': {
      script: [
        { type: 'text', text: 'Hi', logprobs: [tokenLogprob('H'), tokenLogprob('i')] },
        { type: 'text', text: '!', logprobs: [tokenLogprob('!')] },
        finishEvent(),
      ],
      more: { logprobs: true, top_logprobs: 1 },
    },
    'text that reached the output limit': { script: [...textEvents('Once upon'), finishEvent('length')] },
    'text that was filtered': { script: [...textEvents('Well'), finishEvent('contentFilter')] },
    'a character that was split between chunks': { script: [...textEvents('smile \ud83d', '\ude00!'), finishEvent()] },
  };
  for (const [name, { script, more }] of Object.entries(cases)) {
    it(`a streamed chat completion equals a buffered one: ${name}`, async () => {
      const { buffered, streamed } = await requestBothWays(script, more);
      expect(normalize(streamed)).toEqual(normalize(buffered));
    });
  }

  it('a call of a custom tool has its text, and is accepted back', async () => {
    const script = [...toolCallEvents(0, 'edit', '{"input":"a\\nb"}'), finishEvent('toolCalls')];
    await using service = await startService([script, [...textEvents('Done'), finishEvent()]]);
    const request = { ...QUESTION, tools: [EDIT], tool_choice: { type: 'custom' as const, custom: { name: 'edit' } } };
    const message = (await service.client.chat.completions.create(request)).choices[0]?.message;
    expect(message?.tool_calls).toEqual([{ id: 'call_0', type: 'custom', custom: { name: 'edit', input: 'a\nb' } }]);
    if (message === undefined) return;
    const file = { filename: 'a.md', file_data: 'data:text/markdown;base64,IyBB' };
    await service.client.chat.completions.create({
      ...request,
      messages: [
        { role: 'user', content: [{ type: 'file', file }] },
        message,
        { role: 'tool', tool_call_id: 'call_0', content: 'edited' },
      ],
    });
    const [first, second] = service.generationRequests;
    expect(first).toMatchObject({
      tools: [{ name: 'edit', custom: { description: 'Edits.', grammar: { syntax: 'regex', definition: 'a+' } } }],
      toolChoice: { name: 'edit' },
    });
    expect(second?.messages).toMatchObject([
      { content: [{ type: 'document', mediaType: 'text/plain', text: '# A', title: 'a.md' }] },
      { content: [{ type: 'toolCall', name: 'edit', arguments: '{"input":"a\\nb"}', isCustom: true }] },
      { role: 'tool', toolCallId: 'call_0' },
    ]);
  });

  it('a chat completion has its id, usage, finish reason and fingerprint', async () => {
    const { buffered, streamed } = await requestBothWays([...textEvents('Hello'), finishEvent()]);
    for (const completion of [buffered, streamed]) {
      expect(completion).toMatchObject({
        model: 'default',
        created: 1_700_000_000,
        object: 'chat.completion',
        choices: [{ finish_reason: 'stop', message: { role: 'assistant', content: 'Hello', refusal: null } }],
        usage: {
          prompt_tokens: 11,
          completion_tokens: 7,
          total_tokens: 18,
          prompt_tokens_details: { cached_tokens: 3, cache_write_tokens: 4 },
          completion_tokens_details: { reasoning_tokens: 2 },
        },
      });
      expect(completion.id).toMatch(/^chatcmpl-/);
      expect(completion.system_fingerprint).toMatch(/^fp_[0-9a-f]{10}$/);
    }
  });

  it('a chat completion returns reasoning text as reasoning_content', async () => {
    const script: Script = [
      { type: 'reasoning', text: 'First, ' },
      { type: 'reasoning', text: 'then.' },
      ...textEvents('So.'),
      finishEvent(),
    ];
    await using service = await startService([script, script]);
    const buffered = await service.client.chat.completions.create(QUESTION);
    expect(buffered.choices[0]?.message).toMatchObject({ reasoning_content: 'First, then.', content: 'So.' });

    let reasoning = '';
    for await (const chunk of await service.client.chat.completions.create({ ...QUESTION, stream: true })) {
      const delta = chunk.choices[0]?.delta ?? {};
      if ('reasoning_content' in delta) reasoning += String(delta.reasoning_content);
    }
    expect(reasoning).toBe('First, then.');
  });

  it('the client parses the structured output of a chat completion', async () => {
    const script: Script = [...textEvents('{"city":"Ro', 'me","degrees":21}'), finishEvent()];
    await using service = await startService([script, script]);
    const format = zodResponseFormat(z.object({ city: z.string(), degrees: z.number() }), 'weather');
    const buffered = await service.client.chat.completions.parse({ ...QUESTION, response_format: format });
    expect(buffered.choices[0]?.message.parsed).toEqual({ city: 'Rome', degrees: 21 });
    const streamed = await service.client.chat.completions
      .stream({ ...QUESTION, response_format: format })
      .finalChatCompletion();
    expect(streamed.choices[0]?.message.parsed).toEqual({ city: 'Rome', degrees: 21 });
    expect(service.generationRequests[0]?.format).toMatchObject({ type: 'jsonSchema', name: 'weather', strict: true });
  });

  for (const stream of [false, true]) {
    it(`the client’s runTools helper works with ${stream ? 'streamed' : 'buffered'} chat completions`, async () => {
      await using service = await startService([
        [
          ...toolCallEvents(0, 'weather', '{"city":"Rome"}'),
          ...toolCallEvents(1, 'weather', '{"city":"Oslo"}'),
          finishEvent('toolCalls'),
        ],
        [...textEvents('Warm in Rome, cold in Oslo.'), finishEvent()],
      ]);
      const tools = [
        {
          type: 'function' as const,
          function: {
            name: 'weather',
            description: 'Returns the weather.',
            parameters: { type: 'object', properties: { city: { type: 'string' } } },
            parse: (json: string): { city: string } => JSON.parse(json),
            function: ({ city }: { city: string }) => `${city}: ${city === 'Rome' ? 21 : -3}`,
          },
        },
      ];
      const runner = stream
        ? service.client.chat.completions.runTools({ ...QUESTION, tools, stream: true })
        : service.client.chat.completions.runTools({ ...QUESTION, tools });
      expect(await runner.finalContent()).toBe('Warm in Rome, cold in Oslo.');
      expect(service.generationRequests[1]?.messages.slice(1)).toEqual([
        {
          role: 'assistant',
          content: [
            { type: 'toolCall', id: 'call_0', name: 'weather', arguments: '{"city":"Rome"}' },
            { type: 'toolCall', id: 'call_1', name: 'weather', arguments: '{"city":"Oslo"}' },
          ],
        },
        { role: 'tool', toolCallId: 'call_0', content: [{ type: 'text', text: 'Rome: 21' }] },
        { role: 'tool', toolCallId: 'call_1', content: [{ type: 'text', text: 'Oslo: -3' }] },
      ]);
    });
  }

  it('a message from the client’s parse helper can be sent back', async () => {
    const script: Script = [...textEvents('{"a":1}'), finishEvent()];
    await using service = await startService([script, script]);
    const format = zodResponseFormat(z.object({ a: z.number() }), 'a');
    const first = await service.client.chat.completions.parse({ ...QUESTION, response_format: format });
    const message = first.choices[0]?.message;
    if (!message) throw new Error('The completion has no message');
    await service.client.chat.completions.create({
      ...QUESTION,
      messages: [...QUESTION.messages, message, { role: 'user', content: 'Again' }],
    });
    expect(service.generationRequests[1]?.messages[1]).toEqual({
      role: 'assistant',
      content: [{ type: 'text', text: '{"a":1}' }],
    });
  });

  it('the client throws if the upstream is cut off, streamed or buffered', async () => {
    const script: Script = [...textEvents('Half of it'), CUT];
    await using service = await startService([script, script, script]);
    await expect(service.client.chat.completions.create(QUESTION)).rejects.toMatchObject({
      status: 502,
      code: 'upstream_cut',
      type: 'server_error',
    });
    let seen = '';
    const stream = await service.client.chat.completions.create({ ...QUESTION, stream: true });
    const reading = async () => {
      for await (const chunk of stream) seen += chunk.choices[0]?.delta.content ?? '';
    };
    await expect(reading()).rejects.toMatchObject({ code: 'upstream_cut' });
    expect(seen).toBe('Half of it');
    await expect(service.client.chat.completions.stream(QUESTION).finalChatCompletion()).rejects.toThrow(
      /stopped before/,
    );
  });

  it('a failure before the first event is an HTTP error', async () => {
    const failure = new UpstreamError('rate_limit_exceeded', 'Slow down', { recovery: 'fail', retryAfterMs: 1_500 });
    await using service = await startService([[failure]]);
    await expect(service.client.chat.completions.create({ ...QUESTION, stream: true })).rejects.toMatchObject({
      status: 429,
      code: 'rate_limit_exceeded',
    });
  });

  it('an invalid chat request is rejected with OpenAI’s error object', async () => {
    await using service = await startService([]);
    await expect(service.client.chat.completions.create({ ...QUESTION, temperature: 3 })).rejects.toMatchObject({
      status: 400,
      type: 'invalid_request_error',
      param: 'temperature',
      code: 'invalid_value',
      message: expect.stringContaining(
        "Invalid 'temperature': decimal above maximum value. Expected a value <= 2, but got 3 instead.",
      ),
    });
    await expect(service.client.chat.completions.create({ ...QUESTION, model: 'gpt-0' })).rejects.toMatchObject({
      status: 404,
      code: 'model_not_found',
      message: expect.stringContaining('The model `gpt-0` does not exist or you do not have access to it.'),
    });
  });
});

describe('models with the official client', () => {
  it('models can be listed and retrieved', async () => {
    await using service = await startService([]);
    const models = await service.client.models.list();
    expect(models.data).toEqual([{ id: 'default', object: 'model', created: 0, owned_by: 'lambent' }]);
    expect(await service.client.models.retrieve('default')).toMatchObject({ id: 'default' });
    await expect(service.client.models.retrieve('team/none')).rejects.toMatchObject({
      status: 404,
      code: 'model_not_found',
    });
  });
});
