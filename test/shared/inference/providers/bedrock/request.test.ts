import { describe, expect, it } from 'vitest';
import type { GenerationRequest, Message, Tool, ToolCallPart } from '../../../../../shared/inference/generation.ts';
import { CLAUDE, startUpstreamForTests, type Upstream } from './upstream.ts';

const OPUS_4_7 = 'eu.anthropic.claude-opus-4-7';
const OPUS_5 = 'global.anthropic.claude-opus-5';
const NOVA_2 = 'global.amazon.nova-2-lite-v1:0';
const GPT_OSS = 'openai.gpt-oss-120b-1:0';
const QWEN = 'qwen.qwen3-32b-v1:0';
const LLAMA = 'us.meta.llama4-scout-17b-instruct-v1:0';
const PNG = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==';

const upstream = await startUpstreamForTests();

const sendRequest = (...request: Parameters<Upstream['send']>) => upstream.send(...request);
const catchRefusal = (...request: Parameters<Upstream['catchRefusal']>) => upstream.catchRefusal(...request);

const createMessage = (role: 'system' | 'user' | 'assistant', text: string): Message => ({
  role,
  content: [{ type: 'text', text }],
});
const createCalls = (...parts: readonly Partial<ToolCallPart>[]): Message => ({
  role: 'assistant',
  content: parts.map((part) => ({ type: 'toolCall', id: 'call_1', name: 'weather', arguments: '{}', ...part })),
});
const createResult = (toolCallId: string, text: string): Message => ({
  role: 'tool',
  toolCallId,
  content: [{ type: 'text', text }],
});
const weather: Tool = {
  name: 'weather',
  description: 'Tells the weather',
  parameters: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
  strict: false,
};
const roundTrip: readonly Message[] = [
  createMessage('user', 'Weather?'),
  createCalls({}),
  createResult('call_1', 'Sun'),
];

