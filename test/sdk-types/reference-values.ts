import fc from 'fast-check';

const PNG = 'iVBORw0KGgo=';
const IMAGE = fc.constantFrom(`data:image/png;base64,${PNG}`, 'https://images.example.com/a.png');
const SCHEMA = fc.constant({
  type: 'object',
  properties: { a: { type: 'string' } },
  required: ['a'],
  additionalProperties: false,
});
const NAME = fc.constantFrom('f', 'get_weather', 'b-2');
const TOKENS = fc.integer({ min: 16, max: 2_048 });
const SHARE = fc.double({ min: 0, max: 1, noNaN: true });

/** Values of the APIs' references, for properties whose type is only a string, a number or an object. */
export const REFERENCE_VALUES: Readonly<Record<string, fc.Arbitrary<unknown>>> = {
  'image_url.url': IMAGE,
  'input.content.image_url': IMAGE,
  'items.content.image_url': IMAGE,
  'output.image_url': IMAGE,
  parameters: SCHEMA,
  input_schema: SCHEMA,
  'format.schema': SCHEMA,
  'json_schema.schema': SCHEMA,
  'function.name': NAME,
  'custom.name': NAME,
  'tools.name': NAME,
  'json_schema.name': NAME,
  'format.name': NAME,
  'source.data': fc.constant(PNG),
  n: fc.constant(1),
  max_tokens: TOKENS,
  max_completion_tokens: TOKENS,
  max_output_tokens: TOKENS,
  budget_tokens: fc.integer({ min: 1_024, max: 2_048 }),
  compact_threshold: fc.integer({ min: 1_000, max: 9_000 }),
  temperature: SHARE,
  top_p: SHARE,
  frequency_penalty: SHARE,
  presence_penalty: SHARE,
  logit_bias: fc.constant({ '50256': -1 }),
};
