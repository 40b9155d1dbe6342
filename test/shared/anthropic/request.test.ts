import { describe, expect, it } from 'vitest';
import { encodeMessagesError } from '../../../shared/anthropic/errors.ts';
import { parseMessagesRequest } from '../../../shared/anthropic/request.ts';
import { LambentError } from '../../../shared/core/errors.ts';
import { createTestRegistry, TENANT } from '../api/service.ts';

const registry = createTestRegistry({}, { imageHosts: ['images.example.com'] });
const BODY = { model: 'default', max_tokens: 100, messages: [{ role: 'user', content: 'Hi' }] };

function parse(changes: object = {}, headers: Record<string, string> = {}) {
  return parseMessagesRequest({ ...BODY, ...changes }, { registry, tenant: TENANT, headers });
}
const generationFor = (changes: object) => parse(changes).generation;
const messagesFor = (...messages: object[]) => generationFor({ messages }).messages;

function catchRefusal(changes: object): LambentError {
  try {
    parse(changes);
  } catch (thrown) {
    if (thrown instanceof LambentError) return thrown;
  }
  throw new Error('Expected a refusal');
}

const use = (id: string, name = 'f', input: unknown = {}) => ({ type: 'tool_use', id, name, input });
const result = (id: string, content: unknown = 'ok', more: object = {}) => ({
  type: 'tool_result',
  tool_use_id: id,
  content,
  ...more,
});

describe('threads', () => {
  it('a thread is refused with the details by which Anthropic’s SDKs continue without one', () => {
    for (const thread of [{ type: 'create' }, { type: 'continue', previous_message_id: 'msg_1' }]) {
      let error: unknown;
      try {
        parse({ thread });
      } catch (thrown) {
        error = thrown;
      }
      expect(error).toMatchObject({ code: 'unsupported_parameter' });
      expect(encodeMessagesError(error as LambentError, 'req_1').error).toMatchObject({
        type: 'invalid_request_error',
        details: { error_code: 'thread_unsupported_request', unsupported: ['thread'] },
      });
    }
    expect(parse({ thread: null }).ignored).toEqual([]);
  });
});

