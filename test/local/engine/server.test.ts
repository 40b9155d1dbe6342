import OpenAI, { APIError } from 'openai';
import { afterEach, describe, expect, it } from 'vitest';
import { type EngineServer, type EngineServerOptions, startEngineServer } from '../../../local/engine/server.ts';
import { waitUntil } from '../../wait.ts';

let servers: EngineServer[] = [];
afterEach(async () => {
  await Promise.all(servers.map((server) => server.close()));
  servers = [];
});

/** Starts an engine, by default at 20 times the GPU's speed. */
async function start(options: Partial<EngineServerOptions> = {}) {
  const server = await startEngineServer({
    model: 'stand-in',
    gpu: 'h100',
    speed: 20,
    slots: 4,
    contextTokens: 32_768,
    ...options,
  });
  servers.push(server);
  const client = new OpenAI({ baseURL: server.url, apiKey: 'any', maxRetries: 0 });
  const root = server.url.replace('/v1', '');
  const metric = async (name: string): Promise<number> => {
    const text = await (await fetch(`${root}/metrics`)).text();
    return Number(new RegExp(`^${name}(?:\\{.*\\})? (\\S+)$`, 'm').exec(text)?.[1]);
  };
  return { server, client, root, metric };
}

/** Returns a request that generates exactly `tokens` tokens, as benchmarks of vLLM do. */
const longRequest = (tokens: number, extra: object = {}) => ({
  model: 'stand-in',
  messages: [{ role: 'user' as const, content: 'Go on.' }],
  max_tokens: tokens,
  ignore_eos: true,
  ...extra,
});

const CITY = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] };

describe('chat completions with the OpenAI client', () => {
  it('a completion names the stand-in, repeats the question and reports its usage', async () => {
    const { client } = await start();
    const answer = await client.chat.completions.create({
      model: 'stand-in',
      messages: [{ role: 'user', content: 'What is the time?' }],
    });
    const [choice] = answer.choices;
    expect(choice?.message.content).toMatch(/stand-in/);
    expect(choice?.message.content).toContain('“What is the time?”');
    expect(choice?.finish_reason).toBe('stop');
    const { prompt_tokens: prompt = 0, completion_tokens: completion = 0, total_tokens: total } = answer.usage ?? {};
    expect(prompt).toBeGreaterThan(5);
    expect(total).toBe(prompt + completion);
  });

  it.each([
    ['a schema', { type: 'json_schema', json_schema: { name: 'out', schema: CITY } }, { city: /stand-in/ }],
    ['any JSON object', { type: 'json_object' }, { answer: /stand-in/ }],
  ] as const)('an answer whose format is %s has this format, as engines enforce it', async (_, format, expected) => {
    const { client } = await start();
    const answer = await client.chat.completions.create({
      model: 'stand-in',
      messages: [{ role: 'user', content: 'Where is the Colosseum?' }],
      response_format: format,
    });
    const [[name, pattern]] = Object.entries(expected) as [[string, RegExp]];
    expect(JSON.parse(answer.choices[0]?.message.content ?? '')).toEqual({ [name]: expect.stringMatching(pattern) });
  });

  it('a stream gives the same text token by token, and usage if the request includes it', async () => {
    const { client } = await start();
    const messages = [{ role: 'user' as const, content: 'What is the time?' }];
    const whole = await client.chat.completions.create({ model: 'stand-in', messages });
    const stream = await client.chat.completions.create({
      model: 'stand-in',
      messages,
      stream: true,
      stream_options: { include_usage: true },
    });
    const [texts, usages, reasons]: [string[], unknown[], unknown[]] = [[], [], []];
    for await (const { choices, usage } of stream) {
      texts.push(choices[0]?.delta.content ?? '');
      if (usage) usages.push(usage.completion_tokens);
      if (choices[0]?.finish_reason) reasons.push(choices[0].finish_reason);
    }
    expect(texts.join('')).toBe(whole.choices[0]?.message.content);
    expect(usages).toEqual([texts.filter((text) => text !== '').length]);
    expect(reasons).toEqual(['stop']);
  });

  it.each([['max_tokens'], ['max_completion_tokens']])('a completion is limited by %s', async (name) => {
    const { client } = await start();
    const answer = await client.chat.completions.create({
      model: 'stand-in',
      messages: [{ role: 'user', content: 'Hello' }],
      [name]: 5,
    });
    expect(answer.choices[0]?.finish_reason).toBe('length');
    expect(answer.usage?.completion_tokens).toBe(5);
  });

  it('a completion ends before a stop sequence', async () => {
    const { client } = await start();
    const answer = await client.chat.completions.create({
      model: 'stand-in',
      messages: [{ role: 'user', content: 'one two three' }],
      stop: [' three', 'nothing'],
    });
    expect(answer.choices[0]?.message.content).toMatch(/one two$/);
    expect(answer.choices[0]?.finish_reason).toBe('stop');
  });

  it('the model list contains the engine’s model', async () => {
    const { client } = await start();
    expect((await client.models.list()).data.map(({ id }) => id)).toEqual(['stand-in']);
  });
});

