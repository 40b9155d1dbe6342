import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { chatModel } from '../upstreams/chat-model.ts';
import { converse } from './converse.ts';
import { type Service, startService } from './service.ts';

let service: Service;
let client: OpenAI;
beforeAll(async () => {
  service = await startService({ respond: converse, alias: { contextTokens: 600, maxOutputTokens: 100 } });
  client = service.client;
});
afterAll(() => service[Symbol.asyncDispose]());

const model = 'compatible';
const refusal = (of: Promise<unknown>) => of.catch((error: unknown) => error);
const retryAfterOf = (error: unknown) =>
  error instanceof OpenAI.APIError ? error.headers?.get('retry-after') : undefined;
const says = (content: string) => ({ role: 'user' as const, content });
const notFound = { status: 404, code: 'not_found' };

async function texts(id: string, of = client): Promise<string[]> {
  const found: string[] = [];
  for await (const item of of.conversations.items.list(id, { order: 'asc' })) {
    if (item.type === 'message') found.push(item.content.map((part) => ('text' in part ? part.text : '')).join(''));
  }
  return found;
}

function lastAsked(): string[] {
  const body = service.upstream.requests.at(-1)?.body as { messages: { role: string; content: unknown }[] };
  return body.messages.map(({ role, content }) => `${role}: ${String(content)}`);
}

describe('a conversation', () => {
  test('is created, retrieved, updated and deleted', async () => {
    const created = await client.conversations.create({ metadata: { topic: 'weather' } });
    expect(created).toMatchObject({ object: 'conversation', metadata: { topic: 'weather' } });
    expect(await client.conversations.retrieve(created.id)).toMatchObject({
      id: created.id,
      metadata: { topic: 'weather' },
    });
    expect(await client.conversations.update(created.id, { metadata: { topic: 'sea' } })).toMatchObject({
      created_at: created.created_at,
      metadata: { topic: 'sea' },
    });
    expect((await client.conversations.retrieve(created.id)).metadata).toEqual({ topic: 'sea' });
    expect(await client.conversations.delete(created.id)).toMatchObject({ id: created.id, deleted: true });
    expect(await refusal(client.conversations.retrieve(created.id))).toMatchObject(notFound);
    expect(await refusal(client.conversations.delete(created.id))).toMatchObject(notFound);
    expect(await refusal(client.responses.create({ model, input: 'Hi', conversation: created.id }))).toMatchObject(
      notFound,
    );
  });

  test('needs nothing to begin with', async () => {
    expect(await client.conversations.create()).toMatchObject({ object: 'conversation', metadata: {} });
  });

  test('has items that are added, listed in either order and by page, retrieved and deleted', async () => {
    const { id } = await client.conversations.create({ items: [says('One'), says('Two')] });
    const added = await client.conversations.items.create(id, { items: [says('Three'), says('Four'), says('Five')] });
    expect(added.data).toHaveLength(3);
    expect(await texts(id)).toEqual(['One', 'Two', 'Three', 'Four', 'Five']);
    const page = await client.conversations.items.list(id, { limit: 2 });
    expect(page.has_more).toBe(true);
    expect(page.last_id).toBe(page.data[1]?.id);
    const next = await client.conversations.items.list(id, { limit: 10, after: page.last_id });
    expect(next.data).toHaveLength(3);
    expect(next.has_more).toBe(false);
    const third = added.data[0]?.id ?? '';
    expect(await client.conversations.items.retrieve(third, { conversation_id: id })).toEqual(
      expect.objectContaining({ id: third, type: 'message', role: 'user' }),
    );
    expect(await client.conversations.items.delete(third, { conversation_id: id })).toMatchObject({ id });
    expect(await texts(id)).toEqual(['One', 'Two', 'Four', 'Five']);
    expect(await refusal(client.conversations.items.retrieve(third, { conversation_id: id }))).toMatchObject(notFound);
    expect(await refusal(client.conversations.items.delete(third, { conversation_id: id }))).toMatchObject(notFound);
    await client.conversations.items.create(id, { items: [says('Six')] });
    expect(await texts(id)).toEqual(['One', 'Two', 'Four', 'Five', 'Six']);
  });

  test.each([false, true])('is read by a response and gets its turn (streamed: %s)', async (stream) => {
    const { id } = await client.conversations.create({ items: [{ role: 'system', content: 'Be kind.' }] });
    for (const input of ['One', 'Two']) {
      const answer = await client.responses.create({ model, input, conversation: id, stream });
      if (Symbol.asyncIterator in answer) for await (const _ of answer);
      else expect(answer.conversation).toEqual({ id });
    }
    expect(lastAsked()).toEqual(['system: Be kind.', 'user: One', 'assistant: You said: One', 'user: Two']);
    expect(await texts(id)).toEqual(['Be kind.', 'One', 'You said: One', 'Two', 'You said: Two']);
  });

  test('is not changed by a response that failed', async () => {
    const { id } = await client.conversations.create({ items: [says('One')] });
    const input: OpenAI.Responses.ResponseInput = [{ type: 'function_call_output', call_id: 'none', output: '' }];
    expect(await refusal(client.responses.create({ model, input, conversation: id }))).toMatchObject({ status: 400 });
    expect(await texts(id)).toEqual(['One']);
    await client.responses.create({ model, input: 'Two', conversation: id });
    expect(await texts(id)).toHaveLength(3);
  });

  test('can be had with store: false, where only the conversation is kept', async () => {
    const { id } = await client.conversations.create();
    const response = await client.responses.create({ model, input: 'One', conversation: id, store: false });
    expect(await texts(id)).toEqual(['One', 'You said: One']);
    expect(await refusal(client.responses.retrieve(response.id))).toMatchObject({ status: 404 });
  });
});

