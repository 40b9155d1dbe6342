import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { ConverseBody } from '../../../../../local/bedrock/request.ts';
import type { GenerationRequest, Message, Tool, ToolCallPart } from '../../../../../shared/inference/generation.ts';
import { aTarget, CLAUDE, failureOf, script, Upstream, wholeAnswer } from './upstream.ts';

const OPUS_4_7 = 'eu.anthropic.claude-opus-4-7';
const OPUS_5 = 'global.anthropic.claude-opus-5';
const NOVA_2 = 'global.amazon.nova-2-lite-v1:0';
const GPT_OSS = 'openai.gpt-oss-120b-1:0';
const QWEN = 'qwen.qwen3-32b-v1:0';
const PNG = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==';

let upstream: Upstream;
beforeAll(async () => {
  upstream = await Upstream.start(script(...wholeAnswer));
});
afterAll(async () => upstream[Symbol.asyncDispose]());
beforeEach(() => {
  upstream.calls.length = 0;
});

/** What goes over the wire, after the stand-in has checked it as Bedrock would. */
async function sent(
  changes: Partial<GenerationRequest> = {},
  fields: Record<string, unknown> = {},
  options: { streamed?: boolean; maxOutputTokens?: number } = {},
): Promise<ConverseBody> {
  await upstream.ask(changes, { target: aTarget(fields), ...options });
  const body = upstream.calls.at(-1)?.body;
  if (!body) throw new Error('nothing was sent');
  return body;
}

const refused = (changes: Partial<GenerationRequest>, fields: Record<string, unknown> = {}) =>
  failureOf(upstream.ask(changes, { target: aTarget(fields) }));

