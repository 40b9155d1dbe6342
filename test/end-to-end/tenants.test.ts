import { DynamoDBClient, PutItemCommand } from '@aws-sdk/client-dynamodb';
import fc from 'fast-check';
import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { keyItem } from '../../shared/access/keys.ts';
import { type Service, startService } from './service.ts';

let service: Service;
let tenants: readonly [OpenAI, OpenAI];
beforeAll(async () => {
  service = await startService();
  const tables = new DynamoDBClient({
    endpoint: service.cloud.endpoints['AWS_ENDPOINT_URL_DYNAMODB'] ?? '',
    region: 'eu-west-1',
    credentials: { accessKeyId: 'local', secretAccessKey: 'local' },
  });
  const Item = keyItem('sk-other', { tenant: 'other', keyId: 'other-1', scopes: ['inference', 'models'] });
  await tables.send(new PutItemCommand({ TableName: service.cloud.resources['ACCESS_TABLE'], Item }));
  tables.destroy();
  tenants = [service.client, new OpenAI({ baseURL: service.cloud.url, apiKey: 'sk-other', maxRetries: 0 })];
});
afterAll(() => service[Symbol.asyncDispose]());

const model = 'compatible';

/** What a tenant owns, and a word that nobody else may ever read. */
interface Belongings {
  readonly response: string;
  /** A background response whose events are logged. */
  readonly background: string;
  readonly outputItem: string;
  readonly inputItem: string;
  readonly conversation: string;
  readonly item: string;
  readonly word: string;
}

async function belongingsOf(client: OpenAI, word: string): Promise<Belongings> {
  const response = await client.responses.create({ model, input: word });
  const conversation = await client.conversations.create({
    items: [{ role: 'user', content: word }],
    metadata: { word },
  });
  const stream = await client.responses.create({ model, input: word, background: true, stream: true });
  let background = '';
  for await (const event of stream) if (event.type === 'response.completed') background = event.response.id;
  const [inputItem] = (await client.responses.inputItems.list(response.id)).data;
  const [item] = (await client.conversations.items.list(conversation.id)).data;
  return {
    response: response.id,
    background,
    outputItem: response.output[0]?.id ?? '',
    inputItem: inputItem?.id ?? '',
    conversation: conversation.id,
    item: item?.id ?? '',
    word,
  };
}

const item = [{ role: 'user' as const, content: 'Mine' }];

/** Every path that takes an id, as a call with somebody's. */
const PATHS: Record<string, (client: OpenAI, of: Belongings) => PromiseLike<unknown>> = {
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
  'go on from a response in the background': (client, of) =>
    client.responses.create({ model, input: 'Hi', previous_response_id: of.response, background: true }),
  'refer to an item in the background': (client, { outputItem: id }) =>
    client.responses.create({ model, input: [{ type: 'item_reference', id }, ...item], background: true }),
  'refer to an item of a conversation': (client, { item: id }) =>
    client.responses.create({ model, input: [{ type: 'item_reference', id }, ...item] }),
  'respond in a conversation by its object': (client, { conversation: id }) =>
    client.responses.create({ model, input: 'Hi', conversation: { id }, stream: true }),
  'list items after an item': (client, of) => client.conversations.items.list(of.conversation, { after: of.item }),
  'go on from a response': (client, of) =>
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
  'list items': (client, { conversation }) => client.conversations.items.list(conversation),
  'add items': (client, { conversation }) => client.conversations.items.create(conversation, { items: item }),
  'retrieve an item': (client, of) =>
    client.conversations.items.retrieve(of.item, { conversation_id: of.conversation }),
  'delete an item': (client, of) => client.conversations.items.delete(of.item, { conversation_id: of.conversation }),
};

/** An error without the ids that its caller put into it. */
function anonymous(error: unknown, of: Belongings): unknown {
  if (!(error instanceof OpenAI.APIError)) return { answered: error };
  const { status, code, param, type } = error;
  const message = Object.values(of).reduce((text: string, id: string) => text.replaceAll(id, '…'), error.message);
  return { status, code, param, type, message };
}

const outcome = async (call: PromiseLike<unknown>, of: Belongings) => {
  try {
    return anonymous(await call, of);
  } catch (error) {
    return anonymous(error, of);
  }
};

describe('two tenants', () => {
  test('never meet: to each the other’s ids are like ids that nobody has', async () => {
    const owned = [
      await belongingsOf(tenants[0], 'canary-alpha'),
      await belongingsOf(tenants[1], 'canary-beta'),
    ] as const;
    const nobodys: Belongings = {
      response: 'resp_00000000000000000000000000000000',
      background: 'resp_00000000000000000000000000000000',
      outputItem: 'msg_0000000000000000000000000000000000010000',
      inputItem: 'msg_0000000000000000000000000000000000000000',
      conversation: 'conv_00000000000000000000000000000000',
      item: 'msg_0000000000000000000000000000000000000000',
      word: 'nothing',
    };
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...Object.keys(PATHS)),
        fc.constantFrom(0 as const, 1 as const),
        async (name, who) => {
          const call = PATHS[name];
          const victim = owned[who === 0 ? 1 : 0];
          if (call === undefined) throw new Error(`No path ${name}`);
          const met = await outcome(call(tenants[who], victim), victim);
          expect(met).toEqual(await outcome(call(tenants[who], nobodys), nobodys));
          // OpenAI answers 400 for a chain that can't be gone on with.
          expect(met).toMatchObject({ status: name.startsWith('go on from') ? 400 : 404 });
          expect(JSON.stringify(met)).not.toContain(victim.word);
        },
      ),
      {
        numRuns: 120,
        examples: Object.keys(PATHS).flatMap((name) => [[name, 0] as [string, 0], [name, 1] as [string, 1]]),
      },
    );
    for (const [who, mine] of owned.entries()) {
      const client = who === 0 ? tenants[0] : tenants[1];
      expect((await client.responses.retrieve(mine.response)).output_text).toContain(mine.word);
      expect((await client.responses.retrieve(mine.background)).output_text).toContain(mine.word);
      expect((await client.conversations.retrieve(mine.conversation)).metadata).toEqual({ word: mine.word });
      expect((await client.conversations.items.list(mine.conversation)).data).toHaveLength(1);
    }
  }, 60_000);

  test('find none of each other’s items in conversations of their own', async () => {
    const [mine, theirs] = await Promise.all([
      belongingsOf(tenants[0], 'canary-gamma'),
      belongingsOf(tenants[1], 'canary-delta'),
    ]);
    const { items } = tenants[0].conversations;
    const calls = [
      items.retrieve(theirs.item, { conversation_id: mine.conversation }),
      items.delete(theirs.item, { conversation_id: mine.conversation }),
      items.list(mine.conversation, { after: theirs.item }),
    ];
    const met = await Promise.all(calls.map((call) => outcome(call, theirs)));
    expect(met).toMatchObject(calls.map(() => ({ status: 404 })));
  });

  test('may use the same idempotency key, each for its own', async () => {
    const options = { headers: { 'Idempotency-Key': 'shared' } };
    const [first, second] = await Promise.all(
      tenants.map((client) => client.responses.create({ model, input: 'Hello' }, options)),
    );
    expect(first?.id).not.toBe(second?.id);
  });
});