describe('a call in a conversation, and its output', () => {
  const tools: OpenAI.Responses.Tool[] = [
    { type: 'function', name: 'weather', strict: false, parameters: { type: 'object', properties: {} } },
  ];

  /** A conversation in which the model called a function, was told its output and answered. */
  async function answered() {
    const { id: conversation } = await client.conversations.create();
    const { output } = await client.responses.create({ model, input: 'How is it?', tools, conversation });
    const call = output.find((item) => item.type === 'function_call');
    if (call?.id === undefined) throw new Error('The model called nothing');
    const input = [{ type: 'function_call_output' as const, call_id: call.call_id, output: 'sunny' }];
    const response = await client.responses.create({ model, input, conversation });
    expect(response.output_text).toBe('The tool said: sunny');
    const { data } = await client.responses.inputItems.list(response.id);
    return { conversation, callId: call.id, outputId: data[0]?.id ?? '', response };
  }

  test.each(['callId', 'outputId'] as const)('are no longer told when one is deleted (%s)', async (half) => {
    const { conversation, ...ids } = await answered();
    await client.conversations.items.delete(ids[half], { conversation_id: conversation });
    await client.responses.create({ model, input: 'And now?', conversation });
    expect(lastAsked()).toEqual(['user: How is it?', 'assistant: The tool said: sunny', 'user: And now?']);
    expect((await client.conversations.items.list(conversation)).data).toHaveLength(5);
  });

  test('are told up to the caller where the call is the latest answer', async () => {
    const { id: conversation } = await client.conversations.create();
    await client.responses.create({ model, input: 'How is it?', tools, conversation });
    expect(await refusal(client.responses.create({ model, input: 'And now?', conversation }))).toMatchObject({
      status: 400,
      message: expect.stringContaining('No tool output found for function call'),
    });
  });

  test('are parted by a chain that has only the turn with the output, which is gone on from all the same', async () => {
    const { response } = await answered();
    await client.responses.create({ model, input: 'And now?', previous_response_id: response.id });
    expect(lastAsked()).toEqual(['assistant: The tool said: sunny', 'user: And now?']);
  });
});

describe('an item that a conversation has', () => {
  const duplicate = (id: string | undefined, param: string) => ({
    status: 400,
    param,
    type: 'invalid_request_error',
    message: `400 Duplicate item found with id ${id}. Remove duplicate items from your input and try again.`,
  });

  test('comes into it no second time, and its list ends', async () => {
    const { id: conversation } = await client.conversations.create();
    const { output } = await client.responses.create({ model, input: 'One', conversation });
    const again = output.filter((item) => item.type === 'message');
    const refused = duplicate(again[0]?.id, 'input');
    const input = [...again, says('Two')];
    for (const background of [false, true]) {
      const asked = client.responses.create({ model, input, conversation, background });
      expect(await refusal(asked)).toMatchObject(refused);
    }
    expect(await refusal(client.conversations.items.create(conversation, { items: again }))).toMatchObject({
      ...refused,
      param: 'items',
    });
    const pages: string[] = [];
    for await (const { id } of client.conversations.items.list(conversation, { limit: 1 })) pages.push(id ?? '');
    expect(pages).toHaveLength(2);
  });

  test('comes into another one, once', async () => {
    const { output } = await client.responses.create({ model, input: 'One' });
    const items = output.filter((item) => item.type === 'message');
    const twice = client.conversations.create({ items: [...items, ...items] });
    expect(await refusal(twice)).toMatchObject(duplicate(items[0]?.id, 'items'));
    const { id } = await client.conversations.create({ items });
    expect((await client.conversations.items.list(id)).data.map((item) => item.id)).toEqual([items[0]?.id]);
  });

  test('may come again once it was deleted', async () => {
    const { id: conversation } = await client.conversations.create();
    const { output } = await client.responses.create({ model, input: 'One', conversation });
    const items = output.filter((item) => item.type === 'message');
    await client.conversations.items.delete(items[0]?.id ?? '', { conversation_id: conversation });
    const added = await client.conversations.items.create(conversation, { items });
    expect(added.data[0]?.id).toBe(items[0]?.id);
  });
});

