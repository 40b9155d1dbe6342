import * as v from 'valibot';
import { describe, expect, it } from 'vitest';
import { converseRequest } from '../../../local/bedrock/converse-request.ts';
import { readConverseCall } from '../../../local/bedrock/read-converse.ts';
import { findRefusal, RULES } from '../../../local/bedrock/rules/all.ts';
import { readModel } from '../../../local/bedrock/rules/models.ts';

const OPUS_4_1 = 'us.anthropic.claude-opus-4-1-20250805-v1:0';
const SONNET_4_5 = 'eu.anthropic.claude-sonnet-4-5-20250929-v1:0';
const SONNET_4_6 = 'global.anthropic.claude-sonnet-4-6';
const OPUS_4_7 = 'eu.anthropic.claude-opus-4-7';
const OPUS_5 = 'global.anthropic.claude-opus-5';
const FABLE = 'global.anthropic.claude-fable-5-1';
const NOVA = 'amazon.nova-pro-v1:0';
const NOVA_2 = 'global.amazon.nova-2-lite-v1:0';
const LLAMA = 'us.meta.llama4-scout-17b-instruct-v1:0';
const MISTRAL = 'mistral.mistral-large-2407-v1:0';
const COHERE = 'cohere.command-r-plus-v1:0';
const R1 = 'us.deepseek.r1-v1:0';
const QWEN = 'qwen.qwen3-32b-v1:0';
const GPT_OSS = 'openai.gpt-oss-120b-1:0';
const KIMI = 'moonshotai.kimi-k2.5';
const WRITER = 'us.writer.palmyra-x5-v1:0';
const TITAN = 'amazon.titan-text-express-v1';

const text = { text: 'Hi' };
const user = (...content: unknown[]) => ({ role: 'user', content: content.length > 0 ? content : [text] });
const assistant = (...content: unknown[]) => ({ role: 'assistant', content: content.length > 0 ? content : [text] });
const use = (toolUseId: string) => ({ toolUse: { toolUseId, name: 'find', input: {} } });
const result = (toolUseId: string, ...content: unknown[]) => ({ toolResult: { toolUseId, content } });
const png = { image: { format: 'png', source: { bytes: Buffer.from('\x89PNG', 'latin1').toString('base64') } } };
const pdf = { document: { format: 'pdf', name: 'a', source: { bytes: 'JVBERg==' } } };
const signed = { reasoningContent: { reasoningText: { text: 'Hm', signature: 'c2ln' } } };
const cachePoint = { cachePoint: { type: 'default' } };
const hourPoint = { cachePoint: { type: 'default', ttl: '1h' } };

const tool = (changes: object = {}, schema: object = {}) => ({
  toolSpec: { name: 'find', inputSchema: { json: { type: 'object', ...schema } }, ...changes },
});
const toolConfig = { tools: [tool()] };
const choose = (toolChoice: object) => ({ toolConfig: { ...toolConfig, toolChoice } });
const thinking = (fields: object) => ({ additionalModelRequestFields: { thinking: fields } });
const format = (schema: object) => ({
  outputConfig: { textFormat: { type: 'json_schema', structure: { jsonSchema: { schema: JSON.stringify(schema) } } } },
});
const closed = (properties: object, required = Object.keys(properties)) => ({
  type: 'object',
  properties,
  required,
  additionalProperties: false,
});
const roundTrip = [user(), assistant(use('a')), user(result('a', text))];
const many = <T>(count: number, make: (index: number) => T): T[] =>
  Array.from({ length: count }, (_, index) => make(index));
const fields = (count: number, make: (index: number) => object) =>
  Object.fromEntries(many(count, (index) => [`p${index}`, make(index)]));
const megabytes = (size: number) => Buffer.alloc(size * 1024 * 1024).toString('base64');

/** For each rule: a model, a request that it refuses, and one like it that the model takes. */
const EXAMPLES: Readonly<
  Record<string, readonly [model: string, refused: object, accepted: object, streamed?: boolean]>
