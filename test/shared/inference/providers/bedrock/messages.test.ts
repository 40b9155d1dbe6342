import { describe, expect, it } from 'vitest';
import type { ConverseBody } from '../../../../../local/bedrock/converse-request.ts';
import type {
  AssistantMessage,
  InlineImage,
  Message,
  Tool,
  ToolCallPart,
} from '../../../../../shared/inference/generation.ts';
import { CLAUDE, startUpstreamForTests } from './upstream.ts';

const SONNET_4_6 = 'global.anthropic.claude-sonnet-4-6';
const NOVA = 'amazon.nova-pro-v1:0';
const LLAMA = 'us.meta.llama4-scout-17b-instruct-v1:0';
const MISTRAL = 'mistral.mistral-large-2407-v1:0';
const KIMI = 'moonshotai.kimi-k2.5';

const upstream = await startUpstreamForTests();

const say = (role: 'system' | 'user' | 'assistant', text: string): Message => ({
  role,
  content: [{ type: 'text', text }],
});
const call = (id: string, changes: Partial<ToolCallPart> = {}): Message => ({
  role: 'assistant',
  content: [{ type: 'toolCall', id, name: 'find', arguments: '{}', ...changes }],
});
const answer = (toolCallId: string, ...images: InlineImage[]): Message => ({
  role: 'tool',
  toolCallId,
  content: images.length > 0 ? images : [{ type: 'text', text: 'done' }],
});
const find: Tool = { name: 'find', parameters: { type: 'object', properties: {} }, strict: false };
const encode = (...bytes: string[]) => Buffer.from(bytes.join(''), 'latin1').toString('base64');
const image = (base64: string): InlineImage => ({
  type: 'image',
  mediaType: 'image/png',
  base64,
  param: 'messages[0].content[0]',
});
const PNG = encode('\x89PNG\r\n\x1a\n....');

const listIds = ({ messages }: ConverseBody) =>
  messages
    .flatMap(({ content }) => content.map(({ toolUse, toolResult }) => (toolUse ?? toolResult)?.toolUseId))
    .filter(Boolean);

describe('the ids of tool calls', () => {
  it('an id that repeats in a later turn is replaced there, for the call and its result alike', async () => {
    const turns = [call('find:0'), answer('find:0')];
    const body = await upstream.send({ tools: [find], messages: [say('user', 'Hi'), ...turns, ...turns, ...turns] });
    const ids = listIds(body);
    expect(new Set(ids).size).toBe(3);
    expect([ids[0], ids[2], ids[4]]).toEqual([ids[1], ids[3], ids[5]]);
  });

  it('ids that Claude accepts are kept', async () => {
    const messages = [say('user', 'Hi'), call('call_1'), answer('call_1'), call('call_2'), answer('call_2')];
    expect(listIds(await upstream.send({ tools: [find], messages }))).toEqual(['call_1', 'call_1', 'call_2', 'call_2']);
  });

  it('ids become nine letters or digits for Mistral', async () => {
    const messages = [say('user', 'Hi'), call('call_1'), answer('call_1'), call('abcdefgh1'), answer('abcdefgh1')];
    const ids = listIds(await upstream.send({ tools: [find], messages }, { model: MISTRAL }));
    expect(ids[0]).toMatch(/^[a-z0-9]{9}$/);
    expect(ids).toEqual([ids[0], ids[0], 'abcdefgh1', 'abcdefgh1']);
  });
});

it('a tool name that the model invented is sent back with the characters that Bedrock accepts', async () => {
  const messages = [say('user', 'Hi'), call('a', { name: 'functions.find' }), answer('a')];
  const body = await upstream.send({ tools: [find], messages });
  expect(body.messages[1]?.content[0]?.toolUse?.name).toBe('functions_find');
  // Without tools, Claude's earlier calls are declared under the names that are sent.
  const later = await upstream.send({ messages });
  expect(later.toolConfig?.tools[0]?.toolSpec?.name).toBe('functions_find');
});

describe('a conversation that ends with an assistant message', () => {
  it('gets a neutral user message for a Claude model that refuses to continue it', async () => {
    const body = await upstream.send(
      { messages: [say('user', 'Hi'), say('assistant', 'It is ')] },
      { model: SONNET_4_6 },
    );
    expect(body.messages.slice(1)).toEqual([
      { role: 'assistant', content: [{ text: 'It is ' }] },
      { role: 'user', content: [{ text: '(Continue.)' }] },
    ]);
  });

  it('gets one while an earlier Claude model thinks', async () => {
    const messages = [say('user', 'Hi'), say('assistant', 'It is')];
    expect((await upstream.send({ messages, reasoningEffort: 'low' })).messages).toHaveLength(3);
  });

  it('is continued by other models, without the white space at its end', async () => {
    const messages = [say('user', 'Hi'), say('assistant', 'It is \n')];
    for (const model of [CLAUDE, NOVA]) {
      const body = await upstream.send({ messages }, { model });
      expect(body.messages.at(-1)).toEqual({ role: 'assistant', content: [{ text: 'It is' }] });
    }
  });

  it('ends before reasoning that nothing followed', async () => {
    const continuation = { provider: 'bedrock', data: { family: 'claude', text: 'Hm', signature: 'c2ln' } };
    const thought: AssistantMessage = { role: 'assistant', content: [{ type: 'reasoning', text: 'Hm', continuation }] };
    const body = await upstream.send({ messages: [say('user', 'Hi'), thought], reasoningEffort: 'low' });
    expect(body.messages).toEqual([{ role: 'user', content: [{ text: 'Hi' }] }]);
  });
});