describe('messages', () => {
  it('messages keep their order, and the system prompt goes to the front', async () => {
    const body = await sendRequest({
      messages: [
        createMessage('system', 'Be brief.'),
        createMessage('user', 'Hi'),
        createMessage('assistant', 'Yes?'),
        createMessage('system', 'Be kind.'),
        createMessage('user', 'Go'),
      ],
    });
    expect(body.system).toEqual([{ text: 'Be brief.' }, { text: 'Be kind.' }]);
    expect(body.messages).toEqual([
      { role: 'user', content: [{ text: 'Hi' }] },
      { role: 'assistant', content: [{ text: 'Yes?' }] },
      { role: 'user', content: [{ text: 'Go' }] },
    ]);
  });

  it('consecutive messages of one role become one turn', async () => {
    const body = await sendRequest({ messages: [createMessage('user', 'One'), createMessage('user', 'Two')] });
    expect(body.messages).toEqual([{ role: 'user', content: [{ text: 'One' }, { text: 'Two' }] }]);
  });

  it('results of parallel calls and the next user message share one turn, in order', async () => {
    const body = await sendRequest({
      tools: [weather],
      messages: [
        createMessage('user', 'Weather?'),
        createCalls({ id: 'a', arguments: '{"city":"Rome"}' }, { id: 'b', arguments: '{"city":"Oslo"}' }),
        createResult('a', 'Sun'),
        createResult('b', 'Snow'),
        createMessage('user', 'And tomorrow?'),
      ],
    });
    expect(body.messages.slice(1)).toEqual([
      {
        role: 'assistant',
        content: [
          { toolUse: { toolUseId: 'a', name: 'weather', input: { city: 'Rome' } } },
          { toolUse: { toolUseId: 'b', name: 'weather', input: { city: 'Oslo' } } },
        ],
      },
      {
        role: 'user',
        content: [
          { toolResult: { toolUseId: 'a', content: [{ text: 'Sun' }] } },
          { toolResult: { toolUseId: 'b', content: [{ text: 'Snow' }] } },
          { text: 'And tomorrow?' },
        ],
      },
    ]);
  });

  it('only blank parts of messages, which Bedrock refuses, are dropped', async () => {
    const body = await sendRequest({
      messages: [
        createMessage('system', ' '),
        createMessage('user', 'One'),
        createMessage('assistant', ''),
        {
          role: 'user',
          content: [
            { type: 'text', text: '\n' },
            { type: 'text', text: ' Two ' },
          ],
        },
      ],
    });
    expect(body.system).toBeUndefined();
    expect(body.messages).toEqual([{ role: 'user', content: [{ text: 'One' }, { text: ' Two ' }] }]);
  });

  it('a conversation that begins with an assistant message gets a user message at the front', async () => {
    const body = await sendRequest({
      messages: [createMessage('assistant', 'How can I help?'), createMessage('user', 'Hi')],
    });
    expect(body.messages.map(({ role }) => role)).toEqual(['user', 'assistant', 'user']);
  });

  it('a conversation with only system messages gets a user message at the front', async () => {
    expect((await sendRequest({ messages: [createMessage('system', 'Tell a joke.')] })).messages).toHaveLength(1);
  });

  it('a blank last user message is refused, and the error names its position', async () => {
    const error = await catchRefusal({
      messages: [createMessage('user', 'Hi'), createMessage('assistant', 'Hello'), createMessage('user', ' ')],
      parameterNames: { messages: 'input' },
    });
    expect(error).toMatchObject({ code: 'invalid_value', param: 'input[2]', recovery: 'nextTarget' });
    expect(upstream.calls).toHaveLength(0);
  });

  it('images are sent as bytes, also in tool results', async () => {
    const image = { type: 'image', mediaType: 'image/png', base64: PNG, param: 'messages[0].content[1]' } as const;
    const block = { image: { format: 'png', source: { bytes: PNG } } };
    const body = await sendRequest({
      tools: [weather],
      messages: [
        { role: 'user', content: [{ type: 'text', text: 'Look' }, image] },
        createCalls({}),
        { role: 'tool', toolCallId: 'call_1', content: [image] },
      ],
    });
    expect(body.messages[0]?.content).toEqual([{ text: 'Look' }, block]);
    expect(body.messages[2]?.content).toEqual([{ toolResult: { toolUseId: 'call_1', content: [block] } }]);
  });

  it.each(['not base64!', 'abc%', '', '====', 'aGk=aGk='])(
    'an image that is not base64 is refused: "%s"',
    async (base64) => {
      const image = { type: 'image', mediaType: 'image/png', base64, param: 'messages[0].content[0]' } as const;
      const error = await catchRefusal({ messages: [{ role: 'user', content: [image] }] });
      expect(error).toMatchObject({ code: 'invalid_value', param: 'messages[0].content[0]' });
    },
  );

  it('an image by URL is refused', async () => {
    const image = { type: 'image', url: 'https://example.com/a.png', param: 'messages[0].content[0]' } as const;
    const error = await catchRefusal({ messages: [{ role: 'user', content: [image] }] });
    expect(error).toMatchObject({ code: 'invalid_value', param: 'messages[0].content[0]' });
  });
});

