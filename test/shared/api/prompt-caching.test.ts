import type { BedrockRuntimeClient } from '@aws-sdk/client-bedrock-runtime';
import fc from 'fast-check';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type BedrockStandIn, startBedrock } from '../../../local/bedrock/server.ts';
import { say } from '../../../local/bedrock/speech.ts';
import { UNRESTRICTED } from '../../../shared/access/policy.ts';
import type { HttpRequest, Route } from '../../../shared/access/route.ts';
import { chatCompletionsRoute, responsesRoute } from '../../../shared/api/generation-routes.ts';
import { messagesRoute } from '../../../shared/api/messages-routes.ts';
import { createBedrockClient, createBedrockModel } from '../../../shared/inference/providers/bedrock/bedrock.ts';
import { getCapabilities } from '../../../shared/inference/providers/providers.ts';
import { parseModelRegistry } from '../../../shared/inference/registry.ts';
import { createRouter } from '../../../shared/inference/router.ts';
import { recordTelemetry } from '../core/recorded-telemetry.ts';
import {
  addClientMarks,
  agentConversations,
  CODING_AGENT,
  toChatBody,
  toMessagesBody,
  toResponsesBody,
} from '../inference/agent-conversation.ts';

const MINUTE = 60_000;
const SONNET = 'global.anthropic.claude-sonnet-4-6';

let now = 0;
let bedrock: BedrockStandIn;
let client: BedrockRuntimeClient;
beforeAll(async () => {
  bedrock = await startBedrock({ respond: (call) => say('Done.', call, { wordMs: 0 }), now: () => now });
  client = createBedrockClient({ region: 'eu-west-1', endpoint: bedrock.url });
  process.env['AWS_ACCESS_KEY_ID'] = 'test';
  process.env['AWS_SECRET_ACCESS_KEY'] = 'test';
});
afterAll(async () => {
  client.destroy();
  await bedrock.close();
});
beforeEach(expireCache);

/** Lets everything that is cached expire. */
function expireCache(): void {
  now += 120 * MINUTE;
}

type Endpoint = 'chat' | 'responses' | 'messages';

/** Input tokens of requests: all of them, and those that were read from and written to the cache. */
interface Input {
  readonly total: number;
  readonly read: number;
  readonly written: number;
}

/** Creates the routes in front of one Claude on Bedrock. */
function createRoutes(target: object = {}, alias: object = {}): Record<Endpoint, Route> {
  const targets = [{ provider: 'bedrock', model: SONNET, ...target }];
  const registry = parseModelRegistry(JSON.stringify({ models: { default: { targets, ...alias } } }), 'test');
  const router = createRouter({
    registry,
    getCapabilities,
    createModel: async (candidate) => {
      if (candidate.target.provider !== 'bedrock') throw new Error('The target is not a Bedrock target');
      return createBedrockModel(candidate.target, client, { maxOutputTokens: 1_000 });
    },
  });
  const api = { router, registry, fingerprint: () => 'fp' };
  return { chat: chatCompletionsRoute(api), responses: responsesRoute(api), messages: messagesRoute(api) };
}

async function send(route: Route, body: object, headers: Record<string, string> = {}): Promise<Input> {
  const request: HttpRequest = {
    requestId: 'request',
    pathParameters: {},
    query: {},
    headers,
    body,
    principal: { tenant: 'acme', keyId: 'key', scopes: ['inference'], policy: UNRESTRICTED },
    signal: new AbortController().signal,
    deadlineAt: Date.now() + 60_000,
    telemetry: recordTelemetry(),
  };
  const answer = await route.run(request);
  if (answer === undefined || !('json' in answer)) throw new Error('The answer is not buffered');
  return readInput((answer.json as { usage: Record<string, unknown> }).usage);
}

/** Reads the counts of any endpoint. */
function readInput(usage: Record<string, unknown>): Input {
  const details = (usage['prompt_tokens_details'] ?? usage['input_tokens_details']) as
    | Record<string, number>
    | undefined;
  const count = (fields: Record<string, unknown>, name: string): number => Number(fields[name] ?? 0);
  if (details) {
    const total = count(usage, 'prompt_tokens') + count(usage, 'input_tokens');
    return { total, read: count(details, 'cached_tokens'), written: count(details, 'cache_write_tokens') };
  }
  const read = count(usage, 'cache_read_input_tokens');
  const written = count(usage, 'cache_creation_input_tokens');
  return { total: count(usage, 'input_tokens') + read + written, read, written };
}

