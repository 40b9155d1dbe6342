import OpenAI from 'openai';
import { afterEach, describe, expect, it } from 'vitest';
import type { Work } from '../../../local/engine/engine.ts';
import type { ObserveRequest } from '../../../local/engine/request-observer.ts';
import { type EngineServer, startEngineServer } from '../../../local/engine/server.ts';
import { waitUntil } from '../../wait.ts';

let server: EngineServer | undefined;
afterEach(async () => {
  await server?.close();
  server = undefined;
});

/** Starts an engine with an observer, and records the calls for each request. */
async function startObserved(speed: number) {
  const observed: { work: Work | undefined; ends: boolean[] }[] = [];
  const observe: ObserveRequest = ({ messages }) => {
    const record: (typeof observed)[number] = { work: undefined, ends: [] };
    observed.push(record);
    const recordWork = (work: Work): void => {
      expect(work.generatedTokens).toBeGreaterThanOrEqual(record.work?.generatedTokens ?? 0);
      record.work = work;
    };
    return {
      signature: ` #${messages.length}`,
      onWork: recordWork,
      onClose(work, complete) {
        recordWork(work);
        record.ends.push(complete);
      },
    };
  };
  const settings = { model: 'stand-in', gpu: 'h100', slots: 4, contextTokens: 32_768 } as const;
  server = await startEngineServer({ ...settings, speed, observe });
  return { observed, client: new OpenAI({ baseURL: server.url, apiKey: 'any', maxRetries: 0 }) };
}

const messages = [{ role: 'user' as const, content: `Say it. ${'Once more. '.repeat(30)}` }];
const request = { model: 'stand-in', messages };

describe('a request observer', () => {
  it.each([true, false])(
    'an observer gets the work of a complete answer and adds its signature (stream: %s)',
    async (stream) => {
      const { client, observed } = await startObserved(20);
      const whole = await client.chat.completions.create(request);
      expect(whole.choices[0]?.message.content).toMatch(/Once more\.” #1$/);
      if (stream) for await (const _ of await client.chat.completions.create({ ...request, stream }));
      else await client.chat.completions.create(request);
      await waitUntil('the second request ends', () => observed[1]?.ends.length === 1);
      const { prompt_tokens: promptTokens, completion_tokens: generatedTokens } = whole.usage ?? {};
      const work = { promptTokens, generatedTokens };
      expect(observed[0]).toEqual({ work: { ...work, cachedTokens: 0, computedTokens: promptTokens }, ends: [true] });
      const again = observed[1]?.work;
      expect(again).toMatchObject(work);
      expect(again?.cachedTokens).toBeGreaterThan(32);
      expect(Number(again?.cachedTokens) + Number(again?.computedTokens)).toBe(promptTokens);
    },
  );

  it('an observer gets the work of an answer whose client disconnected', async () => {
    const { client, observed } = await startObserved(0.1);
    const stream = await client.chat.completions.create({ ...request, stream: true, max_tokens: 500 });
    let chunks = 0;
    for await (const { choices } of stream) {
      if (choices[0]?.delta.content) chunks += 1;
      if (chunks === 5) break;
    }
    await waitUntil('the request ends', () => observed[0]?.ends.length === 1);
    expect(observed[0]?.ends).toEqual([false]);
    const { generatedTokens = 0, promptTokens, computedTokens } = observed[0]?.work ?? {};
    expect(computedTokens).toBe(promptTokens);
    expect(generatedTokens).toBeGreaterThanOrEqual(5);
    const whole = await client.chat.completions.create(request);
    expect(generatedTokens).toBeLessThan(Number(whole.usage?.completion_tokens));
  });
});
