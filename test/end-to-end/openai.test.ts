import OpenAI from 'openai';
import { zodResponseFormat, zodTextFormat } from 'openai/helpers/zod';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { converse } from './converse.ts';
import { type Service, startService } from './service.ts';

const PIXEL =
  'data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==';

const weather = {
  name: 'weather',
  description: 'Tells the weather in a city',
  parameters: {
    type: 'object',
    properties: { city: { type: 'string' } },
    required: ['city'],
    additionalProperties: false,
  },
};

let service: Service;
let client: OpenAI;
beforeAll(async () => {
  service = await startService({ respond: converse });
  client = service.client;
});
afterAll(() => service[Symbol.asyncDispose]());

describe.each(['compatible', 'bedrock'])('the official client, with a model behind %s', (model) => {
  it('the official client creates a chat completion', async () => {
    const completion = await client.chat.completions.create({ model, messages: [{ role: 'user', content: 'Hello' }] });
    expect(completion).toMatchObject({ object: 'chat.completion', model });
    expect(completion.choices[0]).toMatchObject({ finish_reason: 'stop', message: { content: 'You said: Hello' } });
    expect(completion.usage?.total_tokens).toBeGreaterThan(0);
    expect(completion._request_id).toMatch(/./);
  });

  it('the official client streams a chat completion, with usage if it requests it', async () => {
    const stream = await client.chat.completions.create({
      model,
      messages: [{ role: 'user', content: 'Hello, stream' }],
      stream: true,
      stream_options: { include_usage: true },
    });
    let text = '';
    let usage: OpenAI.CompletionUsage | null | undefined;
    for await (const chunk of stream) {
      text += chunk.choices[0]?.delta.content ?? '';
      usage = chunk.usage ?? usage;
    }
    expect(text).toBe('You said: Hello, stream');
    expect(usage?.total_tokens).toBeGreaterThan(0);
  });

  it('the official client creates a response', async () => {
    const response = await client.responses.create({ model, input: 'Hello', instructions: 'Be brief.' });
    expect(response).toMatchObject({ status: 'completed', model, output_text: 'You said: Hello' });
    expect(response.usage?.total_tokens).toBeGreaterThan(0);
  });

  it('the official client accumulates a streamed response that equals its final event', async () => {
    const stream = client.responses.stream({ model, input: 'Hello' });
    let text = '';
    const sequence: number[] = [];
    for await (const event of stream) {
      sequence.push(event.sequence_number);
      if (event.type === 'response.output_text.delta') text += event.delta;
    }
    const final = await stream.finalResponse();
    expect(final.output_text).toBe('You said: Hello');
    expect(text).toBe(final.output_text);
    expect(sequence).toEqual(sequence.map((_, index) => index));
  });

  it('the official client runs a tool and returns its result with runTools', async () => {
    const cities: unknown[] = [];
    const runner = client.chat.completions.runTools({
      model,
      messages: [{ role: 'user', content: 'How is the weather?' }],
      tools: [
        {
          type: 'function',
          function: {
            ...weather,
            parse: JSON.parse,
            function: (argument: { city: string }) => {
              cities.push(argument.city);
              return 'sunny';
            },
          },
        },
      ],
    });
    expect(await runner.finalContent()).toBe('The tool said: sunny');
    expect(cities).toEqual([expect.any(String)]);
  });

  it('the official client receives a tool call and returns its result with responses', async () => {
    const tools = [{ type: 'function' as const, strict: false, ...weather }];
    const input: OpenAI.Responses.ResponseInput = [{ role: 'user', content: 'How is the weather?' }];
    const first = await client.responses.create({ model, input, tools, store: false });
    const call = first.output.find((item) => item.type === 'function_call');
    expect(call).toMatchObject({ name: 'weather', status: 'completed' });
    expect(JSON.parse(call?.arguments ?? '')).toHaveProperty('city');
    // The SDK does not type output items as input items, but its guides push them like this.
    input.push(...(first.output as OpenAI.Responses.ResponseInput), {
      type: 'function_call_output',
      call_id: call?.call_id ?? '',
      output: 'rainy',
    });
    const second = await client.responses.create({ model, input, tools, store: false });
    expect(second.output_text).toBe('The tool said: rainy');
  });

  it('the official client parses structured output with its helpers', async () => {
    const shape = z.object({ name: z.string(), tags: z.array(z.string()) });
    const chat = await client.chat.completions.parse({
      model,
      messages: [{ role: 'user', content: 'A person' }],
      response_format: zodResponseFormat(shape, 'person'),
    });
    expect(shape.safeParse(chat.choices[0]?.message.parsed).success).toBe(true);
    const response = await client.responses.parse({
      model,
      input: 'A person',
      text: { format: zodTextFormat(shape, 'person') },
    });
    expect(shape.safeParse(response.output_parsed).success).toBe(true);
  });

  it('the official client sends an image', async () => {
    const completion = await client.chat.completions.create({
      model,
      messages: [
        {
          role: 'user',
          content: [
            { type: 'text', text: 'What is this?' },
            { type: 'image_url', image_url: { url: PIXEL } },
          ],
        },
      ],
    });
    expect(completion.choices[0]?.message.content).toMatch(/png/i);
  });

  it('the official client learns that an answer was cut at its token limit', async () => {
    const completion = await client.chat.completions.create({
      model,
      max_completion_tokens: 1,
      messages: [{ role: 'user', content: 'A long story, please' }],
    });
    expect(completion.choices[0]?.finish_reason).toBe('length');
    const response = await client.responses.create({ model, max_output_tokens: 16, input: 'word '.repeat(100) });
    expect(response).toMatchObject({ status: 'incomplete', incomplete_details: { reason: 'max_output_tokens' } });
  });
});

