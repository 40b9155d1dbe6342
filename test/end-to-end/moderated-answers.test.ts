import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isObject } from '../../shared/core/objects.ts';
import { type Reply, streamEvents } from '../upstreams/reply.ts';
import { waitUntil } from '../wait.ts';
import { addKeys } from './keys.ts';
import { type Service, startService } from './service.ts';

const PNG = 'data:image/png;base64,iVBORw0KGgo=';
/** What the model answers to `Tell me` and a number. */
const ANSWERS = ['A calm walk.', 'First calm words, then a hit.', 'A calm outage.'];

const SUMMARY = 'Notes with a hit.';

/** A moderation model that flags texts with `hit` and fails for those with `outage`, and a chat model. */
function reply(path: string, body: unknown): Reply {
  if (!isObject(body)) return { status: 400 };
  if (path === '/v1/moderations') {
    const input = body['input'];
    const texts = Array.isArray(input) ? input.map((each) => (typeof each === 'string' ? each : '')) : [];
    if (texts.join('').includes('outage')) return { status: 503, body: { error: { message: 'Down' } } };
    const results = texts.map((text) => ({
      flagged: text.includes('hit'),
      categories: { violence: text.includes('hit') },
      category_scores: { violence: text.includes('hit') ? 0.9 : 0.1 },
    }));
    return { body: { results } };
  }
  if (JSON.stringify(body).includes('<conversation>')) return replyWith(SUMMARY);
  const text = ANSWERS[Number(/Tell me (\d)/.exec(JSON.stringify(body))?.[1] ?? 0)] ?? '';
  if (body['stream'] !== true) return replyWith(text);
  const chunks = [...text].map((each) => ({ choices: [{ index: 0, delta: { content: each } }] }));
  return streamEvents([...chunks, { choices: [{ index: 0, delta: {}, finish_reason: 'stop' }], usage }, '[DONE]']);
}

const usage = { prompt_tokens: 3, completion_tokens: 4, total_tokens: 7 };
const replyWith = (content: string): Reply => ({
  body: { choices: [{ index: 0, message: { role: 'assistant', content }, finish_reason: 'stop' }], usage },
});

let service: Service;
let client: OpenAI;
beforeAll(async () => {
  service = await startService({
    script: ({ path, body }) => reply(path, body),
    models: ({ baseUrl }) => ({
      native: {
        targets: [{ provider: 'openai-compatible', model: 'n', baseUrl, passThrough: ['chat', 'responses'] }],
      },
    }),
    sections: ({ baseUrl }) => ({
      guardrails: { filters: { id: 'abc123', version: '1' } },
      moderations: {
        strict: { model: 'm', baseUrl },
        lenient: { model: 'm', baseUrl, onFailure: 'pass' },
        filters: { guardrail: 'filters' },
      },
    }),
    guardrails: {
      abc123: ({ texts }) => ({
        filters: texts.join().includes('hit') ? [{ type: 'VIOLENCE', confidence: 'HIGH', action: 'BLOCKED' }] : [],
      }),
    },
  });
  client = service.client;
});
afterAll(() => service[Symbol.asyncDispose]());

const model = 'compatible';
const ask = (content: string) => [{ role: 'user' as const, content }];
const score = { model: 'strict' };
const block = { model: 'strict', policy: { input: { mode: 'block' as const }, output: { mode: 'block' as const } } };
const REFUSED = { status: 400, code: 'content_filter' };

/** The result of the moderation model `strict`. */
const result = (flagged: boolean, name = 'strict') => ({
  type: 'moderation_result',
  model: name,
  flagged,
  categories: expect.objectContaining({ violence: flagged, hate: false }),
  category_scores: expect.objectContaining({ violence: flagged ? 0.9 : 0.1, hate: 0 }),
  category_applied_input_types: expect.objectContaining({ violence: ['text'], hate: [] }),
});
const results = (flagged: boolean) => ({ type: 'moderation_results', model: 'strict', results: [result(flagged)] });
const UNAVAILABLE = {
  type: 'error',
  code: 'guardrail_unavailable',
  message: expect.stringContaining('could not be moderated'),
};

async function streamChat(body: Omit<OpenAI.ChatCompletionCreateParamsStreaming, 'stream' | 'model'>) {
  const chunks: OpenAI.ChatCompletionChunk[] = [];
  for await (const chunk of await client.chat.completions.create({ model, ...body, stream: true })) chunks.push(chunk);
  return {
    chunks,
    text: chunks.map(({ choices }) => choices[0]?.delta.content ?? '').join(''),
    reasons: chunks.flatMap(({ choices }) => choices[0]?.finish_reason ?? []),
    moderations: chunks.flatMap(({ moderation }) => moderation ?? []),
  };
}

