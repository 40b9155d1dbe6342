import { HumanMessage, ToolMessage } from '@langchain/core/messages';
import { tool } from '@langchain/core/tools';
import { ChatOpenAI } from '@langchain/openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { converse } from '../end-to-end/converse.ts';
import { type Service, startService } from '../end-to-end/service.ts';

let service: Service;
beforeAll(async () => {
  service = await startService({ respond: converse });
});
afterAll(() => service[Symbol.asyncDispose]());

const weather = tool(async () => 'sunny', {
  name: 'weather',
  description: 'Returns the weather in a city',
  schema: z.object({ city: z.string() }),
});

describe.each(['compatible', 'bedrock'])('LangChain, with the model %s', (modelId) => {
  describe.each([
    ['chat completions', {}],
    ['responses', { useResponsesApi: true, zdrEnabled: true }],
  ])('through %s', (_, api) => {
    const createChat = (model = modelId) =>
      new ChatOpenAI({
        model,
        apiKey: 'sk-local',
        maxRetries: 0,
        configuration: { baseURL: service.cloud.url },
        ...api,
      });

    it('LangChain gets an answer with its usage', async () => {
      const message = await createChat().invoke('Hello');
      expect(message.text).toBe('You said: Hello');
      expect(message.usage_metadata).toMatchObject({ total_tokens: expect.any(Number) });
    });

    it('LangChain gets a streamed answer in order', async () => {
      let text = '';
      for await (const chunk of await createChat().stream('Hello')) text += chunk.text;
      expect(text).toBe('You said: Hello');
    });

    it('LangChain gets an answer that uses the result of a tool call', async () => {
      const withTools = createChat().bindTools([weather]);
      const question = new HumanMessage('How is the weather?');
      const first = await withTools.invoke([question]);
      const [call] = first.tool_calls ?? [];
      expect(call).toMatchObject({ name: 'weather', args: { city: expect.any(String) } });
      const result = new ToolMessage({ content: 'sunny', tool_call_id: call?.id ?? '' });
      const second = await withTools.invoke([question, first, result]);
      expect(second.text).toContain('sunny');
    });

    it('LangChain gets structured output that fits the schema', async () => {
      const person = z.object({ name: z.string(), age: z.number() });
      const answer = await createChat()
        .withStructuredOutput(person, { name: 'person', method: 'jsonSchema', strict: true })
        .invoke('A person');
      expect(answer).toEqual({ name: expect.any(String), age: expect.any(Number) });
    });

    it('LangChain rejects with status 404 for an unknown model', async () => {
      await expect(createChat('nope').invoke('Hello')).rejects.toMatchObject({ status: 404 });
    });
  });
});
