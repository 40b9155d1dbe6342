import Anthropic from '@anthropic-ai/sdk';
import fc from 'fast-check';
import type OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Service, startService } from './service.ts';

type Fields = Record<string, unknown>;

/** What the upstream answers to a request that has no output of a tool. */
let message: Fields = {};
let finish_reason = 'tool_calls';
let service: Service;
let client: OpenAI;
let anthropic: Anthropic;
beforeAll(async () => {
  service = await startService({
    script: ({ text, body }) => {
      const isSecond = text.includes('"role":"tool"');
      const answer = isSecond
        ? { role: 'assistant', content: 'Done' }
        : { role: 'assistant', content: null, ...message };
      const reason = isSecond ? 'stop' : finish_reason;
      if (Object(body).stream !== true) return { body: { choices: [{ message: answer, finish_reason: reason }] } };
      const calls = Object(answer).tool_calls?.map((call: Fields, index: number) => ({ index, ...call }));
      const delta = { ...answer, ...(calls && { tool_calls: calls }) };
      const chunks = [{ delta }, { delta: {}, finish_reason: reason }].map((choice) =>
        JSON.stringify({ choices: [{ index: 0, ...choice }] }),
      );
      return {
        headers: { 'content-type': 'text/event-stream' },
        body: [...chunks, '[DONE]'].map((chunk) => `data: ${chunk}\n\n`).join(''),
      };
    },
  });
  client = service.client;
  anthropic = new Anthropic({ baseURL: service.cloud.url.replace(/\/v1$/, ''), apiKey: 'sk-local', maxRetries: 0 });
});
afterAll(() => service[Symbol.asyncDispose]());

const USER = { role: 'user' as const, content: 'Weather?' };
const schema = { type: 'object' as const, properties: { city: { type: 'string' } } };
const chatTools = [{ type: 'function' as const, function: { name: 'weather', parameters: schema } }];
const responseTools = [
  { type: 'function' as const, name: 'weather', parameters: schema as Record<string, unknown>, strict: false },
];
const messageTools = [{ name: 'weather', input_schema: schema }];

/** Returns the assistant's message in the last request to the upstream. */
const getSentBack = (): Fields => {
  const { messages } = Object(service.upstream.requests.at(-1)?.body);
  return messages.find(({ role }: Fields) => role === 'assistant');
};

/** Each sends a request and then its answer back, with an output of every call, to the model `next`. */
const CONVERSATIONS = {
  async chat(next: string) {
    const first = await client.chat.completions.create({ model: 'compatible', messages: [USER], tools: chatTools });
    const answer = first.choices[0]?.message;
    if (answer === undefined) throw new Error('There is no answer');
    const results = (answer.tool_calls ?? []).map(({ id }) => ({
      role: 'tool' as const,
      tool_call_id: id,
      content: 'Sunny',
    }));
    const messages = [USER, answer, ...results];
    await client.chat.completions.create({ model: next, messages, tools: chatTools });
  },
  async 'stored responses'(next: string) {
    const first = await client.responses.create({ model: 'compatible', input: [USER], tools: responseTools });
    const input = toOutputs(first);
    await client.responses.create({ model: next, input, tools: responseTools, previous_response_id: first.id });
  },
  async 'stateless responses'(next: string) {
    const include = ['reasoning.encrypted_content' as const];
    const body = { tools: responseTools, store: false, include };
    const first = await client.responses.create({ ...body, model: 'compatible', input: [USER] });
    const input = [USER, ...(first.output as OpenAI.Responses.ResponseInputItem[]), ...toOutputs(first)];
    await client.responses.create({ ...body, model: next, input });
  },
  async messages(next: string) {
    const body = { max_tokens: 100, tools: messageTools };
    const first = await anthropic.messages.create({ ...body, model: 'compatible', messages: [USER] });
    const results = first.content.flatMap((block) =>
      block.type === 'tool_use' ? [{ type: 'tool_result' as const, tool_use_id: block.id, content: 'Sunny' }] : [],
    );
    const messages = [
      USER,
      { role: 'assistant' as const, content: first.content },
      { role: 'user' as const, content: results },
    ];
    await anthropic.messages.create({ ...body, model: next, messages });
  },
};
const APIS = Object.keys(CONVERSATIONS) as (keyof typeof CONVERSATIONS)[];

function toOutputs({ output }: OpenAI.Responses.Response) {
  return output.flatMap((item) =>
    item.type === 'function_call'
      ? [{ type: 'function_call_output' as const, call_id: item.call_id, output: 'Sunny' }]
      : [],
  );
}

