import { createRequire } from 'node:module';

type Schema = Readonly<Record<string, unknown>>;

export interface InstanceOptions {
  /** The value of strings that may be any text. */
  readonly text?: string;
}

interface Context extends Required<InstanceOptions> {
  readonly root: unknown;
  /** Levels that an instance may still have. A schema can require itself. */
  readonly levels: number;
  /** Position in an array whose items must differ; 0 elsewhere. */
  readonly position: number;
}

const MAX_LEVELS = 24;
/** Longest array or string that a schema may demand. */
const MAX_COUNT = 1_000;

/**
 * Creates a minimal instance of a JSON schema: required properties only, the first of several alternatives, the lowest
 * number. Supports the part of JSON Schema that tool parameters and structured outputs use, including `$ref` within the
 * document, and, like a model, limits that a description has in place of the schema: `(minimum: 1)`.
 */
export function createMinimalInstance(schema: unknown, { text = 'text' }: InstanceOptions = {}): unknown {
  return createInstance(schema, { root: schema, text, levels: MAX_LEVELS, position: 0 });
}

function createInstance(schema: unknown, outer: Context): unknown {
  const context = { ...outer, levels: outer.levels - 1 };
  if (!isSchema(schema) || context.levels < 0) return {};
  if (typeof schema['$ref'] === 'string')
    return createInstance(resolveReference(schema['$ref'], context.root), context);
  if ('const' in schema) return schema['const'];
  const { enum: values } = schema;
  if (Array.isArray(values)) return values[context.position % values.length];
  const [alternative] = [schema['anyOf'], schema['oneOf']].find(Array.isArray) ?? [];
  if (alternative !== undefined) return createInstance(alternative, context);
  if (Array.isArray(schema['allOf']))
    return Object.assign({}, ...schema['allOf'].map((part) => createInstance(part, context)));
  const limited = { ...readLimits(schema['description']), ...schema };
  return createOfType(Array.isArray(schema['type']) ? schema['type'][0] : schema['type'], limited, context);
}

const LIMIT =
  /\b(minimum|maximum|exclusiveMinimum|exclusiveMaximum|multipleOf|minLength|maxLength|minItems|uniqueItems|pattern): (-?[\d.]+(?:e[+-]?\d+)?|true|"(?:[^"\\]|\\.)*")/gi;

/** Reads the limits that a description has in place of the schema, if a model's grammar can't enforce them. */
function readLimits(description: unknown): Schema {
  const found = typeof description === 'string' ? description.matchAll(LIMIT) : [];
  return Object.fromEntries(Array.from(found, ([, name = '', value = '']) => [name, JSON.parse(value)]));
}

function createOfType(type: unknown, schema: Schema, context: Context): unknown {
  switch (type) {
    case 'string':
      return createString(schema, context);
    case 'integer':
    case 'number':
      return createNumber(schema, type === 'integer', context);
    case 'boolean':
      return false;
    case 'null':
      return null;
    case 'array':
      return Array.from({ length: toCount(schema['minItems']) }, (_, index) =>
        createInstance(schema['items'], { ...context, position: schema['uniqueItems'] === true ? index : 0 }),
      );
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
  duration: 'P1D',
  hostname: 'example.com',
  ipv4: '192.0.2.1',
  ipv6: '2001:db8::1',
  uri: 'https://example.com/',
  uuid: '00000000-0000-4000-8000-000000000000',
};

function createString({ format, minLength, maxLength, pattern }: Schema, { text, position }: Context): string {
  const distinct = position === 0 ? text : `${position + 1}: ${text}`;
  const cut = typeof maxLength === 'number' ? distinct.slice(0, Math.max(0, maxLength)) : distinct;
  const fitting = FORMATS[String(format)] ?? cut.padEnd(toCount(minLength), '.');
  if (typeof pattern !== 'string') return fitting;
  const lengths = { minLength: toCount(minLength), maxLength: typeof maxLength === 'number' ? maxLength : MAX_COUNT };
  return matchPattern(pattern, lengths, fitting, position);
}

interface Lengths {
  readonly minLength: number;
  readonly maxLength: number;
}

/** Returns a text that matches a pattern: `preferred` if it does, or if none was found. */
function matchPattern(pattern: string, { minLength, maxLength }: Lengths, preferred: string, position: number): string {
  try {
    const expression = new RegExp(pattern, 'u');
    if (expression.test(preferred)) return preferred;
    // Loaded here, because hardly any schema has a pattern.
    const { sample, stringMatching }: typeof import('fast-check') = createRequire(import.meta.url)('fast-check');
    const found = new Set(sample(stringMatching(expression), { numRuns: 100, seed: 1 }));
    const fitting = [...found].filter(({ length }) => length >= minLength && length <= maxLength);
    return fitting.sort((a, b) => a.length - b.length)[position % fitting.length] ?? preferred;
  } catch {
    // A pattern that is no regular expression, or one of a kind that the library doesn't know.
    return preferred;
  }
}

/** Returns the lowest number that the limits allow, 1 or higher if there is no lower limit. */
function createNumber(schema: Schema, isInteger: boolean, { position }: Context): number {
  const read = (name: string): number | undefined => {
    const value = schema[name];
    return typeof value === 'number' ? value : undefined;
  };
  const step = read('multipleOf') ?? 1;
  const isFree = !isInteger && schema['multipleOf'] === undefined;
  const below = read('exclusiveMinimum');
  const above = read('exclusiveMaximum');
  const lowest =
    read('minimum') ?? (below === undefined ? undefined : isFree ? below + 0.5 : below + Math.min(step, 1));
  const highest =
    read('maximum') ?? (above === undefined ? undefined : isFree ? above - 0.5 : above - Math.min(step, 1));
  const start = lowest ?? Math.min(1, highest ?? 1);
  const first = isFree ? start : Math.ceil(start / step) * step;
  return first + position * step;
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
