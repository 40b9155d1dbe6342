import { isObject } from '../../../core/objects.ts';

export type Schema = Readonly<Record<string, unknown>>;

/** Keywords that limit values. The grammar can't enforce them, but the model follows a description. */
const LIMITS = new Set([
  'minimum',
  'maximum',
  'exclusiveMinimum',
  'exclusiveMaximum',
  'multipleOf',
  'minLength',
  'maxLength',
  'minItems',
  'maxItems',
  'uniqueItems',
  'minProperties',
  'maxProperties',
  'pattern',
  'format',
]);

/** Keywords that change which values are valid in ways that a description can't replace. */
const STRUCTURES = new Set([
  'not',
  'if',
  'then',
  'else',
  'contains',
  'prefixItems',
  'patternProperties',
  'propertyNames',
  'dependentSchemas',
  'dependentRequired',
  'unevaluatedProperties',
  'unevaluatedItems',
]);

const FORMATS = /^(date-time|time|date|duration|email|hostname|uri|ipv4|ipv6|uuid)$/;

export interface GrammarOptions {
  /** True if the answer must match the schema. Then nothing but limits is left to the description. */
  readonly strict: boolean;
  /** True to add `additionalProperties: false` to every object, which Claude requires and strict schemas imply. */
  readonly closes: boolean;
}

/**
 * Converts a schema to the subset that Bedrock enforces: limits of numbers, lengths and items become part of the
 * description, as in Anthropic's SDKs, and `oneOf` becomes `anyOf`.
 * @throws UnsupportedSchemaError for a schema that can't be expressed
 * @see https://docs.aws.amazon.com/bedrock/latest/userguide/structured-output.html
 */
export function toGrammarSchema(schema: Schema, options: GrammarOptions): Schema {
  if (isRecursive(schema)) throw new UnsupportedSchemaError('this model accepts no recursive schema');
  return convert(schema, options);
}

/** A schema that can't be expressed. The message is the reason, for the caller. */
export class UnsupportedSchemaError extends Error {}

function convert(schema: Schema, options: GrammarOptions): Schema {
  const entries: [string, unknown][] = [];
  const notes: string[] = [];
  for (const [key, value] of Object.entries(schema)) {
    if (isUnenforced(key, value)) notes.push(`${key}: ${JSON.stringify(value)}`);
    else if (isStructure(key, value, schema)) {
      if (options.strict) throw new UnsupportedSchemaError(`this model accepts no schema with '${key}'`);
      notes.push(`${key}: ${JSON.stringify(value)}`);
    } else entries.push([key === 'oneOf' ? 'anyOf' : key, convertMember(key, value, options)]);
  }
  const description = [schema['description'], notes.length > 0 ? `(${notes.join(', ')})` : undefined];
  if (notes.length > 0) entries.push(['description', description.filter((text) => text !== undefined).join(' ')]);
  if (options.closes && describesObject(schema)) entries.push(['additionalProperties', false]);
  return Object.fromEntries(entries);
}

function convertMember(key: string, value: unknown, options: GrammarOptions): unknown {
  const convertOne = (inner: unknown): unknown => (isObject(inner) ? convert(inner, options) : inner);
  if (key === 'items') return convertOne(value);
  if (key === 'anyOf' || key === 'oneOf' || key === 'allOf')
    return Array.isArray(value) ? value.map(convertOne) : value;
  if (key !== 'properties' && key !== '$defs' && key !== 'definitions') return value;
  return isObject(value)
    ? Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, convertOne(inner)]))
    : value;
}