describe('an earlier tool call', () => {
  it.each(['{"city":', '[1]', '"text"', 'null'])(
    'the arguments %s of an earlier tool call, which are no object, are put into one',
    async (text) => {
      const body = await sendRequest({
        tools: [weather],
        messages: [createMessage('user', 'Hi'), createCalls({ arguments: text }), createResult('call_1', 'x')],
      });
      expect(body.messages[1]?.content[0]?.toolUse?.input).toEqual({ invalid_arguments: text });
    },
  );

  it('an earlier tool call without arguments gets an empty object', async () => {
    const body = await sendRequest({
      tools: [weather],
      messages: [createMessage('user', 'Hi'), createCalls({ arguments: '' }), createResult('call_1', 'x')],
    });
    expect(body.messages[1]?.content[0]?.toolUse?.input).toEqual({});
  });

  it('the arguments of an earlier tool call keep integers that JavaScript would round', async () => {
    const messages = [
      createMessage('user', 'Hi'),
      createCalls({ arguments: '{"id":9007199254740993}' }),
      createResult('call_1', 'x'),
    ];
    await sendRequest({ tools: [weather], messages });
    expect(upstream.calls[0]?.json).toContain('"input":{"id":9007199254740993}');
  });

  it('an earlier tool call with an id that Bedrock refuses still matches its result', async () => {
    const id = `functions.weather:0/${'x'.repeat(80)}`;
    const body = await sendRequest({
      tools: [weather],
      messages: [createMessage('user', 'Hi'), createCalls({ id }), createResult(id, 'Sun')],
    });
    const used = body.messages[1]?.content[0]?.toolUse?.toolUseId;
    expect(used).toMatch(/^[a-zA-Z0-9_-]{1,64}$/);
    expect(body.messages[2]?.content[0]?.toolResult?.toolUseId).toBe(used);
  });

  it('an empty tool result is sent as "(no output)"', async () => {
    const body = await sendRequest({
      tools: [weather],
      messages: [createMessage('user', 'Hi'), createCalls({}), createResult('call_1', '')],
    });
    expect(body.messages[2]?.content[0]?.toolResult?.content).toEqual([{ text: '(no output)' }]);
  });
});

describe('tools', () => {
  it('tools are declared with their schema, and as strict if requested', async () => {
    const body = await sendRequest({
      tools: [weather, { name: 'now', parameters: {}, strict: true, description: ' ' }],
    });
    expect(body.toolConfig).toEqual({
      tools: [
        { toolSpec: { name: 'weather', description: 'Tells the weather', inputSchema: { json: weather.parameters } } },
        {
          toolSpec: {
            name: 'now',
            inputSchema: { json: { type: 'object', additionalProperties: false } },
            strict: true,
          },
        },
      ],
    });
  });

  it.each([
    ['auto', undefined],
    ['required', { any: {} }],
    [{ name: 'weather' }, { tool: { name: 'weather' } }],
  ] as const)('the tool choice %o is converted', async (toolChoice, expected) => {
    const body = await sendRequest({ tools: [weather], toolChoice });
    expect(body.toolConfig?.['toolChoice']).toEqual(expected);
    expect(body['additionalModelRequestFields']).toBeUndefined();
  });

  it.each([
    ['auto', { type: 'auto', disable_parallel_tool_use: true }],
    ['required', { type: 'any', disable_parallel_tool_use: true }],
    [{ name: 'weather' }, { type: 'tool', name: 'weather', disable_parallel_tool_use: true }],
  ] as const)("a single tool call with the choice %o uses only Claude's own field", async (toolChoice, expected) => {
    const body = await sendRequest({ tools: [weather], toolChoice, parallelToolCalls: false });
    expect(body.toolConfig?.['toolChoice']).toBeUndefined();
    expect(body['additionalModelRequestFields']).toEqual({ tool_choice: expected });
  });

  it('tools are not declared if they must not be called', async () => {
    const body = await sendRequest({ tools: [weather], toolChoice: 'none' });
    expect(body.toolConfig).toBeUndefined();
  });

  it.each([
    ['with tools and the choice "none"', { tools: [weather], toolChoice: 'none' } as const],
    ['without tools', {}],
  ])('tools that were called earlier, %s, stay declared for Claude with the choice "none"', async (_case, changes) => {
    const body = await sendRequest({ messages: roundTrip, ...changes });
    expect(body.toolConfig?.tools.map(({ toolSpec }) => toolSpec?.name)).toEqual(['weather']);
    expect(body['additionalModelRequestFields']).toEqual({ tool_choice: { type: 'none' } });
  });

  it('earlier tool calls become text for a model without the choice "none"', async () => {
    const body = await sendRequest({ messages: roundTrip }, { model: NOVA_2 });
    expect(body.toolConfig).toBeUndefined();
    expect(body.messages.slice(1)).toEqual([
      { role: 'assistant', content: [{ text: '[Called the tool weather with {}]' }] },
      { role: 'user', content: [{ text: '[The tool weather returned: Sun]' }] },
    ]);
  });

  it('a tool name that Bedrock refuses is refused, and the error names its position', async () => {
    const error = await catchRefusal({ tools: [weather, { ...weather, name: 'mcp.search' }] });
    expect(error).toMatchObject({ code: 'invalid_value', param: 'tools[1]' });
  });
});

