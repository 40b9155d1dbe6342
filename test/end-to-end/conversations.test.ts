import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { replyAsChatModel } from '../upstreams/chat-model.ts';
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
const getError = (call: Promise<unknown>) => call.catch((error: unknown) => error);
const getRetryAfter = (error: unknown) =>
  error instanceof OpenAI.APIError ? error.headers?.get('retry-after') : undefined;
const createMessage = (content: string) => ({ role: 'user' as const, content });
const notFound = { status: 404, code: 'not_found' };

/** Returns the texts of a conversation's messages, oldest first. */
async function readTexts(id: string, through = client): Promise<string[]> {
  const found: string[] = [];
  for await (const item of through.conversations.items.list(id, { order: 'asc' })) {
    if (item.type === 'message') found.push(item.content.map((part) => ('text' in part ? part.text : '')).join(''));
  }
  return found;
}

/** Returns the messages of the last request to the model, each as `role: content`. */
function getLastMessages(): string[] {
  const body = service.upstream.requests.at(-1)?.body as { messages: { role: string; content: unknown }[] };
  return body.messages.map(({ role, content }) => `${role}: ${String(content)}`);
}

describe('a conversation', () => {
  it('a conversation is created, retrieved, updated and deleted', async () => {
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
    expect(await getError(client.conversations.retrieve(created.id))).toMatchObject(notFound);
    expect(await getError(client.conversations.delete(created.id))).toMatchObject(notFound);
    expect(await getError(client.responses.create({ model, input: 'Hi', conversation: created.id }))).toMatchObject(
      notFound,
    );
  });

  it('a conversation can be created without any field', async () => {
    expect(await client.conversations.create()).toMatchObject({ object: 'conversation', metadata: {} });
  });

  it('items of a conversation are added, listed in either order and by page, retrieved and deleted', async () => {
    const { id } = await client.conversations.create({ items: [createMessage('One'), createMessage('Two')] });
    const added = await client.conversations.items.create(id, {
      items: [createMessage('Three'), createMessage('Four'), createMessage('Five')],
    });
    expect(added.data).toHaveLength(3);
    expect(await readTexts(id)).toEqual(['One', 'Two', 'Three', 'Four', 'Five']);
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
    expect(await readTexts(id)).toEqual(['One', 'Two', 'Four', 'Five']);
    expect(await getError(client.conversations.items.retrieve(third, { conversation_id: id }))).toMatchObject(notFound);
    expect(await getError(client.conversations.items.delete(third, { conversation_id: id }))).toMatchObject(notFound);
    await client.conversations.items.create(id, { items: [createMessage('Six')] });
    expect(await readTexts(id)).toEqual(['One', 'Two', 'Four', 'Five', 'Six']);
  });

  it.each([false, true])(
    'a response has the conversation as its context, and adds its turn to it (streamed: %s)',
    async (stream) => {
      const { id } = await client.conversations.create({ items: [{ role: 'system', content: 'Be kind.' }] });
      for (const input of ['One', 'Two']) {
        const answer = await client.responses.create({ model, input, conversation: id, stream });
        if (Symbol.asyncIterator in answer) for await (const _ of answer);
        else expect(answer.conversation).toEqual({ id });
      }
      expect(getLastMessages()).toEqual(['system: Be kind.', 'user: One', 'assistant: You said: One', 'user: Two']);
      expect(await readTexts(id)).toEqual(['Be kind.', 'One', 'You said: One', 'Two', 'You said: Two']);
    },
  );

  it('a conversation does not change when a response fails', async () => {
    const { id } = await client.conversations.create({ items: [createMessage('One')] });
    const input: OpenAI.Responses.ResponseInput = [{ type: 'function_call_output', call_id: 'none', output: '' }];
    expect(await getError(client.responses.create({ model, input, conversation: id }))).toMatchObject({ status: 400 });
    expect(await readTexts(id)).toEqual(['One']);
    await client.responses.create({ model, input: 'Two', conversation: id });
    expect(await readTexts(id)).toHaveLength(3);
  });

  it('a conversation keeps the turn of a response with store: false, which is itself not stored', async () => {
    const { id } = await client.conversations.create();
    const response = await client.responses.create({ model, input: 'One', conversation: id, store: false });
    expect(await readTexts(id)).toEqual(['One', 'You said: One']);
    expect(await getError(client.responses.retrieve(response.id))).toMatchObject({ status: 404 });
  });
});

