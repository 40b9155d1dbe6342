import { type DynamoDBClient, PutItemCommand } from '@aws-sdk/client-dynamodb';
import { ReceiveMessageCommand, SendMessageCommand, SQSClient } from '@aws-sdk/client-sqs';
import OpenAI from 'openai';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { AssessTexts } from '../../local/bedrock/guardrails.ts';
import { createKeyItem } from '../../shared/access/keys.ts';
import type { PersonalDataRules } from '../../shared/access/personal-data.ts';
import { createPolicyAdministration } from '../../shared/access/policy-administration.ts';
import { TENANT_SCOPES } from '../../shared/access/scopes.ts';
import { replyAsChatModel } from '../upstreams/chat-model.ts';
import type { Reply } from '../upstreams/reply.ts';
import { waitUntil } from '../wait.ts';
import { connectToTables } from './keys.ts';
import { type Service, startService } from './service.ts';

const EMAIL = 'anna.schmidt@example.com';
const PHONE = '13812345678';
const QUESTION = `我是${EMAIL}，电话${PHONE}`;
const NAME = 'Ada Lovelace';
const ADDRESS = '12 St James Square, London';
const model = 'compatible';
const PNG = 'data:image/png;base64,iVBORw0KGgo=';

/** Finds Ada and her address. Is down for texts with `outage`. */
const findPeople: AssessTexts = ({ texts }) => {
  const text = texts.join(' ');
  if (text.includes('outage')) return { type: 'error', status: 503, name: 'ServiceUnavailableException', message: '' };
  const pii = [
    { type: 'NAME', match: NAME, action: 'ANONYMIZED' },
    { type: 'ADDRESS', match: ADDRESS, action: 'ANONYMIZED' },
  ] as const;
  return { pii: pii.filter(({ match }) => text.includes(match)) };
};

/** Flags nothing: one result for each text, or for all parts. */
function moderate(body: unknown): Reply {
  const { input } = body as { readonly input: readonly unknown[] };
  const results = input.every((each) => typeof each === 'string') ? input : [input];
  return { body: { results: results.map(() => ({ flagged: false, categories: {}, category_scores: {} })) } };
}

let service: Service;
let client: OpenAI;
let refused: OpenAI;
let tables: DynamoDBClient;
beforeAll(async () => {
  service = await startService({
    script: ({ path, body }) => {
      if (path === '/v1/embeddings')
        return {
          body: { object: 'list', data: [{ object: 'embedding', index: 0, embedding: [1, 0] }], model: 'bge-m3' },
        };
      if (path === '/v1/moderations') return moderate(body);
      return replyAsChatModel(body);
    },
    sections: ({ baseUrl }) => ({
      guardrails: { people: { id: 'abc123', version: '1' } },
      moderations: { moderator: { model: 'upstream-moderation', baseUrl } },
    }),
    guardrails: { abc123: findPeople },
    models: ({ baseUrl }) => ({
      vectors: { targets: [{ provider: 'openai-compatible', model: 'bge-m3', baseUrl }], embeddings: {} },
    }),
  });
  tables = connectToTables(service.cloud);
  await restrict('local', { all: 'mask' });
  await restrict('refusing', { kinds: { email: 'refuse' } });
  const Item = createKeyItem('sk-refusing', { tenant: 'refusing', keyId: 'refusing', scopes: TENANT_SCOPES });
  await tables.send(new PutItemCommand({ TableName: service.cloud.resources['ACCESS_TABLE'] ?? '', Item }));
  await restrict('named', { kinds: { name: 'mask', address: 'redact' }, guardrail: 'people' });
  const named = createKeyItem('sk-named', { tenant: 'named', keyId: 'named', scopes: TENANT_SCOPES });
  await tables.send(new PutItemCommand({ TableName: service.cloud.resources['ACCESS_TABLE'] ?? '', Item: named }));
  client = service.client;
  refused = new OpenAI({ baseURL: service.cloud.url, apiKey: 'sk-refusing', maxRetries: 0 });
});
afterAll(async () => {
  tables.destroy();
  await service[Symbol.asyncDispose]();
});

async function restrict(tenant: string, personalData: PersonalDataRules): Promise<void> {
  const administration = createPolicyAdministration(tables, service.cloud.resources['ACCESS_TABLE'] ?? '');
  await administration.changeProject(tenant, (project) => ({ ...project, restrictions: { personalData } }));
}

