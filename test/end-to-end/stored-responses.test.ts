import type OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Responder } from '../../local/bedrock/frames.ts';
import { SEALED } from '../../shared/inference/continuation-seal.ts';
import { decodeReasoning } from '../../shared/wire/continuation.ts';
import { waitUntil } from '../wait.ts';
import { converse } from './converse.ts';
import { type Service, startService } from './service.ts';

let service: Service;
let client: OpenAI;
beforeAll(async () => {
  service = await startService({ respond: (call) => (asksToThink(call) ? think(call) : converse(call)) });
  client = service.client;
});
afterAll(() => service[Symbol.asyncDispose]());

const model = 'compatible';
const getError = (call: Promise<unknown>) => call.catch((error: unknown) => error);
const tools: OpenAI.Responses.Tool[] = [
  {
    type: 'function',
    name: 'weather',
    strict: false,
    parameters: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
  },
];

/** Returns the messages of the last request to the model, each as `role: content`. */
function getLastMessages(): string[] {
  const body = service.upstream.requests.at(-1)?.body as { messages: { role: string; content: unknown }[] };
  return body.messages.map(
    ({ role, content }) => `${role}: ${typeof content === 'string' ? content : JSON.stringify(content)}`,
  );
}

const asksToThink = ({ body }: Parameters<Responder>[0]) => JSON.stringify(body.messages).includes('Think');

/** Streams signed reasoning before the answer. */
const think: Responder = async function* (call) {
  const reasoning = [{ text: 'Hm.' }, { signature: 'signed' }];
  for (const reasoningContent of reasoning) {
    yield { type: 'event', event: { contentBlockDelta: { contentBlockIndex: 0, delta: { reasoningContent } } } };
  }
  yield { type: 'event', event: { contentBlockStop: { contentBlockIndex: 0 } } };
  yield* converse(call);
};

