import { zodResponseFormat } from 'openai/helpers/zod';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { UpstreamError } from '../../../shared/inference/model.ts';
import { finishEvent, textEvents, tokenLogprob, toolCallEvents } from '../openai/events.ts';
import { aService, type Script } from './service.ts';

const QUESTION = { model: 'default', messages: [{ role: 'user' as const, content: 'Say it' }] };
const CUT = new UpstreamError('upstream_cut', 'The connection broke', { recovery: 'fail' });

/** Asks for the same answer at once and as a stream, and returns what the official client makes of each. */
async function bothWays(script: Script, more: object = {}) {
  await using service = await aService([script, script]);
  const whole = await service.client.chat.completions.create({ ...QUESTION, ...more });
  const streamed = await service.client.chat.completions
    .stream({ ...QUESTION, ...more, stream_options: { include_usage: true } })
    .finalChatCompletion();
  return { whole, streamed };
}

/** Without what differs between two answers, and what the client adds. */
function bare(completion: object): unknown {
  return JSON.parse(
    JSON.stringify(completion, (key, value) =>
      ['id', 'object', 'parsed', 'parsed_arguments', 'reasoning_content'].includes(key) ? undefined : value,
    ),
  );
}

describe('a chat completion, as the official client accumulates it,', () => {
  const answers: Record<string, { script: Script; more?: object }> = {
    text: { script: [...textEvents('Hel', 'lo, ', 'world'), finishEvent()] },
    'nothing at all': { script: [finishEvent()] },
    'only reasoning, cut off by the limit': { script: [{ type: 'reasoning', text: 'Hm' }, finishEvent('length')] },
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
    'log probabilities': {
      script: [
        { type: 'text', text: 'Hi', logprobs: [tokenLogprob('H'), tokenLogprob('i')] },
        { type: 'text', text: '!', logprobs: [tokenLogprob('!')] },
        finishEvent(),
      ],
      more: { logprobs: true, top_logprobs: 1 },
    },
    'the length limit': { script: [...textEvents('Once upon'), finishEvent('length')] },
    'a content filter': { script: [...textEvents('Well'), finishEvent('contentFilter')] },
    'a character in halves': { script: [...textEvents('smile \ud83d', '\ude00!'), finishEvent()] },
  };
  for (const [name, { script, more }] of Object.entries(answers)) {
    it(`is the same streamed as at once: ${name}`, async () => {
      const { whole, streamed } = await bothWays(script, more);
      expect(bare(streamed)).toEqual(bare(whole));
    });
  }

  it('says what it used, why it ended and what it is', async () => {
    const { whole, streamed } = await bothWays([...textEvents('Hello'), finishEvent()]);
    for (const completion of [whole, streamed]) {
      expect(completion).toMatchObject({
        model: 'default',
        created: 1_700_000_000,
        object: 'chat.completion',
        choices: [{ finish_reason: 'stop', message: { role: 'assistant', content: 'Hello', refusal: null } }],
        usage: {
          prompt_tokens: 11,
          completion_tokens: 7,
          total_tokens: 18,
          prompt_tokens_details: { cached_tokens: 3 },
          completion_tokens_details: { reasoning_tokens: 2 },
        },
      });
      expect(completion.id).toMatch(/^chatcmpl-/);
      expect(completion.system_fingerprint).toMatch(/^fp_[0-9a-f]{8}$/);
    }
  });

  it('tells the reasoning as reasoning_content', async () => {
    const script: Script = [
      { type: 'reasoning', text: 'First, ' },
      { type: 'reasoning', text: 'then.' },
      ...textEvents('So.'),
      finishEvent(),
    ];
    await using service = await aService([script, script]);
    const whole = await service.client.chat.completions.create(QUESTION);
    expect(whole.choices[0]?.message).toMatchObject({ reasoning_content: 'First, then.', content: 'So.' });

    let reasoning = '';
    for await (const chunk of await service.client.chat.completions.create({ ...QUESTION, stream: true })) {
      const delta = chunk.choices[0]?.delta ?? {};
      if ('reasoning_content' in delta) reasoning += String(delta.reasoning_content);
    }
    expect(reasoning).toBe('First, then.');
  });

  it('parses structured output', async () => {
    const script: Script = [...textEvents('{"city":"Ro', 'me","degrees":21}'), finishEvent()];
    await using service = await aService([script, script]);
    const format = zodResponseFormat(z.object({ city: z.string(), degrees: z.number() }), 'weather');
    const whole = await service.client.chat.completions.parse({ ...QUESTION, response_format: format });
    expect(whole.choices[0]?.message.parsed).toEqual({ city: 'Rome', degrees: 21 });
    const streamed = await service.client.chat.completions
      .stream({ ...QUESTION, response_format: format })
      .finalChatCompletion();
    expect(streamed.choices[0]?.message.parsed).toEqual({ city: 'Rome', degrees: 21 });
    expect(service.asked[0]?.format).toMatchObject({ type: 'jsonSchema', name: 'weather', strict: true });
  });

  for (const stream of [false, true]) {
    it(`goes round with runTools, ${stream ? 'streamed' : 'at once'}`, async () => {
      await using service = await aService([
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
            description: 'Tells the weather.',
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
      expect(service.asked[1]?.messages.slice(1)).toEqual([
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

  it('takes its own parsed messages back', async () => {
    const script: Script = [...textEvents('{"a":1}'), finishEvent()];
    await using service = await aService([script, script]);
    const format = zodResponseFormat(z.object({ a: z.number() }), 'a');
    const first = await service.client.chat.completions.parse({ ...QUESTION, response_format: format });
    const message = first.choices[0]?.message;
    if (!message) throw new Error('There is no message');
    await service.client.chat.completions.create({
      ...QUESTION,
      messages: [...QUESTION.messages, message, { role: 'user', content: 'Again' }],
    });
    expect(service.asked[1]?.messages[1]).toEqual({ role: 'assistant', content: [{ type: 'text', text: '{"a":1}' }] });
  });

  it('throws at the client when the upstream is cut, streamed or not', async () => {
    const script: Script = [...textEvents('Half of it'), CUT];
    await using service = await aService([script, script, script]);
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

  it('is a real HTTP error when nothing has come yet', async () => {
    const failure = new UpstreamError('rate_limit_exceeded', 'Slow down', { recovery: 'fail', retryAfterMs: 1_500 });
    await using service = await aService([[failure]]);
    await expect(service.client.chat.completions.create({ ...QUESTION, stream: true })).rejects.toMatchObject({
      status: 429,
      code: 'rate_limit_exceeded',
    });
  });

  it('names the parameter at fault as OpenAI does', async () => {
    await using service = await aService([]);
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

describe('the models', () => {
  it('are listed and retrieved', async () => {
    await using service = await aService([]);
    const models = await service.client.models.list();
    expect(models.data).toEqual([{ id: 'default', object: 'model', created: 0, owned_by: 'lambent' }]);
    expect(await service.client.models.retrieve('default')).toMatchObject({ id: 'default' });
    await expect(service.client.models.retrieve('team/none')).rejects.toMatchObject({
      status: 404,
      code: 'model_not_found',
    });
  });
});