describe('the models', () => {
  it('models are listed and retrieved', async () => {
    const ids = (await client.models.list()).data.map(({ id }) => id);
    expect(ids.sort()).toEqual(['bedrock', 'compatible', 'default', 'lean']);
    expect(await client.models.retrieve('default')).toMatchObject({ id: 'default', object: 'model' });
    await expect(client.models.retrieve('Qwen/nope')).rejects.toMatchObject({ status: 404, code: 'model_not_found' });
  });
});

describe('errors of the official client', () => {
  const ask = (changes: object) =>
    client.chat.completions.create({
      model: 'compatible',
      messages: [{ role: 'user', content: 'Hello' }],
      ...changes,
    } as OpenAI.ChatCompletionCreateParamsNonStreaming);

  it('the official client gets a 401 for a wrong key', async () => {
    const stranger = new OpenAI({ baseURL: service.cloud.url, apiKey: 'sk-wrong', maxRetries: 0 });
    const error = await stranger.models.list().then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    expect(error).toBeInstanceOf(OpenAI.AuthenticationError);
    expect(error).toMatchObject({ status: 401, code: 'invalid_api_key' });
  });

  it('the official client gets a 404 for an unknown model', async () => {
    await expect(ask({ model: 'nope' })).rejects.toBeInstanceOf(OpenAI.NotFoundError);
    await expect(ask({ model: 'nope' })).rejects.toMatchObject({ code: 'model_not_found', param: 'model' });
  });

  it.each([
    [{ messages: 'hello' }, 'messages'],
    [{ temperature: 9 }, 'temperature'],
    [{ n: 2 }, 'n'],
    [
      {
        messages: [
          { role: 'user', content: [{ type: 'image_url', image_url: { url: 'https://evil.example/a.png' } }] },
        ],
      },
      'messages[0].content[0].image_url.url',
    ],
  ])('the error for the invalid request %j names its parameter', async (changes, param) => {
    const error = await ask(changes).then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    expect(error).toBeInstanceOf(OpenAI.BadRequestError);
    expect(error).toMatchObject({ param, type: 'invalid_request_error' });
  });

  it('the error for a parameter that the target does not support names it', async () => {
    await expect(ask({ model: 'bedrock', logit_bias: { 7: 1 } })).rejects.toMatchObject({
      status: 400,
      param: 'logit_bias',
    });
  });

  it('the error for an unknown route has OpenAI’s format', async () => {
    const answer = await fetch(`${service.cloud.url}/nope`, { headers: { authorization: 'Bearer sk-local' } });
    expect(answer.status).toBe(404);
    expect(await answer.json()).toMatchObject({ error: { type: 'invalid_request_error', code: 'unknown_url' } });
    expect(answer.headers.get('x-request-id')).toMatch(/./);
  });
});