describe.each(APIS)('an answer of the service, sent back (%s)', (api) => {
  const anyText = fc.oneof(fc.string({ minLength: 1 }), fc.string({ unit: 'binary', minLength: 1, maxLength: 90 }));
  const call = fc.record({
    id: fc.oneof(fc.constantFrom('', 'functions.weather:0', 'call_1', 'x'.repeat(100)), anyText),
    name: fc.oneof(fc.constantFrom('weather', 'functions.weather', '__proto__', 'a b'), anyText),
    arguments: fc.oneof(
      fc.constantFrom('', '{}', '{"city":"Os', '[1]', 'null', '"text"', '{"__proto__":1}', '{"a":1}{"b":2}'),
      fc.json({ maxDepth: 2 }),
      anyText,
    ),
  });

  it('any call that a model makes up is accepted, by any target', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(call, { minLength: 1, maxLength: 3 }),
        fc.constantFrom('tool_calls', 'stop', 'length'),
        fc.constantFrom('compatible', 'bedrock', 'lean'),
        async (calls, reason, next) => {
          finish_reason = reason;
          const tool_calls = calls.map(({ id, ...called }) => ({ id, type: 'function', function: called }));
          message = { tool_calls };
          await CONVERSATIONS[api](next);
        },
      ),
      { numRuns: 25 },
    );
  });

  it('the thought signature of a call reaches the upstream again with the next turn', async () => {
    finish_reason = 'tool_calls';
    const signed = { extra_content: { google: { thought_signature: 'c2lnbmVk' } } };
    const called = { type: 'function', function: { name: 'weather', arguments: '{}' } };
    message = {
      tool_calls: [
        { id: 'call_a', ...called, ...signed },
        { id: 'call_b', ...called },
      ],
    };
    await CONVERSATIONS[api]('compatible');
    const { tool_calls: calls } = getSentBack();
    expect(calls).toEqual([
      { id: 'call_a', ...called, ...signed },
      { id: 'call_b', ...called },
    ]);
  });

  it('the records of reasoning reach the upstream again as they were', async () => {
    finish_reason = 'tool_calls';
    const reasoning_details = [
      { type: 'reasoning.text', text: 'Hm.', signature: 'c2ln', format: 'f', index: 0 },
      { type: 'reasoning.encrypted', data: 'secret', id: 'r', index: 1 },
    ];
    const tool_calls = [{ id: 'call_a', type: 'function', function: { name: 'weather', arguments: '{}' } }];
    message = { reasoning: 'Hm.', reasoning_details, tool_calls };
    await CONVERSATIONS[api]('compatible');
    expect(getSentBack()).toMatchObject({ reasoning_details });
  });
});

describe('a chat completion', () => {
  const signed = { extra_content: { google: { thought_signature: 'c2lnbmVk' } } };
  const reasoning_details = [{ type: 'reasoning.text', text: 'Hm.', signature: 'c2ln', index: 0 }];
  beforeAll(() => {
    finish_reason = 'tool_calls';
    const call = { id: 'call_a', type: 'function', function: { name: 'weather', arguments: '{}' }, ...signed };
    message = { reasoning_details, tool_calls: [call] };
  });

  it('the stream of a chat completion has the signatures and reasoning records that its message has', async () => {
    const body = { model: 'compatible', messages: [USER], tools: chatTools };
    const { choices } = await client.chat.completions.create(body);
    expect(choices[0]?.message).toMatchObject({ reasoning_content: 'Hm.', reasoning_details, tool_calls: [signed] });
    const deltas: Fields[] = [];
    for await (const chunk of await client.chat.completions.create({ ...body, stream: true })) {
      const [choice] = chunk.choices;
      if (choice) deltas.push({ ...choice.delta });
    }
    expect(deltas).toContainEqual({ reasoning_details });
    expect(deltas).toContainEqual({ tool_calls: [expect.objectContaining({ index: 0, ...signed })] });
  });

  it('the replayed stream of a stored completion has signatures and reasoning records', async () => {
    const body = { model: 'compatible', messages: [USER], tools: chatTools, store: true, stream: true as const };
    const options = { headers: { 'Idempotency-Key': 'signed' } };
    for (const _ of ['first', 'again']) {
      let text = '';
      for await (const chunk of await client.chat.completions.create(body, options)) text += JSON.stringify(chunk);
      expect(text).toContain('c2lnbmVk');
      expect(text).toContain('"reasoning_details"');
    }
  });
});
