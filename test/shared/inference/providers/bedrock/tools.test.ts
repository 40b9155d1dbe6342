import { describe, expect, it } from 'vitest';
import type { GenerationRequest, Tool } from '../../../../../shared/inference/generation.ts';
import { createBedrockModel } from '../../../../../shared/inference/providers/bedrock/bedrock.ts';
import { makeRequest } from '../../requests.ts';
import { makeTarget, startUpstreamForTests } from './upstream.ts';

const SONNET_4_6 = 'global.anthropic.claude-sonnet-4-6';
const OPUS_5 = 'global.anthropic.claude-opus-5';
const FABLE = 'global.anthropic.claude-fable-5-1';
const LLAMA = 'us.meta.llama4-scout-17b-instruct-v1:0';
const MISTRAL = 'mistral.mistral-large-2407-v1:0';
const GPT_OSS = 'openai.gpt-oss-120b-1:0';
const QWEN = 'qwen.qwen3-32b-v1:0';

const upstream = await startUpstreamForTests();

const makeTool = (name: string, changes: Partial<Tool> = {}): Tool => ({
  name,
  parameters: { type: 'object', properties: { city: { type: 'string' } } },
  strict: false,
  ...changes,
});
const tools = [makeTool('weather'), makeTool('time')];

describe('streamed calls with tools', () => {
  it('a model that streams no tools is called without streaming, and its answer is yielded as events', async () => {
    const events = await upstream.generate({ tools }, { target: makeTarget({ model: LLAMA }) });
    expect(upstream.calls.map(({ streamed }) => streamed)).toEqual([false]);
    expect(events.map(({ type }) => type)).toEqual(['text', 'finish']);
  });

  it('the same model streams requests without tools', async () => {
    await upstream.generate({}, { target: makeTarget({ model: LLAMA }) });
    expect(upstream.calls[0]?.streamed).toBe(true);
  });

  it.each([
    [LLAMA, { tools }, true],
    [LLAMA, {}, false],
    [SONNET_4_6, { tools }, false],
  ])('whether %s answers %o at once is %s', (model, changes, expected) => {
    const { answersAtOnce } = createBedrockModel(makeTarget({ model }), upstream.client, { maxOutputTokens: 9 });
    expect(answersAtOnce?.(makeRequest(changes))).toBe(expected);
  });
});

describe('the choice of a tool', () => {
  const required = { tools, toolChoice: 'required' } as const;
  const named = { tools, toolChoice: { name: 'time' } } as const;

  it.each([
    [GPT_OSS, required, 'a call of one of the tools'],
    [GPT_OSS, named, 'a call of the tool time'],
    [LLAMA, required, 'a call of one of the tools'],
    [FABLE, required, 'a call of one of the tools'],
    [FABLE, { ...required, parallelToolCalls: false }, 'a call of one of the tools'],
  ])('%s, which cannot be forced, is asked in the prompt for %o', async (model, changes, asked) => {
    const { system, toolConfig, additionalModelRequestFields: fields } = await upstream.send(changes, { model });
    expect(system?.map(({ text }) => text).join()).toContain(asked);
    expect(toolConfig?.toolChoice).toBeUndefined();
    expect(fields?.['tool_choice']).toEqual(
      'parallelToolCalls' in changes ? { type: 'auto', disable_parallel_tool_use: true } : undefined,
    );
  });

  it('a named tool that the model cannot be forced to call is the only one', async () => {
    const { toolConfig } = await upstream.send(named, { model: GPT_OSS });
    expect(toolConfig?.tools.map(({ toolSpec }) => toolSpec?.name)).toEqual(['time']);
  });

  it('a model that can be forced is not asked in the prompt', async () => {
    const { system } = await upstream.send(required, { model: SONNET_4_6 });
    expect(system).toBeUndefined();
  });

  it('a model that can be forced to use any tool, but no named one, gets the named tool alone', async () => {
    const { toolConfig } = await upstream.send(named, { model: MISTRAL });
    expect(toolConfig?.tools.map(({ toolSpec }) => toolSpec?.name)).toEqual(['time']);
    expect(toolConfig?.toolChoice).toEqual({ any: {} });
  });
});

