import { describe, expect, it } from 'vitest';
import { LambentError } from '../../../../shared/core/errors.ts';
import { parseChatRequest } from '../../../../shared/openai/chat/request.ts';
import { createTestRegistry, TENANT } from '../../api/service.ts';

const USER = { role: 'user', content: 'Hello' };
const TOOL = { type: 'function', function: { name: 'weather', parameters: { type: 'object' } } };
const CALL = { id: 'c1', type: 'function', function: { name: 'weather', arguments: '{}' } };
const PNG = 'iVBORw0KGgo=';

function parse(changes: object, registry = createTestRegistry()) {
  return parseChatRequest({ model: 'default', messages: [USER], ...changes }, { registry, tenant: TENANT });
}

function catchError(body: unknown, registry = createTestRegistry()): LambentError {
  try {
    parseChatRequest(body, { registry, tenant: TENANT });
  } catch (thrown) {
    if (thrown instanceof LambentError) return thrown;
    throw thrown;
  }
  throw new Error('Nothing was thrown');
}

describe('parseChatRequest', () => {
  it('a chat request with only a model and a message is accepted', () => {
    const { generation, streamed, includeUsage } = parse({});
    expect({ streamed, includeUsage }).toEqual({ streamed: false, includeUsage: false });
    expect(generation).toMatchObject({
      model: 'default',
      messages: [{ role: 'user', content: [{ type: 'text', text: 'Hello' }] }],
      tools: [],
      toolChoice: 'auto',
      parallelToolCalls: true,
      format: { type: 'text' },
      stop: [],
      hints: {},
      unknown: {},
    });
    for (const absent of ['maxOutputTokens', 'temperature', 'topLogprobs', 'seed'])
      expect(generation).not.toHaveProperty(absent);
  });

  it('null parameters of a chat request count as absent', () => {
    const nulls = Object.fromEntries(
      [
        'temperature',
        'top_p',
        'n',
        'stop',
        'tools',
        'tool_choice',
        'store',
        'stream',
        'stream_options',
        'metadata',
        'user',
        'audio',
        'functions',
        'web_search_options',
        'response_format',
        'seed',
        'max_tokens',
        'logit_bias',
        'service_tier',
        'reasoning_effort',
        'modalities',
      ].map((name) => [name, null]),
    );
    expect(parse(nulls).generation).toEqual(parse({}).generation);
  });

  it('every supported parameter of a chat request is translated', () => {
    const { generation } = parse({
      messages: [
        { role: 'developer', content: [{ type: 'text', text: 'Be brief.' }], name: 'boss' },
        {
          role: 'user',
          content: [
            { type: 'text', text: 'What is it?' },
            { type: 'image_url', image_url: { url: `data:image/png;base64,${PNG}`, detail: 'low' } },
          ],
        },
        { role: 'assistant', content: null, tool_calls: [CALL], reasoning_content: 'Hm.' },
        { role: 'tool', tool_call_id: 'c1', content: '21', name: 'weather' },
        { role: 'assistant', content: [{ type: 'refusal', refusal: 'No.' }] },
        USER,
      ],
      tools: [{ type: 'function', function: { name: 'weather', description: 'Tells it.', strict: true } }],
      tool_choice: { type: 'function', function: { name: 'weather' } },
      parallel_tool_calls: false,
      response_format: { type: 'json_schema', json_schema: { name: 'out', schema: { type: 'object' }, strict: true } },
      max_completion_tokens: 100,
      temperature: 0,
      top_p: 0.9,
      stop: 'END',
      seed: 7,
      frequency_penalty: -1,
      presence_penalty: 1,
      logit_bias: { '50256': -100 },
      logprobs: true,
      top_logprobs: 3,
      reasoning_effort: 'high',
      verbosity: 'low',
      service_tier: 'flex',
      user: 'u',
      safety_identifier: 's',
      prompt_cache_key: 'k',
      metadata: { constructor: 'kept' },
      prediction: { type: 'content', content: 'x' },
      store: false,
      n: 1,
      modalities: ['text'],
    });
    expect(generation).toMatchObject({
      messages: [
        { role: 'system', content: [{ type: 'text', text: 'Be brief.' }], name: 'boss' },
        {
          role: 'user',
          content: [
            { type: 'text', text: 'What is it?' },
            {
              type: 'image',
              mediaType: 'image/png',
              base64: PNG,
              detail: 'low',
              param: 'messages[1].content[1].image_url.url',
            },
          ],
        },
        {
          role: 'assistant',
          content: [
            { type: 'reasoning', text: 'Hm.' },
            { type: 'toolCall', id: 'c1', name: 'weather', arguments: '{}' },
          ],
        },
        { role: 'tool', toolCallId: 'c1', content: [{ type: 'text', text: '21' }] },
        { role: 'assistant', content: [{ type: 'refusal', text: 'No.' }] },
        { role: 'user' },
      ],
      tools: [
        { name: 'weather', description: 'Tells it.', parameters: { type: 'object', properties: {} }, strict: true },
      ],
      toolChoice: { name: 'weather' },
      parallelToolCalls: false,
      format: { type: 'jsonSchema', name: 'out', schema: { type: 'object' }, strict: true },
      maxOutputTokens: 100,
      temperature: 0,
      topP: 0.9,
      stop: ['END'],
      seed: 7,
      frequencyPenalty: -1,
      presencePenalty: 1,
      logitBias: { '50256': -100 },
      topLogprobs: 3,
      reasoningEffort: 'high',
      verbosity: 'low',
      serviceTier: 'flex',
      hints: { user: 'u', safetyIdentifier: 's', promptCacheKey: 'k', metadata: { constructor: 'kept' } },
    });
  });

  it('cache marks of parts, messages and tools are translated, and other values have no effect', () => {
    const mark = { type: 'ephemeral', ttl: '1h' };
    const part = (value: object) => ({ type: 'text', text: 'A', ...value });
    const { generation, ignored } = parse({
      tools: [{ ...TOOL, cache_control: mark }],
      messages: [
        { role: 'system', content: [part({ prompt_cache_breakpoint: { mode: 'explicit', ttl: '12h' } })] },
        { role: 'user', content: 'A', cache_control: { type: 'ephemeral' } },
        { role: 'assistant', content: [part({ cache_control: 'x' })], tool_calls: [CALL] },
        { role: 'tool', tool_call_id: CALL.id, content: [part({ cache_control: { type: 'ephemeral', ttl: 7 } })] },
        { role: 'user', content: [part({ prompt_cache_breakpoint: { mode: 'explicit' } }), part({})] },
      ],
    });
    const marks = generation.messages.map(({ content }) => content.map((each) => 'cache' in each && each.cache));
    expect(marks).toEqual([[{ ttl: '1h' }], [{}], [false, false], [{}], [{}, false]]);
    expect(generation.tools[0]?.cache).toEqual({ ttl: '1h' });
    expect(ignored).toEqual([]);
  });

  it('a session of the client names the conversation, unless the request has a key', () => {
    const body = { model: 'default', messages: [{ role: 'user', content: 'A' }] };
    const context = { registry: createTestRegistry(), tenant: TENANT, session: 'ses_1' };
    const { generation } = parseChatRequest(body, context);
    expect(generation).toMatchObject({ inSession: true, conversationKey: expect.stringContaining('ses_1') });
    const keyed = parseChatRequest({ ...body, prompt_cache_key: 'k' }, context).generation;
    expect(keyed).toMatchObject({ inSession: true, conversationKey: expect.not.stringContaining('ses_1') });
    expect(parseChatRequest(body, { ...context, session: undefined }).generation).not.toHaveProperty('inSession');
  });

  it('tools of a chat request that are not in allowed_tools are removed', () => {
    const other = { type: 'function', function: { name: 'time' } };
    const { generation } = parse({
      tools: [TOOL, other],
      tool_choice: {
        type: 'allowed_tools',
        allowed_tools: { mode: 'required', tools: [{ type: 'function', function: { name: 'time' } }] },
      },
    });
    expect(generation.tools.map(({ name }) => name)).toEqual(['time']);
    expect(generation.toolChoice).toBe('required');
  });

  it('a chat request’s output limit keeps the name that the caller used', () => {
    expect(parse({ max_tokens: 5 }).generation).toMatchObject({
      maxOutputTokens: 5,
      parameterNames: { maxOutputTokens: 'max_tokens' },
    });
    expect(parse({ max_tokens: 5, max_completion_tokens: 5 }).generation.parameterNames).toMatchObject({
      maxOutputTokens: 'max_completion_tokens',
    });
  });

  it('an alias with passUnknown keeps unknown top-level fields and ignores unknown nested fields', () => {
    const registry = createTestRegistry({ passUnknown: true });
    expect(parse({ top_k: 40, __proto__x: 1 }, registry)).toMatchObject({
      generation: { unknown: { top_k: 40, __proto__x: 1 } },
      ignored: [],
    });
    expect(parse({ messages: [{ ...USER, mood: 'good' }] }, registry).ignored).toEqual(['messages[].mood']);
    expect(catchError({ model: 'default', messages: [USER], functions: [] }, registry)).toMatchObject({
      code: 'unsupported_parameter',
    });
  });

  it.each([
    ...['best_of', 'n_cmpl', 'min_tokens', 'ignore_eos', 'maxOutputTokens', 'max-new-tokens', 'lora', 'lora_path'],
    ...[
      'guardrailConfig',
      'search_parameters',
      'enable_search',
      'mcp_servers',
      'preset',
      'input_ids',
      'chat_template',
      'stop_regex',
      'echo',
    ],
  ])('the field %s, without which the answer would be another one, is refused even with passUnknown', (field) => {
    for (const passUnknown of [true, false]) {
      const registry = createTestRegistry({ passUnknown });
      const refused = { code: 'unknown_parameter', param: field };
      expect(catchError({ model: 'default', messages: [USER], [field]: 2 }, registry)).toMatchObject(refused);
    }
  });

  it.each(['guided_json', 'grammar', 'stop_token_ids', 'response_schema'])(
    'the field %s, which sets the form of the answer, is passed with passUnknown and refused without',
    (field) => {
      expect(parse({ [field]: 'x' }, createTestRegistry({ passUnknown: true })).generation.unknown).toEqual({
        [field]: 'x',
      });
      const refused = { code: 'unknown_parameter', param: field };
      expect(catchError({ model: 'default', messages: [USER], [field]: 'x' })).toMatchObject(refused);
    },
  );

  it.each([
    ...['api_base', 'cache_salt', 'priority', 'provider', 'timeout', 'extra_key', 'request_id', 'session_id'],
    ...['keep_alive', 'speculative.n_max', 'aws_sts_endpoint', 'vertex_credentials', 'litellm_metadata'],
  ])('no upstream gets the field %s, which is ignored', (field) => {
    for (const passUnknown of [true, false]) {
      const { generation, ignored } = parse({ [field]: 'x' }, createTestRegistry({ passUnknown }));
      expect({ unknown: generation.unknown, ignored }).toEqual({ unknown: {}, ignored: [field] });
    }
  });

  it('an output limit above that of the model is accepted, unless the alias refuses it', () => {
    expect(parse({ max_tokens: 5_000 }).generation.maxOutputTokens).toBe(5_000);
    const refused = { model: 'default', messages: [USER], max_tokens: 5_000 };
    expect(catchError(refused, createTestRegistry({ outputLimit: 'refuse' }))).toMatchObject({
      code: 'invalid_value',
      param: 'max_tokens',
      message:
        'max_tokens is too large: 5000. This model supports at most 4096 completion tokens, whereas you provided 5000.',
    });
  });

  it('the tiers of OpenAI that Lambent does not have become those that serve them', () => {
    const tiers = ['fast', 'scale', 'priority', 'auto'].map(
      (service_tier) => parse({ service_tier }).generation.serviceTier,
    );
    expect(tiers).toEqual(['priority', 'default', 'priority', 'auto']);
  });

  it.each(['functions.get_weather', 'wetter in köln?', 'x'.repeat(100), ''])(
    'the name %j of a tool call, which a model may have invented, goes back with its arguments',
    (name) => {
      const call = { id: 'functions.get_weather:0', type: 'function', function: { name, arguments: '{"cut": "of' } };
      const { generation } = parse({
        messages: [
          USER,
          { role: 'assistant', content: null, tool_calls: [call] },
          { role: 'tool', tool_call_id: call.id, content: 'There is no such tool.' },
        ],
      });
      expect(generation.messages[1]?.content).toEqual([
        { type: 'toolCall', id: call.id, name, arguments: '{"cut": "of' },
      ]);
    },
  );

  it('an unknown field that asks for nothing is never refused', () => {
    const nothing = { best_of: 1, use_beam_search: false, guided_json: null, lora: '', min_tokens: 0, documents: [] };
    expect(parse(nothing).generation).toEqual(parse({}).generation);
  });

  it('parameters that change no answer are accepted and named', () => {
    const { generation, ignored } = parse({
      audio: { voice: 'alloy', format: 'mp3' },
      functions: [{ name: 'f', parameters: {} }],
      function_call: 'none',
    });
    expect(ignored).toEqual(['audio', 'functions']);
    expect(generation).toEqual(parse({}).generation);
  });

  it('a web search is dropped, refused or passed, as the alias treats hosted tools', () => {
    const search = { web_search_options: { search_context_size: 'low' } };
    const dropped = parse(search);
    expect(dropped.ignored).toEqual(['web_search_options']);
    expect(dropped.generation).not.toHaveProperty('hostedTools');
    const passed = parse(search, createTestRegistry({ hostedTools: 'pass' }));
    expect(passed.ignored).toEqual([]);
    expect(passed.generation.hostedTools).toEqual({ tools: [], webSearch: search.web_search_options });
    const body = { model: 'default', messages: [USER], ...search };
    const refusal = catchError(body, createTestRegistry({ hostedTools: 'refuse' }));
    expect(refusal).toMatchObject({ code: 'unsupported_value', param: 'web_search_options' });
  });

  it('unknown fields are ignored and named once, and those that are null count as absent', () => {
    const call = { id: 'c1', type: 'function', index: 0, function: { name: 'weather', arguments: '{}' } };
    const { generation, ignored } = parse({
      top_k: 4,
      async_: null,
      stream: true,
      stream_options: { include_all: true },
      tools: [{ ...TOOL, cached: true }],
      messages: [
        { ...USER, mood: 'good', metadata: null },
        {
          role: 'assistant',
          content: [
            { type: 'text', text: 'Let me look.', role: 'assistant', reasoning_content: 'Hm.', tool_calls: null },
          ],
          tool_calls: [call, { ...call, id: 'c2', index: 1 }],
        },
        { role: 'tool', tool_call_id: 'c1', content: 'Sunny' },
        { role: 'tool', tool_call_id: 'c2', content: 'Sunny' },
      ],
    });
    expect([...ignored].sort()).toEqual([
      'messages[].content[].reasoning_content',
      'messages[].content[].role',
      'messages[].mood',
      'messages[].tool_calls[].index',
      'stream_options.include_all',
      'tools[].cached',
      'top_k',
    ]);
    expect(generation.messages[1]?.content).toHaveLength(3);
  });

  it.each([
    { reasoning_content: 'Hm.' },
    { reasoning: 'Hm.' },
    { reasoning_content: null, reasoning: 'Hm.', reasoning_details: [{ type: 'reasoning.text', text: 'Hm.' }] },
    { reasoning_details: [{ type: 'reasoning.text', text: 'H' }, { type: 'reasoning.summary', summary: 'm.' }, null] },
  ])('an assistant message has its reasoning from %j', (fields) => {
    const { generation } = parse({ messages: [USER, { role: 'assistant', content: 'Hi', ...fields }, USER] });
    const details = Object(fields).reasoning_details?.slice(0, 2);
    expect(generation.messages[1]?.content).toEqual([
      { type: 'reasoning', text: 'Hm.', ...(details && { details }) },
      { type: 'text', text: 'Hi' },
    ]);
  });

  it('requests share a conversation key if and only if they have the same tenant and conversation', () => {
    const deriveKey = (messages: object[], more: object = {}, tenant = TENANT) =>
      parseChatRequest({ model: 'default', messages, ...more }, { registry: createTestRegistry(), tenant }).generation
        .conversationKey;
    const start = [{ role: 'system', content: 'S' }, USER];
    const later = [...start, { role: 'assistant', content: 'Hi' }, { role: 'user', content: 'More' }];
    expect(deriveKey(later)).toBe(deriveKey(start));
    expect(deriveKey([USER])).not.toBe(deriveKey(start));
    expect(deriveKey(start, {}, 'other')).not.toBe(deriveKey(start));
    expect(deriveKey(start, { prompt_cache_key: 'k' })).toBe(deriveKey([USER], { prompt_cache_key: 'k' }));
    expect(deriveKey([{ role: 'user', content: 'x'.repeat(5_000_000) }]).length).toBeLessThan(3_000);
  });

  const createImageRequest = (url: string) => ({
    model: 'default',
    messages: [{ role: 'user', content: [{ type: 'image_url', image_url: { url } }] }],
  });
  it('image URLs are accepted only for hosts that the operator allows', () => {
    const registry = createTestRegistry({}, { imageHosts: ['cdn.example.com', '*.example.org'] });
    for (const url of ['https://cdn.example.com/a.png', 'https://a.b.example.org/a.png']) {
      expect(
        parseChatRequest(createImageRequest(url), { registry, tenant: TENANT }).generation.messages[0]?.content,
      ).toEqual([{ type: 'image', url, param: 'messages[0].content[0].image_url.url' }]);
    }
    for (const url of [
      'http://cdn.example.com/a.png',
      'https://example.org/a.png',
      'https://cdn.example.com.evil.net/a.png',
      'https://evil.net/?cdn.example.com',
      'https://user:pass@cdn.example.com/a.png',
      'https://cdn.example.com:8443/a.png',
      'https://evil.net\\@cdn.example.com/',
      'https://cdn.example.com\\@169.254.169.254/a.png',
      'https://cdn.example.com\\a.png',
      'https:cdn.example.com/a.png',
      'https:\\\\cdn.example.com/a.png',
      // The host is another one in the text, which a target may get as it is.
      'https:///cdn.example.com/a.png',
      'https://@cdn.example.com/a.png',
      'https://\uff43dn.example.com/a.png',
      'ht\ttps://cdn.example.com/a.png',
      ' https://cdn.example.com/a.png',
      'https://cdn.example.com/a.png\n',
      'https://cdn.example.com/a\u0000.png',
      'file:///etc/passwd',
      'ftp://cdn.example.com/a.png',
      'https://169.254.169.254/latest/meta-data',
      'nonsense',
      '',
    ]) {
      expect(catchError(createImageRequest(url), registry), url).toMatchObject({
        code: 'invalid_value',
        param: 'messages[0].content[0].image_url.url',
      });
    }
  });

  it('an image URL is sent to the provider in its normalized form', () => {
    const registry = createTestRegistry({}, { imageHosts: ['cdn.example.com'] });
    for (const [url, normalized] of [
      ['https://CDN.example.com:443/a/../b.png', 'https://cdn.example.com/b.png'],
      ['https://cdn.example.com/\u00e4.png', 'https://cdn.example.com/%C3%A4.png'],
    ] as const) {
      const [part] =
        parseChatRequest(createImageRequest(url), { registry, tenant: TENANT }).generation.messages[0]?.content ?? [];
      expect(part, url).toMatchObject({ url: normalized });
    }
  });

  it('images are accepted as data URLs of supported types only', () => {
    const image = (url: string) => parse(createImageRequest(url)).generation.messages[0]?.content[0];
    expect(image(`data:image/jpg;base64,${PNG}`)).toMatchObject({ mediaType: 'image/jpeg' });
    expect(image(`data:image/webp;base64,${PNG}`)).toMatchObject({ mediaType: 'image/webp', base64: PNG });
    for (const url of [
      `data:image/svg+xml;base64,${PNG}`,
      'data:image/png;base64,',
      'data:image/png;base64,not base64',
      'data:image/png;base64,AAA',
      'data:image/png,AAAA',
      'data:text/html;base64,AAAA',
    ]) {
      expect(catchError(createImageRequest(url)), url).toMatchObject({
        code: 'invalid_value',
        param: 'messages[0].content[0].image_url.url',
      });
    }
  });

  const user = (content: unknown) => ({ messages: [{ role: 'user', content }] });
  const faults: [fault: string, changes: object, code: string, param: string | undefined, message: string | RegExp][] =
    [
      [
        'no messages',
        { messages: undefined },
        'missing_required_parameter',
        'messages',
        "Missing required parameter: 'messages'.",
      ],
      [
        'null for messages',
        { messages: null },
        'invalid_type',
        'messages',
        "Invalid type for 'messages': expected an array of objects, but got null instead.",
      ],
      ['an empty array of messages', { messages: [] }, 'invalid_value', 'messages', /empty array/],
      [
        'a number for content',
        user(7),
        'invalid_type',
        'messages[0].content',
        "Invalid type for 'messages[0].content': expected one of a string or array of objects, but got an integer instead.",
      ],
      [
        'a message that is a string',
        { messages: ['Hello'] },
        'invalid_type',
        'messages[0]',
        "Invalid type for 'messages[0]': expected an object, but got a string instead.",
      ],
      [
        'a message that is an array',
        { messages: [[]] },
        'invalid_type',
        'messages[0]',
        "Invalid type for 'messages[0]': expected an object, but got an array instead.",
      ],
      [
        'no role',
        { messages: [{ content: 'x' }] },
        'missing_required_parameter',
        'messages[0].role',
        "Missing required parameter: 'messages[0].role'.",
      ],
      [
        'an unknown role',
        { messages: [{ role: 'robot' }] },
        'invalid_value',
        'messages[0].role',
        "Invalid value: 'robot'. Supported values are: 'system', 'developer', 'user', 'assistant', and 'tool'.",
      ],
      [
        'the deprecated role function',
        { messages: [{ role: 'function', content: 'x', name: 'y' }] },
        'unsupported_value',
        'messages[0].role',
        /does not support 'function' here/,
      ],
      ['no content', { messages: [{ role: 'user' }] }, 'missing_required_parameter', 'messages[0].content', /Missing/],
      [
        'an audio content part',
        user([{ type: 'input_audio', input_audio: { data: '', format: 'wav' } }]),
        'unsupported_value',
        'messages[0].content[0].type',
        "Unsupported value: 'messages[0].content[0].type' does not support 'input_audio' here. Supported values are: 'text', 'image_url', and 'file'.",
      ],
      [
        'an unknown content part',
        user([{ type: 'hologram' }]),
        'invalid_value',
        'messages[0].content[0].type',
        /Invalid value: 'hologram'/,
      ],
      [
        'an image in a system message',
        { messages: [{ role: 'system', content: [{ type: 'image_url', image_url: { url: 'x' } }] }] },
        'invalid_value',
        'messages[0].content[0].type',
        /Supported values are: 'text'\./,
      ],
      ['an unknown parameter', { grammar: 'x' }, 'unknown_parameter', 'grammar', "Unknown parameter: 'grammar'."],
      [
        'an output limit of responses',
        { max_output_tokens: 9 },
        'unknown_parameter',
        'max_output_tokens',
        "Unknown parameter: 'max_output_tokens'. Use 'max_completion_tokens' instead.",
      ],
      [
        'a string for a number',
        { temperature: 'warm' },
        'invalid_type',
        'temperature',
        "Invalid type for 'temperature': expected a decimal, but got a string instead.",
      ],
      [
        'a temperature above 2',
        { temperature: 2.1 },
        'invalid_value',
        'temperature',
        "Invalid 'temperature': decimal above maximum value. Expected a value <= 2, but got 2.1 instead.",
      ],
      [
        'a fractional seed',
        { seed: 1.5 },
        'invalid_type',
        'seed',
        "Invalid type for 'seed': expected an integer, but got a decimal instead.",
      ],
      [
        'a seed above the safe integer range',
        { seed: 2 ** 60 },
        'invalid_value',
        'seed',
        /integer above maximum value/,
      ],
      ['an output limit of 0', { max_tokens: 0 }, 'invalid_value', 'max_tokens', /integer below minimum value/],
      [
        'two different output limits',
        { max_tokens: 5, max_completion_tokens: 6 },
        'invalid_value',
        'max_tokens',
        /different values/,
      ],
      [
        'an unknown reasoning effort',
        { reasoning_effort: 'heroic' },
        'invalid_value',
        'reasoning_effort',
        /^Invalid value: 'heroic'. Supported values are: 'none', 'minimal', /,
      ],
      [
        'a number for the reasoning effort',
        { reasoning_effort: 3 },
        'invalid_type',
        'reasoning_effort',
        /expected a string, but got an integer/,
      ],
      [
        'five stop sequences',
        { stop: ['a', 'b', 'c', 'd', 'e'] },
        'invalid_value',
        'stop',
        "Invalid 'stop': array too long. Expected an array with maximum length 4, but got an array with length 5 instead.",
      ],
      ['an empty stop sequence', { stop: [''] }, 'invalid_value', 'stop[0]', /empty string/],
      [
        'an object for stop',
        { stop: {} },
        'invalid_type',
        'stop',
        /expected one of a string or array of strings, but got an object/,
      ],
      ['n above 1', { n: 2 }, 'unsupported_value', 'n', /supports only 1/],
      [
        'audio as a modality',
        { modalities: ['text', 'audio'] },
        'unsupported_value',
        'modalities',
        /supports only \['text'\]/,
      ],
      [
        'the deprecated parameter functions',
        { functions: [] },
        'unsupported_parameter',
        'functions',
        "Unsupported parameter: 'functions' is not supported. Use 'tools' instead.",
      ],
      [
        'the deprecated parameter function_call',
        { function_call: 'auto' },
        'unsupported_value',
        'function_call',
        /Use 'tool_choice' instead/,
      ],
      [
        'a tier of another API',
        { service_tier: 'ultrafast' },
        'invalid_value',
        'service_tier',
        /^Invalid value: 'ultrafast'/,
      ],
      [
        'top_logprobs without logprobs',
        { top_logprobs: 2 },
        'invalid_value',
        'top_logprobs',
        /only allowed when 'logprobs' is enabled/,
      ],
      [
        'stream options without a stream',
        { stream_options: {} },
        'invalid_value',
        'stream_options',
        /only allowed when 'stream' is enabled/,
      ],
      [
        '17 metadata pairs',
        { metadata: Object.fromEntries(Array.from({ length: 17 }, (_, i) => [`k${i}`, ''])) },
        'invalid_value',
        'metadata',
        /at most 16 properties/,
      ],
      [
        'a metadata value that is too long',
        { metadata: { k: 'x'.repeat(513) } },
        'invalid_value',
        'metadata.k',
        /maximum length 512/,
      ],
      ['a logit bias above 100', { logit_bias: { '1': 101 } }, 'invalid_value', 'logit_bias.1', /-100 to 100/],
      [
        'the id of a file',
        { messages: [{ role: 'user', content: [{ type: 'file', file: { file_id: 'file_1' } }] }] },
        'unsupported_parameter',
        'messages[0].content[0].file.file_id',
        /Use 'file_data'/,
      ],
      [
        'a space in a function name',
        { tools: [{ type: 'function', function: { name: 'a b' } }] },
        'invalid_value',
        'tools[0].function.name',
        "Invalid 'tools[0].function.name': string does not match pattern. Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'.",
      ],
      [
        'two tools with the same name',
        { tools: [TOOL, TOOL] },
        'invalid_value',
        'tools[1]',
        /another function is already named 'weather'/,
      ],
      ['129 tools', { tools: Array.from({ length: 129 }, () => TOOL) }, 'invalid_value', 'tools', /maximum length 128/],
      [
        'a tool choice but no tools',
        { tool_choice: 'required' },
        'invalid_value',
        'tool_choice',
        /only allowed when 'tools' are specified/,
      ],
      [
        'a tool choice that names a missing tool',
        { tools: [TOOL], tool_choice: { type: 'function', function: { name: 'time' } } },
        'invalid_value',
        'tool_choice',
        /no function named 'time'/,
      ],
      [
        'an array for a function’s parameters',
        { tools: [{ type: 'function', function: { name: 'a', parameters: [] } }] },
        'invalid_type',
        'tools[0].function.parameters',
        /expected an object, but got an array/,
      ],
      [
        'a JSON schema format without a schema',
        { response_format: { type: 'json_schema', json_schema: { name: 'x' } } },
        'missing_required_parameter',
        'response_format.json_schema.schema',
        /Missing/,
      ],
      [
        'an empty assistant message',
        { messages: [USER, { role: 'assistant', content: null }] },
        'invalid_value',
        'messages[1].content',
        /must have content, a refusal or tool calls/,
      ],
      [
        'a tool message without a tool call',
        { messages: [{ role: 'tool', tool_call_id: 'c1', content: '' }] },
        'invalid_value',
        'messages[0].role',
        /must be a response to a preceding message with 'tool_calls'/,
      ],
      [
        'a tool call without a tool message',
        { messages: [{ role: 'assistant', tool_calls: [CALL] }, USER] },
        'invalid_value',
        'messages[0]',
        "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. The following tool_call_ids did not have response messages: c1",
      ],
      [
        'a tool call in the last message',
        { messages: [USER, { role: 'assistant', tool_calls: [CALL] }] },
        'invalid_value',
        'messages[1]',
        /did not have response messages: c1/,
      ],
      [
        'two tool calls with the same id',
        { messages: [{ role: 'assistant', tool_calls: [CALL, CALL] }] },
        'invalid_value',
        'messages[0].tool_calls[1].id',
        /same id/,
      ],
      [
        'two tool messages for one tool call',
        {
          messages: [
            { role: 'assistant', tool_calls: [CALL] },
            { role: 'tool', tool_call_id: 'c1', content: '' },
            { role: 'tool', tool_call_id: 'c1', content: '' },
          ],
        },
        'invalid_value',
        'messages[2].role',
        /preceding message/,
      ],
    ];
  it.each(faults)('a chat request with %s is rejected', (_, changes, code, param, message) => {
    const error = catchError({ model: 'default', messages: [USER], ...changes });
    expect({ code: error.code, param: error.param }).toEqual({ code, param });
    if (typeof message === 'string') expect(error.message).toBe(message);
    else expect(error.message).toMatch(message);
  });

  it('a chat request without a body or a known model is rejected', () => {
    expect(catchError(undefined)).toMatchObject({
      code: 'invalid_type',
      message: 'Invalid type for the request body: expected an object, but got nothing instead.',
    });
    expect(catchError([])).toMatchObject({ code: 'invalid_type', param: undefined });
    expect(catchError({})).toMatchObject({ code: 'missing_required_parameter', param: 'model' });
    expect(catchError({ model: 4 })).toMatchObject({ code: 'invalid_type', param: 'model' });
    for (const model of ['unknown', 'constructor', '__proto__', 'x'.repeat(100_000)]) {
      const error = catchError({ model });
      expect(error).toMatchObject({ code: 'model_not_found', param: 'model' });
      expect(error.message.length).toBeLessThan(300);
    }
  });

  it('an error message quotes only a part of a long value', () => {
    const long = 'x'.repeat(1_000_000);
    for (const body of [
      { [`n_${'_'.repeat(1_000_000)}`]: 2 },
      { reasoning_effort: long },
      { messages: [{ role: long }] },
      { tool_choice: long },
    ]) {
      expect(catchError({ model: 'default', messages: [USER], ...body }).message.length).toBeLessThan(600);
    }
  });
});
