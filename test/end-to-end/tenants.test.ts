import { once } from 'node:events';
import { request } from 'node:http';
import Anthropic from '@anthropic-ai/sdk';
import { PutItemCommand } from '@aws-sdk/client-dynamodb';
import fc from 'fast-check';
import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createKeyItem } from '../../shared/access/keys.ts';
import { connectToTables } from './keys.ts';
import { type Service, startService } from './service.ts';

let service: Service;
let tenants: readonly [OpenAI, OpenAI];
beforeAll(async () => {
  service = await startService();
  const tables = connectToTables(service.cloud);
  const Item = createKeyItem('sk-other', { tenant: 'other', keyId: 'other-1', scopes: ['inference', 'models'] });
  await tables.send(new PutItemCommand({ TableName: service.cloud.resources['ACCESS_TABLE'], Item }));
  tables.destroy();
  tenants = [service.client, new OpenAI({ baseURL: service.cloud.url, apiKey: 'sk-other', maxRetries: 0 })];
});
afterAll(() => service[Symbol.asyncDispose]());

const model = 'compatible';

/** The ids of a tenant's objects, and a word that no other tenant may read. */
interface Belongings {
  readonly response: string;
  /** A background response whose events are logged. */
  readonly background: string;
  readonly outputItem: string;
  readonly inputItem: string;
  readonly conversation: string;
  readonly chat: string;
  readonly item: string;
  readonly word: string;
}

async function createBelongings(client: OpenAI, word: string): Promise<Belongings> {
  const response = await client.responses.create({ model, input: word });
  const conversation = await client.conversations.create({
    items: [{ role: 'user', content: word }],
    metadata: { word },
  });
  const stream = await client.responses.create({ model, input: word, background: true, stream: true });
  let background = '';
  for await (const event of stream) if (event.type === 'response.completed') background = event.response.id;
  const messages = [{ role: 'user' as const, content: word }];
  const chat = await client.chat.completions.create({ model, messages, metadata: { word }, store: true });
  const [inputItem] = (await client.responses.inputItems.list(response.id)).data;
  const [item] = (await client.conversations.items.list(conversation.id)).data;
  return {
    response: response.id,
    background,
    outputItem: response.output[0]?.id ?? '',
    inputItem: inputItem?.id ?? '',
    conversation: conversation.id,
    chat: chat.id,
    item: item?.id ?? '',
    word,
  };
}

const item = [{ role: 'user' as const, content: 'Mine' }];

/** Every operation that takes an id. */
const OPERATIONS: Record<string, (client: OpenAI, owner: Belongings) => PromiseLike<unknown>> = {
  'retrieve a response': (client, { response }) => client.responses.retrieve(response),
  'stream a response': (client, { response }) => client.responses.retrieve(response, { stream: true }),
  'delete a response': (client, { response }) => client.responses.delete(response),
  'cancel a response': (client, { response }) => client.responses.cancel(response),
  'list input items': (client, { response }) => client.responses.inputItems.list(response),
  'retrieve a background response': (client, { background }) => client.responses.retrieve(background),
  'resume a background response': (client, { background }) =>
    client.responses.retrieve(background, { stream: true, starting_after: 1 }),
  'delete a background response': (client, { background }) => client.responses.delete(background),
  'cancel a background response': (client, { background }) => client.responses.cancel(background),
  'list input items after an item': (client, of) => client.responses.inputItems.list(of.response, { after: of.item }),
  'continue a response in the background': (client, of) =>
    client.responses.create({ model, input: 'Hi', previous_response_id: of.response, background: true }),
  'refer to an item in the background': (client, { outputItem: id }) =>
    client.responses.create({ model, input: [{ type: 'item_reference', id }, ...item], background: true }),
  'refer to an item of a conversation': (client, { item: id }) =>
    client.responses.create({ model, input: [{ type: 'item_reference', id }, ...item] }),
  'respond in a conversation by its object': (client, { conversation: id }) =>
    client.responses.create({ model, input: 'Hi', conversation: { id }, stream: true }),
  'list items after an item': (client, of) => client.conversations.items.list(of.conversation, { after: of.item }),
  'continue a response': (client, of) =>
    client.responses.create({ model, input: 'Hi', previous_response_id: of.response }),
  'refer to an output item': (client, { outputItem: id }) =>
    client.responses.create({ model, input: [{ type: 'item_reference', id }, ...item] }),
  'refer to an input item': (client, { inputItem: id }) =>
    client.responses.create({ model, input: [{ type: 'item_reference', id }, ...item] }),
  'retrieve a conversation': (client, { conversation }) => client.conversations.retrieve(conversation),
  'update a conversation': (client, { conversation }) => client.conversations.update(conversation, { metadata: {} }),
  'delete a conversation': (client, { conversation }) => client.conversations.delete(conversation),
  'respond in a conversation': (client, { conversation }) =>
    client.responses.create({ model, input: 'Hi', conversation }),
  'respond in the background of a conversation': (client, { conversation }) =>
    client.responses.create({ model, input: 'Hi', conversation, background: true }),
  'retrieve a chat completion': (client, { chat }) => client.chat.completions.retrieve(chat),
  'update a chat completion': (client, { chat }) => client.chat.completions.update(chat, { metadata: {} }),
  'delete a chat completion': (client, { chat }) => client.chat.completions.delete(chat),
  'list chat completions after one': (client, { chat }) => client.chat.completions.list({ after: chat }),
  'list the messages of a chat completion': (client, { chat }) => client.chat.completions.messages.list(chat),
  'list items': (client, { conversation }) => client.conversations.items.list(conversation),
  'add items': (client, { conversation }) => client.conversations.items.create(conversation, { items: item }),
  'retrieve an item': (client, of) =>
    client.conversations.items.retrieve(of.item, { conversation_id: of.conversation }),
  'delete an item': (client, of) => client.conversations.items.delete(of.item, { conversation_id: of.conversation }),
};

