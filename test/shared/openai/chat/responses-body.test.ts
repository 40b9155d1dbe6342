import { describe, expect, it } from 'vitest';
import { parseChatRequestWithInput } from '../../../../shared/openai/chat/responses-body.ts';
import { createTestRegistry, startService, TENANT } from '../../api/service.ts';
import { finishEvent, textEvents, toolCallEvents } from '../events.ts';

const PATCH = {
  type: 'custom',
  name: 'ApplyPatch',
  description: 'Edits.',
  format: { type: 'grammar', syntax: 'lark', definition: 'start: "a"' },
};
const READ = { type: 'function', name: 'Read', description: 'Reads.', parameters: { type: 'object' }, strict: false };

/** A body as Cursor sends it to the endpoint of chat completions. */
const CURSOR = {
  model: 'default',
  user: 'u',
  instructions: 'Be short.',
  input: [
    { role: 'system', content: 'You edit code.' },
    { role: 'user', content: [{ type: 'input_text', text: 'Read a.ts' }] },
    { type: 'function_call', call_id: 'c1', name: 'Read', arguments: '{"path":"a.ts"}' },
    { type: 'function_call_output', call_id: 'c1', output: 'a' },
  ],
  tools: [READ, PATCH],
  tool_choice: 'auto',
  max_output_tokens: 100,
  reasoning: { effort: 'medium', summary: 'auto' },
  text: { format: { type: 'text' }, verbosity: 'low' },
  store: false,
  include: ['reasoning.encrypted_content'],
  prompt_cache_retention: '24h',
};

function parse(body: object) {
  return parseChatRequestWithInput({ ...CURSOR, ...body }, { registry: createTestRegistry(), tenant: TENANT });
}

const SCRIPT = [
  ...textEvents('On it.'),
  ...toolCallEvents(0, 'Read', '{"path":', '"b.ts"}'),
  ...toolCallEvents(1, 'ApplyPatch', '{"input":"a"}'),
  finishEvent('toolCalls'),
];

describe('a body of responses sent to chat completions', () => {
  it('a body of responses is translated whole', () => {
    const { generation, ignored } = parse({});
    expect(generation).toMatchObject({
      messages: [
        { role: 'system', content: [{ text: 'Be short.' }] },
        { role: 'system', content: [{ text: 'You edit code.' }] },
        { role: 'user', content: [{ text: 'Read a.ts' }] },
        { role: 'assistant', content: [{ type: 'toolCall', id: 'c1', name: 'Read' }] },
        { role: 'tool', toolCallId: 'c1', content: [{ text: 'a' }] },
      ],
      tools: [{ name: 'Read' }, { name: 'ApplyPatch', custom: { grammar: { syntax: 'lark' } } }],
      maxOutputTokens: 100,
      reasoningEffort: 'medium',
      verbosity: 'low',
      hints: { user: 'u' },
      reasoningSummary: true,
      omitsContinuations: true,
      parameterNames: { messages: 'input' },
    });
    expect(ignored).toEqual(['include']);
  });

  it('a buffered answer to a body of responses is a chat completion', async () => {
    await using service = await startService([SCRIPT]);
    const answer = await post(service.url, CURSOR);
    expect(await answer.json()).toMatchObject({
      object: 'chat.completion',
      choices: [
        {
          finish_reason: 'tool_calls',
          message: {
            content: 'On it.',
            tool_calls: [
              { type: 'function', function: { name: 'Read', arguments: '{"path":"b.ts"}' } },
              { type: 'custom', custom: { name: 'ApplyPatch', input: 'a' } },
            ],
          },
        },
      ],
    });
  });

  it('a streamed answer to a body of responses has the chunks of a chat completion', async () => {
    await using service = await startService([SCRIPT]);
    const answer = await post(service.url, { ...CURSOR, stream: true, stream_options: { include_usage: true } });
    const lines = (await answer.text()).split('\n\n').filter((line) => line !== '');
    expect(lines.at(-1)).toBe('data: [DONE]');
    const chunks = lines.slice(0, -1).map((line) => JSON.parse(line.slice('data: '.length)));
    expect(new Set(chunks.map(({ object }) => object))).toEqual(new Set(['chat.completion.chunk']));
    expect(chunks.map(({ choices }) => choices[0]?.delta.content ?? '').join('')).toBe('On it.');
    expect(chunks.at(-1).usage).toMatchObject({ completion_tokens: 7 });
  });

  it('input that is a string is a message of the user', () => {
    expect(parse({ input: 'Hello', instructions: null }).generation.messages).toMatchObject([
      { role: 'user', content: [{ text: 'Hello' }] },
    ]);
  });

  it('stream_options.include_usage is no ignored field, and what has no effect is named', () => {
    const { includeUsage, ignored } = parse({
      stream: true,
      stream_options: { include_usage: true },
      store: true,
      truncation: 'auto',
      include: null,
      frequency_penalty: 0.5,
    });
    expect(includeUsage).toBe(true);
    expect(ignored).toEqual(['frequency_penalty', 'store', 'truncation']);
  });

  it.each([
    ['messages', { messages: [{ role: 'user', content: 'Hi' }] }, 'input', /'messages' and 'input'/],
    ['max_tokens', { max_tokens: 5 }, 'max_tokens', /together with 'input'/],
    ['response_format', { response_format: { type: 'json_object' } }, 'response_format', /together with 'input'/],
    ['stop', { stop: ['a'] }, 'stop', /together with 'input'/],
    ['n', { n: 2 }, 'n', /together with 'input'/],
    ['previous_response_id', { previous_response_id: 'resp_1' }, 'previous_response_id', /only supported by/],
    ['conversation', { conversation: 'conv_1' }, 'conversation', /only supported by/],
    ['background', { background: true, store: true }, 'background', /only supported by/],
    ['an item of another conversation', { input: [{ type: 'item_reference', id: 'msg_1' }] }, 'input', /not found/],
    ['tools of chat', { tools: [{ type: 'function', function: { name: 'a' } }] }, 'tools[0].name', /Missing/],
    ['a wrong include_usage', { stream: true, stream_options: { include_usage: 1 } }, 'stream_options', /boolean/],
  ])('%s beside input is refused with the parameter', (_, more, param, message) => {
    expect(() => parse(more)).toThrow(
      expect.objectContaining({
        param: expect.stringMatching(new RegExp(`^${param.replaceAll(/[[\]]/g, '\\$&')}`)),
        message: expect.stringMatching(message),
      }),
    );
  });

  it('an empty input beside messages asks for nothing, and so do the defaults of chat', () => {
    const messages = [{ role: 'user', content: 'Hi' }];
    const body = { model: 'default', messages, input: '' };
    const { generation } = parseChatRequestWithInput(body, { registry: createTestRegistry(), tenant: TENANT });
    expect(generation.messages).toMatchObject([{ content: [{ text: 'Hi' }] }]);
    expect(parse({ n: 1, stop: null, background: false }).streamed).toBe(false);
  });
});

function post(url: string, body: object): Promise<Response> {
  return fetch(`${url}/v1/chat/completions`, { method: 'POST', body: JSON.stringify(body) });
}