describe('messages', () => {
  it('system blocks, turns and tool results become messages, with their cache marks', () => {
    const cache_control = { type: 'ephemeral', ttl: '1h' };
    const { messages } = generationFor({
      system: [
        { type: 'text', text: 'x-anthropic-billing-header: cc_version=2.1; cch=1;' },
        { type: 'text', text: 'Be brief.', cache_control },
      ],
      messages: [
        { role: 'user', content: 'Weather?' },
        { role: 'assistant', content: [{ type: 'text', text: 'Look.' }, use('a', 'weather', { city: 'Rome' })] },
        {
          role: 'user',
          content: [
            result('a', [{ type: 'text', text: 'no city' }], { is_error: true, cache_control: { type: 'ephemeral' } }),
            { type: 'text', text: 'Go on' },
          ],
        },
        { role: 'system', content: 'Be kind.' },
      ],
    });
    expect(messages).toEqual([
      { role: 'system', content: [{ type: 'text', text: 'Be brief.', cache: { ttl: '1h' } }] },
      { role: 'user', content: [{ type: 'text', text: 'Weather?' }] },
      {
        role: 'assistant',
        content: [
          { type: 'text', text: 'Look.' },
          { type: 'toolCall', id: 'a', name: 'weather', arguments: '{"city":"Rome"}' },
        ],
      },
      { role: 'tool', toolCallId: 'a', content: [{ type: 'text', text: 'no city' }], isError: true, cache: {} },
      { role: 'user', content: [{ type: 'text', text: 'Go on' }] },
      { role: 'system', content: [{ type: 'text', text: 'Be kind.' }] },
    ]);
  });

  it('cache_control of the request marks the end of its last message', () => {
    const { messages } = generationFor({ cache_control: { type: 'ephemeral' } });
    expect(messages).toEqual([{ role: 'user', content: [{ type: 'text', text: 'Hi', cache: {} }] }]);
  });

  it('images, documents and search results become parts', () => {
    const png = { type: 'base64', media_type: 'image/png', data: 'iVBORw0K' };
    const content = [
      { type: 'image', source: png },
      { type: 'image', source: { type: 'url', url: 'https://images.example.com/a.png' } },
      { type: 'document', source: { type: 'base64', media_type: 'application/pdf', data: 'JVBERi0=' }, title: 'T' },
      { type: 'document', source: { type: 'text', media_type: 'text/plain', data: 'Body' }, context: 'About' },
      { type: 'document', source: { type: 'content', content: [{ type: 'text', text: 'Inner' }] } },
      { type: 'search_result', source: 'https://x.test', title: 'R', content: [{ type: 'text', text: 'Found' }] },
    ];
    const at = (index: number) => `messages.0.content.${index}`;
    expect(messagesFor({ role: 'user', content })[0]?.content).toEqual([
      { type: 'image', mediaType: 'image/png', base64: 'iVBORw0K', param: at(0) },
      { type: 'image', url: 'https://images.example.com/a.png', param: at(1) },
      { type: 'document', mediaType: 'application/pdf', base64: 'JVBERi0=', title: 'T', param: at(2) },
      { type: 'text', text: 'About' },
      { type: 'document', mediaType: 'text/plain', text: 'Body', param: at(3) },
      { type: 'text', text: 'Inner' },
      { type: 'document', mediaType: 'text/plain', text: 'Found', title: 'R (https://x.test)', param: at(5) },
    ]);
  });

  it('Claude’s own thinking keeps its signature, and thinking without one is only text', () => {
    const [, message] = messagesFor(
      { role: 'user', content: 'Hi' },
      {
        role: 'assistant',
        content: [
          { type: 'thinking', thinking: 'A', signature: 'c2ln' },
          { type: 'thinking', thinking: 'B', signature: '' },
          { type: 'redacted_thinking', data: 'opaque' },
          { type: 'text', text: 'Yes' },
        ],
      },
    );
    expect(message?.content).toEqual([
      {
        type: 'reasoning',
        text: 'A',
        continuation: { provider: 'bedrock', data: { family: 'claude', text: 'A', signature: 'c2ln' } },
      },
      { type: 'reasoning', text: 'B' },
      { type: 'text', text: 'Yes' },
    ]);
  });

  it('a system message that lasts until the next user message is dropped after it', () => {
    const reminder = { role: 'system', content: 'Now', clear_at: 'next_user_message' };
    const user = { role: 'user', content: 'Hi' };
    expect(messagesFor(user, reminder).map(({ role }) => role)).toEqual(['user', 'system']);
    expect(messagesFor(user, reminder, user).map(({ role }) => role)).toEqual(['user', 'user']);
  });

  it('citations that are asked for are named, wherever the documents are', () => {
    const document = (citations?: object) => ({ type: 'document', source: { type: 'text', data: 'x' }, citations });
    const found = { type: 'search_result', source: 's', title: 't', content: [{ type: 'text', text: 'x' }] };
    const asked = { enabled: true };
    const { ignored } = parse({
      messages: [
        { role: 'user', content: [document(), document({ enabled: false }), document(asked)] },
        { role: 'assistant', content: [use('a')] },
        { role: 'user', content: [result('a', [document(asked), { ...found, citations: asked }])] },
      ],
    });
    expect(ignored).toEqual([
      'messages.0.content.2.citations',
      'messages.2.content.0.content.0.citations',
      'messages.2.content.0.content.1.citations',
    ]);
  });

  it('what no model gets is ignored and named', () => {
    const { generation, ignored } = parse({
      messages: [
        { role: 'user', content: 'Hi' },
        { role: 'assistant', content: [{ type: 'server_tool_use', id: 's', name: 'web_search', input: {} }] },
        {
          role: 'user',
          content: [
            { type: 'container_upload', file_id: 'f' },
            { type: 'text', text: 'Go' },
          ],
        },
      ],
      inference_geo: 'eu',
      mcp_servers: [],
      future: null,
    });
    expect(generation.messages.map(({ role }) => role)).toEqual(['user', 'user']);
    expect(ignored).toEqual(['inference_geo', 'messages.1.content.0', 'messages.2.content.0']);
  });
});

