import { encode } from 'gpt-tokenizer/encoding/cl100k_base';
import type OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startWorkers, WORKER_DEFAULTS, type Workers } from '../../local/engine/workers.ts';
import { isObject } from '../../shared/core/objects.ts';
import type { Reply } from '../upstreams/reply.ts';
import { type Service, startService } from './service.ts';

const TITAN = 'amazon.titan-embed-text-v2:0';
const bedrock = (model: string) => ({
  targets: [{ provider: 'bedrock', model }],
  embeddings: { tokens: 'cl100k_base' },
});

let service: Service;
let workers: Workers;
beforeAll(async () => {
  workers = await startWorkers({ count: 1 });
  service = await startService({
    script: ({ path, body }) => embedByLength(path, body),
    models: ({ baseUrl }) => {
      const upstream = { provider: 'openai-compatible', model: 'bge-m3', baseUrl };
      return {
        titan: bedrock(TITAN),
        'titan-1': bedrock('amazon.titan-embed-text-v1'),
        'cohere-3': bedrock('cohere.embed-english-v3'),
        'cohere-4': bedrock('cohere.embed-v4:0'),
        'titan-texts': { targets: [{ provider: 'bedrock', model: TITAN }], embeddings: {} },
        unknown: bedrock('twelvelabs.marengo-embed-3-0-v1:0'),
        upstream: { targets: [upstream], embeddings: {} },
        decoded: { targets: [upstream], embeddings: { tokens: 'cl100k_base', maxInputTokens: 5 } },
        workers: { targets: [{ provider: 'gpu', model: WORKER_DEFAULTS.model, fleet: 'one' }], embeddings: {} },
      };
    },
    // All requests of a test wait for one worker.
    fleets: { one: { waitMs: 300_000, workers: workers.workers.map(({ id, url }) => ({ id, url })) } },
  });
});
afterAll(async () => {
  await service[Symbol.asyncDispose]();
  await workers.close();
});

/** Embeds a text as its length, and tokens as the negative of their number. In reverse order, without usage. */
function embedByLength(path: string, body: unknown): Reply {
  if (path !== '/v1/embeddings' || !isObject(body))
    return { status: 404, body: { error: { message: 'No such path' } } };
  const input = body['input'];
  if (!Array.isArray(input)) return { status: 422, body: { detail: 'input must be an array' } };
  if (input[0] === 'broken') return { body: { data: [] } };
  const embed = (each: unknown) => (typeof each === 'string' ? each.length : Array.isArray(each) ? -each.length : 0);
  const data = input.map((each, index) => ({ object: 'embedding', index, embedding: [embed(each), 0.5] }));
  return { body: { object: 'list', data: data.reverse(), model: 'bge-m3' } };
}

const embed = (params: OpenAI.EmbeddingCreateParams) => service.client.embeddings.create(params);
const similarity = (a: readonly number[], b: readonly number[]) =>
  a.reduce((sum, value, index) => sum + value * (b[index] ?? 0), 0);

describe('embeddings from Bedrock', () => {
  it.each([
    ['titan', 1024],
    ['titan-1', 1536],
    ['cohere-3', 1024],
    ['cohere-4', 1536],
  ])('embeddings of %s have %i dimensions, are near for similar texts, and count tokens', async (model, dimensions) => {
    const input = [
      'The cat sleeps on the warm sofa',
      'A cat sleeps on a sofa',
      'Quarterly revenue rose by four percent',
    ];
    const { data, usage, object } = await embed({ model, input });
    expect(object).toBe('list');
    expect(data.map(({ index, object: kind, embedding }) => [index, kind, embedding.length])).toEqual(
      input.map((_, index) => [index, 'embedding', dimensions]),
    );
    const [cat, alike, other] = data.map(({ embedding }) => embedding);
    expect(similarity(cat ?? [], alike ?? [])).toBeGreaterThan(similarity(cat ?? [], other ?? []) + 0.2);
    expect(usage).toEqual({ prompt_tokens: 24, total_tokens: 24 });
  });

  it('embeddings of many texts keep their order over several calls', async () => {
    const input = Array.from({ length: 200 }, (_, index) => `text number ${index}`);
    for (const model of ['titan', 'cohere-4']) {
      const { data } = await embed({ model, input });
      const [alone] = (await embed({ model, input: 'text number 137' })).data;
      expect(data).toHaveLength(200);
      expect(similarity(data[137]?.embedding ?? [], alone?.embedding ?? [])).toBeGreaterThan(0.999);
    }
  });

  it('embeddings have the number of dimensions that a request asks for, or an error names the parameter', async () => {
    expect((await embed({ model: 'titan', input: 'a', dimensions: 256 })).data[0]?.embedding).toHaveLength(256);
    expect((await embed({ model: 'cohere-4', input: 'a', dimensions: 512 })).data[0]?.embedding).toHaveLength(512);
    await expect(embed({ model: 'titan', input: 'a', dimensions: 300 })).rejects.toMatchObject({
      status: 400,
      code: 'invalid_value',
      param: 'dimensions',
    });
    await expect(embed({ model: 'cohere-3', input: 'a', dimensions: 256 })).rejects.toMatchObject({
      status: 400,
      code: 'unsupported_parameter',
      param: 'dimensions',
    });
  });

  it('embeddings of token arrays equal those of their text if the alias names the encoding', async () => {
    const [text] = (await embed({ model: 'titan', input: 'Hello wörld' })).data;
    const [tokens] = (await embed({ model: 'titan', input: encode('Hello wörld') })).data;
    const [list] = (await embed({ model: 'titan', input: [encode('Hello wörld')] })).data;
    expect(tokens?.embedding).toEqual(text?.embedding);
    expect(list?.embedding).toEqual(text?.embedding);
    await expect(embed({ model: 'titan-texts', input: [1, 2] })).rejects.toMatchObject({ status: 400, param: 'input' });
    await expect(embed({ model: 'titan', input: [[1], [16_000_000]] })).rejects.toMatchObject({
      status: 400,
      param: 'input[1]',
    });
  });

  it('embeddings of a text that is too long are refused with the reason', async () => {
    await expect(embed({ model: 'titan', input: 'word '.repeat(8_000) })).rejects.toMatchObject({
      status: 400,
      code: 'context_length_exceeded',
    });
  });

  it('embeddings of a model whose format is not known are refused as a configuration error', async () => {
    await expect(embed({ model: 'unknown', input: 'a' })).rejects.toMatchObject({
      status: 500,
      code: 'upstream_misconfigured',
    });
  });
});

