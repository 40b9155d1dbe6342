import assert from 'node:assert/strict';
import { ChatAnthropic } from '@langchain/anthropic';
import type { BaseChatModel } from '@langchain/core/language_models/chat_models';
import { HumanMessage, ToolMessage } from '@langchain/core/messages';
import { tool } from '@langchain/core/tools';
import { ChatOpenAI, OpenAIEmbeddings } from '@langchain/openai';
import { z } from 'zod';
import { apiKey, BEFORE, baseURL, check, expectText, HELLO, isGuide, join, NAMED, WEATHER } from './check.ts';

const weather = tool(async ({ city }) => `It is sunny in ${city}`, {
  name: 'get_weather',
  description: 'Returns the weather in a city',
  schema: z.object({ city: z.string() }),
});
const Person = z.object({ name: z.string(), age: z.number() });

const openai = { apiKey, maxRetries: 0, configuration: { baseURL } };
const chats: Readonly<Record<string, BaseChatModel>> = {
  chat: new ChatOpenAI({ ...openai, model: 'default' }),
  responses: new ChatOpenAI({ ...openai, model: 'default', useResponsesApi: true }),
  messages: new ChatAnthropic({
    apiKey,
    maxRetries: 0,
    model: 'claude-sonnet-4-6',
    anthropicApiUrl: baseURL.replace(/\/v1$/, ''),
  }),
};

for (const [api, chat] of Object.entries(chats)) {
  await check(`${api}: answer`, async () => {
    const message = await chat.invoke(HELLO.prompt);
    expectText(message.text, HELLO.answer);
    assert.match(JSON.stringify(message.usage_metadata), /"total_tokens":[1-9]/);
  });

  await check(`${api}: stream`, async () => {
    expectText(await join(await chat.stream(HELLO.prompt), (chunk) => chunk.text), HELLO.answer);
  });

  await check(`${api}: tools`, async () => {
    const withTools = chat.bindTools?.([weather]) ?? assert.fail('The chat takes no tools');
    const question = new HumanMessage(WEATHER.prompt);
    const first = await withTools.invoke([question]);
    if (isGuide) return expectText(first.text, WEATHER.answer);
    const [call] = first.tool_calls ?? [];
    assert.deepEqual(call?.args, { city: 'Paris' });
    const result = new ToolMessage({ content: await weather.invoke({ city: 'Paris' }), tool_call_id: call?.id ?? '' });
    expectText((await withTools.invoke([question, first, result])).text, WEATHER.answer);
  });

  await check(`${api}: two turns`, async () => {
    const hello = new HumanMessage(HELLO.prompt);
    const second = await chat.invoke([hello, await chat.invoke([hello]), new HumanMessage(BEFORE.prompt)]);
    expectText(second.text, BEFORE.answer);
  });

  await check(`${api}: named messages`, async () => {
    const message = new HumanMessage({ content: HELLO.prompt, name: NAMED.name });
    // Only chat completions has names.
    expectText((await chat.invoke([message])).text, api === 'chat' ? NAMED.answer : HELLO.answer);
  });

  // The default method, and a strict tool that the model must call.
  for (const method of [undefined, 'functionCalling'] as const) {
    await check(`${api}: answer by schema, ${method ?? 'by default'}`, async () => {
      const config = { name: 'person', ...(method && { method }) };
      assert.equal(typeof (await chat.withStructuredOutput(Person, config).invoke('A person')).age, 'number');
    });
  }
}

for (const [api, useResponsesApi] of [
  ['chat', false],
  ['responses', true],
] as const) {
  await check(`${api}: one call at a time, verbosity and reasoning`, async () => {
    const preferences = { reasoning: { effort: 'low' }, verbosity: 'low' } as const;
    const chat = new ChatOpenAI({ ...openai, model: 'gpt-5.4', useResponsesApi, ...preferences });
    const withTools = chat.bindTools([weather], { parallel_tool_calls: false, strict: true });
    const { text, tool_calls: calls = [] } = await withTools.invoke('How is the weather in Paris and Rome?');
    if (isGuide) expectText(text, WEATHER.answer);
    else
      assert.deepEqual(
        calls.map(({ args }) => args),
        [{ city: 'Paris' }],
      );
  });
}

await check('embeddings', async () => {
  const embeddings = new OpenAIEmbeddings({ ...openai, model: 'embeddings' });
  const vectors = await embeddings.embedDocuments(['one', 'two']);
  assert.equal(vectors.length, 2);
  assert.ok((vectors[0]?.length ?? 0) > 0);
});