describe('tools', () => {
  const tool = { name: 'f', description: 'F', input_schema: { type: 'object' } };

  it('tools and their choice are translated, those of Anthropic with their schema, and those of its servers dropped', () => {
    const { generation, ignored } = parse({
      tools: [
        { ...tool, strict: true, defer_loading: true, cache_control: { type: 'ephemeral' } },
        { type: 'bash_20250124', name: 'bash' },
        { type: 'web_search_20250305', name: 'web_search' },
      ],
      tool_choice: { type: 'any', disable_parallel_tool_use: true },
    });
    expect(generation.tools).toMatchObject([
      { name: 'f', description: 'F', parameters: { type: 'object' }, strict: true, cache: {} },
      { name: 'bash', parameters: { properties: { command: { type: 'string' } } }, strict: false },
    ]);
    expect(generation).toMatchObject({ toolChoice: 'required', parallelToolCalls: false });
    expect(ignored).toEqual(['tools.2']);
  });

  it.each([
    [{ type: 'auto' }, 'auto'],
    [{ type: 'none' }, 'none'],
    [{ type: 'tool', name: 'f' }, { name: 'f' }],
  ])('the tool choice %j is %j', (tool_choice, expected) => {
    expect(generationFor({ tools: [tool], tool_choice }).toolChoice).toEqual(expected);
  });
});

describe('tools in the form of OpenAI’s APIs', () => {
  const parameters = { type: 'object', properties: { city: { type: 'string' } } };
  const flat = { type: 'function', name: 'weather', description: 'Returns the weather', parameters, strict: true };
  const nested = {
    type: 'function',
    function: { name: 'weather', description: 'Returns the weather', parameters, strict: true },
  };
  const own = { name: 'now', input_schema: { type: 'object' } };

  it.each([
    ['responses', flat],
    ['chat completions', nested],
  ])('a function as in %s is read as a tool, also in the body that is passed on', (_, tool) => {
    const { generation, ignored } = parse({ tools: [tool, own], tool_choice: 'required' });
    expect(generation.tools).toEqual([
      { name: 'weather', description: 'Returns the weather', parameters, strict: true },
      { name: 'now', parameters: { type: 'object' }, strict: false },
    ]);
    expect(generation.toolChoice).toBe('required');
    expect(generation.original?.body).toMatchObject({
      tools: [{ name: 'weather', description: 'Returns the weather', input_schema: parameters, strict: true }, own],
      tool_choice: { type: 'any' },
    });
    expect(ignored).toEqual([]);
  });

  it.each([
    ['auto', 'auto'],
    ['none', 'none'],
    [{ type: 'function', name: 'weather' }, { name: 'weather' }],
    [{ type: 'function', function: { name: 'weather' } }, { name: 'weather' }],
    [{ type: 'tool', name: 'weather' }, { name: 'weather' }],
  ])('beside them, the choice %j is read', (tool_choice, expected) => {
    expect(generationFor({ tools: [flat], tool_choice }).toolChoice).toEqual(expected);
  });

  it('a function without parameters becomes a tool without parameters, and a function without a name is refused', () => {
    const { tools } = generationFor({ tools: [{ type: 'function', name: 'now' }] });
    expect(tools).toEqual([{ name: 'now', parameters: { type: 'object', properties: {} }, strict: false }]);
    for (const tool of [{ type: 'function' }, { type: 'function', function: 'now' }]) {
      expect(catchRefusal({ tools: [tool] })).toMatchObject({ param: 'tools.0.name' });
    }
  });
});

