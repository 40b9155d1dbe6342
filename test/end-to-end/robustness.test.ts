import { request } from 'node:http';
import { InvokeCommand, LambdaClient } from '@aws-sdk/client-lambda';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { replyAsChatModel } from '../upstreams/chat-model.ts';
import { type Service, startService } from './service.ts';

let service: Service;
beforeAll(async () => {
  service = await startService({
    script: ({ path, body }) =>
      path === '/v1/embeddings' ? { body: { data: [{ index: 0, embedding: [1] }] } } : replyAsChatModel(body),
    models: ({ baseUrl }) => ({
      embedding: { targets: [{ provider: 'openai-compatible', model: 'bge-m3', baseUrl }], embeddings: {} },
    }),
  });
});
afterAll(() => service[Symbol.asyncDispose]());

interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly text: string;
}

/** Sends raw bytes, with headers that `fetch` would refuse. */
function send(
  path: string,
  body: string | Uint8Array,
  headers: Record<string, string | string[]> = {},
  method = 'POST',
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const url = new URL(`${service.cloud.url}${path}`);
    const outgoing = request(
      url,
      {
        method,
        headers: { authorization: 'Bearer sk-local', 'content-type': 'application/json', ...headers },
      },
      (incoming) => {
        const chunks: Buffer[] = [];
        incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
        incoming.on('error', reject);
        incoming.on('end', () =>
          resolve({
            status: incoming.statusCode ?? 0,
            headers: incoming.headers,
            text: Buffer.concat(chunks).toString(),
          }),
        );
      },
    );
    outgoing.on('error', reject);
    outgoing.end(body);
  });
}

/** Expects an error with a 4xx status, in OpenAI's format and with a request id. */
function expectClientError({ status, headers, text }: Answer): void {
  expect(status).toBeGreaterThanOrEqual(400);
  expect(status).toBeLessThan(500);
  const { error } = JSON.parse(text);
  expect(Object.keys(error).sort()).toEqual(['code', 'message', 'param', 'type']);
  expect(error.message).not.toBe('');
  expect(headers['x-request-id']).toMatch(/./);
}

/** Expects a client error in the format of the endpoint's API. */
function expectErrorOf(path: string, answer: Answer): void {
  if (!path.startsWith('/messages')) {
    expectClientError(answer);
    return;
  }
  expect(answer.status).toBeGreaterThanOrEqual(400);
  expect(answer.status).toBeLessThan(500);
  const body = JSON.parse(answer.text);
  expect(body).toMatchObject({
    type: 'error',
    error: { type: expect.any(String), message: expect.stringMatching(/./) },
  });
  // API Gateway answers a body above its limit itself.
  if (answer.status !== 413) expect(answer.headers['request-id']).toBe(body.request_id);
}

/** Routes that take a body, a body that they accept, and its parameters. `{chat}` stands for a stored completion. */
const BODIES: readonly (readonly [path: string, body: Readonly<Record<string, unknown>>, more: readonly string[]])[] = [
  [
    '/messages',
    { model: 'compatible', max_tokens: 9, messages: [{ role: 'user', content: 'x' }] },
    ['system', 'tools', 'tool_choice', 'thinking', 'output_config', 'context_management', 'stop_sequences', 'stream'],
  ],
  ['/messages/count_tokens', { model: 'compatible', messages: [{ role: 'user', content: 'x' }] }, ['system', 'tools']],
  ['/embeddings', { model: 'embedding', input: 'x' }, ['dimensions', 'encoding_format', 'user']],
  ['/responses/input_tokens', { model: 'compatible', input: 'x' }, ['instructions', 'tools', 'text', 'conversation']],
  ['/responses/compact', { model: 'compatible', input: 'x' }, ['instructions', 'previous_response_id', 'service_tier']],
  ['/chat/completions/{chat}', { metadata: { a: 'b' } }, []],
];
const bodies = fc.constantFrom(...BODIES);

async function createChat(): Promise<string> {
  const messages = [{ role: 'user' as const, content: 'x' }];
  return (await service.client.chat.completions.create({ model: 'compatible', messages, store: true })).id;
}

const paths = fc.constantFrom('/chat/completions', '/responses');
const minimal = (path: string) =>
  path === '/responses'
    ? { model: 'compatible', input: 'x' }
    : { model: 'compatible', messages: [{ role: 'user', content: 'x' }] };

