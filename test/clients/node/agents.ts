import assert from 'node:assert/strict';
import { Agent, OpenAIProvider, Runner, setTracingDisabled, tool, user } from '@openai/agents';
import { z } from 'zod';
import { apiKey, BEFORE, baseURL, CITIES, check, expectText, HELLO, join, WEATHER } from './check.ts';

setTracingDisabled(true);

// zod makes the tool strict.
const weather = tool({
  name: 'get_weather',
  description: 'Returns the weather in a city',
  parameters: z.object({ city: z.string() }),
  execute: async ({ city }) => `It is sunny in ${city}`,
});
const Person = z.object({ name: z.string(), age: z.number() });

for (const useResponses of [true, false]) {
  const api = useResponses ? 'responses' : 'chat';
  const runner = new Runner({ modelProvider: new OpenAIProvider({ baseURL, apiKey, useResponses }) });
  // Without a model, the SDK uses its own default, with that model's settings.
  const agent = new Agent({ name: 'Assistant', instructions: 'Be brief.', tools: [weather] });

  await check(`${api}: tools`, async () => {
    expectText((await runner.run(agent, CITIES.prompt)).finalOutput, CITIES.answer);
  });

  await check(`${api}: streamed tools`, async () => {
    const result = await runner.run(agent, WEATHER.prompt, { stream: true });
    expectText(await join(result.toTextStream(), (text) => text), WEATHER.answer);
  });

  await check(`${api}: two turns`, async () => {
    const first = await runner.run(agent, HELLO.prompt);
    const second = await runner.run(agent, [...first.history, user(BEFORE.prompt)]);
    expectText(second.finalOutput, BEFORE.answer);
  });

  await check(`${api}: one call at a time`, async () => {
    const modelSettings = {
      parallelToolCalls: false,
      reasoning: { effort: 'low' },
      text: { verbosity: 'low' },
    } as const;
    const result = await runner.run(agent.clone({ modelSettings }), CITIES.prompt);
    expectText(result.finalOutput, CITIES.answer);
    for (const { output } of result.rawResponses)
      assert.ok(output.filter(({ type }) => type === 'function_call').length <= 1);
  });

  await check(`${api}: answer by schema`, async () => {
    const writer = new Agent({ name: 'Writer', instructions: 'Be brief.', outputType: Person });
    assert.equal(typeof (await runner.run(writer, 'A person')).finalOutput?.age, 'number');
  });
}