describe('error responses', () => {
  const requestError = async (request: object, options: Partial<EngineServerOptions> = {}): Promise<APIError> => {
    const { client } = await start(options);
    const thrown: unknown = await client.chat.completions
      .create({ model: 'stand-in', messages: [{ role: 'user', content: 'Hello' }], ...request })
      .catch((error: unknown) => error);
    if (thrown instanceof APIError) return thrown;
    throw new Error('The request was not rejected');
  };

  it('an unknown model is rejected with 404', async () => {
    expect(await requestError({ model: 'other' })).toMatchObject({ status: 404, type: 'NotFoundError' });
  });

  it('an invalid request is rejected with 400 and the field’s name', async () => {
    const error = await requestError({ messages: [] });
    expect(error).toMatchObject({ status: 400, type: 'BadRequestError' });
    expect(error.message).toContain('messages');
    expect((await requestError({ n: 2 })).message).toContain('n: only 1');
  });

  it('a prompt longer than the context is rejected with 400', async () => {
    const error = await requestError(
      { messages: [{ role: 'user', content: 'x'.repeat(5_000) }] },
      { contextTokens: 1_000 },
    );
    expect(error.status).toBe(400);
    expect(error.message).toMatch(/maximum context length is 1000 tokens/);
  });

  it('a request without the API key is rejected with 401, except on the health endpoint', async () => {
    expect(await requestError({}, { apiKey: 'sk-mine' })).toMatchObject({ status: 401 });
    const { server, root } = await start({ apiKey: 'sk-mine' });
    const listed = await fetch(`${server.url}/models`, { headers: { authorization: 'Bearer sk-mine' } });
    expect(listed.status).toBe(200);
    expect((await fetch(`${root}/health`)).status).toBe(200);
  });
});

describe('the prefix cache', () => {
  const prompt = 'A long beginning that does not change. '.repeat(100);
  const countCachedTokens = async (client: OpenAI, extra: object = {}): Promise<number> => {
    const answer = await client.chat.completions.create({
      ...longRequest(2),
      messages: [{ role: 'user', content: prompt }],
      ...extra,
    });
    return answer.usage?.prompt_tokens_details?.cached_tokens ?? 0;
  };

  it('a repeated prefix is reported as cached tokens', async () => {
    const { client } = await start();
    expect(await countCachedTokens(client)).toBe(0);
    expect(await countCachedTokens(client)).toBeGreaterThan(900);
    const turns = [
      { role: 'user', content: prompt },
      { role: 'assistant', content: 'Yes.' },
      { role: 'user', content: 'And now?' },
    ];
    expect(await countCachedTokens(client, { messages: turns })).toBeGreaterThan(900);
  });

  it('requests with different salts share no cached tokens', async () => {
    const { client } = await start();
    await countCachedTokens(client, { cache_salt: 'acme' });
    expect(await countCachedTokens(client, { cache_salt: 'globex' })).toBe(0);
    expect(await countCachedTokens(client, { cache_salt: 'acme' })).toBeGreaterThan(900);
  });
});

