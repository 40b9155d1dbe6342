import assert from 'node:assert/strict';
import Anthropic from '@anthropic-ai/sdk';
import { betaTool } from '@anthropic-ai/sdk/helpers/beta/json-schema';
import { betaZodOutputFormat } from '@anthropic-ai/sdk/helpers/beta/zod';
import { z } from 'zod';
import { apiKey, BEFORE, baseURL, CITIES, check, expectText, HELLO } from './check.ts';

// This SDK adds `/v1` itself.
const client = new Anthropic({ baseURL: baseURL.replace(/\/v1$/, ''), apiKey, maxRetries: 0 });
// Other names than those of the registry reach `default`.
const model = 'claude-sonnet-4-6';
const max_tokens = 1_000;

function readText(message: { content: readonly { type: string; text?: string }[] }): string {
  return message.content.map((block) => block.text ?? '').join('');
}

await check('answer', async () => {
  const messages = [{ role: 'user' as const, content: HELLO.prompt }];
  expectText(readText(await client.messages.create({ model, max_tokens, messages })), HELLO.answer);
});

await check('stream', async () => {
  const messages = [{ role: 'user' as const, content: HELLO.prompt }];
  const stream = client.messages.stream({ model, max_tokens, messages });
  let text = '';
  stream.on('text', (delta) => {
    text += delta;
  });
  const message = await stream.finalMessage();
  expectText(text, HELLO.answer);
  assert.equal(readText(message), text);
});

const weather = betaTool({
  name: 'get_weather',
  description: 'Returns the weather in a city',
  inputSchema: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] } as const,
  run: ({ city }) => `It is sunny in ${city}`,
});

await check('streamed tools', async () => {
  const messages = [{ role: 'user' as const, content: CITIES.prompt }];
  const runner = client.beta.messages.toolRunner({ model, max_tokens, messages, tools: [weather], stream: true });
  for await (const stream of runner) await stream.finalMessage();
  expectText(readText(await runner.done()), CITIES.answer);
});

await check('one call at a time', async () => {
  const messages = [{ role: 'user' as const, content: CITIES.prompt }];
  const tool_choice = { type: 'auto' as const, disable_parallel_tool_use: true };
  const runner = client.beta.messages.toolRunner({ model, max_tokens, messages, tools: [weather], tool_choice });
  for await (const { content } of runner) assert.ok(content.filter(({ type }) => type === 'tool_use').length <= 1);
  expectText(readText(await runner.done()), CITIES.answer);
});

await check('thinking in two turns', async () => {
  const settings = { model, max_tokens, thinking: { type: 'adaptive' as const } };
  const messages: Anthropic.MessageParam[] = [{ role: 'user', content: HELLO.prompt }];
  const { content } = await client.messages.create({ ...settings, messages });
  messages.push({ role: 'assistant', content }, { role: 'user', content: BEFORE.prompt });
  expectText(readText(await client.messages.create({ ...settings, messages })), BEFORE.answer);
});

await check('answer by schema', async () => {
  const output_format = betaZodOutputFormat(z.object({ name: z.string(), age: z.number() }));
  const messages = [{ role: 'user' as const, content: 'A person' }];
  const message = await client.beta.messages.parse({ model, max_tokens, messages, output_format });
  assert.equal(typeof message.parsed_output?.age, 'number');
});

await check('two turns', async () => {
  const messages: Anthropic.MessageParam[] = [{ role: 'user', content: HELLO.prompt }];
  const { content } = await client.messages.create({ model, max_tokens, messages });
  messages.push({ role: 'assistant', content }, { role: 'user', content: BEFORE.prompt });
  expectText(readText(await client.messages.create({ model, max_tokens, messages })), BEFORE.answer);
});

await check('token count', async () => {
  const messages = [{ role: 'user' as const, content: HELLO.prompt }];
  assert.ok((await client.messages.countTokens({ model, messages })).input_tokens > 0);
});

await check('list of models', async () => {
  const { data } = await client.models.list();
  assert.ok(data.some(({ id }) => id === 'default'));
});

await check('bearer key', async () => {
  const bearer = new Anthropic({
    baseURL: baseURL.replace(/\/v1$/, ''),
    authToken: apiKey,
    apiKey: null,
    maxRetries: 0,
  });
  const messages = [{ role: 'user' as const, content: HELLO.prompt }];
  expectText(readText(await bearer.messages.create({ model, max_tokens, messages })), HELLO.answer);
});

await check('required tool', async () => {
  const input_schema = { type: 'object' as const, properties: { city: { type: 'string' } }, required: ['city'] };
  const message = await client.messages.create({
    model,
    max_tokens,
    messages: [{ role: 'user', content: 'Go' }],
    tools: [{ name: 'save_place', input_schema }],
    tool_choice: { type: 'tool', name: 'save_place' },
  });
  const [call] = message.content.filter((block) => block.type === 'tool_use');
  assert.equal(call?.name, 'save_place');
  assert.equal(message.stop_reason, 'tool_use');
});