describe('two turns at once', () => {
  test('do not interleave: one follows the other, or is told to come back', async () => {
    const { id } = await client.conversations.create();
    const turns = await Promise.allSettled(
      Array.from({ length: 6 }, (_, index) =>
        client.responses.create({ model, input: `Turn ${index}`, conversation: id }),
      ),
    );
    const found = await texts(id);
    expect(found).toHaveLength(2 * turns.filter(({ status }) => status === 'fulfilled').length);
    for (let index = 0; index < found.length; index += 2) expect(found[index + 1]).toBe(`You said: ${found[index]}`);
  });

  test('the second is refused with 409 and Retry-After when the first takes long', async () => {
    await using slow = await startService({ script: ({ body }) => chatModel(body, { pauseMs: 1_500 }) });
    const { id } = await slow.client.conversations.create();
    const first = slow.client.responses.create({ model, input: 'one two three', conversation: id, stream: true });
    const reading = first.then(async (stream) => {
      for await (const _ of stream);
    });
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    const second = await refusal(slow.client.responses.create({ model, input: 'four', conversation: id }));
    expect(second).toMatchObject({ status: 409, code: 'conversation_locked' });
    expect(retryAfterOf(second)).toMatch(/^\d+$/);
    await reading;
    expect(await texts(id, slow.client)).toEqual(['one two three', 'You said: one two three']);
  }, 30_000);
});

describe('the items of a conversation', () => {
  test('show what a list of `include` asks for, and nothing else', async () => {
    const { id } = await client.conversations.create({
      items: [{ type: 'reasoning', id: 'rs_1', summary: [], encrypted_content: 'opaque' }],
    });
    expect((await client.conversations.items.list(id)).data[0]).not.toHaveProperty('encrypted_content');
    const include = ['reasoning.encrypted_content' as const, 'message.output_text.logprobs' as const];
    expect((await client.conversations.items.list(id, { include })).data[0]).toHaveProperty(
      'encrypted_content',
      'opaque',
    );
    const unknown = refusal(client.conversations.items.list(id, { include: ['nonsense' as never] }));
    expect(await unknown).toMatchObject({ status: 400, code: 'invalid_value', param: 'include[0]' });
  });

  test('are not found under any text in place of an id', async () => {
    const { id } = await client.conversations.create();
    for (const odd of ['', ' ', '#', 'x'.repeat(3_000), '\u00e9'.repeat(200)]) {
      const answers = [
        client.conversations.retrieve(`conv_${odd}`),
        client.conversations.update(`conv_${odd}`, { metadata: {} }),
        client.conversations.delete(`conv_${odd}`),
        client.conversations.items.retrieve(`msg_${odd}`, { conversation_id: id }),
        client.conversations.items.list(id, { after: `msg_${odd}` }),
      ];
      const refusals = await Promise.all(answers.map((answer) => refusal(Promise.resolve(answer))));
      expect(refusals).toMatchObject(answers.map(() => ({ status: 404 })));
    }
  });
});

describe('a conversation longer than its model’s context', () => {
  const long = (name: string) => `${name} ${'word '.repeat(120)}`;

  async function grown() {
    const { id } = await client.conversations.create({ items: [{ role: 'developer', content: 'Keep me.' }] });
    for (const name of ['First', 'Second', 'Third', 'Fourth']) {
      await client.conversations.items.create(id, {
        items: [says(long(name)), { role: 'assistant', content: `Heard ${name}.` }],
      });
    }
    return id;
  }

  test('is cut in the middle with truncation auto, which the answer tells', async () => {
    const conversation = await grown();
    const { data, response } = await client.responses
      .create({ model, input: 'Last', conversation, truncation: 'auto' })
      .withResponse();
    expect(data.truncation).toBe('auto');
    expect(Number(response.headers.get('x-lambent-dropped-items'))).toBeGreaterThan(0);
    const asked = lastAsked().map((text) => text.slice(0, 13));
    expect(asked[0]).toBe('system: Keep ');
    expect(asked[1]).toBe('user: First w');
    expect(asked.at(-1)).toBe('user: Last');
    expect(asked).not.toContain('user: Second ');
  });

  test('is refused before any model is asked otherwise', async () => {
    const conversation = await grown();
    const before = service.upstream.requests.length;
    expect(await refusal(client.responses.create({ model, input: 'Last', conversation }))).toMatchObject({
      status: 400,
      code: 'context_length_exceeded',
    });
    expect(service.upstream.requests).toHaveLength(before);
  });
});
