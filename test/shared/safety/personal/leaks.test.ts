import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { replyAsChatModel } from '../../../upstreams/chat-model.ts';
import { startUpstream, type Upstream } from '../../../upstreams/openai-upstream.ts';
import { makeChatBody, makeMessagesBody, makeResponsesBody } from './bodies.ts';
import { OWN_KINDS } from './detectors.ts';
import { createGovernedApi } from './governed-api.ts';
import { anyValue, contexts, VALUES } from './values.ts';

let upstream: Upstream;
beforeAll(async () => {
  // The model repeats the last message, whatever format is asked for.
  upstream = await startUpstream(({ body }) => {
    const { messages } = body as { readonly messages: readonly { readonly content: unknown }[] };
    return replyAsChatModel(body, { answer: () => ({ text: String(messages.at(-1)?.content) }) });
  });
});
afterAll(() => upstream.close());

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
