type Schema = Readonly<Record<string, unknown>>;

export interface InstanceOptions {
  /** The value of strings that may be any text. */
  readonly text?: string;
}

interface Context extends Required<InstanceOptions> {
  readonly root: unknown;
  /** Levels that an instance may still have. A schema can require itself. */
  readonly levels: number;
}

const MAX_LEVELS = 24;
/** Longest array or string that a schema may demand. */
const MAX_COUNT = 1_000;

/**
 * Creates a minimal instance of a JSON schema: required properties only, the first of several alternatives, the lowest
 * number. Supports the part of JSON Schema that tool parameters and structured outputs use, including `$ref` within the
 * document.
 */
export function createMinimalInstance(schema: unknown, { text = 'text' }: InstanceOptions = {}): unknown {
  return createInstance(schema, { root: schema, text, levels: MAX_LEVELS });
}

function createInstance(schema: unknown, outer: Context): unknown {
  const context = { ...outer, levels: outer.levels - 1 };
  if (!isSchema(schema) || context.levels < 0) return {};
  if (typeof schema['$ref'] === 'string')
    return createInstance(resolveReference(schema['$ref'], context.root), context);
  if ('const' in schema) return schema['const'];
  if (Array.isArray(schema['enum'])) return schema['enum'][0];
  const [alternative] = [schema['anyOf'], schema['oneOf']].find(Array.isArray) ?? [];
  if (alternative !== undefined) return createInstance(alternative, context);
  if (Array.isArray(schema['allOf']))
    return Object.assign({}, ...schema['allOf'].map((part) => createInstance(part, context)));
  return createOfType(Array.isArray(schema['type']) ? schema['type'][0] : schema['type'], schema, context);
}

function createOfType(type: unknown, schema: Schema, context: Context): unknown {
  switch (type) {
    case 'string':
      return createString(schema, context);
    case 'integer':
    case 'number':
      return createNumber(schema);
    case 'boolean':
      return false;
    case 'null':
      return null;
    case 'array':
      return Array.from({ length: toCount(schema['minItems']) }, () => createInstance(schema['items'], context));
    default:
      return createObject(schema, context);
  }
}

function createObject({ properties, required }: Schema, context: Context): Record<string, unknown> {
  const names = Array.isArray(required) ? required.map(String) : [];
  const known = isSchema(properties) ? properties : {};
  return Object.fromEntries(names.map((name) => [name, createInstance(known[name], context)]));
}

const FORMATS: Readonly<Record<string, string>> = {
  date: '2026-01-31',
  time: '12:00:00Z',
  'date-time': '2026-01-31T12:00:00Z',
  email: 'someone@example.com',
  uri: 'https://example.com/',
  uuid: '00000000-0000-4000-8000-000000000000',
};

function createString({ format, minLength, maxLength }: Schema, { text }: Context): string {
  const cut = typeof maxLength === 'number' ? text.slice(0, Math.max(0, maxLength)) : text;
  return FORMATS[String(format)] ?? cut.padEnd(toCount(minLength), '.');
}

function createNumber({ minimum, exclusiveMinimum }: Schema): number {
  if (typeof minimum === 'number') return minimum;
  return typeof exclusiveMinimum === 'number' ? exclusiveMinimum + 1 : 1;
}

function toCount(value: unknown): number {
  return typeof value === 'number' ? Math.min(Math.max(0, Math.ceil(value)), MAX_COUNT) : 0;
}

function resolveReference(pointer: string, root: unknown): unknown {
  return pointer
    .replace(/^#\/?/, '')
    .split('/')
    .filter(Boolean)
    .reduce<unknown>((at, step) => (isSchema(at) ? at[step] : undefined), root);
}

function isSchema(value: unknown): value is Schema {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
