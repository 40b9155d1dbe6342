import type OpenAI from 'openai';
import { zodResponseFormat, zodTextFormat } from 'openai/helpers/zod';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { replyAsChatModel } from '../upstreams/chat-model.ts';
import { type Reply, streamEvents } from '../upstreams/reply.ts';
import { converse } from './converse.ts';
import { type Service, startService } from './service.ts';

let service: Service;
let client: OpenAI;
beforeAll(async () => {
  service = await startService({
    respond: converse,
    script: ({ body }) => (isLean(body) ? leanReplies.shift() : undefined) ?? replyAsChatModel(body),
  });
  client = service.client;
});
afterAll(() => service[Symbol.asyncDispose]());

/** The next replies of the model `lean`. */
const leanReplies: Reply[] = [];

function isLean(body: unknown): boolean {
  return typeof body === 'object' && body !== null && 'model' in body && body.model === 'lean-model';
}

const usage = { prompt_tokens: 5, completion_tokens: 3, total_tokens: 8 };

function reply(message: object, finish_reason = 'stop'): Reply {
  return {
    body: { choices: [{ index: 0, message: { role: 'assistant', content: null, ...message }, finish_reason }], usage },
  };
}

function replyStreamed(content: string): Reply {
  const [head, tail] = [content.slice(0, 3), content.slice(3)];
  return streamEvents([
    { choices: [{ index: 0, delta: { role: 'assistant', content: head } }] },
    { choices: [{ index: 0, delta: { content: tail }, finish_reason: 'stop' }] },
    '[DONE]',
  ]);
}

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

const Verdict = z.object({ verdict: z.string() });
const weather = {
  name: 'weather',
  strict: true,
  parameters: {
    type: 'object',
    properties: { city: { type: 'string' } },
    required: ['city'],
    additionalProperties: false,
  },
};

describe('preferences that the target does not support', () => {
  it('hints of the agents’ SDKs are left out, and the header names them as the endpoint does', async () => {
    const completion = await client.chat.completions
      .create({ model: 'lean', messages: [USER], reasoning_effort: 'low', verbosity: 'low', seed: 1 })
      .withResponse();
    expect(completion.response.headers.get('x-lambent-ignored')).toBe('verbosity, seed, reasoning_effort');
    const sent = service.upstream.requests.at(-1)?.body;
    for (const name of ['reasoning_effort', 'verbosity', 'seed']) expect(sent).not.toHaveProperty(name);
    const reasoning = { effort: 'low', context: 'all_turns' } as const;
    const response = await client.responses
      .create({ model: 'lean', input: 'Hello', store: false, reasoning, text: { verbosity: 'low' } })
      .withResponse();
    expect(response.response.headers.get('x-lambent-ignored')).toBe('text.verbosity, reasoning.effort');
  });

  it('named agents are served: a user’s name is written, an assistant’s is dropped', async () => {
    const { data, response } = await client.chat.completions
      .create({
        model: 'bedrock',
        messages: [
          { ...USER, name: 'Ann' },
          { role: 'assistant', content: 'Hi', name: 'agent' },
          { role: 'user', content: 'And?', name: 'Bob' },
        ],
      })
      .withResponse();
    expect(data.choices[0]?.message.content).toBe('You said: Bob: And?');
    expect(response.headers.get('x-lambent-ignored')).toBe('messages[].name');
  });

  it('a strict format is checked, generated again once, and both calls are counted', async () => {
    leanReplies.push(reply({ content: '{"verdict":7}' }), reply({ content: '{"verdict":"good"}' }));
    const request = {
      model: 'lean',
      messages: [USER],
      response_format: zodResponseFormat(Verdict, 'verdict'),
    };
    const { data, response } = await client.chat.completions.create(request).withResponse();
    expect(JSON.parse(data.choices[0]?.message.content ?? '')).toEqual({ verdict: 'good' });
    expect(data.usage).toMatchObject({ prompt_tokens: 10, completion_tokens: 6 });
    expect(response.headers.get('x-lambent-strict')).toBe('repeated');
    leanReplies.push(reply({ content: 'no' }), reply({ content: 'no' }));
    const count = service.upstream.requests.length;
    await expect(client.chat.completions.create(request)).rejects.toMatchObject({
      status: 502,
      code: 'output_mismatch',
    });
    expect(service.upstream.requests.length - count).toBe(2);
  });

  it.each([false, true])('responses.parse gets a strict format of a target without one (stored: %s)', async (store) => {
    leanReplies.push(reply({ content: 'no' }), reply({ content: '{"verdict":"good"}' }));
    const { data, response } = await client.responses
      .create({ model: 'lean', input: 'Judge', store, text: { format: zodTextFormat(Verdict, 'verdict') } })
      .withResponse();
    expect(JSON.parse(data.output_text)).toEqual({ verdict: 'good' });
    expect(response.headers.get('x-lambent-strict')).toBe('repeated');
  });

  it('a stream that does not match its strict format ends with an error', async () => {
    const request = {
      model: 'lean',
      messages: [USER],
      response_format: zodResponseFormat(Verdict, 'verdict'),
      stream: true as const,
    };
    const read = async () => {
      let text = '';
      for await (const { choices } of await client.chat.completions.create(request))
        text += choices[0]?.delta.content ?? '';
      return text;
    };
    leanReplies.push(replyStreamed('{"verdict":"good"}'));
    expect(await read()).toBe('{"verdict":"good"}');
    leanReplies.push(replyStreamed('{"verdict":7}'));
    await expect(read()).rejects.toMatchObject({ code: 'output_mismatch' });
  });

  it('strict tools are checked, and of parallel calls only the first is returned if the caller wants one', async () => {
    const toCall = (id: string, text: string) => ({
      id,
      type: 'function',
      function: { name: 'weather', arguments: text },
    });
    leanReplies.push(
      reply({ tool_calls: [toCall('a', '{"town":"Oslo"}')] }, 'tool_calls'),
      reply({ tool_calls: [toCall('b', '{"city":"Oslo"}'), toCall('c', '{"city":"Bergen"}')] }, 'tool_calls'),
    );
    const completion = await client.chat.completions.create({
      model: 'lean',
      messages: [USER],
      tools: [{ type: 'function', function: weather }],
      parallel_tool_calls: false,
    });
    expect(completion.choices[0]?.message.tool_calls).toEqual([toCall('b', '{"city":"Oslo"}')]);
  });

  it('a tier that the target lacks is served at default, and the answer says so', async () => {
    const completion = await client.chat.completions.create({
      model: 'lean',
      messages: [USER],
      service_tier: 'priority',
    });
    expect(completion.service_tier).toBe('default');
    const body = { model: 'lean', input: 'Hello', store: false, service_tier: 'ultrafast' as const };
    expect((await client.responses.create(body)).service_tier).toBe('default');
  });
});