describe('tool results', () => {
  it('a user message after results gets a turn of its own for models that accept results alone', async () => {
    const messages = [say('user', 'Hi'), call('a'), answer('a'), say('user', 'And now?')];
    const body = await upstream.send({ tools: [find], messages }, { model: LLAMA });
    expect(body.messages.map(({ role, content }) => [role, ...content.flatMap(Object.keys)])).toEqual([
      ['user', 'text'],
      ['assistant', 'toolUse'],
      ['user', 'toolResult'],
      ['assistant', 'text'],
      ['user', 'text'],
    ]);
  });

  it('images of results follow them for models that accept no images in results', async () => {
    const calls: Message = {
      role: 'assistant',
      content: ['a', 'b'].map((id) => ({ type: 'toolCall', id, name: 'find', arguments: '{}' })),
    };
    const messages = [say('user', 'Hi'), calls, answer('a', image(PNG)), answer('b')];
    const body = await upstream.send({ tools: [find], messages }, { model: KIMI });
    const result = (toolUseId: string, text: string) => ({ toolResult: { toolUseId, content: [{ text }] } });
    expect(body.messages[2]?.content).toEqual([
      result('a', '(see below)'),
      result('b', 'done'),
      { image: { format: 'png', source: { bytes: PNG } } },
    ]);
  });
});

describe('documents', () => {
  const pdf = (bytes: Buffer = Buffer.from('%PDF')) =>
    ({ type: 'document', mediaType: 'application/pdf', base64: bytes.toString('base64'), param: 'p' }) as const;
  const listKinds = ({ messages }: ConverseBody) =>
    messages.map(({ role, content }) => [role, ...content.flatMap((block) => Object.keys(block))]);

  it('a document after tool results gets a turn of its own for Claude, which refuses both in one', async () => {
    const messages: Message[] = [say('user', 'Hi'), call('a'), answer('a'), { role: 'user', content: [pdf()] }];
    expect(listKinds(await upstream.send({ tools: [find], messages }, { model: SONNET_4_6 }))).toEqual([
      ['user', 'text'],
      ['assistant', 'toolUse'],
      ['user', 'toolResult'],
      ['assistant', 'text'],
      ['user', 'document', 'text'],
    ]);
  });

  it('a PDF in a tool result follows it for Nova, which accepts none in results', async () => {
    const result: Message = { role: 'tool', toolCallId: 'a', content: [pdf()] };
    const body = await upstream.send(
      { tools: [find], messages: [say('user', 'Hi'), call('a'), result] },
      { model: NOVA },
    );
    expect(listKinds(body).at(-1)).toEqual(['user', 'toolResult', 'document', 'text']);
  });

  it('a document of more than 4.5 MB is refused, and the error names it', async () => {
    const content = [pdf(Buffer.alloc(5 * 1024 * 1024))];
    const error = await upstream.catchRefusal({ messages: [{ role: 'user', content }] });
    expect(error).toMatchObject({ code: 'invalid_value', param: 'p', recovery: 'nextTarget' });
  });

  it("a caller's cache mark on a document, after which Bedrock accepts no cache point, is left out", async () => {
    const content = [
      { type: 'text' as const, text: 'Look' },
      { ...pdf(), cache: {} },
    ];
    const body = await upstream.send({ messages: [{ role: 'user', content }] });
    expect(listKinds(body)).toEqual([['user', 'text', 'document']]);
  });
});

describe('images', () => {
  it.each([
    ['png', PNG],
    ['jpeg', encode('\xff\xd8\xff\xe0........')],
    ['gif', encode('GIF89a......')],
    ['webp', encode('RIFF....WEBPVP8 ')],
  ])('an image is sent as the format that its bytes show: %s', async (format, base64) => {
    const body = await upstream.send({ messages: [{ role: 'user', content: [image(base64)] }] });
    expect(body.messages[0]?.content[0]?.image?.format).toBe(format);
  });

  it('an image of more than 3.75 MB is refused, and the error names it', async () => {
    const content = [image(Buffer.alloc(4 * 1024 * 1024).toString('base64'))];
    expect(await upstream.catchRefusal({ messages: [{ role: 'user', content }] })).toMatchObject({
      code: 'invalid_value',
      param: 'messages[0].content[0]',
    });
  });

  it('more than 20 images in a turn are refused, and the error names the parameter', async () => {
    const content = Array.from({ length: 11 }, () => image(PNG));
    const messages: Message[] = [
      { role: 'user', content },
      { role: 'user', content },
    ];
    const error = await upstream.catchRefusal({ messages, parameterNames: { messages: 'input' } });
    expect(error).toMatchObject({ code: 'unsupported_value', param: 'input', recovery: 'nextTarget' });
  });
});

it('the system prompt goes in front of the first user message for models without a field for it', async () => {
  const messages = [say('system', 'Be brief.'), say('user', 'Hi')];
  const body = await upstream.send({ messages }, { model: 'mistral.mistral-7b-instruct-v0:2' });
  expect(body.system).toBeUndefined();
  expect(body.messages).toEqual([{ role: 'user', content: [{ text: 'Be brief.' }, { text: 'Hi' }] }]);
});