describe('a function call and its output in a conversation', () => {
  const tools: OpenAI.Responses.Tool[] = [
    { type: 'function', name: 'weather', strict: false, parameters: { type: 'object', properties: {} } },
  ];

  /** Creates a conversation in which the model called a function, received its output and answered. */
  async function createAnsweredCall() {
    const { id: conversation } = await client.conversations.create();
    const { output } = await client.responses.create({ model, input: 'How is it?', tools, conversation });
    const call = output.find((item) => item.type === 'function_call');
    if (call?.id === undefined) throw new Error('The model called no function');
    const input = [{ type: 'function_call_output' as const, call_id: call.call_id, output: 'sunny' }];
    const response = await client.responses.create({ model, input, conversation });
    expect(response.output_text).toBe('The tool said: sunny');
    const { data } = await client.responses.inputItems.list(response.id);
    return { conversation, callId: call.id, outputId: data[0]?.id ?? '', response };
  }

  it.each(['callId', 'outputId'] as const)(
    'a function call and its output are both left out of the context when one of them is deleted (%s)',
    async (half) => {
      const { conversation, ...ids } = await createAnsweredCall();
      await client.conversations.items.delete(ids[half], { conversation_id: conversation });
      await client.responses.create({ model, input: 'And now?', conversation });
      expect(getLastMessages()).toEqual(['user: How is it?', 'assistant: The tool said: sunny', 'user: And now?']);
      expect((await client.conversations.items.list(conversation)).data).toHaveLength(5);
    },
  );

  it('a request fails if the conversation ends with a function call without an output', async () => {
    const { id: conversation } = await client.conversations.create();
    await client.responses.create({ model, input: 'How is it?', tools, conversation });
    expect(await getError(client.responses.create({ model, input: 'And now?', conversation }))).toMatchObject({
      status: 400,
      message: expect.stringContaining('No tool output found for function call'),
    });
  });

  it('a chain that contains only the turn with the output of a function call can be continued', async () => {
    const { response } = await createAnsweredCall();
    await client.responses.create({ model, input: 'And now?', previous_response_id: response.id });
    expect(getLastMessages()).toEqual(['assistant: The tool said: sunny', 'user: And now?']);
  });
});

describe('an item of a conversation', () => {
  const duplicate = (id: string | undefined, param: string) => ({
    status: 400,
    param,
    type: 'invalid_request_error',
    message: `400 Duplicate item found with id ${id}. Remove duplicate items from your input and try again.`,
  });

  it('an item cannot be added a second time, and listing still ends', async () => {
    const { id: conversation } = await client.conversations.create();
    const { output } = await client.responses.create({ model, input: 'One', conversation });
    const again = output.filter((item) => item.type === 'message');
    const refused = duplicate(again[0]?.id, 'input');
    const input = [...again, createMessage('Two')];
    for (const background of [false, true]) {
      const call = client.responses.create({ model, input, conversation, background });
      expect(await getError(call)).toMatchObject(refused);
    }
    expect(await getError(client.conversations.items.create(conversation, { items: again }))).toMatchObject({
      ...refused,
      param: 'items',
    });
    const pages: string[] = [];
    for await (const { id } of client.conversations.items.list(conversation, { limit: 1 })) pages.push(id ?? '');
    expect(pages).toHaveLength(2);
  });

  it('an item can be added to another conversation, once', async () => {
    const { output } = await client.responses.create({ model, input: 'One' });
    const items = output.filter((item) => item.type === 'message');
    const twice = client.conversations.create({ items: [...items, ...items] });
    expect(await getError(twice)).toMatchObject(duplicate(items[0]?.id, 'items'));
    const { id } = await client.conversations.create({ items });
    expect((await client.conversations.items.list(id)).data.map((item) => item.id)).toEqual([items[0]?.id]);
  });

  it('an item can be added again after its deletion', async () => {
    const { id: conversation } = await client.conversations.create();
    const { output } = await client.responses.create({ model, input: 'One', conversation });
    const items = output.filter((item) => item.type === 'message');
    await client.conversations.items.delete(items[0]?.id ?? '', { conversation_id: conversation });
    const added = await client.conversations.items.create(conversation, { items });
    expect(added.data[0]?.id).toBe(items[0]?.id);
  });
});

