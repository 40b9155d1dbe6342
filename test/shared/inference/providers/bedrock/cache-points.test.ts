import { describe, expect, it } from 'vitest';
import type { AssistantMessage, Message } from '../../../../../shared/inference/generation.ts';
import { startUpstreamForTests } from './upstream.ts';

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

describe('the cache point of the conversation', () => {
  it('is set on an earlier turn if the last one ends with reasoning', async () => {
    const messages = [say('user', 'A hard question'), thought, say('user', 'Go on')];
    expect(await findPoints(messages, SONNET_4_6, { reasoningEffort: 'low' })).toEqual([0]);
  });

  it('is set after text that follows reasoning', async () => {
    const spoken: AssistantMessage = { ...thought, content: [...thought.content, { type: 'text', text: 'Well' }] };
    const messages = [say('user', 'A'), spoken, say('user', 'B')];
    expect(await findPoints(messages, SONNET_4_6, { reasoningEffort: 'low' })).toEqual([1]);
  });

  it('is set on a turn without tool calls and results for Nova, which refuses it there', async () => {
    const messages = [say('user', 'A'), ...roundTrip, ...roundTrip];
    expect(await findPoints(messages, NOVA, { tools })).toEqual([0]);
    expect(await findPoints(messages, SONNET_4_6, { tools })).toEqual([3]);
  });

  it('is left out for models that cache nothing', async () => {
    const messages = [say('system', 'S'), say('user', 'A'), say('assistant', 'B'), say('user', 'C')];
    expect(await findPoints(messages, LLAMA)).toEqual([]);
  });
});

it('the time of an hour is left out for models without it', async () => {
  const body = await upstream.send({ messages: [say('system', 'S')] }, { model: NOVA, promptCache: { ttl: '1h' } });
  expect(body.system?.at(-1)).toEqual({ cachePoint: { type: 'default' } });
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