describe('limits and sampling', () => {
  it("the output limit is always sent: the caller's, but at most the alias's", async () => {
    const limit = async (maxOutputTokens?: number) =>
      (await sendRequest(maxOutputTokens === undefined ? {} : { maxOutputTokens }, {}, { maxOutputTokens: 500 }))
        .inferenceConfig?.maxTokens;
    expect([await limit(), await limit(10), await limit(9_999)]).toEqual([500, 10, 500]);
  });

  it('sampling parameters are passed on', async () => {
    const body = await sendRequest({ temperature: 0.2, topP: 0.9, stop: ['END'] }, { model: NOVA_2 });
    expect(body.inferenceConfig).toEqual({ maxTokens: 4_096, temperature: 0.2, topP: 0.9, stopSequences: ['END'] });
  });

  it("a temperature above 1 is refused with the caller's parameter name, and may go to the next target", async () => {
    const error = await catchRefusal({ temperature: 1.5, parameterNames: { temperature: 'temperature' } });
    expect(error).toMatchObject({ code: 'unsupported_value', param: 'temperature', recovery: 'nextTarget' });
  });

  it('for a model with fixed sampling, defaults are dropped and other values are refused', async () => {
    const body = await sendRequest({ temperature: 1, topP: 1 }, { model: OPUS_4_7 });
    expect(body.inferenceConfig).toEqual({ maxTokens: 4_096 });
    expect(await catchRefusal({ temperature: 0 }, { model: OPUS_4_7 })).toMatchObject({ param: 'temperature' });
    expect(await catchRefusal({ topP: 0.5 }, { model: OPUS_4_7 })).toMatchObject({ param: 'topP' });
  });

  it.each([
    ['flex', undefined, 'flex'],
    ['auto', 'priority', 'priority'],
    [undefined, 'flex', 'flex'],
    ['default', 'flex', 'default'],
    ['auto', undefined, undefined],
  ] as const)(
    'the service tier %s of the caller and %s of the target become %s',
    async (ofCaller, ofTarget, expected) => {
      const body = await sendRequest(
        ofCaller ? { serviceTier: ofCaller } : {},
        ofTarget ? { serviceTier: ofTarget } : {},
      );
      expect(body['serviceTier']).toEqual(expected && { type: expected });
    },
  );

  it('unknown fields are passed on to the model', async () => {
    const body = await sendRequest({ unknown: { top_k: 40 }, seed: 7, logitBias: {} }, { model: QWEN });
    expect(body['additionalModelRequestFields']).toEqual({ top_k: 40, seed: 7 });
  });
});