describe('concurrent turns of a conversation', () => {
  it('concurrent turns do not interleave: each follows another or is refused', async () => {
    const { id } = await client.conversations.create();
    const turns = await Promise.allSettled(
      Array.from({ length: 6 }, (_, index) =>
        client.responses.create({ model, input: `Turn ${index}`, conversation: id }),
      ),
    );
    const found = await readTexts(id);
    expect(found).toHaveLength(2 * turns.filter(({ status }) => status === 'fulfilled').length);
    for (let index = 0; index < found.length; index += 2) expect(found[index + 1]).toBe(`You said: ${found[index]}`);
  });

  it('a turn is refused with 409 and Retry-After while another one runs for long', async () => {
    const gate = Promise.withResolvers<void>();
    await using slow = await startService({ script: ({ body }) => replyAsChatModel(body, { gate: gate.promise }) });
    const { id } = await slow.client.conversations.create();
    const first = await slow.client.responses.create({ model, input: 'one two three', conversation: id, stream: true });
    const second = await getError(slow.client.responses.create({ model, input: 'four', conversation: id }));
    expect(second).toMatchObject({ status: 409, code: 'conversation_locked' });
    expect(getRetryAfter(second)).toMatch(/^\d+$/);
    gate.resolve();
    for await (const _ of first);
    expect(await readTexts(id, slow.client)).toEqual(['one two three', 'You said: one two three']);
  });
});

describe('the items of a conversation, when listed or retrieved', () => {
  it('listed items have the optional fields that `include` names, and no others', async () => {
    const { id } = await client.conversations.create({
      items: [{ type: 'reasoning', id: 'rs_1', summary: [], encrypted_content: 'opaque' }],
    });
    expect((await client.conversations.items.list(id)).data[0]).not.toHaveProperty('encrypted_content');
    const include = ['reasoning.encrypted_content' as const, 'message.output_text.logprobs' as const];
    expect((await client.conversations.items.list(id, { include })).data[0]).toHaveProperty(
      'encrypted_content',
      'opaque',
    );
    const unknown = getError(client.conversations.items.list(id, { include: ['nonsense' as never] }));
    expect(await unknown).toMatchObject({ status: 400, code: 'invalid_value', param: 'include[0]' });
  });

  it('a conversation or item with a malformed id is not found', async () => {
    const { id } = await client.conversations.create();
    for (const odd of ['', ' ', '#', 'x'.repeat(3_000), '\u00e9'.repeat(200)]) {
      const calls = [
        client.conversations.retrieve(`conv_${odd}`),
        client.conversations.update(`conv_${odd}`, { metadata: {} }),
        client.conversations.delete(`conv_${odd}`),
        client.conversations.items.retrieve(`msg_${odd}`, { conversation_id: id }),
        client.conversations.items.list(id, { after: `msg_${odd}` }),
      ];
      const rejections = await Promise.all(calls.map((call) => getError(Promise.resolve(call))));
      expect(rejections).toMatchObject(calls.map(() => ({ status: 404 })));
    }
  });
});

describe('a conversation longer than its model’s context', () => {
  const createLongText = (name: string) => `${name} ${'word '.repeat(120)}`;

  async function createLongConversation() {
    const { id } = await client.conversations.create({ items: [{ role: 'developer', content: 'Keep me.' }] });
    for (const name of ['First', 'Second', 'Third', 'Fourth']) {
      await client.conversations.items.create(id, {
        items: [createMessage(createLongText(name)), { role: 'assistant', content: `Heard ${name}.` }],
      });
    }
    return id;
  }

  it('truncation: auto drops the middle of a long conversation, and a header counts the dropped items', async () => {
    const conversation = await createLongConversation();
    const { data, response } = await client.responses
      .create({ model, input: 'Last', conversation, truncation: 'auto' })
      .withResponse();
    expect(data.truncation).toBe('auto');
    expect(Number(response.headers.get('x-lambent-dropped-items'))).toBeGreaterThan(0);
    const messages = getLastMessages().map((text) => text.slice(0, 13));
    expect(messages[0]).toBe('system: Keep ');
    expect(messages[1]).toBe('user: First w');
    expect(messages.at(-1)).toBe('user: Last');
    expect(messages).not.toContain('user: Second ');
  });

  it('a long conversation is refused without truncation: auto, before any model call', async () => {
    const conversation = await createLongConversation();
    const before = service.upstream.requests.length;
    expect(await getError(client.responses.create({ model, input: 'Last', conversation }))).toMatchObject({
      status: 400,
      code: 'context_length_exceeded',
    });
    expect(service.upstream.requests).toHaveLength(before);
  });
});