describe('embeddings from an OpenAI-compatible upstream', () => {
  it('embeddings are sorted by their index, and usage is estimated if the upstream reports none', async () => {
    const { data, usage, model } = await embed({ model: 'upstream', input: ['a', 'bcd'], encoding_format: 'float' });
    expect(data.map(({ embedding }) => embedding)).toEqual([
      [1, 0.5],
      [3, 0.5],
    ]);
    expect({ usage, model }).toEqual({ usage: { prompt_tokens: 2, total_tokens: 2 }, model: 'upstream' });
  });

  it('embeddings are sent in base64 if the request asks for it, as the official client does by default', async () => {
    const body = { model: 'upstream', input: 'abc', encoding_format: 'base64' };
    const raw = await service.client.post<{ data: { embedding: string }[] }>('/embeddings', { body });
    const bytes = Buffer.from(raw.data[0]?.embedding ?? '', 'base64');
    expect([bytes.readFloatLE(0), bytes.readFloatLE(4), bytes.length]).toEqual([3, 0.5, 8]);
    expect((await embed({ model: 'upstream', input: 'abc' })).data[0]?.embedding).toEqual([3, 0.5]);
  });

  it('token arrays are passed on, or decoded if the alias names their encoding', async () => {
    const input = [encode('Hello wörld'), encode('abc')];
    const values = async (model: string) => (await embed({ model, input })).data.map(({ embedding }) => embedding[0]);
    expect(await values('upstream')).toEqual([-4, -1]);
    expect(await values('decoded')).toEqual([11, 3]);
    await expect(embed({ model: 'decoded', input: encode('one two three four five six') })).rejects.toMatchObject({
      status: 400,
      code: 'context_length_exceeded',
    });
  });

  it('an answer that lacks an embedding is an error, never a shorter list', async () => {
    await expect(embed({ model: 'upstream', input: ['broken', 'b'] })).rejects.toMatchObject({
      status: 502,
      code: 'upstream_malformed',
    });
  });
});

it('embeddings from GPU workers lease a slot and release it', async () => {
  // A worker is ready after its second probe.
  await service.cloud.workersRegistered;
  await service.cloud.invoke('fleet', JSON.stringify({ source: 'aws.events', 'detail-type': 'Scheduled Event' }));
  const { data } = await embed({ model: 'workers', input: ['a b', 'c'] });
  expect(data.map(({ embedding }) => embedding.length)).toEqual([1024, 1024]);
  const many = await Promise.all(Array.from({ length: 80 }, () => embed({ model: 'workers', input: 'a' })));
  expect(many).toHaveLength(80);
});

describe('invalid requests for embeddings', () => {
  it.each([
    [{ input: '' }, 'invalid_value', 'input'],
    [{ input: [] }, 'invalid_value', 'input'],
    [{ input: ['a', ''] }, 'invalid_value', 'input[1]'],
    [{ input: [1.5] }, 'invalid_type', 'input[0]'],
    [{ input: [[]] }, 'invalid_value', 'input[0]'],
    [{ input: 5 }, 'invalid_type', 'input'],
    [{ input: Array.from({ length: 2_049 }, () => 'a') }, 'invalid_value', 'input'],
    [{ input: 'a', dimensions: 0 }, 'invalid_value', 'dimensions'],
    [{ input: 'a', encoding_format: 'int8' }, 'invalid_value', 'encoding_format'],
    [{}, 'missing_required_parameter', 'input'],
  ])('the request %j gets the error %s for %s', async (fields, code, param) => {
    const body = { model: 'titan', ...fields };
    await expect(service.client.post('/embeddings', { body })).rejects.toMatchObject({ status: 400, code, param });
  });

  it('a model that generates texts does not embed, and one that embeds does not generate texts', async () => {
    await expect(embed({ model: 'compatible', input: 'a' })).rejects.toMatchObject({ status: 404, param: 'model' });
    const messages = [{ role: 'user' as const, content: 'Hi' }];
    await expect(service.client.chat.completions.create({ model: 'titan', messages })).rejects.toMatchObject({
      status: 404,
      param: 'model',
      message: expect.stringContaining('/v1/embeddings'),
    });
  });
});