async function streamResponse(body: Omit<OpenAI.Responses.ResponseCreateParamsStreaming, 'stream' | 'model'>) {
  const events: OpenAI.Responses.ResponseStreamEvent[] = [];
  for await (const event of await client.responses.create({ model, ...body, stream: true })) events.push(event);
  const text = events.map((event) => (event.type === 'response.output_text.delta' ? event.delta : '')).join('');
  return { text, last: events.at(-1) };
}

describe('moderation that scores', () => {
  it.each(['compatible', 'native'])('an answer of the model %s has the results of request and answer', async (name) => {
    const chat = await client.chat.completions.create({ model: name, messages: ask('Tell me 1'), moderation: score });
    expect(chat.choices[0]?.message.content).toBe(ANSWERS[1]);
    expect(chat.moderation).toEqual({ input: results(false), output: results(true) });
    const response = await client.responses.create({ model: name, input: 'I hit. Tell me 0', moderation: score });
    expect(response.output_text).toBe(ANSWERS[0]);
    expect(response.moderation).toEqual({ input: result(true), output: result(false) });
    const stored = await client.responses.retrieve(response.id);
    expect(stored.moderation).toEqual(response.moderation);
  });

  it('an API key that may not use the moderation model gets no answer to the request of another API key', async () => {
    const policy = JSON.stringify({ models: { mode: 'deny', models: ['strict'] } });
    await addKeys(service.cloud, { 'sk-denied': { tenant: 'local', keyId: 'denied', scopes: ['generate'], policy } });
    const denied = new OpenAI({ baseURL: service.cloud.url, apiKey: 'sk-denied', maxRetries: 0 });
    const options = { headers: { 'Idempotency-Key': 'moderated' } };
    const refusal = { status: 404, code: 'model_not_found' };
    const chat = { model, messages: ask('Tell me 0'), moderation: score };
    await client.chat.completions.create(chat, options);
    await expect(denied.chat.completions.create(chat, options)).rejects.toMatchObject(refusal);
    const response = { model, input: 'Tell me 0', moderation: score };
    await client.responses.create(response, options);
    await expect(denied.responses.create(response, options)).rejects.toMatchObject(refusal);
  });

  it('a stream has the results in a chunk of their own, or in its last event', async () => {
    const moderated = await streamChat({
      messages: ask('Tell me 1'),
      moderation: score,
      stream_options: { include_usage: true },
    });
    expect(moderated.text).toBe(ANSWERS[1]);
    expect(moderated.chunks.slice(-2)).toMatchObject([
      { choices: [], moderation: { input: results(false), output: results(true) }, usage: null },
      { choices: [], usage: { total_tokens: 7 } },
    ]);
    expect(moderated.moderations).toHaveLength(1);
    const { text, last } = await streamResponse({ input: 'Tell me 1', moderation: score, store: false });
    expect(text).toBe(ANSWERS[1]);
    expect(last).toMatchObject({
      type: 'response.completed',
      response: { moderation: { input: result(false), output: result(true) } },
    });
  });

  it('a background response has the results', async () => {
    const { id } = await client.responses.create({ model, input: 'Tell me 1', moderation: score, background: true });
    const response = await waitUntilEnded(id);
    expect(response).toMatchObject({ status: 'completed', moderation: { input: result(false), output: result(true) } });
  });

  it('a failure of the moderation model is reported in place of a result', async () => {
    const { moderation, output_text } = await client.responses.create({
      model,
      input: 'an outage',
      moderation: score,
    });
    expect(output_text).toBe(ANSWERS[0]);
    expect(moderation).toEqual({ input: UNAVAILABLE, output: result(false) });
  });

  it('images are scored, and reported where the moderation model has texts only', async () => {
    const content = [
      { type: 'text' as const, text: 'Tell me 0' },
      { type: 'image_url' as const, image_url: { url: PNG } },
    ];
    const messages = [{ role: 'user' as const, content }];
    const create = (name: string) => client.chat.completions.create({ model, messages, moderation: { model: name } });
    expect((await create('strict')).moderation?.input).toMatchObject({ type: 'moderation_results' });
    expect(service.upstream.requests.map(({ body }) => body)).toContainEqual({
      model: 'm',
      input: [{ type: 'image_url', image_url: { url: PNG } }],
    });
    expect((await create('filters')).moderation).toMatchObject({
      input: { type: 'error', code: 'unsupported_value' },
      output: { type: 'moderation_results', results: [{ flagged: false }] },
    });
  });

  it('an answer without moderation has no field for it', async () => {
    expect(await client.responses.create({ model, input: 'Tell me 0' })).not.toHaveProperty('moderation');
    const { chunks } = await streamChat({ messages: ask('Tell me 0') });
    expect(JSON.stringify(chunks)).not.toContain('moderation');
  });
});

