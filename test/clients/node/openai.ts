import assert from 'node:assert/strict';
import OpenAI from 'openai';
import { zodResponseFormat, zodTextFormat } from 'openai/helpers/zod';
import { z } from 'zod';
import { apiKey, BEFORE, baseURL, CITIES, check, expectText, HELLO, isGuide, join, NAMED, WEATHER } from './check.ts';

const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const model = 'default';
const Person = z.object({ name: z.string(), age: z.number() });

await check('chat: answer', async () => {
  const messages = [{ role: 'user', content: HELLO.prompt }] as const;
  const completion = await client.chat.completions.create({ model, messages: [...messages] });
  expectText(completion.choices[0]?.message.content, HELLO.answer);
});

await check('chat: stream with usage', async () => {
  const messages = [{ role: 'user' as const, content: HELLO.prompt }];
  const stream_options = { include_usage: true };
  const stream = await client.chat.completions.create({ model, messages, stream: true, stream_options });
  let total = 0;
  const text = await join(stream, (chunk) => {
    total += chunk.usage?.total_tokens ?? 0;
    return chunk.choices[0]?.delta.content;
  });
  expectText(text, HELLO.answer);
  assert.ok(total > 0);
});

const parameters = {
  type: 'object',
  properties: { city: { type: 'string' } },
  required: ['city'],
  additionalProperties: false,
};
const runnable = {
  type: 'function' as const,
  function: {
    name: 'get_weather',
    description: 'Returns the weather in a city',
    strict: true,
    parameters,
    parse: JSON.parse,
    function: ({ city }: { city: string }) => `It is sunny in ${city}`,
  },
};

await check('chat: streamed tools', async () => {
  const messages = [{ role: 'user' as const, content: CITIES.prompt }];
  const runner = client.chat.completions.runTools({ model, stream: true, messages, tools: [runnable] });
  expectText(await runner.finalContent(), CITIES.answer);
});

await check('chat: one call at a time', async () => {
  const messages = [{ role: 'user' as const, content: CITIES.prompt }];
  const settings = { model, messages, tools: [runnable], parallel_tool_calls: false };
  const runner = client.chat.completions.runTools(settings);
  expectText(await runner.finalContent(), CITIES.answer);
  for (const { message } of runner.allChatCompletions().flatMap(({ choices }) => choices))
    assert.ok((message.tool_calls?.length ?? 0) <= 1);
});

await check('chat: required tool', async () => {
  const tools = [{ type: 'function' as const, function: { name: 'get_weather', parameters, strict: true } }];
  const messages = [{ role: 'user' as const, content: 'Go' }];
  const completion = await client.chat.completions.create({ model, messages, tools, tool_choice: 'required' });
  const [call] = completion.choices[0]?.message.tool_calls ?? [];
  const args: unknown = JSON.parse(call?.type === 'function' ? call.function.arguments : '');
  assert.equal(typeof z.object({ city: z.string() }).parse(args).city, 'string');
});

await check('chat: named messages', async () => {
  const messages = [{ role: 'user' as const, name: NAMED.name, content: HELLO.prompt }];
  const completion = await client.chat.completions.create({ model, messages });
  expectText(completion.choices[0]?.message.content, NAMED.answer);
});

await check('chat: verbosity and reasoning', async () => {
  const messages = [{ role: 'user' as const, content: HELLO.prompt }];
  const preferences = { verbosity: 'low', reasoning_effort: 'low' } as const;
  const completion = await client.chat.completions.create({ model, messages, ...preferences });
  expectText(completion.choices[0]?.message.content, HELLO.answer);
});

await check('chat: two turns', async () => {
  const messages: OpenAI.ChatCompletionMessageParam[] = [{ role: 'user', content: HELLO.prompt }];
  const first = await client.chat.completions.create({ model, messages });
  // The whole message goes back, with the fields that a client needn't send.
  if (first.choices[0]) messages.push(first.choices[0].message);
  messages.push({ role: 'user', content: BEFORE.prompt });
  const second = await client.chat.completions.create({ model, messages });
  expectText(second.choices[0]?.message.content, BEFORE.answer);
});

await check('responses: answer', async () => {
  expectText((await client.responses.create({ model, input: HELLO.prompt })).output_text, HELLO.answer);
});

await check('responses: stream', async () => {
  const stream = client.responses.stream({ model, input: HELLO.prompt });
  expectText(
    await join(stream, (event) => (event.type === 'response.output_text.delta' ? event.delta : '')),
    HELLO.answer,
  );
});

await check('responses: tools and a stored first turn', async () => {
  const tools = [{ type: 'function' as const, name: 'get_weather', parameters, strict: true }];
  const settings = { tools, parallel_tool_calls: false, text: { verbosity: 'low' as const } };
  const first = await client.responses.create({ model, input: WEATHER.prompt, ...settings });
  if (isGuide) return expectText(first.output_text, WEATHER.answer);
  const call = first.output.find((item) => item.type === 'function_call');
  assert.deepEqual(JSON.parse(call?.arguments ?? ''), { city: 'Paris' });
  const output = 'It is sunny in Paris';
  const input = [{ type: 'function_call_output' as const, call_id: call?.call_id ?? '', output }];
  const second = await client.responses.create({ model, previous_response_id: first.id, input, ...settings });
  expectText(second.output_text, WEATHER.answer);
});

await check('responses: two turns', async () => {
  const first = await client.responses.create({ model, input: HELLO.prompt });
  const second = await client.responses.create({ model, previous_response_id: first.id, input: BEFORE.prompt });
  expectText(second.output_text, BEFORE.answer);
});

await check('responses: reasoning in two turns', async () => {
  const settings = { model, store: false, reasoning: { effort: 'low' as const, summary: 'auto' as const } };
  const include = ['reasoning.encrypted_content' as const];
  const first = await client.responses.create({ ...settings, include, input: HELLO.prompt });
  // The SDK's type of input lacks some items of answers.
  const output = first.output.filter((item) => item.type === 'reasoning' || item.type === 'message');
  const input = [{ role: 'user' as const, content: HELLO.prompt }, ...output];
  const second = await client.responses.create({
    ...settings,
    include,
    input: [...input, { role: 'user', content: BEFORE.prompt }],
  });
  expectText(second.output_text, BEFORE.answer);
});

await check('chat: answer by schema', async () => {
  const response_format = zodResponseFormat(Person, 'person');
  const messages = [{ role: 'user' as const, content: 'A person' }];
  const completion = await client.chat.completions.parse({ model, messages, response_format });
  assert.equal(typeof completion.choices[0]?.message.parsed?.age, 'number');
});

await check('responses: answer by schema', async () => {
  const text = { format: zodTextFormat(Person, 'person') };
  const response = await client.responses.parse({ model, input: 'A person', text });
  assert.equal(typeof response.output_parsed?.age, 'number');
});