describe('the parameters of tools', () => {
  const sendTool = async (tool: Tool, model: string) =>
    (await upstream.send({ tools: [tool] }, { model })).toolConfig?.tools[0]?.toolSpec;

  it('alternatives at the top level are merged for Claude, and described', async () => {
    const variants = [
      { properties: { id: { type: 'integer' } }, required: ['id', 'kind'] },
      { properties: { id: { type: 'string' }, name: { type: 'string' } }, required: ['kind'] },
    ];
    const parameters = { type: 'object', properties: { kind: {} }, anyOf: variants };
    const spec = await sendTool(makeTool('find', { description: 'Finds.', parameters }), SONNET_4_6);
    expect(spec).toEqual({
      name: 'find',
      description: `Finds. The arguments must also match this JSON schema: ${JSON.stringify({ anyOf: variants })}`,
      inputSchema: {
        json: {
          type: 'object',
          properties: { id: { anyOf: [{ type: 'integer' }, { type: 'string' }] }, name: { type: 'string' }, kind: {} },
          required: ['kind'],
        },
      },
    });
    expect((await sendTool(makeTool('find', { parameters }), QWEN))?.inputSchema.json).toEqual(parameters);
  });

  it('parts of allOf at the top level are all required, references included', async () => {
    const parameters = {
      type: 'object',
      allOf: [{ $ref: '#/$defs/a' }, { properties: { b: {} }, required: ['b'] }],
      $defs: { a: { properties: { a: {} }, required: ['a'] } },
    };
    const json = (await sendTool(makeTool('find', { parameters }), SONNET_4_6))?.inputSchema.json;
    expect(json).toMatchObject({ properties: { a: {}, b: {} }, required: ['a', 'b'] });
  });

  it.each([
    ['a parameter whose name has a space', { parameters: { properties: { 'a b': {} } } }],
    ['a schema that describes no object', { parameters: { type: 'array' } }],
    ['a strict schema with a keyword that no grammar has', { strict: true, parameters: { not: {} } }],
  ])('a tool with %s is refused before the call, and the error names its position', async (_case, changes) => {
    const error = await upstream.catchRefusal(
      { tools: [makeTool('a'), makeTool('b', changes)] },
      { model: SONNET_4_6 },
    );
    expect(error).toMatchObject({ code: 'invalid_value', param: 'tools[1]', recovery: 'nextTarget' });
  });

  it('of more strict tools than Claude holds to their schemas, none is declared as strict', async () => {
    const strict = Array.from({ length: 21 }, (_, index) => makeTool(`t${index}`, { strict: true, parameters: {} }));
    const listStrict = async (list: Tool[]) =>
      (await upstream.send({ tools: list }, { model: SONNET_4_6 })).toolConfig?.tools.map(
        ({ toolSpec }) => toolSpec?.strict ?? false,
      );
    expect(new Set(await listStrict(strict.slice(1)))).toEqual(new Set([true]));
    expect(new Set(await listStrict(strict))).toEqual(new Set([false]));
  });
});

