import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type BedrockStandIn, startBedrock } from '../../../../local/bedrock/server.ts';
import { replyAsChatModel } from '../../../upstreams/chat-model.ts';
import { startUpstream, type Upstream } from '../../../upstreams/openai-upstream.ts';
import { blockStop, CLAUDE, start, stop, text, usage } from '../../inference/providers/bedrock/upstream.ts';
import { makeChatBody, makeMessagesBody, makeResponsesBody } from './bodies.ts';
import { OWN_KINDS } from './detectors.ts';
import { createGovernedApi } from './governed-api.ts';
import { anyValue, contexts, VALUES } from './values.ts';

let upstream: Upstream;
let bedrock: BedrockStandIn;
/** The requests that the Bedrock stand-in has received, as JSON. */
const bedrockRequests: string[] = [];
beforeAll(async () => {
  // The models repeat the last message, whatever format is asked for.
  bedrock = await startBedrock({
    respond: async function* ({ body, json }) {
      bedrockRequests.push(json);
      const said = body.messages.at(-1)?.content.flatMap((block) => ('text' in block ? String(block.text) : []));
      yield* [start, ...(said ?? []).map((each) => text(each)), blockStop(), stop('end_turn'), usage];
    },
  });
  process.env['AWS_ENDPOINT_URL_BEDROCK_RUNTIME'] = bedrock.url;
  process.env['AWS_ACCESS_KEY_ID'] = 'test';
  process.env['AWS_SECRET_ACCESS_KEY'] = 'test';
  upstream = await startUpstream(({ path, body }) => {
    if (path === '/v1/embeddings')
      return { body: { data: [{ index: 0, embedding: [1, 0] }], usage: { prompt_tokens: 1 } } };
    if (path === '/v1/moderations')
      return { body: { results: [{ flagged: false, categories: {}, category_scores: {} }] } };
    const { messages } = body as { readonly messages: readonly { readonly content: unknown }[] };
    return replyAsChatModel(body, { answer: () => ({ text: String(messages.at(-1)?.content) }) });
  });
});
afterAll(() => Promise.all([upstream.close(), bedrock.close()]));

const BODIES = { chat: makeChatBody, responses: makeResponsesBody, messages: makeMessagesBody } as const;
const ROUTES = Object.keys(BODIES) as (keyof typeof BODIES)[];

/** Returns all strings and names of fields in a JSON value, those in JSON texts included. */
function listTexts(value: unknown): string[] {
  if (typeof value === 'string') {
    try {
      const parsed: unknown = JSON.parse(value);
      return typeof parsed === 'object' && parsed !== null ? [value, ...listTexts(parsed)] : [value];
    } catch {
      return [value];
    }
  }
  if (typeof value !== 'object' || value === null) return [String(value)];
  return Object.entries(value).flatMap(([field, each]) => [field, ...listTexts(each)]);
}

const getLastText = () => upstream.requests.at(-1)?.text ?? '';
const getSent = () => listTexts(JSON.parse(getLastText()));

describe.each(ROUTES)('a request to %s', (route) => {
  it.each(OWN_KINDS)('never sends a masked value of the kind %s, in any field, and the answer has it', async (kind) => {
    const api = createGovernedApi(upstream.baseUrl, { project: { personalData: { all: 'mask' } } });
    const values = VALUES[kind as keyof typeof VALUES];
    await fc.assert(
      fc.asyncProperty(values, contexts, async (value, context) => {
        const { text } = await api.call(route, BODIES[route](context(value)));
        expect(getSent().filter((each) => each.includes(value))).toEqual([]);
        expect(text).toContain(JSON.stringify(value).slice(1, -1));
      }),
      { numRuns: 25 },
    );
  });

  it('sends redacted values nowhere, and the answer does not have them', async () => {
    const api = createGovernedApi(upstream.baseUrl, { project: { personalData: { all: 'redact' } } });
    await fc.assert(
      fc.asyncProperty(anyValue, contexts, async (value, context) => {
        const { text } = await api.call(route, { ...BODIES[route](context(value)), metadata: {} });
        expect(getSent().filter((each) => each.includes(value))).toEqual([]);
        // A response repeats its own parameters.
        if (route !== 'responses') expect(text).not.toContain(JSON.stringify(value).slice(1, -1));
      }),
      { numRuns: 40 },
    );
  });

  it('is refused with the kind and the parameter, and nothing is sent', async () => {
    const api = createGovernedApi(upstream.baseUrl, { key: { personalData: { all: 'refuse' } } });
    await fc.assert(
      fc.asyncProperty(anyValue, contexts, async (value, context) => {
        const before = upstream.requests.length;
        const error: unknown = await api.call(route, BODIES[route](context(value))).catch((thrown: unknown) => thrown);
        expect(error).toMatchObject({ code: 'content_filter', param: expect.any(String) });
        expect(String(error)).not.toContain(value);
        expect(upstream.requests.length).toBe(before);
      }),
      { numRuns: 30 },
    );
  });
});

type Api = ReturnType<typeof createGovernedApi>;
type Send = (api: Api, text: string) => Promise<string>;

