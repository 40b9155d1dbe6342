import Anthropic from '@anthropic-ai/sdk';
import { type DynamoDBClient, PutItemCommand } from '@aws-sdk/client-dynamodb';
import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { AssessTexts } from '../../local/bedrock/guardrails.ts';
import { createKeyItem } from '../../shared/access/keys.ts';
import type { Restrictions } from '../../shared/access/policy.ts';
import { createPolicyAdministration } from '../../shared/access/policy-administration.ts';
import { TENANT_SCOPES } from '../../shared/access/scopes.ts';
import { isObject } from '../../shared/core/objects.ts';
import { type Reply, streamEvents } from '../upstreams/reply.ts';
import { waitUntil } from '../wait.ts';
import { connectToTables } from './keys.ts';
import { type Service, startService } from './service.ts';

/** Blocks `poison`. Is down for texts with `outage`. */
const guardrail: AssessTexts = ({ texts }) => {
  const text = texts.join(' ');
  if (text.includes('outage')) return { type: 'error', status: 503, name: 'ServiceUnavailableException', message: '' };
  return text.includes('poison') ? { words: ['poison'] } : {};
};

/** A model that answers with the reverse of the last message, so that a request can be clean and its answer not. */
function reverse(path: string, body: unknown): Reply {
  if (!isObject(body)) return { status: 400 };
  if (path.endsWith('/embeddings')) return { body: { data: [{ index: 0, embedding: [1] }] } };
  const last = Array.isArray(body['messages']) ? body['messages'].at(-1) : undefined;
  const content = JSON.stringify(isObject(last) ? last['content'] : '');
  const text = [...content.replaceAll(/^.*"text":"|"}\]$|"/g, '')].reverse().join('');
  const usage = { prompt_tokens: 3, completion_tokens: 4, total_tokens: 7 };
  if (body['stream'] !== true)
    return {
      body: { choices: [{ index: 0, message: { role: 'assistant', content: text }, finish_reason: 'stop' }], usage },
    };
  const chunks = [...text].map((each) => ({ choices: [{ index: 0, delta: { content: each } }] }));
  return streamEvents([...chunks, { choices: [{ index: 0, delta: {}, finish_reason: 'stop' }], usage }, '[DONE]']);
}

const RESTRICTIONS: Readonly<Record<string, Restrictions>> = {
  rules: {
    contentRules: [
      { id: 'codename', terms: ['falcon'], allow: ['falconry'] },
      { id: 'ticket', pattern: '\\bTCK-\\d{4}\\b', maxLength: 8, on: 'output' },
      { id: 'watched', terms: ['otter'], action: 'flag' },
    ],
  },
  guarded: { guardrail: { name: 'strict', windowCharacters: 50, overlapCharacters: 10 } },
  lenient: { guardrail: { name: 'strict', onFailure: 'pass' } },
};

let service: Service;
let tables: DynamoDBClient;
beforeAll(async () => {
  service = await startService({
    script: ({ path, body }) => reverse(path, body),
    models: ({ baseUrl }) => ({
      vectors: { targets: [{ provider: 'openai-compatible', model: 'v', baseUrl }], embeddings: {} },
      native: {
        targets: [{ provider: 'openai-compatible', model: 'n', baseUrl, passThrough: ['chat'] }],
      },
    }),
    sections: () => ({ guardrails: { strict: { id: 'abc123', version: '1' } } }),
    guardrails: { abc123: guardrail },
  });
  const { cloud } = service;
  tables = connectToTables(cloud);
  const TableName = cloud.resources['ACCESS_TABLE'] ?? '';
  const projects = createPolicyAdministration(tables, TableName);
  for (const [tenant, restrictions] of Object.entries(RESTRICTIONS)) {
    await projects.changeProject(tenant, (project) => ({ ...project, restrictions }));
    const Item = createKeyItem(`sk-${tenant}`, { tenant, keyId: tenant, scopes: TENANT_SCOPES, policy: undefined });
    await tables.send(new PutItemCommand({ TableName, Item }));
  }
});
afterAll(async () => {
  tables.destroy();
  await service[Symbol.asyncDispose]();
});

