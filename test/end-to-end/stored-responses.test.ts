import type OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Responder } from '../../local/bedrock/frames.ts';
import { converse } from './converse.ts';
import { type Service, startService } from './service.ts';

let service: Service;
let client: OpenAI;
beforeAll(async () => {
  service = await startService({ respond: (call) => (isAskedToThink(call) ? think(call) : converse(call)) });
  client = service.client;
});
afterAll(() => service[Symbol.asyncDispose]());

const model = 'compatible';
const refusal = (of: Promise<unknown>) => of.catch((error: unknown) => error);
const tools: OpenAI.Responses.Tool[] = [
  {
    type: 'function',
    name: 'weather',
    strict: false,
    parameters: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
  },
];

/** Roles and texts of what the model was sent last. */
function lastAsked(): string[] {
  const body = service.upstream.requests.at(-1)?.body as { messages: { role: string; content: unknown }[] };
  return body.messages.map(
    ({ role, content }) => `${role}: ${typeof content === 'string' ? content : JSON.stringify(content)}`,
  );
}

const isAskedToThink = ({ body }: Parameters<Responder>[0]) => JSON.stringify(body.messages).includes('Think');

/** A model that reasons, signed, before it speaks. */
const think: Responder = async function* (call) {
  const reasoning = [{ text: 'Hm.' }, { signature: 'signed' }];
  for (const reasoningContent of reasoning) {
    yield { type: 'event', event: { contentBlockDelta: { contentBlockIndex: 0, delta: { reasoningContent } } } };
  }
  yield { type: 'event', event: { contentBlockStop: { contentBlockIndex: 0 } } };
  yield* converse(call);
};

describe('a stored response', () => {
  test('is stored unless its caller says otherwise, and is retrieved as it was answered', async () => {
    const response = await client.responses.create({ model, input: 'Hello', metadata: { a: 'b' } });
    expect(response).toMatchObject({ store: true, background: false });
    const { _request_id: _, ...answered } = response;
    expect(await client.responses.retrieve(response.id)).toMatchObject(answered);
    const unstored = await client.responses.create({ model, input: 'Hello', store: false });
    expect(unstored).toMatchObject({ store: false });
    expect(await refusal(client.responses.retrieve(unstored.id))).toMatchObject({ status: 404 });
  });

  test('is there when its last event is, and equals it', async () => {
    const stream = await client.responses.create({ model, input: 'Hello', stream: true });
    for await (const event of stream) {
      if (event.type !== 'response.completed') continue;
      expect(event.response.output_text).toBe(undefined);
      const { output_text: _, ...retrieved } = await client.responses.retrieve(event.response.id);
      expect(retrieved).toMatchObject({ ...event.response });
      return;
    }
    throw new Error('The stream did not complete');
  });

  test('is gone when it was deleted, with its items', async () => {
    const { id } = await client.responses.create({ model, input: 'Hello' });
    await client.responses.delete(id);
    expect(await refusal(client.responses.retrieve(id))).toMatchObject({ status: 404, code: 'not_found' });
    expect(await refusal(client.responses.delete(id))).toMatchObject({ status: 404 });
    expect(await refusal(client.responses.inputItems.list(id).then((page) => page))).toMatchObject({ status: 404 });
    expect(await refusal(client.responses.create({ model, input: 'More', previous_response_id: id }))).toMatchObject({
      status: 400,
      code: 'previous_response_not_found',
      param: 'previous_response_id',
    });
  });

  test('lists the items it was asked with, page by page', async () => {
    const input = Array.from({ length: 5 }, (_, index) => ({ role: 'user' as const, content: `Line ${index}` }));
    const { id } = await client.responses.create({ model, input });
    const texts: string[] = [];
    for await (const item of client.responses.inputItems.list(id, { order: 'asc', limit: 2 })) {
      if (item.type === 'message' && 'content' in item) texts.push(JSON.stringify(item.content));
    }
    expect(texts.map((text) => /Line \d/.exec(text)?.[0])).toEqual(['Line 0', 'Line 1', 'Line 2', 'Line 3', 'Line 4']);
    const newest = await client.responses.inputItems.list(id, { limit: 2 });
    expect(JSON.stringify(newest.data[0])).toContain('Line 4');
    expect(newest.has_more).toBe(true);
  });

  test('lists nothing after an item that is not there, in the words of a conversation’s list', async () => {
    const [{ id }, other, conversation] = await Promise.all([
      client.responses.create({ model, input: 'Hello' }),
      client.responses.create({ model, input: 'Hello' }),
      client.conversations.create({ items: [{ role: 'user', content: 'Hello' }] }),
    ]);
    const after = (await client.responses.inputItems.list(other.id)).data[0]?.id ?? '';
    expect(after).toMatch(/^msg_/);
    const refusals = await Promise.all([
      refusal(Promise.resolve(client.responses.inputItems.list(id, { after }))),
      refusal(Promise.resolve(client.conversations.items.list(conversation.id, { after }))),
    ]);
    const unknown = { status: 404, code: 'not_found', param: 'after', type: 'invalid_request_error' };
    expect(refusals).toMatchObject([unknown, unknown]);
    expect(refusals.map((each) => Reflect.get(Object(each), 'message'))).toEqual([
      `404 Item with id '${after}' not found.`,
      `404 Item with id '${after}' not found.`,
    ]);
  });

  test('shows what its provider wants back of its reasoning to whoever asks for it, then or later', async () => {
    const encrypted = 'reasoning.encrypted_content' as const;
    const { id, output } = await client.responses.create({ model: 'bedrock', input: 'Think' });
    expect(output[0]).toMatchObject({ type: 'reasoning' });
    expect(output[0]).not.toHaveProperty('encrypted_content');
    expect((await client.responses.retrieve(id)).output).toEqual(output);
    const [reasoning, ...rest] = (await client.responses.retrieve(id, { include: [encrypted] })).output;
    expect(reasoning).toEqual({ ...output[0], encrypted_content: expect.any(String) });
    expect(rest).toEqual(output.slice(1));
  });

  test.each(['', ' ', '#', 'x'.repeat(3_000), '\u00e9'.repeat(200)])('has no id such as %j', async (odd) => {
    const id = `resp_${odd}`;
    const answers = [
      client.responses.retrieve(id),
      client.responses.delete(id),
      client.responses.cancel(id),
      client.responses.inputItems.list(id),
    ];
    const refusals = await Promise.all(answers.map((answer) => refusal(Promise.resolve(answer))));
    expect(refusals).toMatchObject(answers.map(() => ({ status: 404 })));
  });

  test('is retrieved by a query that can be understood', async () => {
    const { id } = await client.responses.create({ model, input: 'Hello' });
    for (const query of [{ include: ['nonsense'] }, { stream: 'maybe' }]) {
      const answer = client.get(`/responses/${id}`, { query });
      expect(await refusal(Promise.resolve(answer))).toMatchObject({ status: 400, code: 'invalid_value' });
    }
  });

  test('is stored as failed when its stream broke off', async () => {
    await using broken = await startService({
      script: () => ({
        headers: { 'content-type': 'text/event-stream' },
        steps: [{ send: 'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":"Half"}}]}\n\n' }, 'cut'],
      }),
    });
    const stream = await broken.client.responses.create({ model, input: 'Hello', stream: true });
    let id = '';
    const reading = (async () => {
      for await (const event of stream) if (event.type === 'response.created') id = event.response.id;
    })();
    await refusal(reading);
    expect(await broken.client.responses.retrieve(id)).toMatchObject({
      status: 'failed',
      error: { code: 'server_error' },
    });
  });
});