const PASS_THROUGH = () => ({
  targets: [
    {
      provider: 'openai-compatible',
      model: 'upstream-model',
      baseUrl: upstream.baseUrl,
      passThrough: ['chat', 'responses'],
    },
  ],
});
/** Bedrock has rules for the names of parameters. */
const NAME = 'other';
const BEDROCK = () => ({ targets: [{ provider: 'bedrock', model: CLAUDE, region: 'eu-west-1' }] });

/** Sends a text in all fields of a route's body. */
const sendBy =
  (route: (typeof ROUTES)[number], fields: object = {}, name?: string): Send =>
  async (api, value) =>
    (await api.call(route, { ...BODIES[route](value, name), ...fields })).text;

/** The other ways to a model: a stream, targets that get native requests, Bedrock, and the queue. */
const WAYS: readonly (readonly [string, Send, () => Readonly<Record<string, unknown>>])[] = [
  ...ROUTES.flatMap((route) => [
    [`a stream of ${route}`, sendBy(route, { stream: true }), () => ({})] as const,
    [`${route} to a target that passes requests through`, sendBy(route), PASS_THROUGH] as const,
    [`${route} to Bedrock`, sendBy(route, {}, NAME), BEDROCK] as const,
    [`a stream of ${route} from Bedrock`, sendBy(route, { stream: true }, NAME), BEDROCK] as const,
  ]),
  [
    'a queued chat completion',
    (api, value) => api.answerQueued('/v1/chat/completions', makeChatBody(value)),
    () => ({}),
  ],
  ['a queued response', (api, value) => api.answerQueued('/v1/responses', makeResponsesBody(value)), () => ({})],
  [
    'a queued response to Bedrock',
    (api, value) => api.answerQueued('/v1/responses', makeResponsesBody(value, NAME)),
    BEDROCK,
  ],
];

/** Returns how many requests the upstreams have received. */
const countSent = () => upstream.requests.length + bedrockRequests.length;

/** Returns all texts in the requests after the first ones of each upstream. */
function listSentSince(openai: number, native: number): string[] {
  const requests = [...upstream.requests.slice(openai).map((each) => each.text), ...bedrockRequests.slice(native)];
  expect(requests).not.toEqual([]);
  return requests.flatMap((each) => listTexts(JSON.parse(each)));
}

describe.each(WAYS)('%s', (_, send, makeAlias) => {
  it('never sends a masked value, in any field, and the answer has it', async () => {
    const api = createGovernedApi(upstream.baseUrl, { project: { personalData: { all: 'mask' } } }, makeAlias());
    await fc.assert(
      fc.asyncProperty(anyValue, contexts, async (value, context) => {
        const [openai, native] = [upstream.requests.length, bedrockRequests.length];
        const answer = await send(api, context(value));
        expect(listSentSince(openai, native).filter((each) => each.includes(value))).toEqual([]);
        expect(joinAnswer(answer)).toContain(value);
      }),
      { numRuns: 25 },
    );
  });

  it('sends nothing of a request that is refused', async () => {
    const api = createGovernedApi(upstream.baseUrl, { key: { personalData: { all: 'refuse' } } }, makeAlias());
    await fc.assert(
      fc.asyncProperty(anyValue, contexts, async (value, context) => {
        const before = countSent();
        const error: unknown = await send(api, context(value)).catch((thrown: unknown) => thrown);
        expect(error).toMatchObject({ code: 'content_filter' });
        expect(String(error)).not.toContain(value);
        expect(countSent()).toBe(before);
      }),
      { numRuns: 10 },
    );
  });
});

/** Returns the strings of a buffered answer, or those of the frames of a stream without anything between them. */
function joinAnswer(answer: string): string {
  if (answer.startsWith('{')) return listTexts(JSON.parse(answer)).join(' ');
  const events = [...answer.matchAll(/^data: (\{.*)$/gm)].map(([, json = '']) => JSON.parse(json));
  return events
    .map(({ type, choices, delta }) =>
      type === undefined ? (choices[0]?.delta.content ?? '') : typeof delta === 'string' ? delta : (delta?.text ?? ''),
    )
    .join('');
}

const TEXT_ROUTES = [
  ['embeddings', (input: string) => ({ model: 'vectors', input, user: input })],
  ['moderations', (input: string) => ({ model: 'moderator', input })],
] as const;

describe.each(TEXT_ROUTES)('a request to %s', (route, makeBody) => {
  it.each(OWN_KINDS)('never sends a value of the kind %s', async (kind) => {
    const api = createGovernedApi(upstream.baseUrl, { project: { personalData: { all: 'mask' } } });
    await fc.assert(
      fc.asyncProperty(VALUES[kind as keyof typeof VALUES], contexts, async (value, context) => {
        const before = upstream.requests.length;
        await api.call(route, makeBody(context(value)));
        expect(listSentSince(before, bedrockRequests.length).filter((each) => each.includes(value))).toEqual([]);
      }),
      { numRuns: 25 },
    );
  });

  it('sends nothing of a request that is refused', async () => {
    const api = createGovernedApi(upstream.baseUrl, { key: { personalData: { all: 'refuse' } } });
    await fc.assert(
      fc.asyncProperty(anyValue, contexts, async (value, context) => {
        const before = countSent();
        const error: unknown = await api.call(route, makeBody(context(value))).catch((thrown: unknown) => thrown);
        expect(error).toMatchObject({ code: 'content_filter', param: 'input' });
        expect(countSent()).toBe(before);
      }),
      { numRuns: 20 },
    );
  });
});
