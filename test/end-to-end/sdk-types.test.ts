import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { createParser } from 'eventsource-parser';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type PackageTypes, readTypes } from '../../infra/openapi/types.ts';
import { isObject } from '../../shared/core/objects.ts';
import { generate } from '../sdk-types/generate.ts';
import { REFERENCE_VALUES } from '../sdk-types/reference-values.ts';
import { replyAsChatModel } from '../upstreams/chat-model.ts';
import type { Script } from '../upstreams/openai-upstream.ts';
import { converse } from './converse.ts';
import { DOCUMENTED_REFUSALS, ENDPOINTS, type Endpoint, SDK_TYPES } from './sdk-endpoints.ts';
import { type Service, startService } from './service.ts';

const ROOT = resolve(import.meta.dirname, '../..');
const docs = ['api', 'models'].map((page) => readFileSync(`${ROOT}/docs/${page}.md`, 'utf8')).join('\n');

let service: Service;
let types: PackageTypes;
let conversation: string;
beforeAll(async () => {
  types = readTypes(ROOT, SDK_TYPES);
  service = await startService({
    script: answerAnything,
    respond: converse,
    models: ({ baseUrl }) => ({
      embedding: { targets: [{ provider: 'openai-compatible', model: 'bge-m3', baseUrl }], embeddings: {} },
    }),
    sections: ({ baseUrl }) => ({ moderations: { default: { model: 'moderator', baseUrl } } }),
  });
  conversation = (await service.client.conversations.create()).id;
});
afterAll(async () => {
  types[Symbol.dispose]();
  await service[Symbol.asyncDispose]();
});

const answerAnything: Script = ({ path, body }) => {
  if (path === '/v1/moderations') return { body: { results: [{ flagged: false, categories: { hate: false } }] } };
  if (path !== '/v1/embeddings') return replyAsChatModel(body);
  const input = isObject(body) ? body['input'] : [];
  const data = (Array.isArray(input) ? input : [input]).map((_, index) => ({ index, embedding: [0.5] }));
  return { body: { object: 'list', data, model: 'bge-m3' } };
};

async function post(path: string, body: unknown): Promise<{ status: number; text: string }> {
  const response = await fetch(`${service.cloud.url}${path.replace('{id}', conversation)}`, {
    method: 'POST',
    headers: { authorization: 'Bearer sk-local', 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  return { status: response.status, text: await response.text() };
}

function parseEvents(text: string): unknown[] {
  const events: unknown[] = [];
  const parser = createParser({
    onEvent: ({ data }) => {
      if (data !== '[DONE]') events.push(JSON.parse(data));
    },
  });
  parser.feed(text);
  return events;
}

/** Returns the codes that the table of errors has for a status. */
function listDocumentedCodes(status: number): string[] {
  const rows = docs.split('\n').filter((line) => line.startsWith(`| ${status} |`));
  return rows.flatMap((row) => row.split('|')[2]?.match(/\w+/g) ?? []);
}

/** Expects an error that a request may get although its types are right. */
function expectDocumentedRefusal({ path }: Endpoint, status: number, text: string, context: string): void {
  expect([400, 404], context).toContain(status);
  const { error } = JSON.parse(text);
  // Anthropic's errors name the parameter in their message.
  if (path.startsWith('/messages')) {
    expect(error.message, context).toMatch(/^((Invalid|Unsupported) (value|parameter): ')?[a-z_]+[\w.[\]]*'?(: | is )/);
    return;
  }
  expect(listDocumentedCodes(status), context).toContain(error.code);
  expect(['invalid_type', 'unknown_parameter'], context).not.toContain(error.code);
  if (status === 404) return;
  expect(error.param, context).toMatch(/./);
  if (!error.code.startsWith('unsupported_')) return;
  const param = error.param.replaceAll(/\[\d+\]/g, '[]');
  const known = DOCUMENTED_REFUSALS.find(([pattern]) => pattern.test(param));
  expect(known, context).toBeDefined();
}

describe('requests made from the types of the SDKs', () => {
  it.each(ENDPOINTS)('each $request to $path gets an answer of its type or a documented error', async (endpoint) => {
    const { path, request, answer, isStream, simple } = endpoint;
    const shape = types.shapeOf(request);
    const model = path === '/embeddings' ? fc.constant('embedding') : fc.constantFrom('compatible', 'bedrock');
    let answered = 0;
    await fc.assert(
      fc.asyncProperty(fc.gen(), fc.boolean(), async (draw, isSimple) => {
        const values = { ...REFERENCE_VALUES, '^model': model, ...(isSimple ? simple : {}) };
        const share = isSimple ? 0.15 : 0.05;
        const body = generate(shape, draw, { share, values, required: ['model', 'input'] });
        const { status, text } = await post(path, body);
        const context = `${JSON.stringify(body)}\n${text}`;
        if (status !== 200) {
          expectDocumentedRefusal(endpoint, status, text, context);
          return;
        }
        answered += 1;
        const isNative = path === '/messages' && isObject(body) && body['model'] === 'bedrock';
        const value = isStream ? parseEvents(text) : JSON.parse(text);
        expect(types.check(value, isNative ? `Bedrock${answer}` : answer), context).toEqual([]);
      }),
      { numRuns: 40 },
    );
    expect(answered).toBeGreaterThan(0);
  });

  it('each parameter that is refused although its type allows it is in the documentation', () => {
    const text = docs.replaceAll(/\s+/g, ' ');
    for (const [, words] of DOCUMENTED_REFUSALS) expect(text).toContain(words);
  });
});
