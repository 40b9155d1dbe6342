import Anthropic from '@anthropic-ai/sdk';
import { describe, expect, it } from 'vitest';
import { LambentError } from '../../../shared/core/errors.ts';
import type { GenerationEvent } from '../../../shared/inference/generation.ts';
import { finishEvent, textEvents, toolCallEvents } from '../openai/events.ts';
import { type Script, startService } from './service.ts';

const QUESTION = {
  model: 'default',
  max_tokens: 100,
  messages: [{ role: 'user', content: 'Hi' }],
} satisfies Anthropic.MessageCreateParamsNonStreaming;

type Params = Partial<Anthropic.Beta.MessageCreateParamsNonStreaming>;

function connect(url: string): Anthropic {
  return new Anthropic({ baseURL: url, apiKey: 'sk-test', maxRetries: 0 });
}

/** Sends a request buffered and streamed, and returns both messages, the stream's events and what the model received. */
async function requestBothWays(script: Script, params: Params = {}) {
  await using service = await startService([script, script]);
  const { messages } = connect(service.url).beta;
  const buffered = await messages.create({ ...QUESTION, ...params });
  const stream = messages.stream({ ...QUESTION, ...params });
  const events: Anthropic.Beta.BetaRawMessageStreamEvent[] = [];
  stream.on('streamEvent', (event) => events.push(structuredClone(event)));
  const streamed = await stream.finalMessage();
  return { buffered, streamed, events, received: service.generationRequests };
}

const REASONING: readonly GenerationEvent[] = [
  { type: 'reasoning', text: 'Hm' },
  { type: 'reasoning', text: 'm' },
  { type: 'reasoningEnd', continuation: { provider: 'p', data: { key: 'value' } } },
];