describe('settings of the operator', () => {
  it('cache points are set at the end of the system prompt, the tools and the user’s turns', async () => {
    const messages = [
      createMessage('system', 'S'),
      createMessage('user', 'A'),
      createMessage('assistant', 'B'),
      createMessage('user', 'C'),
    ];
    const body = await sendRequest({ messages, tools: [weather] }, { promptCache: { ttl: '1h' } });
    const cachePoint = { type: 'default', ttl: '1h' };
    expect(body.system?.at(-1)).toEqual({ cachePoint });
    expect(body.toolConfig?.tools.at(-1)).toEqual({ cachePoint });
    expect(body.messages.map(({ content }) => content.some((block) => block.cachePoint))).toEqual([true, false, true]);
  });

  it('no cache point is set after the tools for Nova, which refuses it', async () => {
    const body = await sendRequest({ tools: [weather] }, { model: NOVA_2, promptCache: { when: 'always' } });
    expect(body.toolConfig?.tools).toHaveLength(1);
  });

  const marked = { ttl: '1h' } as const;
  const markedMessages: readonly Message[] = [
    { role: 'system', content: [{ type: 'text', text: 'S', cache: marked }] },
    { role: 'user', content: [{ type: 'text', text: 'A' }] },
    createCalls({}),
    { ...createResult('call_1', 'Sun'), cache: {} } as Message,
  ];

  it('cache points follow the parts and tools that the caller marked, and replace the automatic ones', async () => {
    const tools = [
      { ...weather, cache: marked },
      { ...weather, name: 'other' },
    ];
    const body = await sendRequest({ messages: markedMessages, tools }, { promptCache: { ttl: '5m' } });
    const point = { cachePoint: { type: 'default', ttl: '1h' } };
    expect(body.system).toEqual([{ text: 'S' }, point]);
    expect(body.toolConfig?.tools.map((tool) => 'cachePoint' in tool)).toEqual([false, true, false]);
    expect(body.messages.map(({ content }) => content.filter(({ cachePoint }) => cachePoint))).toEqual([
      [],
      [],
      [{ cachePoint: { type: 'default' } }],
    ]);
  });

  it('the caller’s marks become five minutes and none at the tools for Nova, and nothing for models without a cache', async () => {
    const request = { messages: markedMessages, tools: [{ ...weather, cache: marked }] };
    const nova = await sendRequest(request, { model: NOVA_2 });
    expect(nova.system?.at(-1)).toEqual({ cachePoint: { type: 'default' } });
    expect(nova.toolConfig?.tools).toHaveLength(1);
    expect(JSON.stringify(await sendRequest(request, { model: QWEN }))).not.toContain('cachePoint');
  });

  it('a guardrail is applied, and checks a stream before it is sent', async () => {
    const guardrail = { id: 'gr-1', version: '3', trace: 'enabled' };
    const config = { guardrailIdentifier: 'gr-1', guardrailVersion: '3', trace: 'enabled' };
    expect((await sendRequest({}, { guardrail }))['guardrailConfig']).toEqual({
      ...config,
      streamProcessingMode: 'sync',
    });
    expect((await sendRequest({}, { guardrail }, { streamed: false }))['guardrailConfig']).toEqual(config);
  });
});

describe('JSON output', () => {
  const schema = {
    type: 'object',
    properties: { a: { type: 'number' } },
    required: ['a'],
    additionalProperties: false,
  };
  const strict = { type: 'jsonSchema', name: 'thing', schema, strict: true } as const;

  it('JSON output with a strict schema is enforced by Bedrock', async () => {
    const body = await sendRequest({ format: { ...strict, description: 'A thing' } });
    expect(body['outputConfig']).toEqual({
      textFormat: {
        type: 'json_schema',
        structure: { jsonSchema: { name: 'thing', description: 'A thing', schema: JSON.stringify(schema) } },
      },
    });
    expect(body.toolConfig).toBeUndefined();
  });

  it.each([
    ['any object on Claude', CLAUDE, { type: 'json' } as const],
    ['a loose schema on Claude', CLAUDE, { ...strict, strict: false } as const],
    ['a schema on Nova', NOVA_2, strict],
  ])('JSON output of %s is requested as the arguments of a forced tool', async (_case, model, format) => {
    const body = await sendRequest({ format }, { model });
    expect(body['outputConfig']).toBeUndefined();
    expect(body.toolConfig?.['toolChoice']).toEqual({ tool: { name: 'json_answer' } });
  });

  it('JSON output of any object is enforced for models that support open schemas', async () => {
    const body = await sendRequest({ format: { type: 'json' } }, { model: QWEN });
    expect(body['outputConfig']).toMatchObject({
      textFormat: { structure: { jsonSchema: { schema: '{"type":"object"}' } } },
    });
  });

  it('JSON output beside tools is enforced if Bedrock can, and else asked for in the prompt', async () => {
    const enforced = await sendRequest({ format: strict, tools: [weather] });
    expect(enforced.toolConfig?.tools).toHaveLength(1);
    expect(enforced['outputConfig']).toBeDefined();
    const asked = await sendRequest({ format: strict, tools: [weather] }, { model: NOVA_2 });
    expect(asked['outputConfig']).toBeUndefined();
    expect(asked.toolConfig?.tools).toHaveLength(1);
    expect(asked.toolConfig?.['toolChoice']).toBeUndefined();
    expect(asked.system?.at(-1)?.text).toContain(`matches this JSON schema`);
    expect(asked.system?.at(-1)?.text).toContain(JSON.stringify(strict.schema));
    const any = await sendRequest({ format: { type: 'json' }, tools: [weather] }, { model: NOVA_2 });
    expect(any.system?.at(-1)?.text).toBe(
      'Unless you call a tool: Answer with one JSON object, and with nothing else.',
    );
  });
});