describe('tools that Anthropic’s servers run', () => {
  const search = { type: 'web_search_20250305', name: 'web_search', max_uses: 3 };
  const tool = { name: 'f', input_schema: { type: 'object' } };
  const toolSearch = { type: 'tool_search_tool_regex_20251119', name: 'tool_search_tool_regex' };
  const parseFor = (hostedTools: string, changes: object) =>
    parseMessagesRequest(
      { ...BODY, tools: [tool, search, toolSearch], ...changes },
      { registry: createTestRegistry({ hostedTools }), tenant: TENANT, headers: {} },
    );

  it('they are dropped and named by default', () => {
    const { generation, ignored } = parseFor('drop', {});
    expect(generation.tools.map(({ name }) => name)).toEqual(['f']);
    expect(generation).not.toHaveProperty('hostedTools');
    expect(ignored).toEqual(['tools.1', 'tools.2']);
    expect(() => parseFor('drop', { tool_choice: { type: 'tool', name: 'web_search' } })).toThrow(/not found/);
  });

  it('an alias can refuse them, but not a search of tools, which are all sent', () => {
    expect(() => parseFor('refuse', {})).toThrow(
      expect.objectContaining({
        code: 'unsupported_value',
        param: 'tools.1.type',
        message: "tools.1.type: 'web_search_20250305' is not supported with this model",
      }),
    );
    expect(parseFor('refuse', { tools: [tool, toolSearch] }).ignored).toEqual(['tools.1']);
  });

  it('an alias can pass them as they are, with the choice of one', () => {
    const { generation, ignored } = parseFor('pass', {});
    expect(generation).toMatchObject({ tools: [{ name: 'f' }], hostedTools: { tools: [search] }, toolChoice: 'auto' });
    expect(ignored).toEqual(['tools.2']);
    const choose = (tool_choice: object, tools: object[] = [tool, search]) =>
      parseFor('pass', { tools, tool_choice }).generation;
    const choice = { type: 'tool', name: 'web_search' };
    expect(choose(choice)).toMatchObject({ toolChoice: 'auto', hostedTools: { choice } });
    expect(choose({ type: 'any' }, [search])).toMatchObject({ tools: [], toolChoice: 'required' });
    expect(choose({ type: 'none' })).not.toHaveProperty('hostedTools');
    expect(choose({ type: 'tool', name: 'f' })).toMatchObject({ toolChoice: { name: 'f' } });
  });

  it('a target that is passed the request gets neither their fields nor those that are charged, unless the alias passes them', () => {
    const mcp_servers = [{ type: 'url', url: 'https://evil.test/mcp', name: 'm' }];
    const fields = {
      mcp_servers,
      container: { id: 'c' },
      speed: 'fast',
      inference_geo: 'us',
      models: null,
      brand_new: 1,
    };
    const dropped = parseFor('drop', { ...fields, fallbacks: [] }).generation.original;
    expect(Object.keys(dropped?.body ?? {}).sort()).toEqual(['brand_new', 'max_tokens', 'messages', 'model', 'tools']);
    expect(dropped?.ignored).toEqual(['tools.1', 'mcp_servers', 'container', 'speed', 'inference_geo']);
    const passed = parseFor('pass', fields).generation.original;
    expect(passed).toMatchObject({
      body: { mcp_servers, container: { id: 'c' } },
      ignored: ['speed', 'inference_geo'],
    });
    expect(passed?.body).not.toHaveProperty('speed');
  });
});

describe('thinking and output', () => {
  it.each([
    [{ thinking: { type: 'adaptive' }, output_config: { effort: 'low' } }, 'thinking'],
    [{ thinking: { type: 'enabled', budget_tokens: 2_048 } }, 'thinking'],
    [{ output_config: { effort: 'low' } }, 'output_config.effort'],
  ])('%j has its own name for targets that ignore it', (changes, name) => {
    expect(generationFor(changes).parameterNames['reasoningEffort']).toBe(name);
  });

  it.each([
    [{}, { reasoningSummary: true }],
    [{ thinking: { type: 'disabled' } }, { reasoningEffort: 'none' }],
    [{ thinking: { type: 'adaptive' } }, { reasoningEffort: 'high', reasoningSummary: true }],
    [
      { thinking: { type: 'adaptive', display: 'omitted' }, output_config: { effort: 'max' } },
      { reasoningEffort: 'max', reasoningSummary: false },
    ],
    [{ thinking: { type: 'enabled', budget_tokens: 3_000 } }, { reasoningEffort: 'medium', reasoningBudget: 3_000 }],
    [{ output_config: { effort: 'low' } }, { reasoningEffort: 'low' }],
  ])('%j means %j', (changes, expected) => {
    const { reasoningEffort, reasoningBudget, reasoningSummary } = generationFor(changes);
    expect({ reasoningEffort, reasoningBudget, reasoningSummary }).toMatchObject(expected);
  });

  it.each(['output_config', 'output_format'])('a JSON schema in %s is the output format', (name) => {
    const format = { type: 'json_schema', schema: { type: 'object' } };
    const changes = name === 'output_format' ? { output_format: format } : { output_config: { format } };
    expect(generationFor(changes).format).toMatchObject({
      type: 'jsonSchema',
      schema: { type: 'object' },
      strict: true,
    });
  });

  it('an output limit above the model’s is refused only if the alias says so', () => {
    expect(generationFor({ max_tokens: 32_000 }).maxOutputTokens).toBe(32_000);
    const strict = createTestRegistry({ outputLimit: 'refuse' });
    const send = () =>
      parseMessagesRequest({ ...BODY, max_tokens: 32_000 }, { registry: strict, tenant: TENANT, headers: {} });
    expect(send).toThrow(/^max_tokens: 32000 > 4096/);
  });

  it('a name that a pattern matches goes to its alias, and keeps its name in the answer', () => {
    const registry = createTestRegistry({}, { patterns: { 'claude-*': 'default' } });
    const body = { ...BODY, model: 'claude-sonnet-5' };
    const { model, generation } = parseMessagesRequest(body, { registry, tenant: TENANT, headers: {} });
    expect([model, generation.model]).toEqual(['claude-sonnet-5', 'default']);
  });

  it('sampling, stop sequences, tier and user are translated', () => {
    const fields = { temperature: 0.5, top_p: 0.9, top_k: 3, stop_sequences: ['END'], service_tier: 'standard_only' };
    expect(generationFor({ ...fields, metadata: { user_id: 'u' } })).toMatchObject({
      temperature: 0.5,
      topP: 0.9,
      topK: 3,
      stop: ['END'],
      serviceTier: 'default',
      hints: { user: 'u' },
    });
  });

  it('requests of a session have the same conversation key, whatever they contain', () => {
    const key = (content: string, user_id: string) =>
      generationFor({ messages: [{ role: 'user', content }], metadata: { user_id } }).conversationKey;
    expect(key('a', 'user_1_session_2')).toBe(key('b', 'user_1_session_2'));
    expect(key('a', 'user_1')).not.toBe(key('b', 'user_1'));
  });
});