describe('moderation that blocks', () => {
  it('a flagged request is refused before the model is called', async () => {
    const isForModel = ({ path }: { path: string }) => path !== '/v1/moderations';
    const before = service.upstream.requests.filter(isForModel).length;
    const messages = ask('I hit. Tell me 0');
    const input = 'I hit. Tell me 0';
    const moderation = block;
    for (const call of [
      () => client.chat.completions.create({ model, messages, moderation }),
      () => client.chat.completions.create({ model, messages, moderation, stream: true }),
      () => client.responses.create({ model, input, moderation }),
      () => client.responses.create({ model, input, moderation, store: false }),
      () => client.responses.create({ model: 'native', input, moderation, stream: true }),
      () => client.responses.create({ model, input, moderation: { ...block, model: 'filters' } }),
    ])
      await expect(call()).rejects.toMatchObject(REFUSED);
    expect(service.upstream.requests.filter(isForModel).length).toBe(before);
  });

  it('nothing of a flagged answer is sent', async () => {
    const messages = ask('Tell me 1');
    const chat = await client.chat.completions.create({ model, messages, moderation: block });
    expect(chat.choices[0]).toMatchObject({ finish_reason: 'content_filter', message: { content: '' } });
    expect(chat.moderation).toEqual({ input: results(false), output: results(true) });
    expect(await streamChat({ messages, moderation: block })).toMatchObject({
      text: '',
      reasons: ['content_filter'],
      moderations: [{ input: results(false), output: results(true) }],
    });
    const response = await client.responses.create({ model, input: 'Tell me 1', moderation: block });
    const incomplete = { status: 'incomplete', incomplete_details: { reason: 'content_filter' }, output: [] };
    expect(response).toMatchObject({ ...incomplete, moderation: { output: result(true) } });
    const { text, last } = await streamResponse({ input: 'Tell me 1', moderation: block });
    expect(text).toBe('');
    expect(last).toMatchObject({ type: 'response.incomplete', response: incomplete });
  });

  it('a background response is incomplete, and one with a flagged request fails', async () => {
    const create = (input: string) => client.responses.create({ model, input, moderation: block, background: true });
    const answered = await waitUntilEnded((await create('Tell me 1')).id);
    expect(answered).toMatchObject({ status: 'incomplete', output: [], moderation: { output: result(true) } });
    const refused = await waitUntilEnded((await create('I hit.')).id);
    const error = { code: 'invalid_prompt', message: expect.stringContaining('violates the content policy') };
    expect(refused).toMatchObject({ status: 'failed', error });
  });

  it('a clean answer is sent whole, and each refusal is logged by name', async () => {
    const { text, moderations } = await streamChat({ messages: ask('Tell me 0'), moderation: block });
    expect(text).toBe(ANSWERS[0]);
    expect(moderations).toEqual([{ input: results(false), output: results(false) }]);
    await expect(
      client.chat.completions.create({ model, messages: ask('I hit.'), moderation: block }),
    ).rejects.toMatchObject(REFUSED);
    const line = await waitUntil('the refusal is logged', async () =>
      service.logs.flatMap((text) => text.split('\n')).find((each) => each.includes('"kind":"moderation"')),
    );
    expect(JSON.parse(line)).toMatchObject({ rule: 'strict', action: 'refuse', record: 'guardrail' });
    expect(service.logs.join('')).not.toContain('I hit.');
  });

  it('a moderation model that is down refuses, or passes by its setting', async () => {
    const send = (name: string, content: string) =>
      client.chat.completions.create({ model, messages: ask(content), moderation: { ...block, model: name } });
    const unavailable = { status: 503, code: 'guardrail_unavailable' };
    await expect(send('strict', 'an outage')).rejects.toMatchObject(unavailable);
    await expect(send('strict', 'Tell me 2')).rejects.toMatchObject(unavailable);
    await expect(streamChat({ messages: ask('Tell me 2'), moderation: block })).rejects.toThrow(
      /could not be moderated/,
    );
    const passed = await send('lenient', 'Tell me 2');
    expect(passed.choices[0]).toMatchObject({ finish_reason: 'stop', message: { content: ANSWERS[2] } });
    expect(passed.moderation?.output).toEqual(UNAVAILABLE);
  });

  it("what can't be moderated is refused, whatever the setting", async () => {
    const image = { type: 'image_url' as const, image_url: { url: PNG } };
    const pdf = {
      type: 'file' as const,
      file: { filename: 'a.pdf', file_data: 'data:application/pdf;base64,JVBERi0=' },
    };
    for (const [name, part] of [
      ['filters', image],
      ['lenient', pdf],
    ] as const)
      await expect(
        client.chat.completions.create({
          model,
          messages: [{ role: 'user', content: [part] }],
          moderation: { ...block, model: name },
        }),
      ).rejects.toMatchObject({ status: 400, code: 'unsupported_value', param: 'moderation' });
  });
});