const connect = (tenant: string) => new OpenAI({ baseURL: service.cloud.url, apiKey: `sk-${tenant}`, maxRetries: 0 });
const say = (text: string) => [...text].reverse().join('');
const ask = (content: string) => [{ role: 'user' as const, content }];
const REFUSED = { status: 400, code: 'content_filter' };

/** Streams a chat completion, and returns its text and finish reason. */
async function streamChat(tenant: string, content: string, model = 'compatible') {
  const stream = await connect(tenant).chat.completions.create({ model, messages: ask(content), stream: true });
  let text = '';
  let reason: string | null = null;
  for await (const { choices } of stream) {
    text += choices[0]?.delta.content ?? '';
    reason = choices[0]?.finish_reason ?? reason;
  }
  return { text, reason };
}

describe.each([
  ['rules', 'falcon', 'The bird is a '],
  ['guarded', 'poison', 'The bird is a '],
])('the policy of the project %s, which refuses %s', (tenant, word, before) => {
  it.each(['compatible', 'native'])(
    'a request to the model %s is refused before the model is called',
    async (model) => {
      const requests = service.upstream.requests.length;
      const client = connect(tenant);
      for (const call of [
        () => client.chat.completions.create({ model, messages: ask(`What is ${word}?`) }),
        () => client.chat.completions.create({ model, messages: ask(`What is ${word}?`), stream: true }),
        () => client.responses.create({ model, input: `What is ${word}?` }),
        () => client.responses.create({ model, input: 'Hello', instructions: `Say ${word}`, store: false }),
      ])
        await expect(call()).rejects.toMatchObject(REFUSED);
      await expect(client.embeddings.create({ model: 'vectors', input: ['good', word] })).rejects.toMatchObject(
        REFUSED,
      );
      expect(service.upstream.requests.length).toBe(requests);
    },
  );

  it.each(['compatible', 'native'])('an answer of the model %s ends before the refused text', async (model) => {
    const question = say(`${before}${word}, my friend.`);
    const { choices, usage } = await connect(tenant).chat.completions.create({ model, messages: ask(question) });
    expect(choices[0]?.finish_reason).toBe('content_filter');
    expect(before.startsWith(choices[0]?.message.content ?? '')).toBe(true);
    // A guardrail decides at the end of a short answer, with its usage; a rule as soon as its term is there.
    expect(usage !== undefined).toBe(tenant === 'guarded');
    const { text, reason } = await streamChat(tenant, question, model);
    expect(reason).toBe('content_filter');
    expect(before.startsWith(text)).toBe(true);
  });

  it('a response is incomplete, stored and streamed', async () => {
    const client = connect(tenant);
    const input = say(`${before}${word}, my friend.`);
    const response = await client.responses.create({ model: 'compatible', input });
    expect(response).toMatchObject({ status: 'incomplete', incomplete_details: { reason: 'content_filter' } });
    expect(before.startsWith(response.output_text)).toBe(true);
    expect(await client.responses.retrieve(response.id)).toMatchObject({ status: 'incomplete' });
    const types: string[] = [];
    let text = '';
    for await (const event of await client.responses.create({ model: 'compatible', input, stream: true })) {
      types.push(event.type);
      if (event.type === 'response.output_text.delta') text += event.delta;
    }
    expect(types.at(-1)).toBe('response.incomplete');
    expect(before.startsWith(text)).toBe(true);
  });

  it('a background response is incomplete, and one with a refused input fails', async () => {
    const client = connect(tenant);
    const wait = async (id: string) =>
      waitUntil('the response has ended', async () => {
        const response = await client.responses.retrieve(id);
        return ['queued', 'in_progress'].includes(response.status ?? '') ? undefined : response;
      });
    const background = true;
    const bad = await client.responses.create({ model: 'compatible', input: say(`A ${word}.`), background });
    expect(await wait(bad.id)).toMatchObject({
      status: 'incomplete',
      incomplete_details: { reason: 'content_filter' },
    });
    const refused = await client.responses.create({ model: 'compatible', input: `A ${word}.`, background });
    expect(await wait(refused.id)).toMatchObject({
      status: 'failed',
      error: { code: 'invalid_prompt', message: expect.stringContaining('violates the content policy') },
    });
  });

  it("a message gets Anthropic's error, and its answer the stop reason refusal", async () => {
    const client = new Anthropic({
      baseURL: service.cloud.url.replace(/\/v1$/, ''),
      apiKey: `sk-${tenant}`,
      maxRetries: 0,
    });
    const create = (content: string) =>
      client.messages.create({ model: 'compatible', max_tokens: 100, messages: [{ role: 'user', content }] });
    await expect(create(word)).rejects.toMatchObject({
      status: 400,
      error: { error: { type: 'invalid_request_error' } },
    });
    expect(await create(say(`${before}${word}, my friend.`))).toMatchObject({ stop_reason: 'refusal' });
  });

  it('clean requests and answers pass unaltered', async () => {
    const answer = `${before}crane, my friend. ${'It flies far. '.repeat(20)}`;
    expect(await streamChat(tenant, say(answer))).toEqual({ text: answer, reason: 'stop' });
    await connect(tenant).embeddings.create({ model: 'vectors', input: 'crane' });
  });
});

