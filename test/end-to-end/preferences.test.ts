import type OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { converse } from './converse.ts';
import { type Service, startService } from './service.ts';

let service: Service;
let client: OpenAI;
beforeAll(async () => {
  service = await startService({ respond: converse });
  client = service.client;
});
afterAll(() => service[Symbol.asyncDispose]());

const USER = { role: 'user', content: 'Hello' } as const;

describe('requests of clients that know other models', () => {
  it('a name that a pattern maps is served, and the answer has the caller’s name', async () => {
    const model = 'gpt-5.4';
    const completion = await client.chat.completions.create({ model, messages: [USER] });
    expect(completion.model).toBe(model);
    const stream = await client.chat.completions.create({ model, messages: [USER], stream: true });
    for await (const chunk of stream) expect(chunk.model).toBe(model);
    const response = await client.responses.create({ model, input: 'Hello' });
    expect(response.model).toBe(model);
    expect(await client.responses.retrieve(response.id)).toMatchObject({ model, output_text: response.output_text });
    expect(await client.models.retrieve(model)).toMatchObject({ id: model });
    await expect(client.models.retrieve('nope')).rejects.toMatchObject({ code: 'model_not_found' });
  });

  it('an output limit above the model’s is lowered', async () => {
    for (const model of ['compatible', 'bedrock']) {
      const completion = await client.chat.completions.create({ model, messages: [USER], max_tokens: 1_000_000 });
      expect(completion.choices[0]?.message.content).toBe('You said: Hello');
    }
  });
});

describe('requests with fields that have no effect', () => {
  it('the official client gets an answer and the names of unknown fields in chat, buffered and streamed', async () => {
    const body = { model: 'compatible', messages: [{ ...USER, 'mood,\r\n✓': 1 }], top_k: 4, async_: null };
    for (const stream of [false, true]) {
      const { response } = await client.chat.completions.create({ ...body, stream }).withResponse();
      expect(response.headers.get('x-lambent-ignored')).toBe('messages[].mood%2C%0D%0A%E2%9C%93, top_k');
    }
    const plain = await client.chat.completions.create({ model: 'compatible', messages: [USER] }).withResponse();
    expect(plain.response.headers.has('x-lambent-ignored')).toBe(false);
  });

  it.each([false, true])(
    'the official client gets the names of unknown fields of a response (stored: %s)',
    async (store) => {
      const body = { model: 'compatible', input: 'Hello', store, client_metadata: { a: 'b' } };
      for (const stream of [false, true]) {
        const { response } = await client.responses.create({ ...body, stream }).withResponse();
        expect(response.headers.get('x-lambent-ignored')).toBe('client_metadata');
      }
    },
  );

  it('an assistant’s message goes back as openai-python serializes it, with every field of the answer', async () => {
    const first = await client.chat.completions.create({ model: 'compatible', messages: [USER] });
    const message = { ...first.choices[0]?.message, role: 'assistant' as const, annotations: null, async_: null };
    const parts = [
      { type: 'text' as const, text: 'Hi', role: 'assistant', refusal: null, tool_calls: [], annotations: [] },
    ];
    for (const content of [message.content ?? '', parts]) {
      const next = await client.chat.completions.create({
        model: 'compatible',
        messages: [USER, { ...message, content }, { role: 'user', content: 'And now?' }],
      });
      expect(next.choices[0]?.message.content).toBe('You said: And now?');
    }
  });
});
