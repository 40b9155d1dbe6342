import OpenAI from 'openai';
import { zodResponseFormat } from 'openai/helpers/zod';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { z } from 'zod';
import { createMinimalInstance } from '../../local/bedrock/schema-instance.ts';
import { startUpstream, type Upstream } from './openai-upstream.ts';

// Uses the official client, so that the upstream stays compatible with OpenAI's API.

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

it('the upstream repeats the user’s message, both buffered and streamed', async () => {
  const request = { model: 'm', messages: [user('one two three')] };
  const buffered = await client.chat.completions.create(request);
  expect(buffered.choices[0]).toMatchObject({ message: { content: 'You said: one two three' }, finish_reason: 'stop' });
  const streamed = await client.chat.completions
    .stream({ ...request, stream_options: { include_usage: true } })
    .finalChatCompletion();
  expect(streamed.choices[0]?.message.content).toBe('You said: one two three');
  expect(streamed.usage).toEqual(buffered.usage);
});

it('the upstream stops at the output limit', async () => {
  const { choices } = await client.chat.completions.create({
    model: 'm',
    messages: [user('a b c d')],
    max_completion_tokens: 3,
  });
  expect(choices[0]).toMatchObject({ message: { content: 'You said: a ' }, finish_reason: 'length' });
});

it('the upstream calls the first tool, then repeats the tool’s output', async () => {
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

it('the upstream returns structured output that the official client can parse', async () => {
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

it('the upstream counts the images in a message', async () => {
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

it('createMinimalInstance supports references, alternatives and formats', () => {
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
  expect(createMinimalInstance(schema)).toEqual({
    node: { at: '2026-01-31' },
    either: null,
    list: [false, false],
    one: 1,
  });
});
