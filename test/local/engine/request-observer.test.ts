import OpenAI from 'openai';
import { afterEach, describe, expect, test } from 'vitest';
import type { Work } from '../../../local/engine/engine.ts';
import type { ObserveRequest } from '../../../local/engine/request-observer.ts';
import { type EngineServer, startEngineServer } from '../../../local/engine/server.ts';

let server: EngineServer | undefined;
afterEach(async () => {
  await server?.close();
  server = undefined;
});

/** An engine that is watched, and what was heard of each request in turn. */
async function watched(speed: number) {
  const heard: { work: Work | undefined; ends: boolean[] }[] = [];
  const observe: ObserveRequest = ({ messages }) => {
    const mine: (typeof heard)[number] = { work: undefined, ends: [] };
    heard.push(mine);
    const note = (work: Work): void => {
      expect(work.generatedTokens).toBeGreaterThanOrEqual(mine.work?.generatedTokens ?? 0);
      mine.work = work;
    };
    return {
      signature: ` #${messages.length}`,
      onWork: note,
      onClose(work, whole) {
        note(work);
        mine.ends.push(whole);
      },
    };
  };
  const settings = { model: 'stand-in', gpu: 'h100', slots: 4, contextTokens: 32_768 } as const;
  server = await startEngineServer({ ...settings, speed, observe });
  return { heard, client: new OpenAI({ baseURL: server.url, apiKey: 'any', maxRetries: 0 }) };
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 10));
}

const messages = [{ role: 'user' as const, content: `Say it. ${'Once more. '.repeat(30)}` }];
const request = { model: 'stand-in', messages };

describe('whoever watches an engine', () => {
  test.each([true, false])('hears what a whole answer took, and signs it (stream: %s)', async (stream) => {
    const { client, heard } = await watched(20);
    const whole = await client.chat.completions.create(request);
    expect(whole.choices[0]?.message.content).toMatch(/Once more\.” #1$/);
    if (stream) for await (const _ of await client.chat.completions.create({ ...request, stream }));
    else await client.chat.completions.create(request);
    await until(() => heard[1]?.ends.length === 1);
    const { prompt_tokens: promptTokens, completion_tokens: generatedTokens } = whole.usage ?? {};
    const work = { promptTokens, generatedTokens };
    expect(heard[0]).toEqual({ work: { ...work, cachedTokens: 0, computedTokens: promptTokens }, ends: [true] });
    const again = heard[1]?.work;
    expect(again).toMatchObject(work);
    expect(again?.cachedTokens).toBeGreaterThan(32);
    expect(Number(again?.cachedTokens) + Number(again?.computedTokens)).toBe(promptTokens);
  });

  test('hears how far an answer had come whose reader went away', async () => {
    const { client, heard } = await watched(1);
    const stream = await client.chat.completions.create({ ...request, stream: true, max_tokens: 500 });
    let chunks = 0;
    for await (const { choices } of stream) {
      if (choices[0]?.delta.content) chunks += 1;
      if (chunks === 5) break;
    }
    await until(() => heard[0]?.ends.length === 1);
    expect(heard[0]?.ends).toEqual([false]);
    const { generatedTokens = 0, promptTokens, computedTokens } = heard[0]?.work ?? {};
    expect(computedTokens).toBe(promptTokens);
    expect(generatedTokens).toBeGreaterThanOrEqual(5);
    const whole = await client.chat.completions.create(request);
    expect(generatedTokens).toBeLessThan(Number(whole.usage?.completion_tokens));
  });
});