describe('schemas of formats', () => {
  const property = { type: 'integer', description: 'Stars', minimum: 1, maximum: 5 };
  const makeFormat = (
    schema: Record<string, unknown>,
    strict: boolean,
  ): Extract<GenerationRequest['format'], { type: 'jsonSchema' }> => ({
    type: 'jsonSchema',
    name: 'rating',
    schema: { type: 'object', required: Object.keys(schema['properties'] ?? {}), ...schema },
    strict,
  });
  const closed = (properties: Record<string, unknown>) => ({ properties, additionalProperties: false });
  const sendFormat = async (
    format: GenerationRequest['format'],
    changes: Partial<GenerationRequest>,
    model: string,
  ) => {
    const body = await upstream.send({ format, ...changes }, { model });
    return JSON.parse(body.outputConfig?.textFormat?.structure.jsonSchema.schema ?? 'null');
  };

  it.each([SONNET_4_6, QWEN, GPT_OSS])('limits of values become part of the description for %s', async (model) => {
    const schema = await sendFormat(makeFormat(closed({ rating: property }), true), {}, model);
    expect(schema.properties.rating).toEqual({ type: 'integer', description: 'Stars (minimum: 1, maximum: 5)' });
  });

  it('limits of lists, texts and formats become part of the description, and the rest is kept', async () => {
    const properties = {
      list: { type: 'array', items: { type: 'string', maxLength: 3 }, minItems: 2, maxItems: 3 },
      one: { type: 'array', items: {}, minItems: 1 },
      code: { type: 'string', pattern: '^(?=a)b$', format: 'iri' },
      date: { type: 'string', pattern: '^\\d+$', format: 'date' },
      either: { oneOf: [{ type: 'string' }, { type: 'null' }] },
    };
    const schema = await sendFormat(makeFormat(closed(properties), true), {}, SONNET_4_6);
    expect(schema.properties).toEqual({
      list: {
        type: 'array',
        items: { type: 'string', description: '(maxLength: 3)' },
        description: '(minItems: 2, maxItems: 3)',
      },
      one: properties.one,
      code: { type: 'string', description: '(pattern: "^(?=a)b$", format: "iri")' },
      date: properties.date,
      either: { anyOf: properties.either.oneOf },
    });
  });

  it.each([
    ['an open object', { properties: { a: { type: 'object', additionalProperties: true } } }],
    [
      'a recursive schema',
      { ...closed({ next: { $ref: '#/$defs/a' } }), $defs: { a: closed({ next: { $ref: '#/$defs/a' } }) } },
    ],
    ['an external reference', closed({ a: { $ref: 'https://example.com/schema' } })],
    ['a condition', closed({ a: { if: {}, else: {} } })],
    [
      'more than 24 optional properties',
      { ...closed(Object.fromEntries(Array.from({ length: 25 }, (_, i) => [`p${i}`, {}]))), required: [] },
    ],
  ])('a strict format with %s is refused before the call', async (_case, schema) => {
    const parameterNames = { format: 'response_format' };
    const error = await upstream.catchRefusal(
      { format: makeFormat(schema, true), parameterNames },
      { model: SONNET_4_6 },
    );
    expect(error).toMatchObject({ code: 'unsupported_value', param: 'response_format', recovery: 'nextTarget' });
  });

  it('a schema that is not strict is enforced beside tools for Claude if every object is closed, and else asked for', async () => {
    const schema = closed({ a: { type: 'integer' } });
    expect(await sendFormat(makeFormat(schema, false), { tools }, SONNET_4_6)).toMatchObject(schema);
    for (const open of [{ properties: {} }, closed({ a: { type: 'object' } })]) {
      const format = makeFormat(open, false);
      const body = await upstream.send({ format, tools }, { model: SONNET_4_6 });
      expect(body.outputConfig).toBeUndefined();
      expect(body.system?.at(-1)?.text).toContain(JSON.stringify(format.schema));
    }
  });

  it('a schema that is not strict loses only what the grammar lacks', async () => {
    const schema = await sendFormat(makeFormat({ properties: { a: { not: { const: 1 } } } }, false), {}, QWEN);
    expect(schema.properties.a).toEqual({ description: '(not: {"const":1})' });
  });

  it('a format of a later Claude model is requested as the arguments of a tool, because Bedrock refuses it', async () => {
    const body = await upstream.send({ format: makeFormat(closed({ a: {} }), true) }, { model: OPUS_5 });
    expect(body.outputConfig).toBeUndefined();
    expect(body.toolConfig?.toolChoice).toEqual({ tool: { name: 'json_answer' } });
  });
});
