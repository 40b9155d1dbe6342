import type OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Service, startService } from './service.ts';

let service: Service;
let client: OpenAI;
beforeAll(async () => {
  service = await startService();
  client = service.client;
});
afterAll(() => service[Symbol.asyncDispose]());

const model = 'compatible';
const WORDS = 'lambent '.repeat(1_000);
const count = async (params?: OpenAI.Responses.InputTokenCountParams) =>
  (await client.responses.inputTokens.count(params)).input_tokens;

describe('POST /v1/responses/input_tokens', () => {
  it('the input tokens of a request are counted without calling its model', async () => {
    const calls = service.upstream.requests.length;
    expect(await client.responses.inputTokens.count({ model, input: WORDS })).toMatchObject({
      object: 'response.input_tokens',
      input_tokens: expect.any(Number),
    });
    const plain = await count({ model, input: WORDS });
    expect(plain).toBeGreaterThan(1_500);
    expect(plain).toBeLessThan(2_500);
    const tools: OpenAI.Responses.Tool[] = [
      { type: 'function', name: 'f', parameters: {}, strict: false, description: WORDS },
    ];
    expect(await count({ model, input: WORDS, tools })).toBeGreaterThan(plain + 1_500);
    expect(await count({ model, input: WORDS, instructions: WORDS })).toBeGreaterThan(plain + 1_500);
    expect(service.upstream.requests.length).toBe(calls);
  });

  it('the input tokens of stored items count', async () => {
    const { id } = await client.responses.create({ model, input: WORDS });
    const conversation = await client.conversations.create({ items: [{ role: 'user', content: WORDS }] });
    expect(await count({ model, input: 'Hi', previous_response_id: id })).toBeGreaterThan(3_000);
    expect(await count({ model, conversation: conversation.id })).toBeGreaterThan(1_500);
  });

  it('every parameter of a count is optional', async () => {
    expect(await count()).toBe(0);
    expect(await count({ model: null, input: null, instructions: null })).toBe(0);
    expect(await count({ instructions: WORDS })).toBeGreaterThan(1_500);
    expect(await count({ input: WORDS, truncation: 'auto', personality: 'friendly' })).toBeGreaterThan(1_500);
  });

  it('an invalid count is refused with the parameter that is wrong', async () => {
    const invalid: [object, number, string][] = [
      [{ model, input: 7 }, 400, 'input'],
      [{ model, input: 'Hi', previous_response_id: 'resp_missing' }, 400, 'previous_response_id'],
      [{ model, input: [{ type: 'item_reference', id: 'msg_missing' }] }, 404, 'input'],
    ];
    for (const [params, status, param] of invalid) {
      const error = await count(params as OpenAI.Responses.InputTokenCountParams).catch((thrown: unknown) => thrown);
      expect(error).toMatchObject({ status, param });
    }
  });
});
