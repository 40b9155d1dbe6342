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