function sum(inputs: readonly Input[]): Input {
  return inputs.reduce(
    (all, { total, read, written }) => ({
      total: all.total + total,
      read: all.read + read,
      written: all.written + written,
    }),
    { total: 0, read: 0, written: 0 },
  );
}

/** Sends the requests of a conversation, half a minute apart, and returns their input. */
async function converse(route: Route, requests: readonly object[]): Promise<Input> {
  expireCache();
  const inputs: Input[] = [];
  for (const body of requests) {
    now += MINUTE / 2;
    inputs.push(await send(route, body));
  }
  return sum(inputs);
}

/** What the input costs, in prices of plain input: Claude's writes cost 1.25 and its reads 0.1. */
const price = ({ total, read, written }: Input): number => total + 0.25 * written - 0.9 * read;

const toBodies = { chat: toChatBody, responses: toResponsesBody, messages: toMessagesBody };

describe('agents', () => {
  it.each<Endpoint>(['chat', 'responses', 'messages'])(
    'conversations of 20 requests through %s read at least 85% of their input from the cache',
    async (endpoint) => {
      const route = createRoutes()[endpoint];
      await fc.assert(
        fc.asyncProperty(agentConversations(CODING_AGENT), async (conversation) => {
          const bodies = Array.from({ length: 20 }, (_, index) => toBodies[endpoint](conversation, index + 1));
          const input = await converse(route, bodies);
          expect(input.read / input.total).toBeGreaterThanOrEqual(0.85);
          expect(price(input)).toBeLessThan(0.4 * input.total);
        }),
        { numRuns: 5, endOnFailure: true },
      );
    },
  );

  // Clients set no marks in responses. The same conversation in a chat, which reaches Bedrock by the same API, has them.
  it.each<[Endpoint, 'chat' | 'messages']>([
    ['chat', 'chat'],
    ['messages', 'messages'],
    ['responses', 'chat'],
  ])(
    'conversations through %s read at least as much as through %s with the marks of a client',
    async (endpoint, clientEndpoint) => {
      const routes = createRoutes();
      const sizes = { ...CODING_AGENT, requests: { min: 2, max: 8 } };
      await fc.assert(
        fc.asyncProperty(agentConversations(sizes), async (conversation) => {
          const list = (name: Endpoint) =>
            conversation.rounds.map((_, index) => toBodies[name](conversation, index + 1));
          const own = await converse(routes[endpoint], list(endpoint));
          const marked = await converse(
            routes[clientEndpoint],
            list(clientEndpoint).map((body) => addClientMarks(body as Parameters<typeof addClientMarks>[0])),
          );
          expect(marked.total).toBe(own.total);
          expect(own.read).toBeGreaterThanOrEqual(marked.read);
        }),
        { numRuns: 15, endOnFailure: true },
      );
    },
  );
});

