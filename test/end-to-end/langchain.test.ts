import { HumanMessage, ToolMessage } from '@langchain/core/messages';
import { tool } from '@langchain/core/tools';
import { ChatOpenAI } from '@langchain/openai';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { converse } from './converse.ts';
import { type Service, startService } from './service.ts';

let service: Service;
beforeAll(async () => {
  service = await startService({ respond: converse });
});
afterAll(() => service[Symbol.asyncDispose]());

const weather = tool(async () => 'sunny', {
  name: 'weather',
  description: 'Tells the weather in a city',
  schema: z.object({ city: z.string() }),
});

describe.each(['compatible', 'bedrock'])('LangChain, with a model behind %s', (model) => {
  describe.each([
    ['chat completions', {}],
    ['responses', { useResponsesApi: true, zdrEnabled: true }],
  ])('through %s', (_, api) => {
    const chat = () =>
      new ChatOpenAI({
        model,
        apiKey: 'sk-local',
        maxRetries: 0,
        configuration: { baseURL: service.cloud.url },
        ...api,
      });

    test('invokes', async () => {
      const message = await chat().invoke('Hello');
      expect(message.text).toBe('You said: Hello');
      expect(message.usage_metadata).toMatchObject({ total_tokens: expect.any(Number) });
    });

    test('streams', async () => {
      let text = '';
      for await (const chunk of await chat().stream('Hello')) text += chunk.text;
      expect(text).toBe('You said: Hello');
    });

    test('makes a round trip through a tool', async () => {
      const withTools = chat().bindTools([weather]);
      const question = new HumanMessage('How is the weather?');
      const first = await withTools.invoke([question]);
      const [call] = first.tool_calls ?? [];
      expect(call).toMatchObject({ name: 'weather', args: { city: expect.any(String) } });
      const result = new ToolMessage({ content: 'sunny', tool_call_id: call?.id ?? '' });
      const second = await withTools.invoke([question, first, result]);
      expect(second.text).toContain('sunny');
    });

    test('parses structured output', async () => {
      const person = z.object({ name: z.string(), age: z.number() });
      const answer = await chat()
        .withStructuredOutput(person, { name: 'person', method: 'jsonSchema', strict: true })
        .invoke('A person');
      expect(answer).toEqual({ name: expect.any(String), age: expect.any(Number) });
    });

    test('is told of errors', async () => {
      const unknown = new ChatOpenAI({
        model: 'nope',
        apiKey: 'sk-local',
        maxRetries: 0,
        configuration: { baseURL: service.cloud.url },
        ...api,
      });
      await expect(unknown.invoke('Hello')).rejects.toMatchObject({ status: 404 });
    });
  });
});