> = {
  'starts-with-user': [NOVA, { messages: [assistant(), user()] }, {}],
  'alternating-roles': [NOVA, { messages: [user(), user()] }, { messages: [user(), assistant(), user()] }],
  'empty-message': [NOVA, { messages: [{ role: 'user', content: [] }] }, {}],
  'blank-text': [NOVA, { messages: [user({ text: ' \n' })] }, { system: [text] }],
  'system-prompt': [TITAN, { system: [text] }, {}],
  'claude-prefill': [SONNET_4_6, { messages: [user(), assistant()] }, { messages: [user(), assistant(), user()] }],
  'claude-prefill-while-thinking': [
    SONNET_4_5,
    { messages: [user(), assistant()], ...thinking({ type: 'enabled', budget_tokens: 1_024 }) },
    { messages: [user(), assistant()] },
  ],
  'claude-prefill-with-trailing-space': [
    SONNET_4_5,
    { messages: [user(), assistant({ text: 'It is ' })] },
    { messages: [user(), assistant({ text: 'It is' })] },
  ],
  'claude-final-reasoning': [
    SONNET_4_5,
    { messages: [user(), assistant(signed)] },
    { messages: [user(), assistant(signed), user()] },
  ],
  'claude-unsigned-reasoning': [
    SONNET_4_6,
    { messages: [user(), assistant({ reasoningContent: { reasoningText: { text: 'Hm' } } }, text), user()] },
    { messages: [user(), assistant(signed, text), user()] },
  ],
  'claude-reasoning-before-tool-use': [
    SONNET_4_5,
    { messages: roundTrip, toolConfig, ...thinking({ type: 'enabled', budget_tokens: 1_024 }) },
    {
      messages: [user(), assistant(signed, use('a')), user(result('a'))],
      toolConfig,
      ...thinking({ type: 'enabled', budget_tokens: 1_024 }),
    },
  ],
  'user-turn-without-reasoning': [
    NOVA,
    { messages: [user(signed)] },
    { messages: [user(), assistant(signed, text), user()] },
  ],
  'tool-support': [R1, { toolConfig }, {}],
  'streamed-tools': [LLAMA, { toolConfig }, {}, true],
  'undeclared-tools': [NOVA, { messages: roundTrip }, { messages: roundTrip, toolConfig }],
  'tool-names': [
    NOVA,
    { toolConfig: { tools: [tool(), tool()] } },
    { toolConfig: { tools: [tool(), tool({ name: 'x' })] } },
  ],
  'tool-results': [
    NOVA,
    { messages: [user(), assistant(use('a')), user()], toolConfig },
    { messages: roundTrip, toolConfig },
  ],
  'claude-tool-results-first': [
    SONNET_4_6,
    { messages: [user(), assistant(use('a')), user(text, result('a'))], toolConfig },
    { messages: [user(), assistant(use('a')), user(result('a'), text)], toolConfig },
  ],
  'repeated-ids-in-a-message': [
    NOVA,
    { messages: [user(), assistant(use('a'), use('a')), user(result('a'))], toolConfig },
    { messages: [user(), assistant(use('a'), use('b')), user(result('a'), result('b'))], toolConfig },
  ],
  'claude-repeated-ids': [
    SONNET_4_6,
    { messages: [...roundTrip, ...roundTrip.slice(1)], toolConfig },
    { messages: [...roundTrip, assistant(use('b')), user(result('b'))], toolConfig },
  ],
  'mistral-ids': [
    MISTRAL,
    { messages: roundTrip, toolConfig },
    { messages: [user(), assistant(use('abcdefgh1')), user(result('abcdefgh1'))], toolConfig },
  ],
  'chosen-tool': [NOVA, choose({ tool: { name: 'other' } }), choose({ tool: { name: 'find' } })],
  'tool-choice-any': [GPT_OSS, choose({ any: {} }), { toolConfig }],
  'tool-choice-tool': [MISTRAL, choose({ tool: { name: 'find' } }), choose({ any: {} })],
  'tool-choice-auto': [QWEN, choose({ auto: {} }), { toolConfig }],
  'claude-forced-tool': [FABLE, choose({ any: {} }), choose({ auto: {} })],
  'claude-forced-tool-while-thinking': [
    SONNET_4_6,
    { ...choose({ any: {} }), ...thinking({ type: 'adaptive' }) },
    { ...choose({ auto: {} }), ...thinking({ type: 'adaptive' }) },
  ],
  'claude-top-level-schema': [
    SONNET_4_6,
    { toolConfig: { tools: [tool({}, { anyOf: [{ required: ['a'] }] })] } },
    { toolConfig: { tools: [tool({}, { properties: { a: { anyOf: [{ type: 'string' }] } } })] } },
  ],
  'claude-property-names': [
    SONNET_4_6,
    { toolConfig: { tools: [tool({}, { properties: { 'a b': {} } })] } },
    { toolConfig: { tools: [tool({}, { properties: { 'a-b.c': {} } })] } },
  ],
  'image-count': [
    SONNET_4_6,
    { messages: [user(text, ...many(21, () => png))] },
    { messages: [user(text, ...many(20, () => png))] },
  ],
  'image-size': [
    SONNET_4_6,
    { messages: [user({ image: { format: 'png', source: { bytes: megabytes(4) } } })] },
    { messages: [user({ image: { format: 'png', source: { bytes: megabytes(3) } } })] },
  ],
  'image-format': [
    SONNET_4_6,
    { messages: [user({ image: { ...png.image, format: 'jpeg' } })] },
    { messages: [user(png)] },
  ],
  'image-support': [GPT_OSS, { messages: [user(text, png)] }, {}],
  'document-count': [
    SONNET_4_6,
    { messages: [user(text, ...many(6, () => pdf))] },
    { messages: [user(text, ...many(5, () => pdf))] },
  ],
  'document-size': [
    SONNET_4_6,
    { messages: [user(text, { document: { ...pdf.document, source: { bytes: megabytes(5) } } })] },
    { messages: [user(text, { document: { ...pdf.document, source: { bytes: megabytes(4) } } })] },
  ],
  'document-without-text': [SONNET_4_6, { messages: [user(pdf)] }, { messages: [user(pdf, text)] }],
  'document-support': [QWEN, { messages: [user(text, pdf)] }, {}],
  'media-from-assistant': [
    SONNET_4_6,
    { messages: [user(), assistant(png), user()] },
    { messages: [user(), assistant(), user(png)] },
  ],
  'image-in-tool-result': [
    KIMI,
    { messages: [user(), assistant(use('a')), user(result('a', png))], toolConfig },
    { messages: [user(), assistant(use('a')), user(result('a', text), png)], toolConfig },
  ],
  'document-in-tool-result': [
    KIMI,
    { messages: [user(), assistant(use('a')), user(text, result('a', pdf))], toolConfig },
    { messages: roundTrip, toolConfig },
  ],
  'nova-document-in-tool-result': [
    NOVA,
    { messages: [user(), assistant(use('a')), user(result('a', pdf))], toolConfig },
    {
      messages: [user(), assistant(use('a')), user(result('a', { document: { ...pdf.document, format: 'csv' } }))],
      toolConfig,
    },
  ],
  'claude-document-beside-tool-result': [
    SONNET_4_6,
    { messages: [user(), assistant(use('a')), user(result('a'), text, pdf)], toolConfig },
    { messages: [user(), assistant(use('a')), user(result('a', pdf), text)], toolConfig },
  ],
  'tool-result-alone': [
    LLAMA,
    { messages: [user(), assistant(use('a')), user(result('a'), text)], toolConfig },
    { messages: roundTrip, toolConfig },
  ],
  'tool-result-status': [
    WRITER,
    {
      messages: [user(), assistant(use('a')), user({ toolResult: { toolUseId: 'a', content: [], status: 'success' } })],
      toolConfig,
    },
    { messages: roundTrip, toolConfig },
  ],
  'output-limit': [OPUS_4_1, { inferenceConfig: { maxTokens: 32_001 } }, { inferenceConfig: { maxTokens: 32_000 } }],
  'claude-temperature-with-top-p': [
    SONNET_4_6,
    { inferenceConfig: { temperature: 0.7, topP: 1 } },
    { inferenceConfig: { topP: 0.5 } },
  ],
  'claude-fixed-sampling': [OPUS_4_7, { inferenceConfig: { temperature: 1 } }, { inferenceConfig: { maxTokens: 1 } }],
  'claude-sampling-while-thinking': [
    SONNET_4_6,
    { inferenceConfig: { temperature: 0.5 }, ...thinking({ type: 'adaptive' }) },
    { inferenceConfig: { temperature: 1 }, ...thinking({ type: 'adaptive' }) },
  ],
  'claude-openai-fields': [
    SONNET_4_6,
    { additionalModelRequestFields: { seed: 1 } },
    { additionalModelRequestFields: { top_k: 1 } },
  ],
  'cohere-top-p': [COHERE, { inferenceConfig: { topP: 1 } }, { inferenceConfig: { topP: 0.99 } }],
  'stop-support': [QWEN, { inferenceConfig: { stopSequences: ['END'] } }, {}],
  'stop-count': [
    NOVA,
    { inferenceConfig: { stopSequences: ['1', '2', '3', '4', '5'] } },
    { inferenceConfig: { stopSequences: ['1', '2', '3', '4'] } },
  ],
  'claude-blank-stop': [
    SONNET_4_5,
    { inferenceConfig: { stopSequences: ['\n'] } },
    { inferenceConfig: { stopSequences: ['\nEND'] } },
  ],
  'claude-thinking-budget': [
    SONNET_4_5,
    { inferenceConfig: { maxTokens: 2_000 }, ...thinking({ type: 'enabled', budget_tokens: 2_000 }) },
    { inferenceConfig: { maxTokens: 2_001 }, ...thinking({ type: 'enabled', budget_tokens: 2_000 }) },
  ],
  'claude-thinking-style': [
    OPUS_4_7,
    thinking({ type: 'enabled', budget_tokens: 2_000 }),
    thinking({ type: 'adaptive' }),
  ],
  'claude-thinking-always': [FABLE, thinking({ type: 'disabled' }), thinking({ type: 'adaptive' })],
  'claude-effort': [SONNET_4_6, { outputConfig: { effort: 'xhigh' } }, { outputConfig: { effort: 'high' } }],
  'gpt-oss-effort': [
    GPT_OSS,
    { additionalModelRequestFields: { reasoning_effort: 'none' } },
    { additionalModelRequestFields: { reasoning_effort: 'low' } },
  ],
  'nova-high-effort': [
    NOVA_2,
    {
      inferenceConfig: { maxTokens: 10 },
      additionalModelRequestFields: { reasoningConfig: { type: 'enabled', maxReasoningEffort: 'high' } },
    },
    { additionalModelRequestFields: { reasoningConfig: { type: 'enabled', maxReasoningEffort: 'high' } } },
  ],
  'format-support': [OPUS_5, format(closed({})), {}],
  'strict-tool-support': [FABLE, { toolConfig: { tools: [tool({ strict: true })] } }, { toolConfig }],
  'schema-keywords': [
    SONNET_4_6,
    format(closed({ a: { type: 'integer', minimum: 1 } })),
    format(closed({ a: { type: 'string', minLength: 1 } })),
  ],
  'claude-open-objects': [
    SONNET_4_6,
    { toolConfig: { tools: [tool({ strict: true }, { properties: {} })] } },
    { toolConfig: { tools: [tool({ strict: true }, closed({}))] } },
  ],
  'recursive-schemas': [
    SONNET_4_6,
    format({
      ...closed({ next: { $ref: '#/$defs/node' } }),
      $defs: { node: closed({ next: { $ref: '#/$defs/node' } }) },
    }),
    format({ ...closed({ next: { $ref: '#/$defs/node' } }), $defs: { node: closed({ name: { type: 'string' } }) } }),
  ],
  'claude-schema-complexity': [
    SONNET_4_6,
    format(
      closed(
        fields(25, () => ({ type: 'string' })),
        [],
      ),
    ),
    format(
      closed(
        fields(24, () => ({ type: 'string' })),
        [],
      ),
    ),
  ],
  'cache-support': [LLAMA, { system: [text, cachePoint] }, {}],
  'cache-point-count': [
    SONNET_4_6,
    { system: many(5, () => [text, cachePoint]).flat() },
    { system: many(4, () => [text, cachePoint]).flat() },
  ],
  'cache-point-without-prefix': [
    SONNET_4_6,
    { messages: [user(cachePoint, text)] },
    { messages: [user(text, cachePoint)] },
  ],
  'cache-point-after-reasoning': [
    SONNET_4_6,
    { messages: [user(), assistant(signed, cachePoint), user()] },
    { messages: [user(), assistant(signed, text, cachePoint), user()] },
  ],
  'cache-point-after-document': [
    SONNET_4_6,
    { messages: [user(text, pdf, cachePoint)] },
    { messages: [user(pdf, text, cachePoint)] },
  ],
  'nova-cached-tools': [NOVA, { toolConfig: { tools: [tool(), cachePoint] } }, { system: [text, cachePoint] }],
  'nova-cache-point-beside-tool-blocks': [
    NOVA,
    { messages: [user(), assistant(use('a')), user(result('a'), cachePoint)], toolConfig },
    { messages: [user(text, cachePoint), assistant(use('a')), user(result('a'))], toolConfig },
  ],
  'cache-ttl': [NOVA, { system: [text, hourPoint] }, { system: [text, cachePoint] }],
  'cache-ttl-order': [
    SONNET_4_6,
    { system: [text, cachePoint], messages: [user(text, hourPoint)] },
    { system: [text, hourPoint], messages: [user(text, cachePoint)] },
  ],
};

