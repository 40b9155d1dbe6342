import { createOpenAI, type OpenAIProvider } from '@ai-sdk/openai';
import { generateText, Output, stepCountIs, streamText, tool } from 'ai';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { converse } from './converse.ts';
import { type Service, startService } from './service.ts';

let service: Service;
let openai: OpenAIProvider;
beforeAll(async () => {
  service = await startService({ respond: converse });
  openai = createOpenAI({ baseURL: service.cloud.url, apiKey: 'sk-local' });
});
afterAll(() => service[Symbol.asyncDispose]());

describe.each(['compatible', 'bedrock'])('Vercel’s AI SDK, with a model behind %s', (name) => {
  describe.each(['chat', 'responses'] as const)('through %s', (api) => {
    const model = () => (api === 'chat' ? openai.chat(name) : openai.responses(name));
    const settings = () => ({ model: model(), maxRetries: 0 });

    test('generates text', async () => {
      const { text, usage, finishReason } = await generateText({ ...settings(), prompt: 'Hello' });
      expect({ text, finishReason }).toEqual({ text: 'You said: Hello', finishReason: 'stop' });
      expect(usage.totalTokens).toBeGreaterThan(0);
    });

    test('streams text', async () => {
      const { textStream } = streamText({ ...settings(), prompt: 'Hello' });
      let text = '';
      for await (const delta of textStream) text += delta;
      expect(text).toBe('You said: Hello');
    });

    test('makes a round trip through a tool', async () => {
      const { text, steps } = await generateText({
        ...settings(),
        prompt: 'How is the weather?',
        stopWhen: stepCountIs(3),
        tools: {
          weather: tool({ inputSchema: z.object({ city: z.string() }), execute: async () => 'sunny' }),
        },
      });
      expect(text).toContain('sunny');
      expect(steps).toHaveLength(2);
    });

    test('generates an object', async () => {
      const { output } = await generateText({
        ...settings(),
        prompt: 'A person',
        output: Output.object({ schema: z.object({ name: z.string(), age: z.number() }) }),
      });
      expect(output).toEqual({ name: expect.any(String), age: expect.any(Number) });
    });

    test('is told of errors', async () => {
      const unknown = api === 'chat' ? openai.chat('nope') : openai.responses('nope');
      await expect(generateText({ model: unknown, maxRetries: 0, prompt: 'Hello' })).rejects.toMatchObject({
        statusCode: 404,
      });
    });
  });
});