describe('context_management', () => {
  const history = ['a', 'b', 'c', 'd'].flatMap((id) => [
    {
      role: 'assistant',
      content: [
        { type: 'thinking', thinking: `T${id}`, signature: 's' },
        use(id, id === 'a' ? 'keep' : 'f', { q: id }),
      ],
    },
    { role: 'user', content: [result(id, `Result ${id}`)] },
  ]);
  const messages = [{ role: 'user', content: 'Go' }, ...history];
  const edit = (more: object) => ({ edits: [{ type: 'clear_tool_uses_20250919', ...more }] });

  it('the results of old tool uses are removed above the trigger, and counted', () => {
    const trigger = { type: 'tool_uses', value: 2 };
    const { generation, appliedEdits } = parse({
      messages,
      context_management: edit({ trigger, keep: { type: 'tool_uses', value: 1 }, exclude_tools: ['keep'] }),
    });
    const results = generation.messages.flatMap((message) => (message.role === 'tool' ? [message.content] : []));
    expect(JSON.stringify(results)).toContain('Result a');
    expect(JSON.stringify(results)).not.toMatch(/Result [bc]/);
    expect(JSON.stringify(results)).toContain('Result d');
    expect(appliedEdits).toMatchObject([{ type: 'clear_tool_uses_20250919', cleared_tool_uses: 2 }]);
    // A target that speaks the protocol gets the same messages.
    expect(JSON.stringify(generation.original?.body['messages'])).not.toMatch(/Result [bc]/);
    expect(generation.original?.body).not.toHaveProperty('context_management');
  });

  it('inputs are removed, too, if the edit says so', () => {
    const trigger = { type: 'tool_uses', value: 0 };
    const keep = { type: 'tool_uses', value: 0 };
    const { generation } = parse({ messages, context_management: edit({ trigger, keep, clear_tool_inputs: ['f'] }) });
    const calls = JSON.stringify(generation.messages.filter(({ role }) => role === 'assistant'));
    expect(calls).toContain('{\\"q\\":\\"a\\"}');
    expect(calls).not.toContain('{\\"q\\":\\"b\\"}');
  });

  it.each([
    ['below the trigger', edit({})],
    [
      'if too little would be removed',
      edit({ trigger: { type: 'tool_uses', value: 0 }, clear_at_least: { type: 'input_tokens', value: 9_999 } }),
    ],
    ['if all thinking is kept', { edits: [{ type: 'clear_thinking_20251015', keep: 'all' }] }],
  ])('nothing is removed %s', (_, context_management) => {
    const { generation, appliedEdits } = parse({ messages, context_management });
    expect(JSON.stringify(generation.messages)).toContain('Result a');
    expect(JSON.stringify(generation.messages)).toContain('Ta');
    expect(appliedEdits).toEqual([]);
  });

  it('the thinking of earlier turns is removed', () => {
    const turns = [
      ...messages,
      { role: 'user', content: 'And?' },
      history[0] ?? {},
      { role: 'user', content: [result('a')] },
    ];
    const { generation, appliedEdits } = parse({
      messages: turns,
      context_management: { edits: [{ type: 'clear_thinking_20251015' }] },
    });
    const reasoning = generation.messages.map(
      ({ content }) => content.filter(({ type }) => type === 'reasoning').length,
    );
    expect(reasoning.filter((count) => count > 0)).toEqual([1]);
    expect(appliedEdits).toMatchObject([{ type: 'clear_thinking_20251015', cleared_thinking_turns: 1 }]);
  });

  it('a request without context_management reports nothing', () => {
    expect(parse().appliedEdits).toBeUndefined();
  });
});

