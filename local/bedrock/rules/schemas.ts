import { isRecord, listTools, type ModelCall } from './call.ts';
import { claude, either, type Model, type ModelTest, matching, of } from './models.ts';
import { CLAUDE, GUIDE, RECORDED, type Rule } from './rule.ts';

const STRUCTURED = `${GUIDE}/structured-output.html`;

/** Models whose answers and tool calls Bedrock can hold to a schema. */
const ENFORCES: ModelTest = either(
  claude({ from: 405, to: 406 }),
  of('gpt-oss', 'kimi', 'glm'),
  matching(
    /qwen3|deepseek\.v3|minimax-m2|gemma-3-(?:12|27)b|magistral|ministral-3|mistral-large-3|voxtral|nemotron-nano/,
  ),
);
const lacksEnforcement = (model: Model): boolean => model.family !== 'unknown' && !ENFORCES(model);

/** Structured output: which models have it, and the JSON schemas that it takes. */
export const SCHEMA_RULES: readonly Rule[] = [
  {
    name: 'format-support',
    source: 'https://github.com/vercel/ai/issues/14773',
    appliesTo: lacksEnforcement,
    check: ({ outputSchema }) =>
      outputSchema === undefined ? undefined : 'output_config.format: not supported by this model',
  },
  {
    name: 'strict-tool-support',
    source: 'https://github.com/lobehub/lobehub/issues/19876',
    appliesTo: lacksEnforcement,
    check: (call) =>
      listTools(call).some(({ strict }) => strict) ? 'tools.0.custom.strict: not supported by this model' : undefined,
  },
  {
    name: 'schema-keywords',
    source: `${STRUCTURED} and ${RECORDED}`,
    appliesTo: ENFORCES,
    check: (call) => findInSchemas(call, findUnsupportedKeyword),
  },
  {
    name: 'claude-open-objects',
    source: `${CLAUDE}/build-with-claude/structured-outputs#json-schema-limitations`,
    appliesTo: claude(),
    check: (call) =>
      findInSchemas(call, (schema) =>
        describesObject(schema) && schema['additionalProperties'] !== false
          ? 'an object needs additionalProperties: false'
          : undefined,
      ),
  },
  {
    name: 'recursive-schemas',
    source: STRUCTURED,
    appliesTo: ENFORCES,
    check: (call) => (listEnforced(call).some(isRecursive) ? 'Recursive schemas are not supported' : undefined),
  },
  {
    name: 'claude-schema-complexity',
    source: `${CLAUDE}/build-with-claude/structured-outputs#schema-complexity-limits`,
    appliesTo: claude(),
    check: (call) => {
      const strict = listTools(call).filter((tool) => tool.strict);
      if (strict.length > 20) return 'At most 20 tools may be strict';
      const all = listEnforced(call).flatMap(listSubschemas);
      if (all.reduce((sum, schema) => sum + countOptional(schema), 0) > 24)
        return 'At most 24 parameters may be optional';
      return all.filter((schema) => 'anyOf' in schema || Array.isArray(schema['type'])).length > 16
        ? 'At most 16 parameters may have a union type'
        : undefined;
    },
  },
];

type Schema = Readonly<Record<string, unknown>>;

function listEnforced(call: ModelCall): Schema[] {
  const tools = listTools(call).flatMap(({ strict, schema }) => (strict ? [schema] : []));
  return isRecord(call.outputSchema) ? [call.outputSchema, ...tools] : tools;
}

function findInSchemas(call: ModelCall, check: (schema: Schema) => string | undefined): string | undefined {
  for (const schema of listEnforced(call).flatMap(listSubschemas)) {
    const problem = check(schema);
    if (problem !== undefined) return `The schema is not supported: ${problem}`;
  }
  return undefined;
}

const NAMED = ['properties', '$defs', 'definitions', 'patternProperties', 'dependentSchemas'];
const LISTED = ['anyOf', 'oneOf', 'allOf', 'prefixItems'];
const SINGLE = ['items', 'additionalProperties', 'not', 'if', 'then', 'else', 'contains', 'propertyNames'];

/** Lists a schema and all schemas inside it. */
function listSubschemas(schema: Schema): Schema[] {
  const inner = [
    ...NAMED.flatMap((key) => (isRecord(schema[key]) ? Object.values(schema[key]) : [])),
    ...LISTED.flatMap((key) => (Array.isArray(schema[key]) ? schema[key] : [])),
    ...SINGLE.map((key) => schema[key]),
  ];
  return [schema, ...inner.filter(isRecord).flatMap(listSubschemas)];
}

/** Keywords that the grammar can't express. Strings' lengths are listed as such, but accepted by the service. */
const UNSUPPORTED = [
  'minimum',
  'maximum',
  'exclusiveMinimum',
  'exclusiveMaximum',
  'multipleOf',
  'maxItems',
  'uniqueItems',
  'contains',
  'minProperties',
  'maxProperties',
  'patternProperties',
  'propertyNames',
  'dependentSchemas',
  'dependentRequired',
  'not',
  'if',
  'oneOf',
  'prefixItems',
];

function findUnsupportedKeyword(schema: Schema): string | undefined {
  const keyword = UNSUPPORTED.find((each) => schema[each] !== undefined);
  if (keyword !== undefined) return keyword;
  if (Number(schema['minItems'] ?? 0) > 1) return 'minItems above 1';
  if (schema['additionalProperties'] !== undefined && schema['additionalProperties'] !== false) {
    return 'additionalProperties other than false';
  }
  if (typeof schema['$ref'] === 'string' && !schema['$ref'].startsWith('#')) return 'an external $ref';
  if (Array.isArray(schema['enum']) && schema['enum'].some((value) => typeof value === 'object' && value !== null)) {
    return 'an enum with objects or arrays';
  }
  return typeof schema['pattern'] === 'string' && /\(\?[=!<]|\\[bB1-9]/.test(schema['pattern'])
    ? 'a pattern with lookaround, back references or word boundaries'
    : undefined;
}

function describesObject(schema: Schema): boolean {
  const { type } = schema;
  return type === 'object' || (Array.isArray(type) && type.includes('object')) || 'properties' in schema;
}

function countOptional({ properties, required }: Schema): number {
  if (!isRecord(properties)) return 0;
  const names = Array.isArray(required) ? required : [];
  return Object.keys(properties).filter((name) => !names.includes(name)).length;
}

/** True if following `$ref`s leads back to a schema that is being read. */
function isRecursive(root: Schema): boolean {
  const follow = (schema: Schema, open: readonly string[]): boolean =>
    listSubschemas(schema).some(({ $ref }) => {
      if (typeof $ref !== 'string' || !$ref.startsWith('#')) return false;
      if (open.includes($ref)) return true;
      const target = $ref === '#' ? root : resolvePointer(root, $ref.slice(2));
      return isRecord(target) && ($ref === '#' || follow(target, [...open, $ref]));
    });
  return follow({ ...root, $defs: {}, definitions: {} }, []);
}

function resolvePointer(root: unknown, pointer: string): unknown {
  return pointer.split('/').reduce<unknown>((value, key) => (isRecord(value) ? value[key] : undefined), root);
}