/** Returns the name of the rule that refuses a request; undefined if it is accepted. Throws if it breaks the API's shape. */
function findRuleName(model: string, changes: object, streamed = false): string | undefined {
  const body = v.parse(converseRequest, { messages: [user()], ...changes });
  return findRefusal(readConverseCall(model, streamed, body))?.rule.name;
}

describe('the rules of the Bedrock stand-in', () => {
  it('every rule has an example and a source, and no two rules have one name', () => {
    expect(RULES.map(({ name }) => name).sort()).toEqual(Object.keys(EXAMPLES).sort());
    for (const { source } of RULES) expect(source).toMatch(/^https:\/\//);
  });

  it.each(Object.entries(EXAMPLES))(
    'the rule %s refuses its example and accepts the corrected one',
    (name, example) => {
      const [model, refused, accepted, streamed] = example;
      expect(findRuleName(model, refused, streamed)).toBe(name);
      expect(findRuleName(model, accepted, streamed)).toBeUndefined();
    },
  );
});

it.each([
  ['anthropic.claude-v2:1', 'claude', 0],
  ['us.anthropic.claude-3-5-sonnet-20241022-v2:0', 'claude', 305],
  ['anthropic.claude-opus-4-20250514-v1:0', 'claude', 400],
  ['arn:aws:bedrock:eu-west-1:123456789012:inference-profile/eu.anthropic.claude-opus-4-7', 'claude', 407],
  ['global.anthropic.claude-fable-5-1', 'claude', 501],
  ['us.amazon.nova-2-lite-v1:0', 'nova', 0],
  ['a-model-of-a-test', 'unknown', 0],
])('the stand-in reads the family and version of %s', (id, family, version) => {
  expect(readModel(id)).toEqual({ id, family, version });
});