it('all betas go to a target of the same protocol; for others, those that have no effect are named', () => {
  const names =
    'interleaved-thinking-2025-05-14, claude-code-20250219,new-thing-2027-01-01,,context-management-2025-06-27';
  const { generation, ignored } = parse({}, { 'anthropic-beta': names });
  expect(generation.original?.betas).toEqual([
    'interleaved-thinking-2025-05-14',
    'claude-code-20250219',
    'new-thing-2027-01-01',
    'context-management-2025-06-27',
  ]);
  expect(ignored).toEqual(['anthropic-beta.interleaved-thinking-2025-05-14', 'anthropic-beta.new-thing-2027-01-01']);
});

it.each([
  [{ max_tokens: undefined }, 'max_tokens: Field required', 'max_tokens'],
  [{ messages: [] }, 'messages: List should have at least 1 item after validation, not 0', 'messages'],
  [
    { messages: [{ role: 'tool', content: '' }] },
    "messages.0.role: Input should be 'user', 'assistant', 'system'",
    'messages.0.role',
  ],
  [
    { messages: [{ role: 'user', content: [] }, { role: 'system' }] },
    'messages: At least one message must have content',
    'messages',
  ],
  [{ stop_sequences: ['x', ''] }, 'stop_sequences.1: String should have at least 1 character', 'stop_sequences.1'],
  [{ temperature: 1.5 }, 'temperature: Input should be less than or equal to 1', 'temperature'],
  [
    { thinking: { type: 'enabled', budget_tokens: 10 } },
    'thinking.budget_tokens: Input should be greater than or equal to 1024',
    'thinking.budget_tokens',
  ],
  [
    { messages: [{ role: 'user', content: [result('x')] }] },
    'messages.0.content.0: unexpected `tool_use_id`',
    'messages.0.content.0',
  ],
  [
    {
      messages: [
        { role: 'user', content: 'a' },
        { role: 'assistant', content: [use('x')] },
        { role: 'user', content: 'b' },
      ],
    },
    'messages.1: `tool_use` ids were found without',
    'messages.1',
  ],
  [
    { messages: [{ role: 'assistant', content: [use('x'), use('x')] }] },
    'messages.0.content.1.id: `tool_use` ids must be unique',
    'messages.0.content.1.id',
  ],
  [{ tools: [{ name: 'f' }] }, 'tools.0.input_schema: Field required', 'tools.0.input_schema'],
  [
    {
      tools: [
        { name: 'f', input_schema: {} },
        { name: 'f', input_schema: {} },
      ],
    },
    'tools.1.name: Tool names must be unique',
    'tools.1.name',
  ],
  [
    { tool_choice: { type: 'tool', name: 'g' } },
    "tool_choice.name: Tool 'g' not found in provided tools",
    'tool_choice.name',
  ],
  [
    { messages: [{ role: 'user', content: [{ type: 'image', source: { type: 'url', url: 'https://evil.test/a' } }] }] },
    'messages.0.content.0.source.url: This service does not download images',
    'messages.0.content.0.source.url',
  ],
])('%j is refused with Anthropic’s wording', (changes, message, param) => {
  const error = catchRefusal(changes);
  expect(error.message.slice(0, message.length)).toBe(message);
  expect(error.param).toBe(param);
});

it.each([
  null,
  1,
  'x',
  [],
  {},
  { model: 1 },
  { ...BODY, messages: [null] },
  { ...BODY, system: 3 },
  { ...BODY, tools: [1] },
])('the body %j is refused, not an internal error', (body) => {
  expect(() => parseMessagesRequest(body, { registry, tenant: TENANT, headers: {} })).toThrow(LambentError);
});
