import fc from 'fast-check';

/** Random bodies of `POST /v1/chat/completions` that OpenAI would accept, from parts at which models differ. */

const encode = (bytes: string): string => Buffer.from(bytes, 'latin1').toString('base64');
const IMAGES = ['\x89PNG\r\n\x1a\n....', '\xff\xd8\xff\xe0........', 'GIF89a......', 'RIFF....WEBPVP8 '].map(encode);

const text = fc.constantFrom('Hello', 'It is ', '\nIt is\n', ' ', '', 'ünïcödé ✨');
const filledText = text.filter((each) => each.trim() !== '');
const image = fc
  .record({ type: fc.constantFrom('png', 'jpeg', 'gif', 'webp'), data: fc.constantFrom(...IMAGES) })
  .map(({ type, data }) => ({ type: 'image_url', image_url: { url: `data:image/${type};base64,${data}` } }));

const userMessage = fc
  .oneof(
    { weight: 4, arbitrary: text },
    fc.array(fc.oneof({ weight: 3, arbitrary: text.map((each) => ({ type: 'text', text: each })) }, image), {
      minLength: 1,
      maxLength: 4,
    }),
  )
  .map((content) => ({ role: 'user', content }));
const systemMessage = fc.record({ role: fc.constantFrom('system', 'developer'), content: text });
const assistantMessage = fc.record({ role: fc.constant('assistant'), content: text });

/** An assistant message with calls, and their results. Ids and names repeat, and are those of other providers, too. */
const round = fc
  .record({
    said: fc.option(text),
    calls: fc.uniqueArray(
      fc.record({
        id: fc.constantFrom('call_1', 'find:0', 'functions.find:1', `tooluse_${'x'.repeat(80)}`, 'abcdefgh1'),
        name: fc.constantFrom('find', 'write', 'gone'),
        arguments: fc.constantFrom('{}', '', '{"city":"Oslo"}', '{"text":"A long ', '[1]', 'null'),
        result: text,
      }),
      { selector: ({ id }) => id, minLength: 1, maxLength: 3 },
    ),
  })
  .map(({ said, calls }) => [
    {
      role: 'assistant',
      content: said,
      tool_calls: calls.map(({ id, name, arguments: written }) => ({
        id,
        type: 'function',
        function: { name, arguments: written },
      })),
    },
    ...calls.map(({ id, result }) => ({ role: 'tool', tool_call_id: id, content: result })),
  ]);

const messages = fc
  .array(fc.oneof(userMessage, systemMessage, assistantMessage, round, round), { minLength: 1, maxLength: 6 })
  .map((parts) => parts.flat());

const closed = (properties: object) => ({
  type: 'object',
  properties,
  required: Object.keys(properties),
  additionalProperties: false,
});
const SCHEMAS: readonly object[] = [
  { type: 'object', properties: {} },
  { type: 'object' },
  closed({ rating: { type: 'integer', minimum: 1, maximum: 5 } }),
  closed({
    list: { type: 'array', items: { type: 'string', minLength: 1, pattern: '^(?!a)' }, minItems: 2, maxItems: 3 },
  }),
  closed({ either: { anyOf: [{ type: 'string', format: 'iri' }, { type: 'null' }] } }),
  closed({ either: { oneOf: [{ type: 'string' }, closed({ a: { type: ['number', 'null'] } })] } }),
  closed(Object.fromEntries(Array.from({ length: 20 }, (_, index) => [`p${index}`, { type: ['string', 'null'] }]))),
  { ...closed({ next: { $ref: '#/$defs/node' } }), $defs: { node: closed({ next: { $ref: '#/$defs/node' } }) } },
  { ...closed({ a: { $ref: '#/$defs/a' } }), $defs: { a: closed({ b: { type: 'string', maxLength: 9 } }) } },
  { type: 'object', properties: { map: { type: 'object', additionalProperties: { type: 'number' } } } },
  { type: 'object', properties: { a: { type: 'string' } }, anyOf: [{ required: ['a'] }, { properties: { b: {} } }] },
  { type: 'object', properties: { 'a name': { type: 'string' } } },
  { type: 'object', properties: { not: { not: { const: 1 } }, enum: { enum: [{ a: 1 }] } } },
];
const schema = fc.constantFrom(...SCHEMAS);

const makeTools = (name: string) =>
  fc.record(
    {
      name: fc.constant(name),
      description: fc.option(text),
      parameters: schema,
      strict: fc.option(fc.boolean()),
    },
    { requiredKeys: ['name'] },
  );
const tools = fc
  .subarray(['find', 'write', 'read'], { minLength: 1 })
  .chain((names) => fc.tuple(...names.map(makeTools)))
  .map((functions) => functions.map((each) => ({ type: 'function', function: each })));

const withTools = tools.chain((list) =>
  fc.record(
    {
      tools: fc.constant(list),
      tool_choice: fc.constantFrom('auto', 'none', 'required', {
        type: 'function',
        function: { name: list[0]?.function.name },
      }),
      parallel_tool_calls: fc.boolean(),
    },
    { requiredKeys: ['tools'] },
  ),
);

const format = fc.oneof(
  fc.constantFrom<object>({ type: 'text' }, { type: 'json_object' }),
  fc
    .record({
      schema,
      strict: fc.option(fc.boolean()),
      name: fc.constant('answer'),
      description: fc.option(filledText),
    })
    .map((json_schema) => ({ type: 'json_schema', json_schema })),
);

const PARAMETERS: Readonly<Record<string, fc.Arbitrary<unknown>>> = {
  temperature: fc.constantFrom(0, 0.5, 1, 1, 2),
  top_p: fc.constantFrom(0, 0.5, 0.96, 1, 1),
  stop: fc.constantFrom<string | string[]>('END', ['\n'], ['\nUser:', ' '], ['1', '2', '3', '4']),
  response_format: format,
  reasoning_effort: fc.constantFrom('none', 'minimal', 'low', 'medium', 'high', 'xhigh', 'max'),
  max_completion_tokens: fc.constantFrom(1, 100, 2_000, 32_000, 1_000_000),
  frequency_penalty: fc.constant(0),
  presence_penalty: fc.constant(0),
  logit_bias: fc.constant({}),
  service_tier: fc.constantFrom('auto', 'default'),
};
/** A few parameters at a time: each model lacks some, so that a request with all of them would only be refused. */
const parameters = fc
  .subarray(Object.keys(PARAMETERS), { maxLength: 3 })
  .chain((names) => fc.record(Object.fromEntries(names.map((name) => [name, PARAMETERS[name] ?? fc.constant(null)]))));

export const chatBody = fc
  .record({ messages, options: parameters, stream: fc.boolean(), toolUse: fc.option(withTools, { freq: 1 }) })
  .map(({ messages: list, options, stream, toolUse }) => ({
    model: 'm',
    messages: list,
    stream,
    ...options,
    ...toolUse,
  }));
