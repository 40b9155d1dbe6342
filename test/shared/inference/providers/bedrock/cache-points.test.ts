import { describe, expect, it } from 'vitest';
import type { AssistantMessage, Message } from '../../../../../shared/inference/generation.ts';
import { CLAUDE, startUpstreamForTests } from './upstream.ts';

const SONNET_4_6 = 'global.anthropic.claude-sonnet-4-6';
const NOVA = 'amazon.nova-pro-v1:0';
const LLAMA = 'us.meta.llama4-scout-17b-instruct-v1:0';

const upstream = await startUpstreamForTests();

const say = (role: 'system' | 'user' | 'assistant', text: string): Message => ({
  role,
  content: [{ type: 'text', text }],
});
const thought: AssistantMessage = {
  role: 'assistant',
  content: [
    {
      type: 'reasoning',
      text: 'Hm',
      continuation: { provider: 'bedrock', data: { family: 'claude', text: 'Hm', signature: 'c2ln' } },
    },
  ],
};
const roundTrip: readonly Message[] = [
  { role: 'assistant', content: [{ type: 'toolCall', id: 'a', name: 'find', arguments: '{}' }] },
  { role: 'tool', toolCallId: 'a', content: [{ type: 'text', text: 'done' }] },
];
const tools = [{ name: 'find', parameters: {}, strict: false }];

/** Returns the indexes of the turns with a cache point. */
const findPoints = async (messages: readonly Message[], model: string, changes = {}) => {
  const body = await upstream.send({ messages, ...changes }, { model, promptCache: { ttl: '5m' } });
  return body.messages.flatMap(({ content }, index) => (content.some(({ cachePoint }) => cachePoint) ? [index] : []));
};

describe('the cache points of the conversation', () => {
  it('cache points are set where the previous request ended, and at the end of the messages', async () => {
    const messages = [say('user', 'A'), ...roundTrip, ...roundTrip];
    expect(await findPoints(messages, SONNET_4_6, { tools })).toEqual([2, 4]);
    const examples = [
      say('user', 'A'),
      say('assistant', 'B'),
      say('user', 'C'),
      say('assistant', 'D'),
      say('user', 'E'),
    ];
    expect(await findPoints(examples, SONNET_4_6)).toEqual([2, 4]);
  });

  it('no cache point is set after an answer that the model continues', async () => {
    const messages = [say('user', 'A'), say('assistant', 'B'), say('user', 'C'), say('assistant', 'The')];
    expect(await findPoints(messages, CLAUDE)).toEqual([0, 2]);
  });

  it('no cache point is set after reasoning', async () => {
    const messages = [say('user', 'A'), thought, say('user', 'B')];
    expect(await findPoints(messages, SONNET_4_6, { reasoningEffort: 'low' })).toEqual([0, 2]);
  });

  it('cache points for Nova are set only on turns without tool calls and results, where it accepts them', async () => {
    const messages = [say('user', 'A'), ...roundTrip, ...roundTrip];
    expect(await findPoints(messages, NOVA, { tools })).toEqual([0]);
  });

  it('cache points are left out for models that cache nothing', async () => {
    const messages = [say('system', 'S'), say('user', 'A'), say('assistant', 'B'), say('user', 'C')];
    expect(await findPoints(messages, LLAMA)).toEqual([]);
  });

  it('the lifetime of an hour is left out for models that don’t have it', async () => {
    const messages = [say('system', 'S'), say('user', 'A'), say('assistant', 'B'), say('user', 'C')];
    const body = await upstream.send({ messages }, { model: NOVA, promptCache: { ttl: '1h' } });
    expect(body.system?.at(-1)).toEqual({ cachePoint: { type: 'default' } });
  });
});