describe('reasoning effort', () => {
  const sendEffort = (reasoningEffort: NonNullable<GenerationRequest['reasoningEffort']>, model = CLAUDE) =>
    sendRequest({ reasoningEffort, maxOutputTokens: 8_000 }, { model }, { maxOutputTokens: 64_000 });

  it.each([
    ['minimal', 1_024],
    ['low', 1_024],
    ['medium', 4_096],
    ['high', 6_000],
    ['max', 6_000],
  ] as const)(
    'the effort %s gives Claude a thinking budget of %i, which leaves tokens for the answer',
    async (level, budget) => {
      const body = await sendEffort(level);
      expect(body['additionalModelRequestFields']).toEqual({ thinking: { type: 'enabled', budget_tokens: budget } });
      expect(body.inferenceConfig?.maxTokens).toBe(8_000);
    },
  );

  it('the effort is dropped if the output limit is too small for thinking', async () => {
    const body = await sendRequest({ reasoningEffort: 'low', maxOutputTokens: 100 });
    expect(body['additionalModelRequestFields']).toBeUndefined();
  });

  it('the temperature is fixed while Claude thinks', async () => {
    expect((await sendRequest({ reasoningEffort: 'low', temperature: 1 })).inferenceConfig).toEqual({
      maxTokens: 4_096,
    });
    expect(await catchRefusal({ reasoningEffort: 'low', temperature: 0.5 })).toMatchObject({ param: 'temperature' });
  });

  it.each([
    ['minimal', 'low'],
    ['medium', 'medium'],
    ['xhigh', 'xhigh'],
  ] as const)('the effort %s becomes %s for a Claude model with adaptive thinking', async (level, expected) => {
    const body = await sendEffort(level, OPUS_4_7);
    expect(body['additionalModelRequestFields']).toEqual({ thinking: { type: 'adaptive' } });
    expect(body['outputConfig']).toEqual({ effort: expected });
  });

  it('a summary of the thinking is requested from models that omit it by default', async () => {
    const body = await sendRequest({ reasoningEffort: 'low', reasoningSummary: true }, { model: OPUS_4_7 });
    expect(body['additionalModelRequestFields']).toEqual({ thinking: { type: 'adaptive', display: 'summarized' } });
  });

  it('the effort none disables thinking that is enabled by default', async () => {
    expect((await sendEffort('none', OPUS_5))['additionalModelRequestFields']).toEqual({
      thinking: { type: 'disabled' },
    });
    expect((await sendEffort('none', CLAUDE))['additionalModelRequestFields']).toBeUndefined();
  });

  it('the effort is a flat field for gpt-oss and a nested one for newer OpenAI models', async () => {
    expect((await sendEffort('max', GPT_OSS))['additionalModelRequestFields']).toEqual({ reasoning_effort: 'high' });
    expect((await sendEffort('max', 'us.openai.gpt-6-sol'))['additionalModelRequestFields']).toEqual({
      reasoning: { effort: 'max' },
    });
  });

  it('the effort is a level for Nova, medium at most beside limits, which its highest level refuses', async () => {
    expect((await sendEffort('low', NOVA_2))['additionalModelRequestFields']).toEqual({
      reasoningConfig: { type: 'enabled', maxReasoningEffort: 'low' },
    });
    expect((await sendRequest({ reasoningEffort: 'high' }, { model: NOVA_2 })).inferenceConfig).toEqual({});
    for (const limits of [{ maxOutputTokens: 9 }, { temperature: 0.5 }, { topP: 0.5 }]) {
      const body = await sendRequest({ reasoningEffort: 'high', ...limits }, { model: NOVA_2 });
      expect(body['additionalModelRequestFields']).toEqual({
        reasoningConfig: { type: 'enabled', maxReasoningEffort: 'medium' },
      });
    }
  });

  it('the effort is dropped if a tool is forced', async () => {
    const body = await sendRequest({ reasoningEffort: 'medium', tools: [weather], toolChoice: 'required' });
    expect(body['additionalModelRequestFields']).toBeUndefined();
  });
});

