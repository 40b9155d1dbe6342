import assert from 'node:assert/strict';
import OpenAI from 'openai';
import { zodResponseFormat, zodTextFormat } from 'openai/helpers/zod';
import { z } from 'zod';
import { apiKey, BEFORE, baseURL, check, expectText, HELLO, isGuide, join, WEATHER } from './check.ts';

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

await check('chat: streamed tools', async () => {
  const runner = client.chat.completions.runTools({
    model,
    stream: true,
    messages: [{ role: 'user', content: WEATHER.prompt }],
    tools: [
      {
        type: 'function',
        function: {
          name: 'get_weather',
          description: 'Returns the weather in a city',
          parse: JSON.parse,
          parameters: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
          function: ({ city }: { city: string }) => `It is sunny in ${city}`,
        },
      },
    ],
  });
  expectText(await runner.finalContent(), WEATHER.answer);
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
  const parameters = {
    type: 'object',
    properties: { city: { type: 'string' } },
    required: ['city'],
    additionalProperties: false,
  };
  const tools = [{ type: 'function' as const, name: 'get_weather', parameters, strict: true }];
  const first = await client.responses.create({ model, input: WEATHER.prompt, tools });
  if (isGuide) return expectText(first.output_text, WEATHER.answer);
  const call = first.output.find((item) => item.type === 'function_call');
  assert.deepEqual(JSON.parse(call?.arguments ?? ''), { city: 'Paris' });
  const output = 'It is sunny in Paris';
  const input = [{ type: 'function_call_output' as const, call_id: call?.call_id ?? '', output }];
  const second = await client.responses.create({ model, previous_response_id: first.id, input, tools });
  expectText(second.output_text, WEATHER.answer);
});

await check('responses: two turns', async () => {
  const first = await client.responses.create({ model, input: HELLO.prompt });
  const second = await client.responses.create({ model, previous_response_id: first.id, input: BEFORE.prompt });
  expectText(second.output_text, BEFORE.answer);
});

// The guide accepts schemas, but can't answer by them.
if (!isGuide) {
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
}