const says = (role: 'system' | 'user' | 'assistant', text: string): Message => ({
  role,
  content: [{ type: 'text', text }],
});
const calls = (...parts: readonly Partial<ToolCallPart>[]): Message => ({
  role: 'assistant',
  content: parts.map((part) => ({ type: 'toolCall', id: 'call_1', name: 'weather', arguments: '{}', ...part })),
});
const result = (toolCallId: string, text: string): Message => ({
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
const roundTrip: readonly Message[] = [says('user', 'Weather?'), calls({}), result('call_1', 'Sun')];

describe('messages', () => {
  it('keep their order, and the system prompt goes to the front', async () => {
    const body = await sent({
      messages: [
        says('system', 'Be brief.'),
        says('user', 'Hi'),
        says('assistant', 'Yes?'),
        says('system', 'Be kind.'),
        says('user', 'Go'),
      ],
    });
    expect(body.system).toEqual([{ text: 'Be brief.' }, { text: 'Be kind.' }]);
    expect(body.messages).toEqual([
      { role: 'user', content: [{ text: 'Hi' }] },
      { role: 'assistant', content: [{ text: 'Yes?' }] },
      { role: 'user', content: [{ text: 'Go' }] },
    ]);
  });

  it('of one role in a row become one turn', async () => {
    const body = await sent({ messages: [says('user', 'One'), says('user', 'Two')] });
    expect(body.messages).toEqual([{ role: 'user', content: [{ text: 'One' }, { text: 'Two' }] }]);
  });

  it('put the results of parallel calls, and what the user says then, into one turn in order', async () => {
    const body = await sent({
      tools: [weather],
      messages: [
        says('user', 'Weather?'),
        calls({ id: 'a', arguments: '{"city":"Rome"}' }, { id: 'b', arguments: '{"city":"Oslo"}' }),
        result('a', 'Sun'),
        result('b', 'Snow'),
        says('user', 'And tomorrow?'),
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

  it('lose the blank parts that Bedrock refuses, and nothing else', async () => {
    const body = await sent({
      messages: [
        says('system', ' '),
        says('user', 'One'),
        says('assistant', ''),
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

  it('that begin with the assistant get an opening, because Bedrock wants the user to begin', async () => {
    const body = await sent({ messages: [says('assistant', 'How can I help?'), says('user', 'Hi')] });
    expect(body.messages.map(({ role }) => role)).toEqual(['user', 'assistant', 'user']);
  });

  it('of the system alone get one too', async () => {
    expect((await sent({ messages: [says('system', 'Tell a joke.')] })).messages).toHaveLength(1);
  });

  it('whose last word is blank are refused by their place', async () => {
    const error = await refused({
      messages: [says('user', 'Hi'), says('assistant', 'Hello'), says('user', ' ')],
      parameterNames: { messages: 'input' },
    });
    expect(error).toMatchObject({ code: 'invalid_value', param: 'input[2]', recovery: 'nextTarget' });
    expect(upstream.calls).toHaveLength(0);
  });

  it('carry images as bytes, in tool results too', async () => {
    const image = { type: 'image', mediaType: 'image/png', base64: PNG, param: 'messages[0].content[1]' } as const;
    const block = { image: { format: 'png', source: { bytes: PNG } } };
    const body = await sent({
      tools: [weather],
      messages: [
        { role: 'user', content: [{ type: 'text', text: 'Look' }, image] },
        calls({}),
        { role: 'tool', toolCallId: 'call_1', content: [image] },
      ],
    });
    expect(body.messages[0]?.content).toEqual([{ text: 'Look' }, block]);
    expect(body.messages[2]?.content).toEqual([{ toolResult: { toolUseId: 'call_1', content: [block] } }]);
  });

  it.each(['not base64!', 'abc%', '', '===='])('refuse an image that is no base64: "%s"', async (base64) => {
    const image = { type: 'image', mediaType: 'image/png', base64, param: 'messages[0].content[0]' } as const;
    const error = await refused({ messages: [{ role: 'user', content: [image] }] });
    expect(error).toMatchObject({ code: 'invalid_value', param: 'messages[0].content[0]' });
  });

  it('refuse an image by URL', async () => {
    const image = { type: 'image', url: 'https://example.com/a.png', param: 'messages[0].content[0]' } as const;
    const error = await refused({ messages: [{ role: 'user', content: [image] }] });
    expect(error).toMatchObject({ code: 'invalid_value', param: 'messages[0].content[0]' });
  });
});

describe('an earlier tool call', () => {
  it.each(['{"city":', '[1]', '"text"', 'null'])('with the arguments %s is refused by its message', async (text) => {
    const error = await refused({
      tools: [weather],
      messages: [says('user', 'Hi'), calls({ arguments: text }), result('call_1', 'x')],
    });
    expect(error).toMatchObject({ code: 'invalid_value', param: 'messages[1]', recovery: 'nextTarget' });
  });

  it('without arguments has an empty object', async () => {
    const body = await sent({
      tools: [weather],
      messages: [says('user', 'Hi'), calls({ arguments: '' }), result('call_1', 'x')],
    });
    expect(body.messages[1]?.content[0]?.toolUse?.input).toEqual({});
  });

  it('keeps integers that JavaScript would round', async () => {
    const messages = [says('user', 'Hi'), calls({ arguments: '{"id":9007199254740993}' }), result('call_1', 'x')];
    await sent({ tools: [weather], messages });
    expect(upstream.calls[0]?.json).toContain('"input":{"id":9007199254740993}');
  });

  it('whose id Bedrock would refuse still matches its result', async () => {
    const id = `functions.weather:0/${'x'.repeat(80)}`;
    const body = await sent({ tools: [weather], messages: [says('user', 'Hi'), calls({ id }), result(id, 'Sun')] });
    const used = body.messages[1]?.content[0]?.toolUse?.toolUseId;
    expect(used).toMatch(/^[a-zA-Z0-9_-]{1,64}$/);
    expect(body.messages[2]?.content[0]?.toolResult?.toolUseId).toBe(used);
  });

  it('that returned nothing says so', async () => {
    const body = await sent({ tools: [weather], messages: [says('user', 'Hi'), calls({}), result('call_1', '')] });
    expect(body.messages[2]?.content[0]?.toolResult?.content).toEqual([{ text: '(no output)' }]);
  });
});

describe('tools', () => {
  it('are declared with their schema, and strictly where asked', async () => {
    const body = await sent({ tools: [weather, { name: 'now', parameters: {}, strict: true, description: ' ' }] });
    expect(body.toolConfig).toEqual({
      tools: [
        { toolSpec: { name: 'weather', description: 'Tells the weather', inputSchema: { json: weather.parameters } } },
        { toolSpec: { name: 'now', inputSchema: { json: { type: 'object' } }, strict: true } },
      ],
    });
  });

  it.each([
    ['auto', undefined],
    ['required', { any: {} }],
    [{ name: 'weather' }, { tool: { name: 'weather' } }],
  ] as const)('chosen by %o', async (toolChoice, expected) => {
    const body = await sent({ tools: [weather], toolChoice });
    expect(body.toolConfig?.['toolChoice']).toEqual(expected);
    expect(body['additionalModelRequestFields']).toBeUndefined();
  });

  it.each([
    ['auto', { type: 'auto', disable_parallel_tool_use: true }],
    ['required', { type: 'any', disable_parallel_tool_use: true }],
    [{ name: 'weather' }, { type: 'tool', name: 'weather', disable_parallel_tool_use: true }],
  ] as const)("one at a time, chosen by %o, are said in Claude's own field alone", async (toolChoice, expected) => {
    const body = await sent({ tools: [weather], toolChoice, parallelToolCalls: false });
    expect(body.toolConfig?.['toolChoice']).toBeUndefined();
    expect(body['additionalModelRequestFields']).toEqual({ tool_choice: expected });
  });

  it('not to be called are not declared', async () => {
    const body = await sent({ tools: [weather], toolChoice: 'none' });
    expect(body.toolConfig).toBeUndefined();
  });

  it.each([
    ['with tools and the choice "none"', { tools: [weather], toolChoice: 'none' } as const],
    ['without tools', {}],
  ])('called earlier, %s, stay declared for Claude and may not be called', async (_case, changes) => {
    const body = await sent({ messages: roundTrip, ...changes });
    expect(body.toolConfig?.tools.map(({ toolSpec }) => toolSpec?.name)).toEqual(['weather']);
    expect(body['additionalModelRequestFields']).toEqual({ tool_choice: { type: 'none' } });
  });

  it("called earlier become text for a model that can't be told not to call", async () => {
    const body = await sent({ messages: roundTrip }, { model: NOVA_2 });
    expect(body.toolConfig).toBeUndefined();
    expect(body.messages.slice(1)).toEqual([
      { role: 'assistant', content: [{ text: '[Called the tool weather with {}]' }] },
      { role: 'user', content: [{ text: '[The tool weather returned: Sun]' }] },
    ]);
  });

  it('with a name that Bedrock refuses are refused by their place', async () => {
    const error = await refused({ tools: [weather, { ...weather, name: 'mcp.search' }] });
    expect(error).toMatchObject({ code: 'invalid_value', param: 'tools[1]' });
  });
});

describe('limits and sampling', () => {
  it("send the output limit always, the caller's up to the alias's", async () => {
    const limit = async (maxOutputTokens?: number) =>
      (await sent(maxOutputTokens === undefined ? {} : { maxOutputTokens }, {}, { maxOutputTokens: 500 }))
        .inferenceConfig?.maxTokens;
    expect([await limit(), await limit(10), await limit(9_999)]).toEqual([500, 10, 500]);
  });

  it('go over as they are', async () => {
    const body = await sent({ temperature: 0.2, topP: 0.9, stop: ['END'] });
    expect(body.inferenceConfig).toEqual({ maxTokens: 4_096, temperature: 0.2, topP: 0.9, stopSequences: ['END'] });
  });

  it("refuse a temperature above 1 by the caller's name, leaving it to another target", async () => {
    const error = await refused({ temperature: 1.5, parameterNames: { temperature: 'temperature' } });
    expect(error).toMatchObject({ code: 'unsupported_value', param: 'temperature', recovery: 'nextTarget' });
  });

  it('leave out the default, and refuse all else, where the model fixes its sampling', async () => {
    const body = await sent({ temperature: 1, topP: 1 }, { model: OPUS_4_7 });
    expect(body.inferenceConfig).toEqual({ maxTokens: 4_096 });
    expect(await refused({ temperature: 0 }, { model: OPUS_4_7 })).toMatchObject({ param: 'temperature' });
    expect(await refused({ topP: 0.5 }, { model: OPUS_4_7 })).toMatchObject({ param: 'topP' });
  });

  it.each([
    ['flex', undefined, 'flex'],
    ['auto', 'priority', 'priority'],
    [undefined, 'flex', 'flex'],
    ['default', 'flex', 'default'],
    ['auto', undefined, undefined],
  ] as const)('ask for the tier: %s of the caller and %s of the target give %s', async (asked, ofTarget, expected) => {
    const body = await sent(asked ? { serviceTier: asked } : {}, ofTarget ? { serviceTier: ofTarget } : {});
    expect(body['serviceTier']).toEqual(expected && { type: expected });
  });

  it('hand on fields that only the model knows', async () => {
    const body = await sent({ unknown: { top_k: 40 }, seed: 7 });
    expect(body['additionalModelRequestFields']).toEqual({ top_k: 40, seed: 7 });
  });
});

describe('what the operator sets', () => {
  it('marks the end of system, tools and earlier turns as cache points', async () => {
    const messages = [says('system', 'S'), says('user', 'A'), says('assistant', 'B'), says('user', 'C')];
    const body = await sent({ messages, tools: [weather] }, { promptCache: { ttl: '1h' } });
    const cachePoint = { type: 'default', ttl: '1h' };
    expect(body.system?.at(-1)).toEqual({ cachePoint });
    expect(body.toolConfig?.tools.at(-1)).toEqual({ cachePoint });
    expect(body.messages.map(({ content }) => content.some((block) => block.cachePoint))).toEqual([false, true, false]);
  });

  it('marks no tools for Nova, which takes no cache point there', async () => {
    const body = await sent({ tools: [weather] }, { model: NOVA_2, promptCache: { ttl: '5m' } });
    expect(body.toolConfig?.tools).toHaveLength(1);
  });

  it('guards the answer, and checks a stream before it goes out', async () => {
    const guardrail = { id: 'gr-1', version: '3', trace: 'enabled' };
    const config = { guardrailIdentifier: 'gr-1', guardrailVersion: '3', trace: 'enabled' };
    expect((await sent({}, { guardrail }))['guardrailConfig']).toEqual({ ...config, streamProcessingMode: 'sync' });
    expect((await sent({}, { guardrail }, { streamed: false }))['guardrailConfig']).toEqual(config);
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

  it('by a strict schema is enforced by Bedrock', async () => {
    const body = await sent({ format: { ...strict, description: 'A thing' } });
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
  ])('of %s is asked for as the arguments of a forced tool', async (_case, model, format) => {
    const body = await sent({ format }, { model });
    expect(body['outputConfig']).toBeUndefined();
    expect(body.toolConfig?.['toolChoice']).toEqual({ tool: { name: 'json_answer' } });
  });

  it('of any object is enforced where open schemas are', async () => {
    const body = await sent({ format: { type: 'json' } }, { model: QWEN });
    expect(body['outputConfig']).toMatchObject({
      textFormat: { structure: { jsonSchema: { schema: '{"type":"object"}' } } },
    });
  });

  it('goes with tools where Bedrock enforces it, and is refused elsewhere', async () => {
    expect((await sent({ format: strict, tools: [weather] })).toolConfig?.tools).toHaveLength(1);
    const error = await refused(
      { format: strict, tools: [weather], parameterNames: { format: 'response_format' } },
      { model: NOVA_2 },
    );
    expect(error).toMatchObject({ code: 'unsupported_value', param: 'response_format', recovery: 'nextTarget' });
  });
});

describe('reasoning effort', () => {
  const effort = (reasoningEffort: NonNullable<GenerationRequest['reasoningEffort']>, model = CLAUDE) =>
    sent({ reasoningEffort, maxOutputTokens: 8_000 }, { model }, { maxOutputTokens: 64_000 });

  it.each([
    ['minimal', 1_024],
    ['low', 1_024],
    ['medium', 4_096],
    ['high', 6_000],
    ['max', 6_000],
  ] as const)('%s gives Claude a budget of %i that leaves room for the answer', async (level, budget) => {
    const body = await effort(level);
    expect(body['additionalModelRequestFields']).toEqual({ thinking: { type: 'enabled', budget_tokens: budget } });
    expect(body.inferenceConfig?.maxTokens).toBe(8_000);
  });

  it('is left out when the answer is too short to think', async () => {
    const body = await sent({ reasoningEffort: 'low', maxOutputTokens: 100 });
    expect(body['additionalModelRequestFields']).toBeUndefined();
  });

  it('fixes the temperature while Claude thinks', async () => {
    expect((await sent({ reasoningEffort: 'low', temperature: 1 })).inferenceConfig).toEqual({ maxTokens: 4_096 });
    expect(await refused({ reasoningEffort: 'low', temperature: 0.5 })).toMatchObject({ param: 'temperature' });
  });

  it.each([
    ['minimal', 'low'],
    ['medium', 'medium'],
    ['xhigh', 'xhigh'],
  ] as const)('%s is %s for a Claude that decides by itself', async (level, expected) => {
    const body = await effort(level, OPUS_4_7);
    expect(body['additionalModelRequestFields']).toEqual({ thinking: { type: 'adaptive' } });
    expect(body['outputConfig']).toEqual({ effort: expected });
  });

  it('shows a summary of the thinking where it is wanted and would be left out', async () => {
    const body = await sent({ reasoningEffort: 'low', reasoningSummary: true }, { model: OPUS_4_7 });
    expect(body['additionalModelRequestFields']).toEqual({ thinking: { type: 'adaptive', display: 'summarized' } });
  });

  it('none turns off what is on by default', async () => {
    expect((await effort('none', OPUS_5))['additionalModelRequestFields']).toEqual({ thinking: { type: 'disabled' } });
    expect((await effort('none', CLAUDE))['additionalModelRequestFields']).toBeUndefined();
  });

  it('is flat for gpt-oss and nested for its successors', async () => {
    expect((await effort('max', GPT_OSS))['additionalModelRequestFields']).toEqual({ reasoning_effort: 'high' });
    expect((await effort('max', 'us.openai.gpt-6-sol'))['additionalModelRequestFields']).toEqual({
      reasoning: { effort: 'max' },
    });
  });

  it('is a level for Nova, whose highest goes with no limits', async () => {
    expect((await effort('low', NOVA_2))['additionalModelRequestFields']).toEqual({
      reasoningConfig: { type: 'enabled', maxReasoningEffort: 'low' },
    });
    expect((await sent({ reasoningEffort: 'high' }, { model: NOVA_2 })).inferenceConfig).toEqual({});
    const error = await refused(
      { reasoningEffort: 'high', maxOutputTokens: 9, parameterNames: { maxOutputTokens: 'max_tokens' } },
      { model: NOVA_2 },
    );
    expect(error).toMatchObject({ code: 'unsupported_value', param: 'reasoningEffort' });
    expect(error.message).toContain('max_tokens');
  });

  it('is left out when the tool to call is already decided', async () => {
    const body = await sent({ reasoningEffort: 'medium', tools: [weather], toolChoice: 'required' });
    expect(body['additionalModelRequestFields']).toBeUndefined();
  });
});

describe('earlier reasoning', () => {
  const continuation = { provider: 'bedrock', data: { family: 'claude', text: 'Hmm', signature: 'c2ln' } };
  const thinking = {
    role: 'assistant',
    content: [{ type: 'reasoning', text: 'Hmm', continuation }, ...('content' in calls({}) ? calls({}).content : [])],
  } as Message;
  const conversation = [says('user', 'Weather?'), thinking, result('call_1', 'Sun')];

  it('goes back to the model as it came', async () => {
    const body = await sent({ reasoningEffort: 'low', tools: [weather], messages: conversation });
    expect(body.messages[1]?.content[0]).toEqual({
      reasoningContent: { reasoningText: { text: 'Hmm', signature: 'c2ln' } },
    });
    expect(body['additionalModelRequestFields']).toHaveProperty('thinking');
  });

  it('that nobody may read goes back too', async () => {
    const redacted = { provider: 'bedrock', data: { family: 'claude', redacted: 'AP+AAQ==' } };
    const message: Message = {
      role: 'assistant',
      content: [
        { type: 'reasoning', text: '', continuation: redacted },
        { type: 'text', text: 'Hi' },
      ],
    };
    const body = await sent({ reasoningEffort: 'low', messages: [says('user', 'A'), message, says('user', 'B')] });
    expect(body.messages[1]?.content[0]).toEqual({ reasoningContent: { redactedContent: 'AP+AAQ==' } });
  });

  it('that the caller dropped turns thinking off while the turn goes on, and no longer', async () => {
    const open = await sent({ reasoningEffort: 'low', tools: [weather], messages: roundTrip });
    expect(open['additionalModelRequestFields']).toBeUndefined();
    const next = [...roundTrip, says('assistant', 'It is sunny.'), says('user', 'Thanks')];
    const closed = await sent({ reasoningEffort: 'low', tools: [weather], messages: next });
    expect(closed['additionalModelRequestFields']).toHaveProperty('thinking');
  });

  it.each([
    ['another provider', { provider: 'openai-compatible', data: 'x' }],
    ['another family of models', { provider: 'bedrock', data: { family: 'openai', redacted: 'eA==' } }],
  ])('of %s is left out', async (_whose, foreign) => {
    const message: Message = {
      role: 'assistant',
      content: [
        { type: 'reasoning', text: 'Hmm', continuation: foreign },
        { type: 'text', text: 'Hi' },
      ],
    };
    const body = await sent({ reasoningEffort: 'low', messages: [says('user', 'A'), message, says('user', 'B')] });
    expect(body.messages[1]?.content).toEqual([{ text: 'Hi' }]);
  });

  it('that the caller changed is refused by its message', async () => {
    const forged = { provider: 'bedrock', data: { family: 'claude', signature: 7 } };
    const message: Message = { role: 'assistant', content: [{ type: 'reasoning', text: 'Hmm', continuation: forged }] };
    const error = await refused({ reasoningEffort: 'low', messages: [says('user', 'A'), message, says('user', 'B')] });
    expect(error).toMatchObject({ code: 'invalid_value', param: 'messages[1]' });
  });
});