describe('slots', () => {
  it('waiting requests get slots by priority', async () => {
    const { client, metric } = await start({ slots: 1, speed: 1 });
    const order: string[] = [];
    const complete = async (name: string, priority: number, tokens: number): Promise<void> => {
      await client.chat.completions.create(longRequest(tokens, { priority }));
      order.push(name);
    };
    // Long enough for the other requests to arrive meanwhile, even on a busy machine.
    const first = complete('first', 0, 500);
    await waitUntil('a request runs', async () => (await metric('vllm:num_requests_running')) === 1);
    const batch = complete('batch', 1, 20);
    await waitUntil('a request waits', async () => (await metric('vllm:num_requests_waiting')) === 1);
    await Promise.all([first, batch, complete('interactive', 0, 20)]);
    expect(order).toEqual(['first', 'interactive', 'batch']);
  });

  it.each([[true], [false]])(
    'a slot is free as soon as its client disconnects, and no further token is generated (stream: %s)',
    async (stream) => {
      const { client, metric } = await start({ slots: 1, speed: 1 });
      const gone = new AbortController();
      const left = client.chat.completions
        .create({ ...longRequest(20_000), stream }, { signal: gone.signal })
        .catch(() => undefined);
      await waitUntil('a token is generated', async () => (await metric('vllm:generation_tokens_total')) > 0);
      gone.abort();
      await left;
      await waitUntil('the request is aborted', async () => (await metric('lambent:requests_aborted_total')) === 1);
      expect(await metric('vllm:num_requests_running')).toBe(0);
      const generated = await metric('vllm:generation_tokens_total');
      await new Promise((resolve) => setTimeout(resolve, 100));
      expect(await metric('vllm:generation_tokens_total')).toBe(generated);
      // At most the token of the current step.
      expect(await metric('lambent:tokens_generated_after_abort_total')).toBeLessThanOrEqual(1);
      const next = await client.chat.completions.create(longRequest(3));
      expect(next.usage?.completion_tokens).toBe(3);
    },
  );

  it('the metrics contain the start time of the process', async () => {
    const { metric } = await start();
    const startedAt = await metric('process_start_time_seconds');
    expect(startedAt).toBeGreaterThan(1.6e9);
    expect(startedAt).toBeLessThan(Date.now() / 1000);
  });
});

describe('LoRA adapters', () => {
  it('a LoRA adapter can be used as a model until it is unloaded', async () => {
    const { client, server } = await start();
    const post = (path: string, body: object) =>
      fetch(`${server.url}/${path}`, { method: 'POST', body: JSON.stringify(body) });
    const adapter = { lora_name: 'sql', lora_path: '/adapters/sql' };
    expect((await post('load_lora_adapter', adapter)).status).toBe(200);
    const again = await post('load_lora_adapter', adapter);
    expect(again.status).toBe(400);
    expect(await again.text()).toMatch(/already/);
    expect((await client.models.list()).data.map((model) => model)).toMatchObject([
      { id: 'stand-in' },
      { id: 'sql', parent: 'stand-in', root: '/adapters/sql' },
    ]);
    expect((await client.chat.completions.create({ ...longRequest(2), model: 'sql' })).model).toBe('sql');
    expect((await post('unload_lora_adapter', { lora_name: 'sql' })).status).toBe(200);
    expect((await post('unload_lora_adapter', { lora_name: 'sql' })).status).toBe(404);
    await expect(client.chat.completions.create({ ...longRequest(2), model: 'sql' })).rejects.toMatchObject({
      status: 404,
    });
  });
});
