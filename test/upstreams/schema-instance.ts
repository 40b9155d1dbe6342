type Schema = Readonly<Record<string, unknown>>;

/**
 * Creates a minimal instance of a JSON schema: required properties only, the first of several alternatives, the lowest
 * number. Supports the part of JSON Schema that tool parameters and structured outputs use, including `$ref` within the
 * document.
 */
export function createMinimalInstance(schema: unknown, root: unknown = schema): unknown {
  if (!isSchema(schema)) return {};
  if (typeof schema['$ref'] === 'string') return createMinimalInstance(resolveReference(schema['$ref'], root), root);
  if ('const' in schema) return schema['const'];
  if (Array.isArray(schema['enum'])) return schema['enum'][0];
  const [alternative] = [schema['anyOf'], schema['oneOf']].find(Array.isArray) ?? [];
  if (alternative !== undefined) return createMinimalInstance(alternative, root);
  if (Array.isArray(schema['allOf']))
    return Object.assign({}, ...schema['allOf'].map((part) => createMinimalInstance(part, root)));
  return createOfType(Array.isArray(schema['type']) ? schema['type'][0] : schema['type'], schema, root);
}

function createOfType(type: unknown, schema: Schema, root: unknown): unknown {
  switch (type) {
    case 'string':
      return createString(schema);
    case 'integer':
    case 'number':
      return createNumber(schema);
    case 'boolean':
      return false;
    case 'null':
      return null;
    case 'array':
      return Array.from({ length: toCount(schema['minItems']) }, () => createMinimalInstance(schema['items'], root));
    default:
      return createObject(schema, root);
  }
}

function createObject({ properties, required }: Schema, root: unknown): Record<string, unknown> {
  const names = Array.isArray(required) ? required.map(String) : [];
  const known = isSchema(properties) ? properties : {};
  return Object.fromEntries(names.map((name) => [name, createMinimalInstance(known[name], root)]));
}

const FORMATS: Readonly<Record<string, string>> = {
  date: '2026-01-31',
  time: '12:00:00Z',
  'date-time': '2026-01-31T12:00:00Z',
  email: 'someone@example.com',
  uri: 'https://example.com/',
  uuid: '00000000-0000-4000-8000-000000000000',
};

function createString({ format, minLength }: Schema): string {
  return FORMATS[String(format)] ?? 'text'.padEnd(toCount(minLength), '.');
}

function createNumber({ minimum, exclusiveMinimum }: Schema): number {
  if (typeof minimum === 'number') return minimum;
  return typeof exclusiveMinimum === 'number' ? exclusiveMinimum + 1 : 1;
}

function toCount(value: unknown): number {
  return typeof value === 'number' ? value : 0;
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
