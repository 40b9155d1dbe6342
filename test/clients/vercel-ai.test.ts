import { createOpenAI, type OpenAIProvider } from '@ai-sdk/openai';
import { generateText, Output, stepCountIs, streamText, tool } from 'ai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { converse } from '../end-to-end/converse.ts';
import { type Service, startService } from '../end-to-end/service.ts';

let service: Service;
let openai: OpenAIProvider;
beforeAll(async () => {
  service = await startService({ respond: converse });
  openai = createOpenAI({ baseURL: service.cloud.url, apiKey: 'sk-local' });
});
afterAll(() => service[Symbol.asyncDispose]());

describe.each(['compatible', 'bedrock'])('Vercel’s AI SDK, with the model %s', (modelId) => {
  describe.each(['chat', 'responses'] as const)('through %s', (api) => {
    const settings = (id = modelId) => ({
      model: api === 'chat' ? openai.chat(id) : openai.responses(id),
      maxRetries: 0,
    });

    it('Vercel’s AI SDK generates text with its usage', async () => {
      const { text, usage, finishReason } = await generateText({ ...settings(), prompt: 'Hello' });
      expect({ text, finishReason }).toEqual({ text: 'You said: Hello', finishReason: 'stop' });
      expect(usage.totalTokens).toBeGreaterThan(0);
    });

    it('Vercel’s AI SDK streams text in order', async () => {
      const { textStream } = streamText({ ...settings(), prompt: 'Hello' });
      let text = '';
      for await (const delta of textStream) text += delta;
      expect(text).toBe('You said: Hello');
    });

    it('Vercel’s AI SDK generates text that uses the result of a tool call', async () => {
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

    it('Vercel’s AI SDK generates an object that fits the schema', async () => {
      const { output } = await generateText({
        ...settings(),
        prompt: 'A person',
        output: Output.object({ schema: z.object({ name: z.string(), age: z.number() }) }),
      });
      expect(output).toEqual({ name: expect.any(String), age: expect.any(Number) });
    });

    it('Vercel’s AI SDK rejects with status 404 for an unknown model', async () => {
      await expect(generateText({ ...settings('nope'), prompt: 'Hello' })).rejects.toMatchObject({ statusCode: 404 });
    });
  });
});