it('allowed terms pass, patterns refuse only what they are for, and other tenants have no rules', async () => {
  expect((await streamChat('rules', say('The art of falconry.'))).text).toBe('The art of falconry.');
  expect((await streamChat('rules', 'TCK-1234')).reason).toBe('stop');
  expect(await streamChat('rules', say('It is TCK-1234.'))).toMatchObject({ reason: 'content_filter' });
  expect((await streamChat('local', say('falcon'))).text).toBe('falcon');
});

it('token arrays are refused where their texts would have to be checked', async () => {
  const answer = connect('rules').embeddings.create({ model: 'vectors', input: [1, 2, 3] });
  await expect(answer).rejects.toMatchObject({ status: 400, code: 'invalid_value' });
});

it('a guardrail that is down refuses, or passes by the policy', async () => {
  const create = (tenant: string) =>
    connect(tenant).chat.completions.create({ model: 'compatible', messages: ask('an outage') });
  await expect(create('guarded')).rejects.toMatchObject({ status: 503, code: 'guardrail_unavailable' });
  expect((await create('lenient')).choices[0]?.message.content).toBe(say('an outage'));
});

it('each match is logged with the request, by name and without content', async () => {
  const { logs } = service;
  await streamChat('rules', 'an otter');
  await waitUntil('the matches are logged', () => logs.some((line) => line.includes('"rule":"watched"')));
  const lines = logs.flatMap((text) => text.split('\n')).filter((line) => line.includes('"message":"guardrail"'));
  const found = lines.map((line) => JSON.parse(line));
  const base = { record: 'guardrail', requestId: expect.any(String), level: 'info' };
  for (const expected of [
    { kind: 'rule', rule: 'codename', side: 'input', action: 'refuse', tenant: 'rules', keyId: 'rules' },
    { kind: 'rule', rule: 'codename', side: 'output', action: 'refuse', tenant: 'rules' },
    { kind: 'rule', rule: 'watched', side: 'input', action: 'flag', tenant: 'rules' },
    { kind: 'guardrail', rule: 'strict', side: 'input', action: 'refuse', tenant: 'guarded' },
    { kind: 'guardrail', rule: 'strict', side: 'output', action: 'refuse', tenant: 'guarded' },
  ])
    expect(found).toContainEqual(expect.objectContaining({ ...base, ...expected }));
  for (const word of ['falcon', 'poison', 'otter']) expect(logs.join('')).not.toContain(word);
});
