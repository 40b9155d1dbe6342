import OpenAI, { APIError } from 'openai';
import { afterEach, describe, expect, test } from 'vitest';
import { type EngineServer, type EngineServerOptions, startEngineServer } from '../../../local/engine/server.ts';

let servers: EngineServer[] = [];
afterEach(async () => {
  await Promise.all(servers.map((server) => server.close()));
  servers = [];
});

/** Starts an engine, by default so fast that nobody waits for it. */
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

/** A request that goes on until it has `tokens` tokens, as measurements ask vLLM. */
const long = (tokens: number, extra: object = {}) => ({
  model: 'stand-in',
  messages: [{ role: 'user' as const, content: 'Go on.' }],
  max_tokens: tokens,
  ignore_eos: true,
  ...extra,
});

async function until(condition: () => Promise<boolean>): Promise<void> {
  while (!(await condition())) await new Promise((resolve) => setTimeout(resolve, 10));
}

describe("OpenAI's client gets", () => {
  test('an answer that says what it is, and its usage', async () => {
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

  test('the same as a stream, token by token, with usage when it asks for it', async () => {
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

  test.each([['max_tokens'], ['max_completion_tokens']])('no more than %s', async (name) => {
    const { client } = await start();
    const answer = await client.chat.completions.create({
      model: 'stand-in',
      messages: [{ role: 'user', content: 'Hello' }],
      [name]: 5,
    });
    expect(answer.choices[0]?.finish_reason).toBe('length');
    expect(answer.usage?.completion_tokens).toBe(5);
  });

  test('an answer that ends before a stop sequence', async () => {
    const { client } = await start();
    const answer = await client.chat.completions.create({
      model: 'stand-in',
      messages: [{ role: 'user', content: 'one two three' }],
      stop: [' three', 'nothing'],
    });
    expect(answer.choices[0]?.message.content).toMatch(/one two$/);
    expect(answer.choices[0]?.finish_reason).toBe('stop');
  });

  test('its models', async () => {
    const { client } = await start();
    expect((await client.models.list()).data.map(({ id }) => id)).toEqual(['stand-in']);
  });
});

describe('it refuses, as OpenAI would', () => {
  const refused = async (request: object, options: Partial<EngineServerOptions> = {}): Promise<APIError> => {
    const { client } = await start(options);
    const thrown: unknown = await client.chat.completions
      .create({ model: 'stand-in', messages: [{ role: 'user', content: 'Hello' }], ...request })
      .catch((error: unknown) => error);
    if (thrown instanceof APIError) return thrown;
    throw new Error('It was not refused');
  };

  test('a model that it does not have', async () => {
    expect(await refused({ model: 'other' })).toMatchObject({ status: 404, type: 'NotFoundError' });
  });

  test('what it can not read', async () => {
    const error = await refused({ messages: [] });
    expect(error).toMatchObject({ status: 400, type: 'BadRequestError' });
    expect(error.message).toContain('messages');
    expect((await refused({ n: 2 })).message).toContain('n: only 1');
  });

  test('a prompt that is longer than its context', async () => {
    const error = await refused({ messages: [{ role: 'user', content: 'x'.repeat(5_000) }] }, { contextTokens: 1_000 });
    expect(error.status).toBe(400);
    expect(error.message).toMatch(/maximum context length is 1000 tokens/);
  });

  test('who has not the key', async () => {
    expect(await refused({}, { apiKey: 'sk-mine' })).toMatchObject({ status: 401 });
    const { server, root } = await start({ apiKey: 'sk-mine' });
    const listed = await fetch(`${server.url}/models`, { headers: { authorization: 'Bearer sk-mine' } });
    expect(listed.status).toBe(200);
    expect((await fetch(`${root}/health`)).status).toBe(200);
  });
});

describe('its prefix cache', () => {
  const prompt = 'A long beginning that does not change. '.repeat(100);
  const ask = async (client: OpenAI, extra: object = {}): Promise<number> => {
    const answer = await client.chat.completions.create({
      ...long(2),
      messages: [{ role: 'user', content: prompt }],
      ...extra,
    });
    return answer.usage?.prompt_tokens_details?.cached_tokens ?? 0;
  };

  test('knows a beginning again, which brings the first token forward', async () => {
    const { client } = await start();
    expect(await ask(client)).toBe(0);
    expect(await ask(client)).toBeGreaterThan(900);
    const turns = [
      { role: 'user', content: prompt },
      { role: 'assistant', content: 'Yes.' },
      { role: 'user', content: 'And now?' },
    ];
    expect(await ask(client, { messages: turns })).toBeGreaterThan(900);
  });

  test('is apart for each salt', async () => {
    const { client } = await start();
    await ask(client, { cache_salt: 'acme' });
    expect(await ask(client, { cache_salt: 'globex' })).toBe(0);
    expect(await ask(client, { cache_salt: 'acme' })).toBeGreaterThan(900);
  });
});

describe('its places', () => {
  test('go by priority when they are all taken', async () => {
    const { client, metric } = await start({ slots: 1, speed: 1 });
    const order: string[] = [];
    const ask = async (name: string, priority: number, tokens: number): Promise<void> => {
      await client.chat.completions.create(long(tokens, { priority }));
      order.push(name);
    };
    // Long enough for the others to come meanwhile, however busy the machine is.
    const first = ask('first', 0, 500);
    await until(async () => (await metric('vllm:num_requests_running')) === 1);
    const batch = ask('batch', 1, 20);
    await until(async () => (await metric('vllm:num_requests_waiting')) === 1);
    await Promise.all([first, batch, ask('interactive', 0, 20)]);
    expect(order).toEqual(['first', 'interactive', 'batch']);
  });

  test.each([[true], [false]])(
    'are free as soon as a client goes away (stream: %s), and no token follows',
    async (stream) => {
      const { client, metric } = await start({ slots: 1, speed: 1 });
      const gone = new AbortController();
      const left = client.chat.completions
        .create({ ...long(20_000), stream }, { signal: gone.signal })
        .catch(() => undefined);
      await until(async () => (await metric('vllm:generation_tokens_total')) > 0);
      gone.abort();
      await left;
      await until(async () => (await metric('lambent:requests_aborted_total')) === 1);
      expect(await metric('vllm:num_requests_running')).toBe(0);
      const generated = await metric('vllm:generation_tokens_total');
      await new Promise((resolve) => setTimeout(resolve, 100));
      expect(await metric('vllm:generation_tokens_total')).toBe(generated);
      // At most the one of the step that was under way.
      expect(await metric('lambent:tokens_generated_after_abort_total')).toBeLessThanOrEqual(1);
      const next = await client.chat.completions.create(long(3));
      expect(next.usage?.completion_tokens).toBe(3);
    },
  );

  test('tell when the process started', async () => {
    const { metric } = await start();
    const startedAt = await metric('process_start_time_seconds');
    expect(startedAt).toBeGreaterThan(1.6e9);
    expect(startedAt).toBeLessThan(Date.now() / 1000);
  });
});

describe('LoRA adapters', () => {
  test('are models once they are loaded, and no more when they are unloaded', async () => {
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
    expect((await client.chat.completions.create({ ...long(2), model: 'sql' })).model).toBe('sql');
    expect((await post('unload_lora_adapter', { lora_name: 'sql' })).status).toBe(200);
    expect((await post('unload_lora_adapter', { lora_name: 'sql' })).status).toBe(404);
    await expect(client.chat.completions.create({ ...long(2), model: 'sql' })).rejects.toMatchObject({ status: 404 });
  });
});