/** The placeholders in the last request that the upstream has received. */
const listPlaceholders = () => service.upstream.requests.at(-1)?.text.match(/(?:EMAIL|PHONE)-[a-z2-7]{8}/g) ?? [];

function expectNoLeak(): void {
  for (const { text } of service.upstream.requests) {
    expect(text).not.toContain(EMAIL);
    expect(text).not.toContain(PHONE);
  }
}

it('a streamed answer has the values again, which the model never got', async () => {
  const messages = [{ role: 'user' as const, content: QUESTION }];
  const chat = await client.chat.completions.create({ model, messages, stream: true });
  let text = '';
  for await (const { choices } of chat) text += choices[0]?.delta.content ?? '';
  expect(text).toBe(`You said: ${QUESTION}`);
  let streamed = '';
  const response = await client.responses.create({ model, input: QUESTION, store: false, stream: true });
  for await (const event of response) if (event.type === 'response.output_text.delta') streamed += event.delta;
  expect(streamed).toBe(`You said: ${QUESTION}`);
  expect(listPlaceholders()).toHaveLength(2);
  expectNoLeak();
});

it('later turns send the same placeholders, and what is stored is the own text of the caller', async () => {
  const first = await client.responses.create({ model, input: QUESTION });
  expect(first.output_text).toBe(`You said: ${QUESTION}`);
  const before = listPlaceholders();
  await client.responses.create({ model, input: 'And now?', previous_response_id: first.id });
  const [email, phone] = before;
  expect(listPlaceholders()).toEqual([email, phone, email, phone]);
  const { data } = await client.responses.inputItems.list(first.id);
  expect(JSON.stringify(data)).toContain(QUESTION);
  const conversation = await client.conversations.create({
    items: [{ type: 'message', role: 'user', content: QUESTION }],
  });
  await client.responses.create({ model, input: 'Again?', conversation: conversation.id });
  expect(listPlaceholders()).toEqual(before);
  expectNoLeak();
});

it('jobs of the API and of the queue are masked and restored, too', async () => {
  const { id } = await client.responses.create({ model, input: QUESTION, background: true });
  const done = await waitUntil('the response is completed', async () => {
    const response = await client.responses.retrieve(id);
    return response.status === 'completed' && response;
  });
  expect(done.output_text).toBe(`You said: ${QUESTION}`);
  const sqs = new SQSClient({
    endpoint: service.cloud.endpoints['AWS_ENDPOINT_URL_SQS'] ?? '',
    region: 'eu-west-1',
    credentials: service.cloud.credentials,
  });
  const body = { model, messages: [{ role: 'user', content: QUESTION }] };
  const message = { version: 1, type: 'generate', tenant: 'local', idempotencyKey: 'private', replyTo: 'answers' };
  const { GENERATION_QUEUE_URL, ANSWERS_REPLY_QUEUE_URL } = service.cloud.resources;
  await sqs.send(
    new SendMessageCommand({
      QueueUrl: GENERATION_QUEUE_URL,
      MessageBody: JSON.stringify({ ...message, endpoint: '/v1/chat/completions', body }),
    }),
  );
  const [reply] = await waitUntil('an answer arrives', async () => {
    const command = new ReceiveMessageCommand({ QueueUrl: ANSWERS_REPLY_QUEUE_URL, WaitTimeSeconds: 20 });
    return (await sqs.send(command)).Messages;
  });
  sqs.destroy();
  expect(reply?.Body).toContain(EMAIL);
  expect(listPlaceholders()).toHaveLength(2);
  expectNoLeak();
});

it('a job with a refused value fails with the kind and the parameter, not with an error of the server', async () => {
  const { id } = await refused.responses.create({ model, input: QUESTION, background: true });
  const failed = await waitUntil('the response has failed', async () => {
    const response = await refused.responses.retrieve(id);
    return response.status === 'failed' && response;
  });
  const message = "The policy of this project refuses 'input': it contains personal data (email).";
  expect(failed.error).toEqual({ code: 'invalid_prompt', message });
  expectNoLeak();
});

it('embeddings get no values, and tokens that can not be decoded are refused', async () => {
  await client.embeddings.create({ model: 'vectors', input: QUESTION, user: EMAIL });
  const sent = service.upstream.requests.at(-1)?.body;
  expect(sent).toMatchObject({ input: ['我是[REDACTED EMAIL]，电话[REDACTED PHONE]'] });
  expect(sent).not.toHaveProperty('user');
  await expect(client.embeddings.create({ model: 'vectors', input: [1, 2, 3] })).rejects.toMatchObject({
    status: 400,
    code: 'content_filter',
    param: 'input',
  });
  expectNoLeak();
});