describe('a stored response', () => {
  it('a response is stored by default, and retrieved as it was returned', async () => {
    const response = await client.responses.create({ model, input: 'Hello', metadata: { a: 'b' } });
    expect(response).toMatchObject({ store: true, background: false });
    const { _request_id: _, ...answered } = response;
    expect(await client.responses.retrieve(response.id)).toMatchObject(answered);
    const unstored = await client.responses.create({ model, input: 'Hello', store: false });
    expect(unstored).toMatchObject({ store: false });
    expect(await getError(client.responses.retrieve(unstored.id))).toMatchObject({ status: 404 });
  });

  it('a response can be retrieved when its last event arrives, and equals the response in it', async () => {
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

  it('a deleted response is not found, and neither are its items', async () => {
    const { id } = await client.responses.create({ model, input: 'Hello' });
    await client.responses.delete(id);
    expect(await getError(client.responses.retrieve(id))).toMatchObject({ status: 404, code: 'not_found' });
    expect(await getError(client.responses.delete(id))).toMatchObject({ status: 404 });
    expect(await getError(client.responses.inputItems.list(id).then((page) => page))).toMatchObject({ status: 404 });
    expect(await getError(client.responses.create({ model, input: 'More', previous_response_id: id }))).toMatchObject({
      status: 400,
      code: 'previous_response_not_found',
      param: 'previous_response_id',
    });
  });

  it('the input items of a response are listed page by page', async () => {
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

  it('listing input items after an unknown item gives the same error as in a conversation', async () => {
    const [{ id }, other, conversation] = await Promise.all([
      client.responses.create({ model, input: 'Hello' }),
      client.responses.create({ model, input: 'Hello' }),
      client.conversations.create({ items: [{ role: 'user', content: 'Hello' }] }),
    ]);
    const after = (await client.responses.inputItems.list(other.id)).data[0]?.id ?? '';
    expect(after).toMatch(/^msg_/);
    const rejections = await Promise.all([
      getError(Promise.resolve(client.responses.inputItems.list(id, { after }))),
      getError(Promise.resolve(client.conversations.items.list(conversation.id, { after }))),
    ]);
    const unknown = { status: 404, code: 'not_found', param: 'after', type: 'invalid_request_error' };
    expect(rejections).toMatchObject([unknown, unknown]);
    expect(rejections.map((each) => Reflect.get(Object(each), 'message'))).toEqual([
      `404 Item with id '${after}' not found.`,
      `404 Item with id '${after}' not found.`,
    ]);
  });

  it('a response has encrypted reasoning content only if `include` names it, at creation or later', async () => {
    const encrypted = 'reasoning.encrypted_content' as const;
    const { id, output } = await client.responses.create({ model: 'bedrock', input: 'Think' });
    expect(output[0]).toMatchObject({ type: 'reasoning' });
    expect(output[0]).not.toHaveProperty('encrypted_content');
    expect((await client.responses.retrieve(id)).output).toEqual(output);
    const [reasoning, ...rest] = (await client.responses.retrieve(id, { include: [encrypted] })).output;
    expect(reasoning).toEqual({ ...output[0], encrypted_content: expect.any(String) });
    expect(decodeReasoning(Object(reasoning).encrypted_content)).toMatchObject({
      text: '',
      continuation: { provider: SEALED, data: expect.any(String) },
    });
    expect(rest).toEqual(output.slice(1));
  });

  it.each(['', ' ', '#', 'x'.repeat(3_000), '\u00e9'.repeat(200)])(
    'a response with the malformed id %j is not found',
    async (odd) => {
      const id = `resp_${odd}`;
      const calls = [
        client.responses.retrieve(id),
        client.responses.delete(id),
        client.responses.cancel(id),
        client.responses.inputItems.list(id),
      ];
      const rejections = await Promise.all(calls.map((call) => getError(Promise.resolve(call))));
      expect(rejections).toMatchObject(calls.map(() => ({ status: 404 })));
    },
  );

  it('retrieving a response with invalid query parameters is refused', async () => {
    const { id } = await client.responses.create({ model, input: 'Hello' });
    for (const query of [{ include: ['nonsense'] }, { stream: 'maybe' }]) {
      const answer = client.get(`/responses/${id}`, { query });
      expect(await getError(Promise.resolve(answer))).toMatchObject({ status: 400, code: 'invalid_value' });
    }
  });

  it('a response is stored as failed when its stream breaks off', async () => {
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
    await getError(reading);
    expect(await broken.client.responses.retrieve(id)).toMatchObject({
      status: 'failed',
      error: { code: 'server_error' },
    });
  });
});

describe('a chain of responses', () => {
  it('a chain sends all previous turns to the model, in order', async () => {
    const first = await client.responses.create({ model, input: 'One', instructions: 'Be brief.' });
    const second = await client.responses.create({ model, input: 'Two', previous_response_id: first.id });
    await client.responses.create({ model, input: 'Three', previous_response_id: second.id, store: false });
    expect(getLastMessages()).toEqual([
      'user: One',
      'assistant: You said: One',
      'user: Two',
      'assistant: You said: Two',
      'user: Three',
    ]);
    expect(second.previous_response_id).toBe(first.id);
  });

  it.each([false, true])('a response may go on without input (in the background: %s)', async (background) => {
    const first = await client.responses.create({ model, input: 'One' });
    const { id } = await client.responses.create({ model, previous_response_id: first.id, background });
    await waitUntil('the response is completed', async () => {
      const { status } = await client.responses.retrieve(id);
      return status === 'completed' || undefined;
    });
    expect(getLastMessages()).toEqual(['user: One', 'assistant: You said: One']);
    expect((await client.responses.inputItems.list(id)).data).toEqual([]);
    const empty = await client.conversations.create();
    expect(await getError(client.responses.create({ model, conversation: empty.id }))).toMatchObject({
      status: 400,
      code: 'missing_required_parameter',
      param: 'input',
    });
  });

  it('a finished response names the tier that served it', async () => {
    const stream = client.responses.stream({ model, input: 'One' });
    const { service_tier } = await stream.finalResponse();
    expect(service_tier).toBe('default');
  });

  it('a chain connects a tool call with its output', async () => {
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

  it('a chain connects a call of a custom tool with its output, and its items are kept', async () => {
    const crm: OpenAI.Responses.Tool = {
      type: 'namespace',
      name: 'crm',
      description: 'Customers.',
      tools: [{ type: 'custom', name: 'note' }],
    };
    const first = await client.responses.create({ model, input: 'Note it', tools: [crm, { type: 'web_search' }] });
    expect(first.output).toMatchObject([{ type: 'custom_tool_call', namespace: 'crm', name: 'note' }]);
    expect((await client.responses.retrieve(first.id)).output).toEqual(first.output);
    const { call_id } = first.output.find((item) => item.type === 'custom_tool_call') ?? { call_id: '' };
    const second = await client.responses.create({
      model,
      previous_response_id: first.id,
      input: [
        { type: 'custom_tool_call_output', call_id, output: 'noted' },
        { type: 'additional_tools', role: 'developer', tools: [crm] },
      ],
    });
    expect(second.output_text).toBe('The tool said: noted');
    const { data } = await client.responses.inputItems.list(second.id, { order: 'asc' });
    expect(data).toMatchObject([
      { type: 'custom_tool_call_output', call_id, output: 'noted', status: 'completed' },
      { type: 'additional_tools', role: 'developer', tools: [crm] },
    ]);
  });

  it('a tool that an item adds reaches the model, and is called by the name that the client knows in all turns', async () => {
    const note = { type: 'custom' as const, name: 'note' };
    const crm = { type: 'namespace' as const, name: 'crm', description: 'Customers.', tools: [note] };
    const additional = { type: 'additional_tools' as const, role: 'developer' as const, tools: [crm] };
    const first = await client.responses.create({ model, input: [additional, { role: 'user', content: 'Note it' }] });
    expect(service.upstream.requests.at(-1)?.body).toMatchObject({ tools: [{ function: { name: 'crm__note' } }] });
    const call = { type: 'custom_tool_call', namespace: 'crm', name: 'note' };
    expect(first.output).toMatchObject([call]);
    const { call_id } = first.output.find((item) => item.type === 'custom_tool_call') ?? { call_id: '' };
    const second = await client.responses.create({
      model,
      previous_response_id: first.id,
      input: [{ type: 'custom_tool_call_output', call_id, output: 'noted' }],
    });
    expect(second.output_text).toBe('The tool said: noted');
    const history = { messages: [{}, { tool_calls: [{ function: { name: 'crm__note' } }] }, { role: 'tool' }] };
    expect(service.upstream.requests.at(-1)?.body).toMatchObject(history);
    const third = await client.responses.create({ model, previous_response_id: second.id, input: 'Note it again' });
    expect(third.output).toMatchObject([call]);
  });

  it('the input of a response can refer to stored items', async () => {
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
    expect(await getError(client.responses.create({ model, input: nothing }))).toMatchObject({ status: 404 });
  });

  it('duplicate items are refused, and a referenced item of the chain is sent once', async () => {
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
    expect(await getError(client.responses.create({ ...chained, input: [...again, two] }))).toMatchObject(refused);
    for (const twice of [
      [...again, ...again],
      [reference, reference],
      [reference, ...again],
    ]) {
      expect(await getError(client.responses.create({ model, input: [...twice, two] }))).toMatchObject(refused);
    }
    await client.responses.create({ ...chained, input: [reference, two, two] });
    const said = ['assistant: You said: One', 'user: Two'];
    expect(getLastMessages()).toEqual(['user: One', ...said, 'user: Two']);
    await client.responses.create({ model, input: [...again, two] });
    expect(getLastMessages()).toEqual(said);
  });

  it('an unknown response cannot be continued', async () => {
    expect(
      await getError(client.responses.create({ model, input: 'Hi', previous_response_id: 'resp_none' })),
    ).toMatchObject({ status: 400, code: 'previous_response_not_found' });
  });
});
