import { describe, expect, it } from 'vitest';
import type { CacheMark, GenerationRequest, Message, Tool } from '../../../../../shared/inference/generation.ts';
import { getOpenAICompatibleCapabilities } from '../../../../../shared/inference/providers/openai-compatible/dialect.ts';
import { createRequestWriter } from '../../../../../shared/inference/providers/openai-compatible/request.ts';
import { makeRequest } from '../../requests.ts';
import { makeTarget } from './calls.ts';

const CLAUDE = { baseUrl: 'https://openrouter.ai/api/v1', model: 'anthropic/claude-sonnet-4.6' };
const OPENAI = { baseUrl: 'https://api.openai.com/v1', model: 'gpt-5.6' };
const mark = { cache_control: { type: 'ephemeral' } };
const breakpoint = { prompt_cache_breakpoint: { mode: 'explicit' } };

/** Returns the messages and tools of the request that a target gets. */
function write({ baseUrl, model }: { readonly baseUrl: string; readonly model: string }, request: object) {
  const target = makeTarget(baseUrl, { model });
  const capabilities = getOpenAICompatibleCapabilities(target);
  const writeBody = createRequestWriter(target, { capabilities, maxOutputTokens: 1_000, upstream: 'this-one' });
  const { messages, tools, prompt_cache_options: options } = writeBody(makeRequest(request), false, []);
  return { messages, tools, options };
}

const text = (words: string, cache?: CacheMark) => ({ type: 'text', text: words, ...(cache && { cache }) }) as const;
const user = (words: string): Message => ({ role: 'user', content: [text(words)] });
const part = (words: string, fields: object = {}) => ({ type: 'text', text: words, ...fields });
const tool = (name: string): Tool => ({ name, parameters: { type: 'object' }, strict: false });
const turn = (id: string): Message[] => [
  { role: 'assistant', content: [{ type: 'toolCall', id, name: 'a', arguments: '{}' }] },
  { role: 'tool', toolCallId: id, content: [text(`result ${id}`)] },
];

describe('a caller’s marks', () => {
  const request: Pick<GenerationRequest, 'messages' | 'tools'> = {
    tools: [tool('a'), { ...tool('b'), cache: { ttl: '1h' } }],
    messages: [
      { role: 'system', content: [text('One.'), text('Two.', { ttl: '1h' })] },
      { role: 'user', content: [text('A'), text('B')] },
      ...turn('c1').slice(0, 1),
      { role: 'tool', toolCallId: 'c1', content: [text('result c1')], cache: {} },
      { role: 'user', content: [text('C', {})] },
    ],
  };

  it('OpenRouter gets them on texts, on the text of tool results and on tools', () => {
    const { messages, tools } = write(CLAUDE, request);
    expect(messages).toMatchObject([
      { role: 'system', content: [part('One.'), part('Two.', { cache_control: { type: 'ephemeral', ttl: '1h' } })] },
      // As parts, because the same message may have had a mark in the request before.
      { role: 'user', content: [part('A'), part('B')] },
      { role: 'assistant', content: null },
      { role: 'tool', content: [part('result c1', mark)] },
      { role: 'user', content: [part('C', mark)] },
    ]);
    expect(JSON.stringify(messages).match(/cache_control/g)).toHaveLength(3);
    expect(messages).not.toContainEqual(expect.objectContaining(mark));
    expect(tools).toMatchObject([{}, { type: 'function', cache_control: { type: 'ephemeral', ttl: '1h' } }]);
    expect(Object.keys(Object(tools)[0])).toEqual(['type', 'function']);
  });

  it('OpenAI’s models that know marks get them as their own, on texts only, and others get plain texts', () => {
    const { messages, tools } = write(OPENAI, request);
    expect(messages).toMatchObject([
      { content: [part('One.'), part('Two.', breakpoint)] },
      { content: [part('A'), part('B')] },
      {},
      { content: [part('result c1', breakpoint)] },
      { content: [part('C', breakpoint)] },
    ]);
    expect(JSON.stringify({ messages, tools })).not.toContain('cache_control');
    const plain = [{ content: 'One.\nTwo.' }, { content: 'A\nB' }, {}, { content: 'result c1' }, { content: 'C' }];
    for (const target of [
      { ...OPENAI, model: 'gpt-5.2' },
      { baseUrl: 'http://gpu.internal/v1', model: 'anthropic/claude' },
      { baseUrl: 'https://api.mistral.ai/v1', model: 'mistral-large' },
    ]) {
      const others = write(target, request);
      expect(others.messages).toMatchObject(plain);
      expect(JSON.stringify(others)).not.toMatch(/cache_control|breakpoint/);
    }
  });

  it('a model of OpenAI caches only marked prefixes if the caller wants that', () => {
    const hints = { cachesMarksOnly: true };
    expect(write(OPENAI, { ...request, hints }).options).toEqual({ mode: 'explicit' });
    expect(write(OPENAI, request).options).toBeUndefined();
  });

  it('of more than four marks the last ones are sent', () => {
    const messages = ['1', '2', '3', '4', '5', '6'].map((each): Message => {
      return { role: 'user', content: [text(each, {})] };
    });
    expect(write(CLAUDE, { messages }).messages).toEqual(
      ['1', '2', '3', '4', '5', '6'].map((each) => ({
        role: 'user',
        content: [part(each, Number(each) > 2 ? mark : {})],
      })),
    );
  });

  it('several system messages keep their marks', () => {
    const messages: Message[] = [
      { role: 'system', content: [text('One.', {})] },
      { role: 'system', content: [text('Two.')] },
      user('A'),
    ];
    expect(write(CLAUDE, { messages }).messages).toEqual([
      { role: 'system', content: [part('One.', mark), part('Two.')] },
      { role: 'user', content: 'A' },
    ]);
  });
});