describe('the moderation of a context that is compacted', () => {
  type Input = OpenAI.Responses.ResponseInputItem[];
  const context_management = [{ type: 'compaction', compact_threshold: 1_000 }];
  const LONG = 'A calm walk. '.repeat(500);
  /** A conversation that is compacted, with a text in its first message, and another one in its last. */
  const talk = (first: string, last = 'Tell me 0'): Input => [
    { role: 'user', content: first },
    { role: 'assistant', content: LONG },
    { role: 'user', content: last },
  ];
  const search = { type: 'web_search_call', id: 'ws_1', status: 'completed', action: { type: 'search', query: 'hit' } };
  const listCalls = (from: number) => service.upstream.requests.slice(from);
  const isModeration = ({ path }: { path: string }) => path === '/v1/moderations';
  const listModerated = (from: number) =>
    listCalls(from)
      .filter(isModeration)
      .flatMap(({ body }) => Object(body).input as string[]);

  it.each([
    ['an earlier message', talk('I hit.')],
    ['the last message', talk('A walk', 'I hit.')],
    ['a call of a hosted tool', [search, ...talk('A walk')] as Input],
  ])('a request with a hit in %s is refused before a model summarizes it', async (_, input) => {
    const from = service.upstream.requests.length;
    const body = { model, input, context_management, moderation: block };
    await expect(client.responses.create(body)).rejects.toMatchObject(REFUSED);
    await expect(client.responses.create({ ...body, store: false, stream: true })).rejects.toMatchObject(REFUSED);
    const job = await waitUntilEnded((await client.responses.create({ ...body, background: true })).id);
    expect(job).toMatchObject({ status: 'failed', error: { code: 'invalid_prompt' } });
    await expect(client.responses.compact({ model, input, moderation: block } as never)).rejects.toMatchObject(REFUSED);
    expect(listCalls(from).filter((call) => !isModeration(call))).toEqual([]);
  });

  it.each([
    ['foreground', false],
    ['background', true],
  ])('the results are of the whole request and of the answer, not of the summary, in the %s', async (_, background) => {
    for (const [moderation, first, flagged] of [
      [score, 'I hit.', true],
      [block, 'A walk', false],
    ] as const) {
      const from = service.upstream.requests.length;
      const body = { model, input: talk(first), context_management, moderation, background };
      const response = await waitUntilEnded((await client.responses.create(body)).id);
      expect(response.output.map(({ type }) => type)).toEqual(['compaction', 'message']);
      expect(response.moderation).toEqual({ input: result(flagged), output: result(false) });
      // Each text is moderated once.
      const [input, answer, ...more] = listModerated(from);
      expect(input).toBe([first, LONG, 'Tell me 0'].join('\n'));
      expect([answer, ...more]).toEqual([ANSWERS[0]]);
    }
  });

  it('compaction itself moderates only what is to be blocked, and refuses a flagged summary', async () => {
    const compact = (moderation: object) =>
      client.responses.compact({ model, input: talk('A walk'), moderation } as never).withResponse();
    const from = service.upstream.requests.length;
    const scored = await compact(score);
    expect(scored.response.headers.get('x-lambent-ignored')).toBe('moderation');
    expect(listModerated(from)).toEqual([]);
    await compact({ ...score, policy: { input: { mode: 'block' } } });
    expect(listModerated(from)).toEqual([expect.stringContaining('A walk')]);
    await expect(compact({ ...score, policy: { output: { mode: 'block' } } })).rejects.toMatchObject(REFUSED);
    expect(listModerated(from).slice(1)).toEqual([SUMMARY]);
  });
});

it.each([
  [{ model: 'unknown' }, 404, 'model_not_found', 'moderation.model'],
  [{ model: 'constructor' }, 404, 'model_not_found', 'moderation.model'],
  [{ model: 'strict', policy: { input: { mode: 'stop' } } }, 400, 'invalid_value', 'moderation.policy.input.mode'],
  [{ model: 'strict', policy: { output: {} } }, 400, 'missing_required_parameter', 'moderation.policy.output.mode'],
  [{}, 400, 'missing_required_parameter', 'moderation.model'],
])('the moderation %j is answered with status %i', async (moderation, status, code, param) => {
  const error = { status, code, param };
  const body = { model, moderation: moderation as never };
  await expect(client.chat.completions.create({ ...body, messages: ask('x') })).rejects.toMatchObject(error);
  await expect(client.responses.create({ ...body, input: 'x', background: true })).rejects.toMatchObject(error);
});

function waitUntilEnded(id: string): Promise<OpenAI.Responses.Response> {
  return waitUntil('the response has ended', async () => {
    const response = await client.responses.retrieve(id);
    return ['queued', 'in_progress'].includes(response.status ?? '') ? undefined : response;
  });
}
