import assert from 'node:assert/strict';
import { createAnthropic } from '@ai-sdk/anthropic';
import { createOpenAI } from '@ai-sdk/openai';
import { generateText, type LanguageModel, type ModelMessage, Output, stepCountIs, streamText, tool } from 'ai';
import { z } from 'zod';
import { apiKey, BEFORE, baseURL, CITIES, check, expectText, HELLO, isGuide, join } from './check.ts';

const openai = createOpenAI({ baseURL, apiKey });
const anthropic = createAnthropic({ baseURL, apiKey });

const tools = {
  get_weather: tool({
    description: 'Returns the weather in a city',
    inputSchema: z.object({ city: z.string() }),
    execute: async ({ city }) => `It is sunny in ${city}`,
  }),
};

const models: readonly (readonly [api: string, model: LanguageModel])[] = [
  ['chat', openai.chat('default')],
  ['responses', openai('gpt-5.4')],
  ['messages', anthropic('claude-sonnet-4-6')],
];

for (const [api, model] of models) {
  const settings = { model, maxRetries: 0 };

  await check(`${api}: answer`, async () => {
    const { text, usage, finishReason } = await generateText({ ...settings, prompt: HELLO.prompt });
    expectText(text, HELLO.answer);
    assert.equal(finishReason, 'stop');
    assert.ok((usage.totalTokens ?? 0) > 0);
  });

  await check(`${api}: streamed tools`, async () => {
    const onError = () => {};
    const result = streamText({ ...settings, prompt: CITIES.prompt, stopWhen: stepCountIs(3), tools, onError });
    expectText(await join(result.textStream, (delta) => delta), CITIES.answer);
    assert.equal((await result.steps).length, isGuide ? 1 : 2);
  });

  await check(`${api}: two turns`, async () => {
    const messages: ModelMessage[] = [{ role: 'user', content: HELLO.prompt }];
    const { response } = await generateText({ ...settings, messages });
    messages.push(...response.messages, { role: 'user', content: BEFORE.prompt });
    expectText((await generateText({ ...settings, messages })).text, BEFORE.answer);
  });

  await check(`${api}: one call at a time`, async () => {
    const providerOptions = {
      openai: { parallelToolCalls: false, reasoningEffort: 'low', textVerbosity: 'low' },
      anthropic: { disableParallelToolUse: true },
    };
    const stopWhen = stepCountIs(4);
    const { text, steps } = await generateText({
      ...settings,
      prompt: CITIES.prompt,
      stopWhen,
      tools,
      providerOptions,
    });
    expectText(text, CITIES.answer);
    assert.deepEqual(new Set(steps.map(({ toolCalls }) => toolCalls.length)), new Set(isGuide ? [0] : [1, 0]));
  });

  await check(`${api}: required tool`, async () => {
    const { toolCalls } = await generateText({ ...settings, prompt: 'Go', tools, toolChoice: 'required' });
    assert.equal(toolCalls[0]?.toolName, 'get_weather');
  });

  await check(`${api}: answer by schema`, async () => {
    const output = Output.object({ schema: z.object({ name: z.string(), age: z.number() }) });
    const result = await generateText({ ...settings, prompt: 'A person', output });
    assert.equal(typeof result.output.age, 'number');
  });
}
