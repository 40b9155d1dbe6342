import { beforeEach, describe, expect, it } from 'vitest';
import { listPromptBlocks } from '../../../local/bedrock/prompt-blocks.ts';
import { PromptCache } from '../../../local/bedrock/prompt-cache.ts';

const SONNET = 'global.anthropic.claude-sonnet-4-6';
const HAIKU = 'global.anthropic.claude-haiku-4-5-20251001-v1:0';
const NOVA = 'eu.amazon.nova-pro-v1:0';
const MINUTE = 60_000;
const POINT = { cachePoint: { type: 'default' } };

let now: number;
let cache: PromptCache;
beforeEach(() => {
  now = 0;
  cache = new PromptCache(() => now);
});

/** A block of about this many tokens. */
const block = (tokens: number, letter = 'x') => ({ text: letter.repeat(tokens * 4) });
const user = (...content: object[]) => ({ role: 'user', content });
const assistant = (...content: object[]) => ({ role: 'assistant', content });
const account = (body: object, model = SONNET) => {
  const { inputTokens, cacheReadInputTokens, cacheWriteInputTokens } = cache.account(model, listPromptBlocks(body));
  return { input: inputTokens, read: cacheReadInputTokens, written: cacheWriteInputTokens };
};

describe('the prompt cache of the Bedrock stand-in', () => {
  it('the cache writes a prefix once and then reads it, and charges the rest as input', () => {
    const body = (question: string) => ({ system: [block(2_000), POINT], messages: [user({ text: question })] });
    const first = account(body('A'));
    expect(first).toMatchObject({ read: 0, written: expect.closeTo(2_000, -2) });
    expect(account(body('B'))).toEqual({ ...first, read: first.written, written: 0 });
  });

  it.each([
    [SONNET, 1_024],
    [HAIKU, 4_096],
    ['us.anthropic.claude-opus-5', 512],
    [NOVA, 1_000],
  ])('%s doesn’t cache a prefix of less than %d tokens', (model, minimum) => {
    const body = (tokens: number) => ({ system: [block(tokens), POINT], messages: [user({ text: 'A' })] });
    expect(account(body(minimum - 30), model)).toMatchObject({ read: 0, written: 0 });
    expect(account(body(minimum), model).written).toBeGreaterThanOrEqual(minimum);
  });

  it('the cache reads tools, system prompt and messages in this order', () => {
    const messages = [user(block(2_000), POINT)];
    const tools = [{ toolSpec: { name: 'a' } }];
    account({ toolConfig: { tools }, system: [block(1_000)], messages });
    expect(account({ toolConfig: { tools }, system: [block(1_001)], messages })).toMatchObject({ read: 0 });
    expect(account({ toolConfig: { tools: [] }, system: [block(1_000)], messages })).toMatchObject({ read: 0 });
    expect(account({ toolConfig: { tools }, system: [block(1_000)], messages }).read).toBeGreaterThan(3_000);
  });

  it('another choice of tools makes the messages another prefix, but not the tools and the system prompt', () => {
    const body = (toolChoice: object) => ({
      toolConfig: { tools: [{ toolSpec: { name: 'a' } }], toolChoice },
      system: [block(2_000), POINT],
      messages: [user(block(2_000), POINT)],
    });
    account(body({ auto: {} }));
    expect(account(body({ any: {} }))).toMatchObject({
      read: expect.closeTo(2_000, -2),
      written: expect.closeTo(2_000, -2),
    });
  });

  it.each([
    [SONNET, 19, true],
    [SONNET, 20, false],
    [NOVA, 1, false],
  ])('%s finds a prefix that ended %d blocks before its point: %s', (model, distance, isFound) => {
    account({ messages: [user(block(2_000), POINT)] }, model);
    const more = Array.from({ length: distance }, (_, index) => ({ text: String(index) }));
    const { read } = account({ messages: [user(block(2_000)), assistant(...more, POINT)] }, model);
    expect(read > 0).toBe(isFound);
    expect(account({ messages: [user(block(2_000), POINT), assistant(...more, POINT)] }, model).read).toBeGreaterThan(
      0,
    );
  });

  it('the cache keeps a prefix for five minutes after its last use', () => {
    const body = { messages: [user(block(2_000), POINT)] };
    account(body);
    now = 4 * MINUTE;
    expect(account(body).read).toBeGreaterThan(0);
    now = 8 * MINUTE;
    expect(account(body).read).toBeGreaterThan(0);
    now = 13 * MINUTE;
    expect(account(body)).toMatchObject({ read: 0 });
  });

  it('the cache keeps a prefix for an hour if the point says so, and reports the written tokens by their lifetime', () => {
    const hour = { cachePoint: { type: 'default', ttl: '1h' } };
    const body = { system: [block(2_000), hour], messages: [user(block(3_000), POINT)] };
    expect(cache.account(SONNET, listPromptBlocks(body)).cacheDetails).toEqual([
      { ttl: '1h', inputTokens: expect.closeTo(2_000, -2) },
      { ttl: '5m', inputTokens: expect.closeTo(3_000, -2) },
    ]);
    now = 59 * MINUTE;
    expect(account(body)).toMatchObject({ read: expect.closeTo(2_000, -2), written: expect.closeTo(3_000, -2) });
  });

  it('models share no prefix', () => {
    const body = { messages: [user(block(5_000), POINT)] };
    account(body);
    expect(account(body, HAIKU)).toMatchObject({ read: 0 });
  });

  it('the cache reads the marks of bodies in Claude’s own format', () => {
    const content = [{ type: 'text', text: 'x'.repeat(8_000), cache_control: { type: 'ephemeral', ttl: '1h' } }];
    const usage = cache.account(SONNET, listPromptBlocks({ messages: [{ role: 'user', content }] }));
    expect(usage.cacheDetails).toEqual([{ ttl: '1h', inputTokens: expect.closeTo(2_000, -2) }]);
    const moved = [{ type: 'text', text: 'x'.repeat(8_000) }];
    const next = { role: 'user', content: [{ type: 'text', text: 'B', cache_control: { type: 'ephemeral' } }] };
    expect(account({ messages: [{ role: 'user', content: moved }, next] }).read).toBe(usage.cacheWriteInputTokens);
  });
});
