import OpenAI from 'openai';
import { zodResponseFormat } from 'openai/helpers/zod';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import { startUpstream, type Upstream } from './openai-upstream.ts';
import { minimalInstance } from './schema-instance.ts';

// The stand-in is only worth something if OpenAI's own client takes it for OpenAI.

let upstream: Upstream;
let client: OpenAI;

beforeAll(async () => {
  upstream = await startUpstream();
  client = new OpenAI({ baseURL: upstream.baseUrl, apiKey: 'sk-test', maxRetries: 0 });
});
afterAll(() => upstream.close());

const user = (content: string) => ({ role: 'user', content }) as const;
const weather = {
  type: 'function',
  function: {
    name: 'get_weather',
    parameters: {
      type: 'object',
      properties: { city: { type: 'string' }, days: { type: 'integer' } },
      required: ['city'],
    },
  },
} as const;

test('repeats what it is told, buffered and streamed', async () => {
  const request = { model: 'm', messages: [user('one two three')] };
  const buffered = await client.chat.completions.create(request);
  expect(buffered.choices[0]).toMatchObject({ message: { content: 'You said: one two three' }, finish_reason: 'stop' });
  const streamed = await client.chat.completions
    .stream({ ...request, stream_options: { include_usage: true } })
    .finalChatCompletion();
  expect(streamed.choices[0]?.message.content).toBe('You said: one two three');
  expect(streamed.usage).toEqual(buffered.usage);
});

test('stops at the output limit', async () => {
  const { choices } = await client.chat.completions.create({
    model: 'm',
    messages: [user('a b c d')],
    max_completion_tokens: 3,
  });
  expect(choices[0]).toMatchObject({ message: { content: 'You said: a ' }, finish_reason: 'length' });
});

test('calls the first tool, then tells what it said', async () => {
  const messages: OpenAI.ChatCompletionMessageParam[] = [user('Weather?')];
  const first = await client.chat.completions.stream({ model: 'm', messages, tools: [weather] }).finalChatCompletion();
  const call = first.choices[0]?.message.tool_calls?.[0];
  expect(call).toMatchObject({ type: 'function', function: { name: 'get_weather', arguments: '{"city":"text"}' } });
  messages.push(
    { role: 'assistant', tool_calls: call ? [call] : [] },
    { role: 'tool', tool_call_id: call?.id ?? '', content: 'Rain' },
  );
  const second = await client.chat.completions.create({ model: 'm', messages, tools: [weather] });
  expect(second.choices[0]?.message.content).toBe('The tool said: Rain');
});

test('fills a schema in, so that the client’s own parser takes it', async () => {
  const shape = z.object({
    name: z.string(),
    age: z.number().int(),
    tags: z.array(z.string()),
    kind: z.enum(['a', 'b']),
  });
  const { choices } = await client.chat.completions.parse({
    model: 'm',
    messages: [user('Who?')],
    response_format: zodResponseFormat(shape, 'person'),
  });
  expect(choices[0]?.message.parsed).toEqual({ name: 'text', age: expect.any(Number), tags: [], kind: 'a' });
});

test('sees images', async () => {
  const content = [
    { type: 'text', text: 'Look' },
    { type: 'image_url', image_url: { url: 'data:image/png;base64,AA==' } },
  ] as const;
  const { choices } = await client.chat.completions.create({
    model: 'm',
    messages: [{ role: 'user', content: [...content] }],
  });
  expect(choices[0]?.message.content).toBe('You showed 1 (image/png) and said: Look');
});

test('fills references, alternatives and formats of a schema in', () => {
  const schema = {
    $defs: { node: { type: 'object', properties: { at: { type: 'string', format: 'date' } }, required: ['at'] } },
    type: 'object',
    properties: {
      node: { $ref: '#/$defs/node' },
      either: { anyOf: [{ type: 'null' }, { type: 'string' }] },
      list: { type: 'array', items: { type: 'boolean' }, minItems: 2 },
      one: { const: 1 },
      optional: { type: 'string' },
    },
    required: ['node', 'either', 'list', 'one'],
  };
  expect(minimalInstance(schema)).toEqual({ node: { at: '2026-01-31' }, either: null, list: [false, false], one: 1 });
});
