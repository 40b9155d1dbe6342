import type OpenAI from 'openai';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { say } from '../../local/bedrock/speech.ts';
import { waitUntil } from '../wait.ts';
import { type Service, startService } from './service.ts';

const MODEL = 'cached';
/** Has two equal targets. */
const EITHER = 'either';
const PRICE = { inputPerMillion: 3, outputPerMillion: 15, cacheReadPerMillion: 0.3, cacheWritePerMillion: 3.75 };

let service: Service;
let client: OpenAI;
beforeAll(async () => {
  service = await startService({
    respond: (call) => say('Done.', call, { wordMs: 0 }),
    models: ({ baseUrl }) => ({
      [EITHER]: { targets: ['left', 'right'].map((name) => ({ provider: 'openai-compatible', model: name, baseUrl })) },
      [MODEL]: {
        targets: [
          { provider: 'bedrock', model: 'global.anthropic.claude-sonnet-4-6', region: 'eu-west-1', price: PRICE },
        ],
      },
    }),
  });
  client = service.client;
});
afterAll(() => service[Symbol.asyncDispose]());

const instructions = 'You are an agent. '.repeat(500);

/** Returns the costs of calls, in picodollars. The audit log has a line of its own for each. */
function listCosts(): number[] {
  const recorded = service.logs.filter((line) => line.includes('"record":"call"') && !line.includes('"audit"'));
  const costs = recorded.join('\n').matchAll(/"costUsd":"([\d.]+)"/g);
  return [...costs].map(([, dollars]) => Math.round(Number(dollars) * 1e12));
}

/** Returns what a response cost, in picodollars. */
function toCost({ usage }: OpenAI.Responses.Response): number {
  const { input_tokens: input = 0, output_tokens: output = 0, input_tokens_details: details } = usage ?? {};
  const { cached_tokens: read = 0, cache_write_tokens: written = 0 } = details ?? {};
  return (input - read - written) * 3e6 + read * 3e5 + written * 3_750_000 + output * 15e6;
}

/** Waits until a background response is completed. */
function complete({ id }: OpenAI.Responses.Response): Promise<OpenAI.Responses.Response> {
  return waitUntil('the background response is completed', async () => {
    const response = await client.responses.retrieve(id);
    return response.status === 'completed' ? response : undefined;
  });
}

it('stored and background responses read what earlier ones wrote, and the logs have the sum of their costs', async () => {
  const ask = { model: MODEL, instructions };
  const single = await client.responses.create({ ...ask, input: 'Hello' });
  expect(single.usage?.input_tokens_details).toMatchObject({ cached_tokens: 0, cache_write_tokens: 0 });
  const second = await client.responses.create({ ...ask, input: 'Go on', previous_response_id: single.id });
  expect(second.usage?.input_tokens_details?.cache_write_tokens).toBeGreaterThan(2_000);
  const started = await client.responses.create({
    ...ask,
    input: 'Again',
    previous_response_id: second.id,
    background: true,
  });
  const third = await complete(started);
  expect(third.usage?.input_tokens_details?.cached_tokens).toBeGreaterThanOrEqual(
    second.usage?.input_tokens_details?.cache_write_tokens ?? 0,
  );
  const costs = await waitUntil('all costs are logged', () => (listCosts().length === 3 ? listCosts() : undefined));
  expect(costs.sort()).toEqual([single, second, third].map(toCost).sort());
});

it('background responses of a session go to the target of its other requests, also after stored items', async () => {
  const listTargets = (input: string) =>
    service.upstream.requests
      .filter(({ text }) => text.includes(input))
      .map(({ body }) => (body as { model: string }).model);
  const { id: previous_response_id } = await client.responses.create({ model: EITHER, input: 'Hello' });
  const chosen = new Set<string | undefined>();
  for (let index = 0; index < 6; index += 1) {
    const session = { headers: { 'x-session-affinity': `session ${index}` } };
    const ask = { model: EITHER, input: `Question ${index}`, previous_response_id };
    await client.responses.create(ask, session);
    await complete(await client.responses.create({ ...ask, background: true }, session));
    const compacted = { context_management: [{ type: 'compaction' as const, compact_threshold: 100_000 }] };
    await complete(await client.responses.create({ ...ask, ...compacted, background: true }, session));
    const [first, ...others] = listTargets(`Question ${index}`);
    expect(others).toEqual([first, first]);
    chosen.add(first);
  }
  expect(chosen.size).toBe(2);
});