describe('earlier reasoning', () => {
  const continuation = { provider: 'bedrock', data: { family: 'claude', text: 'Hmm', signature: 'c2ln' } };
  const thinking = {
    role: 'assistant',
    content: [
      { type: 'reasoning', text: 'Hmm', continuation },
      ...('content' in createCalls({}) ? createCalls({}).content : []),
    ],
  } as Message;
  const conversation = [createMessage('user', 'Weather?'), thinking, createResult('call_1', 'Sun')];

  it('earlier reasoning is sent back to the model unchanged', async () => {
    const body = await sendRequest({ reasoningEffort: 'low', tools: [weather], messages: conversation });
    expect(body.messages[1]?.content[0]).toEqual({
      reasoningContent: { reasoningText: { text: 'Hmm', signature: 'c2ln' } },
    });
    expect(body['additionalModelRequestFields']).toHaveProperty('thinking');
  });

  it('redacted reasoning is sent back unchanged', async () => {
    const redacted = { provider: 'bedrock', data: { family: 'claude', redacted: 'AP+AAQ==' } };
    const message: Message = {
      role: 'assistant',
      content: [
        { type: 'reasoning', text: '', continuation: redacted },
        { type: 'text', text: 'Hi' },
      ],
    };
    const body = await sendRequest({
      reasoningEffort: 'low',
      messages: [createMessage('user', 'A'), message, createMessage('user', 'B')],
    });
    expect(body.messages[1]?.content[0]).toEqual({ reasoningContent: { redactedContent: 'AP+AAQ==' } });
  });

  it('thinking is disabled for the rest of a turn whose reasoning the caller dropped', async () => {
    const open = await sendRequest({ reasoningEffort: 'low', tools: [weather], messages: roundTrip });
    expect(open['additionalModelRequestFields']).toBeUndefined();
    const next = [...roundTrip, createMessage('assistant', 'It is sunny.'), createMessage('user', 'Thanks')];
    const closed = await sendRequest({ reasoningEffort: 'low', tools: [weather], messages: next });
    expect(closed['additionalModelRequestFields']).toHaveProperty('thinking');
  });

  it.each([
    ['instructions', createMessage('system', 'Be brief.')],
    ['a blank answer', createMessage('assistant', '')],
    ['a user message', createMessage('user', 'Well?')],
  ])('thinking stays disabled for the rest of a turn without its reasoning if %s follows', async (_case, message) => {
    const body = await sendRequest({ reasoningEffort: 'low', tools: [weather], messages: [...roundTrip, message] });
    expect(body['additionalModelRequestFields']).toBeUndefined();
  });

  it.each([
    ['another provider', { provider: 'openai-compatible', data: 'x' }],
    ['another family of models', { provider: 'bedrock', data: { family: 'openai', redacted: 'eA==' } }],
  ])('reasoning of %s is not sent', async (_whose, foreign) => {
    const message: Message = {
      role: 'assistant',
      content: [
        { type: 'reasoning', text: 'Hmm', continuation: foreign },
        { type: 'text', text: 'Hi' },
      ],
    };
    const body = await sendRequest({
      reasoningEffort: 'low',
      messages: [createMessage('user', 'A'), message, createMessage('user', 'B')],
    });
    expect(body.messages[1]?.content).toEqual([{ text: 'Hi' }]);
  });

  it('reasoning that the caller changed is refused, and the error names its message', async () => {
    const forged = { provider: 'bedrock', data: { family: 'claude', signature: 7 } };
    const message: Message = { role: 'assistant', content: [{ type: 'reasoning', text: 'Hmm', continuation: forged }] };
    const error = await catchRefusal({
      reasoningEffort: 'low',
      messages: [createMessage('user', 'A'), message, createMessage('user', 'B')],
    });
    expect(error).toMatchObject({ code: 'invalid_value', param: 'messages[1]' });
  });
});