describe('the HTTP API', () => {
  it('a list of chat completions gets an answer or an error that names a parameter, whatever the query is', async () => {
    const name = fc.constantFrom('order', 'limit', 'after', 'model', 'metadata[a]', 'metadata[]', 'metadata[a][b]');
    await fc.assert(
      fc.asyncProperty(name, fc.string({ unit: 'binary' }), async (parameter, value) => {
        const query = new URLSearchParams({ [parameter]: value.toWellFormed() });
        const answer = await send(`/chat/completions?${query}`, '', {}, 'GET');
        if (answer.status === 200) return;
        expectClientError(answer);
        expect(JSON.parse(answer.text).error.param).toEqual(expect.any(String));
      }),
      { numRuns: 60 },
    );
  });

  it('a body of any bytes gets an error in OpenAI’s format', async () => {
    await fc.assert(
      fc.asyncProperty(paths, fc.uint8Array({ maxLength: 200 }), async (path, bytes) => {
        expectClientError(await send(path, bytes));
      }),
      { numRuns: 60 },
    );
  });

  it('a caller without a key gets the description of the API', async () => {
    const answer = await fetch(new URL('/openapi.json', service.cloud.url));
    expect([answer.status, answer.headers.get('content-type')]).toEqual([200, 'application/json']);
    expect(await answer.json()).toMatchObject({ openapi: '3.1.0', paths: { '/v1/responses': { post: {} } } });
  });

  it('a WebSocket connection is refused with the status after which clients send requests instead', async () => {
    const upgrade = { connection: 'Upgrade', upgrade: 'websocket', 'sec-websocket-version': '13' };
    const answer = await send('/responses', '', { ...upgrade, 'sec-websocket-key': 'MDEyMzQ1Njc4OWFiY2RlZg==' }, 'GET');
    expect(answer.status).toBe(426);
    expectClientError(answer);
  });

  it('a body of any JSON gets an error in OpenAI’s format', async () => {
    await fc.assert(
      fc.asyncProperty(paths, fc.json(), async (path, body) => {
        expectClientError(await send(path, body));
      }),
      { numRuns: 60 },
    );
  });

  it('any JSON in any field gets an answer or an error that names a parameter', async () => {
    const fields = [
      'model',
      'messages',
      'input',
      'tools',
      'tool_choice',
      'response_format',
      'text',
      'stop',
      'stream',
      'metadata',
      'temperature',
      'stream_options',
    ];
    await fc.assert(
      fc.asyncProperty(paths, fc.constantFrom(...fields), fc.jsonValue(), async (path, field, value) => {
        const answer = await send(path, JSON.stringify({ ...minimal(path), [field]: value }));
        if (answer.status === 200) return;
        expectClientError(answer);
        expect(JSON.parse(answer.text).error.param).toEqual(expect.any(String));
      }),
      { numRuns: 120 },
    );
  });

  it('any JSON gets an answer or an error in the format of its endpoint, at every route with a body', async () => {
    const chat = await createChat();
    await fc.assert(
      fc.asyncProperty(bodies, fc.json(), async ([route], body) => {
        const path = route.replace('{chat}', chat);
        const answer = await send(path, body);
        if (answer.status !== 200) expectErrorOf(path, answer);
      }),
      { numRuns: 90 },
    );
  });

  it('any JSON in any field gets an answer or an error in the format of its endpoint, at every route with a body', async () => {
    const chat = await createChat();
    const request = bodies.chain(([route, body, more]) =>
      fc.tuple(fc.constant(route), fc.constant(body), fc.constantFrom(...Object.keys(body), ...more), fc.jsonValue()),
    );
    await fc.assert(
      fc.asyncProperty(request, async ([route, body, field, value]) => {
        const path = route.replace('{chat}', chat);
        const answer = await send(path, JSON.stringify({ ...body, [field]: value }));
        if (answer.status !== 200) expectErrorOf(path, answer);
      }),
      { numRuns: 150 },
    );
  });

  it.each(BODIES)('%s accepts its body, and refuses one of 7 MB with 413', async (route, body) => {
    const path = route.replace('{chat}', await createChat());
    expect((await send(path, JSON.stringify(body))).status).toBe(200);
    const answer = await send(path, JSON.stringify({ ...body, user: 'x'.repeat(7_000_000) }));
    expect(answer.status).toBe(413);
    expectErrorOf(path, answer);
  });

  it('the messages of a stored completion are listed, or refused with an error, whatever the query is', async () => {
    const chat = await createChat();
    const name = fc.constantFrom('order', 'limit', 'after', 'limit[]', 'unknown');
    await fc.assert(
      fc.asyncProperty(name, fc.string({ unit: 'binary' }), async (parameter, value) => {
        const query = new URLSearchParams({ [parameter]: value.toWellFormed() });
        const answer = await send(`/chat/completions/${chat}/messages?${query}`, '', {}, 'GET');
        if (answer.status !== 200) expectClientError(answer);
      }),
      { numRuns: 40 },
    );
  });

  it.each([
    ['malformed UTF-8', Buffer.from([0x7b, 0x22, 0xff, 0xfe, 0x22, 0x3a, 0x31, 0x7d])],
    ['a lone surrogate', '{"model":"compatible","messages":[{"role":"user","content":"\\ud800"}]}'],
    ['deep nesting', `{"model":"compatible","messages":${'['.repeat(100_000)}${']'.repeat(100_000)}}`],
    [
      'deep nesting in a schema',
      JSON.stringify({
        ...minimal(''),
        tools: [{ type: 'function', function: { name: 'f', parameters: {} } }],
      }).replace('{}', `${'{"a":'.repeat(5_000)}1${'}'.repeat(5_000)}`),
    ],
    ['a __proto__ field', '{"model":"compatible","__proto__":{"messages":[]}}'],
    ['an empty body', ''],
  ])('the HTTP API refuses %s', async (_, body) => {
    expectClientError(await send('/chat/completions', body));
  });

  it('the HTTP API refuses a body of 7 MB with 413', async () => {
    const answer = await send('/chat/completions', JSON.stringify({ ...minimal(''), user: 'x'.repeat(7_000_000) }));
    expectClientError(answer);
    expect(answer.status).toBe(413);
  });

  it('the HTTP API accepts a body just below the limit of 6 MB', async () => {
    const content = 'x'.repeat(5_500_000);
    const answer = await send(
      '/chat/completions',
      JSON.stringify({ model: 'compatible', max_tokens: 5, messages: [{ role: 'user', content }] }),
    );
    expect(answer.status).toBe(200);
  });

  it('the HTTP API accepts thousands of messages in a request', async () => {
    const messages = Array.from({ length: 5_000 }, (_, index) => ({
      role: index % 2 ? 'assistant' : 'user',
      content: `${index}`,
    }));
    messages.push({ role: 'user', content: 'last' });
    const answer = await send('/chat/completions', JSON.stringify({ model: 'compatible', messages }));
    expect(JSON.parse(answer.text).choices[0].message.content).toBe('You said: last');
  });

  it.each([
    ['no key', { authorization: '' }],
    ['another authorization scheme', { authorization: 'Basic c2stbG9jYWw=' }],
    ['a key that is too long', { authorization: `Bearer ${'x'.repeat(2_000)}` }],
    ['two keys', { authorization: ['Bearer sk-local', 'Bearer sk-other'] }],
  ])('the HTTP API refuses %s with 401', async (_, headers) => {
    const answer = await send('/models', '', headers, 'GET');
    expectClientError(answer);
    expect(answer.status).toBe(401);
    expect(JSON.parse(answer.text).error.code).toBe('invalid_api_key');
  });

  it('the HTTP API refuses a media type other than JSON with 415', async () => {
    const answer = await send('/chat/completions', JSON.stringify(minimal('')), { 'content-type': 'text/xml' });
    expect(answer.status).toBe(415);
    expectClientError(answer);
  });

  it('the HTTP API ignores many unusual headers', async () => {
    const strange = Object.fromEntries(
      Array.from({ length: 60 }, (_, index) => [`x-strange-${index}`, `ü${index}`.replace('ü', '\xfc')]),
    );
    const answer = await send('/chat/completions', JSON.stringify(minimal('')), {
      ...strange,
      constructor: 'x',
      'x-forwarded-for': '1.2.3.4, evil',
    });
    expect(answer.status).toBe(200);
  });

  it.each(['PUT', 'DELETE', 'PATCH'])(
    'the HTTP API refuses %s on a route without that method as an unknown URL',
    async (method) => {
      expectClientError(await send('/chat/completions', '', {}, method));
    },
  );

  it('the HTTP API refuses a path with invalid percent-encoding', async () => {
    expectClientError(await send('/models/%E0%A4%A', '', {}, 'GET'));
  });
});

describe('the chat function, invoked directly', () => {
  it('the chat function returns an error in OpenAI’s format for any event', async () => {
    const lambda = new LambdaClient({
      endpoint: service.cloud.endpoints['AWS_ENDPOINT_URL_LAMBDA'] ?? '',
      region: 'us-east-1',
      credentials: service.cloud.credentials,
    });
    const FunctionName = 'chat';
    await fc.assert(
      fc.asyncProperty(fc.jsonValue(), async (event) => {
        const { FunctionError, Payload } = await lambda.send(
          new InvokeCommand({ FunctionName, Payload: JSON.stringify(event) }),
        );
        expect(FunctionError).toBeUndefined();
        const text = Buffer.from(Payload ?? []).toString();
        const [head = '', body = ''] = text.split('\0'.repeat(8));
        expect(JSON.parse(head)).toMatchObject({ statusCode: 400 });
        expect(JSON.parse(body)).toMatchObject({ error: { type: 'invalid_request_error' } });
      }),
      { numRuns: 60 },
    );
  });
});