describe('what caching must not cost', () => {
  const long = (topic: string) => `${topic} ${'All work and no play. '.repeat(500)}`;
  const question = (text: string) => ({ role: 'user', content: text });

  it.each<[Endpoint, object]>([
    ['chat', { messages: [{ role: 'system', content: long('You classify.') }, question('A')] }],
    ['responses', { store: false, instructions: long('You classify.'), input: long('Text') }],
    ['messages', { max_tokens: 9, system: long('You classify.'), messages: [question(long('Text'))] }],
  ])('a call of its own through %s writes nothing', async (endpoint, body) => {
    const input = await send(createRoutes()[endpoint], { model: 'default', ...body });
    expect(input.total).toBeGreaterThan(2_000);
    expect(input).toMatchObject({ read: 0, written: 0 });
  });

  it('a chat of two turns costs at most a quarter of its last input more, and a longer one less than without a cache', async () => {
    const route = createRoutes().chat;
    const turns = Array.from({ length: 6 }, (_, index) => [
      question(`${long(String(index))}?`),
      { role: 'assistant', content: `Answer ${index}` },
    ]);
    const bodies = turns.map((_, index) => ({
      model: 'default',
      messages: turns
        .slice(0, index + 1)
        .flat()
        .slice(0, -1),
    }));
    const first = await converse(route, bodies.slice(0, 1));
    const two = await converse(route, bodies.slice(0, 2));
    expect(price(first)).toBe(first.total);
    expect(price(two) - two.total).toBeLessThanOrEqual(0.25 * (two.total - first.total));
    for (let count = 3; count <= bodies.length; count += 1) {
      const input = await converse(route, bodies.slice(0, count));
      expect(price(input)).toBeLessThan(input.total);
    }
  });

  it('questions with the same examples read the examples', async () => {
    const route = createRoutes().chat;
    const examples = [1, 2, 3].flatMap((each) => [
      question(long(`Example ${each}`)),
      { role: 'assistant', content: 'Yes' },
    ]);
    const input = await converse(
      route,
      ['a', 'b', 'c', 'd'].map((each) => ({ model: 'default', messages: [...examples, question(each)] })),
    );
    expect(price(input)).toBeLessThan(0.7 * input.total);
  });

  it('calls with the same prompt_cache_key share their instructions, and write no more', async () => {
    const route = createRoutes().chat;
    const call = (text: string) => ({
      model: 'default',
      prompt_cache_key: 'classifier',
      messages: [{ role: 'system', content: long('You classify.') }, question(long(text))],
    });
    const first = await send(route, call('One'));
    const second = await send(route, call('Two'));
    expect(first.written).toBeLessThan(0.6 * first.total);
    expect(second).toMatchObject({ read: first.written, written: 0 });
  });

  it.each<[string, object, object]>([
    ['the target', { promptCache: false }, {}],
    ['the alias', {}, { promptCache: false }],
  ])('nothing is written if it is turned off for %s, but for what a caller marks', async (_, target, alias) => {
    const routes = createRoutes(target, alias);
    const messages = [question(long('A')), { role: 'assistant', content: 'B' }, question('C')];
    for (const endpoint of ['chat', 'messages'] as const) {
      const body = { model: 'default', max_tokens: 9, messages };
      expect(await send(routes[endpoint], body)).toMatchObject({ read: 0, written: 0 });
      const content = [{ type: 'text', text: long('A'), cache_control: { type: 'ephemeral' } }];
      const marked = { ...body, messages: [{ role: 'user', content }, ...messages.slice(1)] };
      expect((await send(routes[endpoint], marked)).written).toBeGreaterThan(0);
    }
  });

  it('callers can turn automatic caching off, and their own marks still count', async () => {
    const { chat } = createRoutes();
    const options = { model: 'default', prompt_cache_options: { mode: 'explicit' } };
    const messages = [question(long('A')), { role: 'assistant', content: 'B' }, question('C')];
    expect(await send(chat, { ...options, messages })).toMatchObject({ written: 0 });
    const content = [{ type: 'text', text: long('A'), prompt_cache_breakpoint: { mode: 'explicit' } }];
    const marked = [{ role: 'user', content }, ...messages.slice(1)];
    expect((await send(chat, { ...options, messages: marked })).written).toBeGreaterThan(2_000);
  });
});

describe('sessions', () => {
  const system = 'You are an agent. '.repeat(500);

  it.each<[Endpoint, object]>([
    [
      'chat',
      {
        messages: [
          { role: 'system', content: system },
          { role: 'user', content: 'Go' },
        ],
      },
    ],
    ['responses', { store: false, instructions: system, input: 'Go' }],
    ['messages', { max_tokens: 9, system, messages: [{ role: 'user', content: 'Go' }] }],
  ])('the first request of a session through %s is written', async (endpoint, body) => {
    const route = createRoutes()[endpoint];
    const request = { model: 'default', ...body };
    expect(await send(route, request)).toMatchObject({ written: 0 });
    const { total, written } = await send(route, request, { 'x-session-affinity': 'ses_1' });
    expect(written).toBe(total);
  });

  it('a prefix that a client caches for an hour is reported as such', async () => {
    const content = [{ type: 'text', text: system, cache_control: { type: 'ephemeral', ttl: '1h' } }];
    const body = { model: 'default', max_tokens: 9, messages: [{ role: 'user', content }] };
    const { messages } = createRoutes();
    expect((await send(messages, body)).written).toBeGreaterThan(2_000);
    now += 50 * MINUTE;
    expect((await send(messages, body)).read).toBeGreaterThan(2_000);
  });
});