/** Removes the ids of the request from an error, so that two errors can be compared. */
function anonymize(error: unknown, owner: Belongings): unknown {
  if (!(error instanceof OpenAI.APIError)) return { answer: error };
  const { status, code, param, type } = error;
  const message = Object.values(owner).reduce((text: string, id: string) => text.replaceAll(id, '…'), error.message);
  return { status, code, param, type, message };
}

const getOutcome = async (call: PromiseLike<unknown>, owner: Belongings) => {
  try {
    return anonymize(await call, owner);
  } catch (error) {
    return anonymize(error, owner);
  }
};

/** Lists the models with several Authorization headers, in their order. Returns the status. */
async function listModelsWith(...headers: readonly (readonly [name: string, value: string])[]): Promise<number> {
  const outgoing = request(`${service.cloud.url}/models`, {
    headers: ['host', new URL(service.cloud.url).host, ...headers.flat()],
  });
  const [response] = await once(outgoing.end(), 'response');
  response.resume();
  return response.statusCode;
}

describe('two tenants', () => {
  it('a request with the keys of two tenants is denied while the policies of both are cached', async () => {
    const [one, other] = tenants.map(({ apiKey }) => `Bearer ${apiKey}`) as [string, string];
    const spellings = [
      [
        ['Authorization', one],
        ['authorization', other],
      ],
      [
        ['Authorization', other],
        ['authorization', one],
      ],
      [
        ['Authorization', one],
        ['Authorization', other],
      ],
      [
        ['Authorization', other],
        ['Authorization', one],
      ],
    ] as const;
    for (const key of [one, other]) expect(await listModelsWith(['Authorization', key])).toBe(200);
    for (const headers of spellings) expect(await listModelsWith(...headers)).toBe(401);
    for (const key of [one, other])
      expect(await listModelsWith(['Authorization', key], ['authorization', key])).toBe(200);
  });

  it('a tenant gets the same errors for another tenant’s ids as for ids that do not exist', async () => {
    const owned = [
      await createBelongings(tenants[0], 'canary-alpha'),
      await createBelongings(tenants[1], 'canary-beta'),
    ] as const;
    const nonexistent: Belongings = {
      response: 'resp_00000000000000000000000000000000',
      background: 'resp_00000000000000000000000000000000',
      outputItem: 'msg_0000000000000000000000000000000000010000',
      inputItem: 'msg_0000000000000000000000000000000000000000',
      chat: 'chatcmpl-00000000000000000000000000000000',
      conversation: 'conv_00000000000000000000000000000000',
      item: 'msg_0000000000000000000000000000000000000000',
      word: 'nothing',
    };
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...Object.keys(OPERATIONS)),
        fc.constantFrom(0 as const, 1 as const),
        async (name, who) => {
          const call = OPERATIONS[name];
          const victim = owned[who === 0 ? 1 : 0];
          if (call === undefined) throw new Error(`There is no operation ${name}`);
          const outcome = await getOutcome(call(tenants[who], victim), victim);
          expect(outcome).toEqual(await getOutcome(call(tenants[who], nonexistent), nonexistent));
          // OpenAI answers 400 for a chain that cannot be continued.
          expect(outcome).toMatchObject({ status: name.startsWith('continue') ? 400 : 404 });
          expect(JSON.stringify(outcome)).not.toContain(victim.word);
        },
      ),
      {
        numRuns: 120,
        examples: Object.keys(OPERATIONS).flatMap((name) => [[name, 0] as [string, 0], [name, 1] as [string, 1]]),
      },
    );
    for (const [who, mine] of owned.entries()) {
      const client = who === 0 ? tenants[0] : tenants[1];
      expect((await client.responses.retrieve(mine.response)).output_text).toContain(mine.word);
      expect((await client.responses.retrieve(mine.background)).output_text).toContain(mine.word);
      const chats = (await client.chat.completions.list()).data;
      expect(chats.map(({ id, metadata }) => ({ id, metadata }))).toEqual([
        { id: mine.chat, metadata: { word: mine.word } },
      ]);
      expect((await client.conversations.retrieve(mine.conversation)).metadata).toEqual({ word: mine.word });
      expect((await client.conversations.items.list(mine.conversation)).data).toHaveLength(1);
    }
  });

  it('a tenant cannot reach another tenant’s items through its own conversations', async () => {
    const [mine, theirs] = await Promise.all([
      createBelongings(tenants[0], 'canary-gamma'),
      createBelongings(tenants[1], 'canary-delta'),
    ]);
    const { items } = tenants[0].conversations;
    const calls = [
      items.retrieve(theirs.item, { conversation_id: mine.conversation }),
      items.delete(theirs.item, { conversation_id: mine.conversation }),
      items.list(mine.conversation, { after: theirs.item }),
    ];
    const outcomes = await Promise.all(calls.map((call) => getOutcome(call, theirs)));
    expect(outcomes).toMatchObject(calls.map(() => ({ status: 404 })));
  });

  it('a message with the keys of two tenants is denied, in whichever headers they are', async () => {
    const [one, other] = tenants.map(({ apiKey }) => apiKey) as [string, string];
    const post = async (key: string, bearer: string): Promise<number> => {
      const response = await fetch(`${service.cloud.url}/messages/count_tokens`, {
        method: 'POST',
        headers: { 'x-api-key': key, authorization: `Bearer ${bearer}`, 'content-type': 'application/json' },
        body: JSON.stringify({ model, messages: [{ role: 'user', content: 'Hi' }] }),
      });
      await response.text();
      return response.status;
    };
    for (const key of [one, other]) expect(await post(key, key)).toBe(200);
    expect([await post(one, other), await post(other, one)]).toEqual([401, 401]);
  });

  it('two tenants can use the same idempotency key for messages, and each gets its own answer', async () => {
    const [first, second] = await Promise.all(
      tenants.map(({ apiKey }) =>
        new Anthropic({ baseURL: new URL(service.cloud.url).origin, apiKey, maxRetries: 0 }).messages.create(
          { model, max_tokens: 9, messages: [{ role: 'user', content: 'Hi' }] },
          { headers: { 'Idempotency-Key': 'shared-messages' } },
        ),
      ),
    );
    expect(first?.id).toMatch(/^msg_/);
    expect(first?.id).not.toBe(second?.id);
  });

  it('two tenants can use the same idempotency key, and each gets its own answer', async () => {
    const options = { headers: { 'Idempotency-Key': 'shared' } };
    const [first, second] = await Promise.all(
      tenants.map((client) => client.responses.create({ model, input: 'Hello' }, options)),
    );
    expect(first?.id).not.toBe(second?.id);
  });
});