function isUnenforced(key: string, value: unknown): boolean {
  if (key === 'minItems') return Number(value) > 1;
  if (key === 'format') return typeof value !== 'string' || !FORMATS.test(value);
  // The grammar knows no lookaround, back references or word boundaries.
  if (key === 'pattern') return typeof value !== 'string' || /\(\?[=!<]|\\[bB1-9k]/.test(value);
  return LIMITS.has(key);
}

function isStructure(key: string, value: unknown, schema: Schema): boolean {
  if (key === 'additionalProperties') return value !== false;
  if (key === '$ref') return typeof value !== 'string' || !value.startsWith('#');
  if (key === 'enum') return !Array.isArray(value) || value.some((each) => typeof each === 'object' && each !== null);
  if (key === 'oneOf') return 'anyOf' in schema;
  if (key === 'allOf') return !Array.isArray(value) || value.some((each) => isObject(each) && '$ref' in each);
  return STRUCTURES.has(key);
}

/** True if the grammar enforces everything that the schema says, and nothing is left to descriptions. */
export function isEnforceable(schema: Schema): boolean {
  return listSchemas(schema).every((each) => !Object.entries(each).some(([key, value]) => isUnenforced(key, value)));
}

/** True if every object of the schema has `additionalProperties: false`, as Claude's grammar requires. */
export function isClosed(schema: Schema): boolean {
  return listSchemas(schema).every((each) => !describesObject(each) || each['additionalProperties'] === false);
}

function describesObject(schema: Schema): boolean {
  const { type } = schema;
  return type === 'object' || (Array.isArray(type) && type.includes('object')) || 'properties' in schema;
}

/** Lists a schema and the schemas inside it, without what `$ref` refers to. */
function listSchemas(schema: Schema): Schema[] {
  const found: Schema[] = [];
  const remaining: unknown[] = [schema];
  for (let next = remaining.pop(); next !== undefined; next = remaining.pop()) {
    if (!isObject(next)) continue;
    found.push(next);
    for (const [key, value] of Object.entries(next)) {
      if (key === 'properties' || key === '$defs' || key === 'definitions') {
        if (isObject(value)) remaining.push(...Object.values(value));
      } else if (Array.isArray(value) && key !== 'enum') remaining.push(...value);
      else if (isObject(value) && key !== 'const' && key !== 'default') remaining.push(value);
    }
  }
  return found;
}

/** True if a `$ref` leads back to a schema that contains it. */
function isRecursive(root: Schema): boolean {
  const { $defs: _, definitions: __, ...top } = root;
  const finished = new Set<string>();
  const leadsBack = (schema: unknown, open: readonly string[]): boolean =>
    isObject(schema) &&
    listSchemas(schema).some(({ $ref }) => {
      if (typeof $ref !== 'string' || !$ref.startsWith('#') || finished.has($ref)) return false;
      if ($ref === '#' || open.includes($ref)) return true;
      const back = leadsBack(resolveReference(root, $ref), [...open, $ref]);
      finished.add($ref);
      return back;
    });
  return leadsBack(top, []);
}

/** Returns what a local reference such as `#/$defs/node` refers to. */
function resolveReference(root: Schema, reference: string): unknown {
  const keys = reference.slice(2).split('/');
  return keys.reduce<unknown>((value, key) => {
    const name = key.replaceAll('~1', '/').replaceAll('~0', '~');
    return isObject(value) && Object.hasOwn(value, name) ? value[name] : undefined;
  }, root);
}

/** The size of grammars that Claude accepts in one request. */
const MAX_OPTIONAL_PROPERTIES = 24;
const MAX_UNIONS = 16;

/**
 * True if Claude accepts strict schemas of this size in one request.
 * @see https://platform.claude.com/docs/en/build-with-claude/structured-outputs#schema-complexity-limits
 */
export function fitsGrammar(schemas: readonly Schema[]): boolean {
  const all = schemas.flatMap(listSchemas);
  const optional = all.reduce((sum, schema) => {
    const names = isObject(schema['properties']) ? Object.keys(schema['properties']) : [];
    const required = listRequired(schema);
    return sum + names.filter((name) => !required.includes(name)).length;
  }, 0);
  const isUnion = (schema: Schema): boolean => 'anyOf' in schema || 'oneOf' in schema || Array.isArray(schema['type']);
  const unions = all.filter(isUnion).length;
  return optional <= MAX_OPTIONAL_PROPERTIES && unions <= MAX_UNIONS;
}

const COMBINATORS = ['anyOf', 'oneOf', 'allOf'] as const;

/** The parameters of a tool, and the text that describes what their schema can't express. */
export interface FlatParameters {
  readonly schema: Schema;
  readonly note: string | undefined;
}

/**
 * Widens a tool's parameters to a schema without combinators at the top level, which Claude refuses. The variants'
 * properties are all allowed, those that every variant requires are required, and the note has the variants.
 */
export function flattenParameters(schema: Schema): FlatParameters {
  const used = COMBINATORS.filter((key) => Array.isArray(schema[key]));
  if (used.length === 0) return { schema, note: undefined };
  let { anyOf: _, oneOf: __, allOf: ___, ...rest } = schema;
  for (const key of used) {
    const variants = listVariants(schema, key);
    const required = variants.map((variant) => listRequired(variant));
    const [first = [], ...others] = required;
    const common =
      key === 'allOf' ? required.flat() : first.filter((name) => others.every((names) => names.includes(name)));
    rest = {
      ...rest,
      properties: mergeProperties([...variants, rest]),
      required: [...new Set([...listRequired(rest), ...common])],
    };
  }
  const text = JSON.stringify(Object.fromEntries(used.map((key) => [key, schema[key]])));
  return { schema: rest, note: `The arguments must also match this JSON schema: ${text}` };
}

function listVariants(schema: Schema, key: string): Schema[] {
  const variants: unknown = schema[key];
  if (!Array.isArray(variants)) return [];
  return variants
    .map((each) => (isObject(each) && typeof each['$ref'] === 'string' ? resolveReference(schema, each['$ref']) : each))
    .filter(isObject);
}

function listRequired({ required }: Schema): string[] {
  return Array.isArray(required) ? required.filter((name) => typeof name === 'string') : [];
}

/** Merges the properties of several objects. A property that they describe differently may match any description. */
function mergeProperties(schemas: readonly Schema[]): Record<string, unknown> {
  const merged = new Map<string, unknown[]>();
  for (const { properties } of schemas) {
    for (const [name, value] of Object.entries(isObject(properties) ? properties : {})) {
      const known = merged.get(name) ?? [];
      const isNew = !known.some((each) => JSON.stringify(each) === JSON.stringify(value));
      merged.set(name, isNew ? [...known, value] : known);
    }
  }
  return Object.fromEntries([...merged].map(([name, all]) => [name, all.length === 1 ? all[0] : { anyOf: all }]));
}