describe('where cache points are set by default', () => {
  const fourTools = ['a', 'b', 'c', 'd'].map((name) => ({ name, parameters: {}, strict: false }));
  const start = [say('system', 'S'), say('user', 'A')];
  const key = { hints: { promptCacheKey: 'k' } };

  it.each<[string, 'nowhere' | 'instructions' | 'conversation', object]>([
    ['a call of its own', 'nowhere', {}],
    ['a call with few tools', 'nowhere', { tools: fourTools.slice(1) }],
    ['a call that must use one of many tools', 'nowhere', { tools: fourTools, toolChoice: 'required' }],
    ['the first request of an agent', 'conversation', { tools: fourTools }],
    ['a call with a cache key', 'instructions', key],
    ['a call with tools and a cache key', 'conversation', { ...key, tools }],
    ['the first request of a session', 'conversation', { inSession: true }],
    ['a conversation', 'conversation', { messages: [...start, say('assistant', 'B'), say('user', 'C')] }],
    [
      'a conversation of which only marks are to be cached',
      'nowhere',
      { inSession: true, hints: { cachesMarksOnly: true } },
    ],
  ])('%s gets cache points for: %s', async (_, expected, changes) => {
    const request = { messages: start, ...changes };
    const body = await upstream.send(request, { model: SONNET_4_6, promptCache: undefined });
    const isMarked = (blocks: readonly object[] = []) => blocks.some((block) => 'cachePoint' in block);
    expect(isMarked(body.system)).toBe(expected !== 'nowhere');
    if (body.toolConfig) expect(isMarked(body.toolConfig.tools)).toBe(expected !== 'nowhere');
    expect(isMarked(body.messages.at(-1)?.content)).toBe(expected === 'conversation');
  });

  it('instructions of calls that will probably not be repeated are cached if the operator sets it', async () => {
    const body = await upstream.send({ messages: start }, { model: SONNET_4_6, promptCache: { when: 'always' } });
    expect(body.system).toEqual([{ text: 'S' }, { cachePoint: { type: 'default' } }]);
    expect(JSON.stringify(body.messages)).not.toContain('cachePoint');
  });

  it('an ARN, which doesn’t show its model, gets no cache points unless the operator sets them', async () => {
    const model = 'arn:aws:bedrock:eu-west-1:123456789012:application-inference-profile/abc';
    const send = (promptCache: unknown) => upstream.send({ messages: start, inSession: true }, { model, promptCache });
    expect(JSON.stringify(await send(undefined))).not.toContain('cachePoint');
    expect(JSON.stringify(await send({ ttl: '1h' }))).toContain('"cachePoint":{"type":"default","ttl":"1h"}');
  });
});

describe("the caller's own cache marks", () => {
  const mark = (text: string, ttl?: '5m' | '1h'): AssistantMessage['content'][number] => ({
    type: 'text',
    text,
    cache: ttl === undefined ? {} : { ttl },
  });
  const listPoints = (
    content: readonly { text?: string | undefined; cachePoint?: { ttl?: string | undefined } | undefined }[],
  ) => content.flatMap(({ cachePoint }, index) => (cachePoint ? [[content[index - 1]?.text, cachePoint.ttl]] : []));

  it('of more than four marks, those that cover the longest prefixes count', async () => {
    const messages: Message[] = [
      { role: 'system', content: [{ type: 'text', text: 'S', cache: {} }] },
      say('user', 'Hi'),
      { role: 'assistant', content: ['1', '2', '3', '4', '5'].map((text) => mark(text)) },
      say('user', 'Go'),
    ];
    const body = await upstream.send({ messages }, { model: SONNET_4_6 });
    expect(listPoints(body.system ?? [])).toHaveLength(1);
    expect(listPoints(body.messages[1]?.content ?? []).map(([text]) => text)).toEqual(['3', '4', '5']);
  });

  it('after a mark of five minutes, no longer time is sent', async () => {
    const messages: Message[] = [
      say('user', 'Hi'),
      { role: 'assistant', content: [mark('1', '1h'), mark('2', '5m'), mark('3', '1h')] },
      say('user', 'Go'),
    ];
    const body = await upstream.send({ messages }, { model: SONNET_4_6 });
    expect(listPoints(body.messages[1]?.content ?? [])).toEqual([
      ['1', '1h'],
      ['2', undefined],
      ['3', undefined],
    ]);
  });
});