describe('a chain of responses', () => {
  test('brings all that was said before, in order', async () => {
    const first = await client.responses.create({ model, input: 'One', instructions: 'Be brief.' });
    const second = await client.responses.create({ model, input: 'Two', previous_response_id: first.id });
    await client.responses.create({ model, input: 'Three', previous_response_id: second.id, store: false });
    expect(lastAsked()).toEqual([
      'user: One',
      'assistant: You said: One',
      'user: Two',
      'assistant: You said: Two',
      'user: Three',
    ]);
    expect(second.previous_response_id).toBe(first.id);
  });

  test('carries a tool call to its output', async () => {
    const call = await client.responses.create({ model, input: 'How is the weather?', tools });
    const { call_id } = call.output.find((item) => item.type === 'function_call') ?? { call_id: '' };
    const answer = await client.responses.create({
      model,
      tools,
      previous_response_id: call.id,
      input: [{ type: 'function_call_output', call_id, output: 'sunny' }],
    });
    expect(answer.output_text).toBe('The tool said: sunny');
  });

  test('takes references in place of stored items', async () => {
    const call = await client.responses.create({ model, input: 'How is the weather?', tools });
    const item = call.output.find((each) => each.type === 'function_call');
    const answer = await client.responses.create({
      model,
      tools,
      input: [
        { role: 'user', content: 'How is the weather?' },
        { type: 'item_reference', id: item?.id ?? '' },
        { type: 'function_call_output', call_id: item?.call_id ?? '', output: 'rainy' },
      ],
    });
    expect(answer.output_text).toBe('The tool said: rainy');
    const nothing = [{ type: 'item_reference' as const, id: 'msg_nothing' }];
    expect(await refusal(client.responses.create({ model, input: nothing }))).toMatchObject({ status: 404 });
  });

  test('takes no item that it has, or a second time; a reference to one is not said twice', async () => {
    const first = await client.responses.create({ model, input: 'One' });
    const again = first.output.filter((item) => item.type === 'message');
    const id = again[0]?.id ?? '';
    const refused = {
      status: 400,
      param: 'input',
      message: `400 Duplicate item found with id ${id}. Remove duplicate items from your input and try again.`,
    };
    const reference = { type: 'item_reference' as const, id };
    const two = { role: 'user' as const, content: 'Two' };
    const chained = { model, previous_response_id: first.id };
    expect(await refusal(client.responses.create({ ...chained, input: [...again, two] }))).toMatchObject(refused);
    for (const twice of [
      [...again, ...again],
      [reference, reference],
      [reference, ...again],
    ]) {
      expect(await refusal(client.responses.create({ model, input: [...twice, two] }))).toMatchObject(refused);
    }
    await client.responses.create({ ...chained, input: [reference, two, two] });
    const said = ['assistant: You said: One', 'user: Two'];
    expect(lastAsked()).toEqual(['user: One', ...said, 'user: Two']);
    await client.responses.create({ model, input: [...again, two] });
    expect(lastAsked()).toEqual(said);
  });

  test('goes on from nothing that is unknown', async () => {
    expect(
      await refusal(client.responses.create({ model, input: 'Hi', previous_response_id: 'resp_none' })),
    ).toMatchObject({ status: 400, code: 'previous_response_not_found' });
  });
});