describe('Claude behind OpenRouter', () => {
  const system: Message = { role: 'system', content: [text('Be brief.')] };
  const agent = { tools: ['a', 'b', 'c', 'd'].map(tool), messages: [system, user('Go'), ...turn('c1'), ...turn('c2')] };

  it('a conversation is marked after its tools, its system prompt, its end and the end of the previous request', () => {
    const { messages, tools } = write(CLAUDE, agent);
    expect(messages).toMatchObject([
      { role: 'system', content: [part('Be brief.', mark)] },
      { role: 'user', content: 'Go' },
      { role: 'assistant', content: null },
      { role: 'tool', content: [part('result c1', mark)] },
      { role: 'assistant', content: null },
      { role: 'tool', content: [part('result c2', mark)] },
    ]);
    expect(JSON.stringify(tools).match(/cache_control/g)).toHaveLength(1);
    expect(tools).toMatchObject([{}, {}, {}, { type: 'function', ...mark }]);
  });

  it('an answer that the model continues is not marked, and a picture is left out', () => {
    const picture = { type: 'image', mediaType: 'image/png', base64: 'AAAA', param: 'p' } as const;
    const messages: Message[] = [
      { role: 'user', content: [text('See'), picture] },
      { role: 'assistant', content: [text('I see')] },
    ];
    expect(write(CLAUDE, { messages, inSession: true }).messages).toMatchObject([
      { content: [part('See', mark), { type: 'image_url' }] },
      { content: 'I see' },
    ]);
  });

  it('a key without tools marks the instructions only', () => {
    const request = { messages: [system, user('Go')], hints: { promptCacheKey: 'k' } };
    expect(write(CLAUDE, request).messages).toMatchObject([
      { content: [part('Be brief.', mark)] },
      { role: 'user', content: 'Go' },
    ]);
  });

  it('nothing is marked in a call of its own, without caching, for other models and hosts', () => {
    const expectNone = (target: { baseUrl: string; model: string }, request: object) =>
      expect(JSON.stringify(write(target, request))).not.toContain('cache_control');
    expectNone(CLAUDE, { messages: [system, user('Go')] });
    expectNone(CLAUDE, { ...agent, hints: { cachesMarksOnly: true } });
    expectNone({ ...CLAUDE, model: 'openai/gpt-5.2' }, agent);
    expectNone({ ...CLAUDE, baseUrl: 'http://gpu.internal/v1' }, agent);
    expectNone(OPENAI, agent);
  });
});