it('moderations get no values, and no images', async () => {
  const text = { type: 'text' as const, text: QUESTION };
  const redacted = '我是[REDACTED EMAIL]，电话[REDACTED PHONE]';
  await client.moderations.create({ model: 'moderator', input: ['fine', QUESTION] });
  expect(service.upstream.requests.at(-1)?.body).toMatchObject({ input: ['fine', redacted] });
  await client.moderations.create({ model: 'moderator', input: [text, { type: 'text', text: 'fine' }] });
  expect(service.upstream.requests.at(-1)?.body).toMatchObject({ input: [{ text: redacted }, { text: 'fine' }] });
  const image = { type: 'image_url' as const, image_url: { url: PNG } };
  await expect(client.moderations.create({ model: 'moderator', input: [text, image] })).rejects.toMatchObject({
    status: 400,
    code: 'content_filter',
    param: 'input',
  });
  expectNoLeak();
});

it('the moderation model of a chat gets the masked text of request and answer', async () => {
  const messages = [{ role: 'user' as const, content: QUESTION }];
  const before = service.upstream.requests.length;
  const chat = await client.chat.completions.create({ model, messages, moderation: { model: 'moderator' } });
  expect(chat.choices[0]?.message.content).toBe(`You said: ${QUESTION}`);
  const sent = service.upstream.requests.slice(before);
  const moderated = sent.filter(({ path }) => path === '/v1/moderations').map(({ text }) => text);
  expect(moderated).toHaveLength(2);
  for (const each of moderated) expect(each).toMatch(/我是EMAIL-[a-z2-7]{8}，电话PHONE-[a-z2-7]{8}/);
  expectNoLeak();
});

it('values that are refused are named by their kind alone, on each route', async () => {
  const before = service.upstream.requests.length;
  for (const call of [
    () => refused.chat.completions.create({ model, messages: [{ role: 'user', content: QUESTION }] }),
    () => refused.responses.create({ model, input: QUESTION, store: false }),
    () => refused.responses.create({ model, input: QUESTION }),
    () => refused.embeddings.create({ model: 'vectors', input: QUESTION }),
    () => refused.moderations.create({ model: 'moderator', input: QUESTION }),
  ]) {
    const error: unknown = await call().catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ status: 400, code: 'content_filter', message: expect.stringContaining('(email)') });
    expect(String(error)).not.toContain(EMAIL);
  }
  expect(service.upstream.requests.length).toBe(before);
});

it('an image can not be searched and is refused', async () => {
  const content = [{ type: 'image_url' as const, image_url: { url: PNG } }];
  await expect(client.chat.completions.create({ model, messages: [{ role: 'user', content }] })).rejects.toMatchObject({
    status: 400,
    code: 'content_filter',
  });
});

it('the logs have the number of values of each kind, and never a value', async () => {
  await waitUntil('the counts are logged', () => service.logs.some((line) => line.includes('EMAIL:1 PHONE:1')));
  for (const line of service.logs) {
    expect(line).not.toContain(EMAIL);
    expect(line).not.toContain(PHONE);
  }
  await waitUntil('the metric is logged', () => service.logs.some((line) => line.includes('"PersonalDataEmail":1')));
});

it('names and addresses that a guardrail finds reach no model, and a guardrail that is down lets nothing pass', async () => {
  const named = new OpenAI({ baseURL: service.cloud.url, apiKey: 'sk-named', maxRetries: 0 });
  const ask = (content: string) => named.chat.completions.create({ model, messages: [{ role: 'user', content }] });
  const answer = await ask(`${NAME}, ${ADDRESS}`);
  expect(answer.choices[0]?.message.content).toBe(`You said: ${NAME}, [REDACTED ADDRESS]`);
  expect(service.upstream.requests.at(-1)?.text).toMatch(/NAME-[a-z2-7]{8}, \[REDACTED ADDRESS\]/);
  await named.embeddings.create({ model: 'vectors', input: `by ${NAME}` });
  expect(service.upstream.requests.at(-1)?.text).toContain('by [REDACTED NAME]');
  const count = service.upstream.requests.length;
  await expect(ask(`outage ${NAME}`)).rejects.toMatchObject({ status: 503, code: 'guardrail_unavailable' });
  expect(service.upstream.requests).toHaveLength(count);
  for (const { text } of service.upstream.requests) expect(text).not.toContain(NAME);
});