describe('a message through the official client', () => {
  it.each<[string, Script]>([
    ['text', [...textEvents('Hel', 'lo'), finishEvent()]],
    ['an empty answer', [finishEvent()]],
    ['thinking and text', [...REASONING, ...textEvents('So'), finishEvent()]],
    ['redacted thinking', [{ type: 'reasoningEnd', continuation: { provider: 'p', data: 1 } }, finishEvent()]],
    [
      'parallel tool calls',
      [
        ...textEvents('Look'),
        ...toolCallEvents(0, 'weather', '{"city":', '"Rome"}'),
        ...toolCallEvents(1, 'now', '{}'),
        finishEvent('toolCalls'),
      ],
    ],
    [
      'tool calls whose arguments are mixed',
      [
        { type: 'toolCall', index: 0, id: 'a', name: 'f' },
        { type: 'toolCall', index: 1, id: 'b', name: 'g' },
        { type: 'toolArguments', index: 0, fragment: '{"x":' },
        { type: 'toolArguments', index: 1, fragment: '{"y":2}' },
        { type: 'toolArguments', index: 0, fragment: '1}' },
        finishEvent('toolCalls'),
      ],
    ],
    ['text after a tool call', [...toolCallEvents(0, 'f', '{}'), ...textEvents('Done'), finishEvent('toolCalls')]],
    ['halves of a character', [...textEvents('a\ud83d', '\ude00b'), finishEvent()]],
    ['a refusal', [{ type: 'refusal', text: 'No' }, finishEvent()]],
  ])('%s is the same message buffered and streamed', async (_, script) => {
    const { buffered, streamed } = await requestBothWays(script);
    const normalize = (message: object) => ({
      ...message,
      id: '',
      usage: '',
      context_management: '',
      parsed_output: '',
    });
    expect(JSON.parse(JSON.stringify(normalize(streamed)))).toMatchObject(
      JSON.parse(JSON.stringify(normalize(buffered))),
    );
  });

  it('a message has its id, model, stop reason and usage', async () => {
    const { buffered, streamed } = await requestBothWays([...textEvents('Hello'), finishEvent('length')]);
    for (const message of [buffered, streamed]) {
      expect(message).toMatchObject({
        type: 'message',
        role: 'assistant',
        model: 'default',
        stop_reason: 'max_tokens',
        stop_sequence: null,
        // Of 11 tokens 3 were read from the cache and 4 written to it.
        usage: { input_tokens: 4, cache_read_input_tokens: 3, cache_creation_input_tokens: 4, output_tokens: 7 },
      });
      expect(message.id).toMatch(/^msg_/);
    }
  });

  it('a message names the stop sequence that ended it', async () => {
    const finish = { ...finishEvent(), stopSequence: 'END' } as GenerationEvent;
    const { buffered, streamed, received } = await requestBothWays([...textEvents('x'), finish], {
      stop_sequences: ['END'],
    });
    for (const message of [buffered, streamed]) {
      expect(message).toMatchObject({ stop_reason: 'stop_sequence', stop_sequence: 'END' });
    }
    expect(received[0]?.stop).toEqual(['END']);
  });

  it('a stream has Anthropic’s events in their order', async () => {
    const { events } = await requestBothWays([...REASONING, ...toolCallEvents(0, 'f', '{}'), finishEvent('toolCalls')]);
    const describeEvent = (event: Anthropic.Beta.BetaRawMessageStreamEvent): string =>
      event.type === 'content_block_delta' ? event.delta.type : event.type;
    expect(events.map(describeEvent)).toEqual([
      'message_start',
      ...['content_block_start', 'thinking_delta', 'thinking_delta', 'signature_delta', 'content_block_stop'],
      ...['content_block_start', 'input_json_delta', 'content_block_stop'],
      'message_delta',
      'message_stop',
    ]);
  });

  it('thinking that the caller sends back reaches the model with its continuation', async () => {
    await using service = await startService([[...REASONING, ...textEvents('So'), finishEvent()], [finishEvent()]]);
    const { messages } = connect(service.url);
    const { content } = await messages.create(QUESTION);
    await messages.create({
      ...QUESTION,
      messages: [...QUESTION.messages, { role: 'assistant', content }, { role: 'user', content: 'And?' }],
    });
    expect(service.generationRequests[1]?.messages[1]).toEqual({
      role: 'assistant',
      content: [
        { type: 'reasoning', text: 'Hmm', continuation: { provider: 'p', data: { key: 'value' } } },
        { type: 'text', text: 'So' },
      ],
    });
  });

  it('thinking has no text if the caller omits it, but can be sent back', async () => {
    const params: Params = { thinking: { type: 'adaptive', display: 'omitted' } };
    const { buffered, streamed } = await requestBothWays([...REASONING, finishEvent()], params);
    for (const { content } of [buffered, streamed]) {
      expect(content).toEqual([{ type: 'thinking', thinking: '', signature: expect.stringMatching(/^lambent1\./) }]);
    }
  });

  it('a tool input that is not a JSON object is wrapped, and a long integer keeps its digits', async () => {
    await using service = await startService([
      [...toolCallEvents(0, 'f', '{"id":12345678901234567890}'), ...toolCallEvents(1, 'g', '[1]'), finishEvent()],
    ]);
    const response = await connect(service.url).messages.create(QUESTION).asResponse();
    expect(await response.text()).toContain('"input":{"id":12345678901234567890}');
  });

  it('a native answer is passed on, but for its id and model', async () => {
    await using service = await startService([
      [{ type: 'native', event: { id: 'x', model: 'claude', type: 'message', extra: 1, content: [] } }, finishEvent()],
      [
        {
          type: 'native',
          event: { type: 'message_start', message: { id: 'x', model: 'claude', content: [], usage: {} } },
        },
        {
          type: 'native',
          event: { type: 'content_block_start', index: 0, content_block: { type: 'text', text: 'a' } },
        },
        { type: 'native', event: { type: 'message_stop' } },
        finishEvent(),
      ],
    ]);
    const { messages } = connect(service.url);
    const buffered = await messages.create(QUESTION);
    expect(buffered).toMatchObject({ id: expect.stringMatching(/^msg_/), model: 'default', extra: 1 });
    const streamed = await messages.stream(QUESTION).finalMessage();
    expect(streamed).toMatchObject({ id: expect.stringMatching(/^msg_/), model: 'default', content: [{ text: 'a' }] });
  });
});

describe('errors', () => {
  it('an error within a stream reaches the client as an error of its own', async () => {
    const failure = new LambentError('overloaded', 'secret');
    await using service = await startService([[...textEvents('x'), failure]]);
    const stream = connect(service.url).messages.stream(QUESTION);
    await expect(stream.finalMessage()).rejects.toMatchObject({
      error: { type: 'error', error: { type: 'overloaded_error' } },
    });
  });

  it('a stream that ends without a finish ends with an error', async () => {
    await using service = await startService([textEvents('x')]);
    await expect(connect(service.url).messages.stream(QUESTION).finalMessage()).rejects.toThrow();
  });
});

it('tokens are counted without a call of the model', async () => {
  await using service = await startService([]);
  const { messages } = connect(service.url);
  const short = await messages.countTokens({ model: 'default', messages: QUESTION.messages });
  const tools = [{ name: 'f', input_schema: { type: 'object' as const, description: 'x'.repeat(4_000) } }];
  const long = await messages.countTokens({ model: 'default', messages: QUESTION.messages, tools });
  expect(long.input_tokens - short.input_tokens).toBeGreaterThan(900);
  expect(service.generationRequests).toEqual([]);
});

it('the official client lists and retrieves models', async () => {
  await using service = await startService([]);
  const { models } = connect(service.url);
  expect(await models.list().then(({ data }) => data)).toMatchObject([
    { type: 'model', id: 'default', max_tokens: 4_096 },
  ]);
  expect(await models.retrieve('default')).toMatchObject({ id: 'default', display_name: 'default' });
});