describe('documents', () => {
  const pdf = { type: 'document', mediaType: 'application/pdf', base64: 'JVBERi0=', param: 'p' } as const;
  const note = { type: 'document', mediaType: 'text/plain', text: 'Body', title: 'Note', param: 'p' } as const;

  it('PDFs become documents with allowed and unique names, and text documents become text', async () => {
    const content = [{ ...pdf, title: 'Q3: “Zahlen” (final).pdf' }, pdf, pdf, note];
    const body = await sendRequest({ messages: [{ role: 'user', content }] });
    const names = ['Q3 Zahlen (final) pdf', 'Document', 'Document (2)'];
    expect(body.messages[0]?.content).toEqual([
      ...names.map((name) => ({ document: { format: 'pdf', name, source: { bytes: 'JVBERi0=' } } })),
      { text: 'Note\n\nBody' },
    ]);
  });

  it('a turn with documents and without text gets a text, which Bedrock requires', async () => {
    const body = await sendRequest({ messages: [{ role: 'user', content: [pdf] }] });
    expect(body.messages[0]?.content.map((block) => Object.keys(block)[0])).toEqual(['document', 'text']);
  });

  it('a document that is not base64 is refused with the caller’s parameter', async () => {
    const content = [{ ...pdf, base64: '!!', param: 'messages[0].content[0]' }];
    expect(await catchRefusal({ messages: [{ role: 'user', content }] })).toMatchObject({
      code: 'invalid_value',
      param: 'messages[0].content[0]',
    });
  });

  it('tool results contain documents, and their status if the family knows it', async () => {
    const result = { role: 'tool', toolCallId: 'call_1', content: [pdf], isError: true } as const;
    const messages: readonly Message[] = [createMessage('user', 'Weather?'), createCalls({}), result];
    const claude = await sendRequest({ messages, tools: [weather] });
    expect(claude.messages[2]?.content[0]?.toolResult).toMatchObject({
      status: 'error',
      content: [{ document: { name: 'Document' } }],
    });
    const llama = await sendRequest({ messages, tools: [weather] }, { model: LLAMA });
    expect(llama.messages[2]?.content[0]?.toolResult).not.toHaveProperty('status');
  });

  it('the failure of a tool is named where calls are written as text', async () => {
    const messages: readonly Message[] = [
      createMessage('user', 'Weather?'),
      createCalls({}),
      { ...createResult('call_1', 'no such city'), isError: true } as Message,
    ];
    const body = await sendRequest({ messages }, { model: QWEN });
    expect(body.messages[2]?.content).toEqual([{ text: '[The tool weather failed: no such city]' }]);
  });
});

describe('sampling and reasoning budgets', () => {
  it('topK is sent to the families that document it, and to no other', async () => {
    expect((await sendRequest({ topK: 5 }))['additionalModelRequestFields']).toEqual({ top_k: 5 });
    const nova = await sendRequest({ topK: 5 }, { model: NOVA_2 });
    expect(nova['additionalModelRequestFields']).toEqual({ inferenceConfig: { topK: 5 } });
    expect(await sendRequest({ topK: 5 }, { model: QWEN })).not.toHaveProperty('additionalModelRequestFields');
  });

  it('a reasoning budget takes the place of the effort’s, within the output limit', async () => {
    const request = { reasoningEffort: 'low', reasoningBudget: 3_000 } as const;
    const body = await sendRequest(request, {}, { maxOutputTokens: 16_000 });
    expect(body['additionalModelRequestFields']).toEqual({ thinking: { type: 'enabled', budget_tokens: 3_000 } });
    const limited = await sendRequest(request, {}, { maxOutputTokens: 2_000 });
    expect(limited['additionalModelRequestFields']).toEqual({ thinking: { type: 'enabled', budget_tokens: 1_500 } });
  });
});
