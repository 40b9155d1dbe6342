import { LambentError } from '../core/errors.ts';
import { isObject } from '../core/objects.ts';
import type { SchemaLimit } from '../limits/schema-limits.ts';

/** A JSON schema of a request. */
export interface RequestSchema {
  readonly schema: Readonly<Record<string, unknown>>;
  /** True if the model's output must match the schema. OpenAI's limits then apply. */
  readonly strict: boolean;
  /** The function or output format that has the schema, for error messages: `function 'search'`. */
  readonly subject: string;
  /** Path of the parameter that holds the schema. */
  readonly param: string;
  readonly code: 'invalid_json_schema' | 'invalid_function_parameters';
}

/**
 * Limits of any schema, strict or not. OpenAI documents none. Engines compile schemas, some by recursion; these are far
 * above the schemas of real tools.
 */
const MAX_JSON_LEVELS = 64;
const MAX_CHARACTERS = 256 * 1024;
/** Limit of all schemas of a request together: an engine may compile them into one grammar. */
const MAX_TOTAL_CHARACTERS = 1024 * 1024;

/**
 * OpenAI's limits of strict schemas.
 * @see https://developers.openai.com/api/docs/guides/structured-outputs#supported-schemas
 */
const MAX_LEVELS = 10;
const MAX_PROPERTIES = 5_000;
const MAX_ENUM_VALUES = 1_000;
const MAX_NAME_CHARACTERS = 120_000;
/** An enum with more string values than this has a limit of its own. */
const LARGE_ENUM_VALUES = 250;
const MAX_LARGE_ENUM_CHARACTERS = 15_000;

/**
 * Rejects schemas that are too large, and strict schemas above OpenAI's limits.
 * @param limits those of the caller's policy
 * @throws LambentError with the code of the first schema at fault
 */
export function checkSchemas(schemas: readonly RequestSchema[], limits: readonly SchemaLimit[] = []): void {
  let total = 0;
  for (const each of schemas) {
    const { levels, characters } = measureJson(each.schema);
    total += characters;
    if (levels > MAX_JSON_LEVELS) throw schemaError(each, `At most ${MAX_JSON_LEVELS} levels of JSON are accepted.`);
    if (characters > MAX_CHARACTERS) throw schemaError(each, `At most ${MAX_CHARACTERS} characters are accepted.`);
    for (const { name, max, owner } of limits) {
      const size = name === 'schemaDepth' ? levels : Buffer.byteLength(JSON.stringify(each.schema));
      const unit = name === 'schemaDepth' ? 'levels of JSON' : 'bytes';
      if (size > max) throw schemaError(each, `It has ${size} ${unit}, but ${name} of ${owner} is ${max}.`);
    }
    if (total > MAX_TOTAL_CHARACTERS) {
      throw schemaError(each, `The schemas of a request may have at most ${MAX_TOTAL_CHARACTERS} characters together.`);
    }
    const problem = each.strict ? findStrictProblem(each.schema) : undefined;
    if (problem !== undefined) throw schemaError(each, problem);
  }
}

function schemaError({ subject, param, code }: RequestSchema, problem: string): LambentError {
  return new LambentError(code, `Invalid schema for ${subject}: ${problem}`, { param });
}

/**
 * Returns the levels of a JSON value, and about how many characters its JSON has. Stops above a limit. Uses no recursion,
 * because a caller chooses the depth.
 */
function measureJson(root: unknown): { readonly levels: number; readonly characters: number } {
  let [levels, characters] = [0, 0];
  const remaining = [{ value: root, level: 1 }];
  for (let next = remaining.pop(); next !== undefined; next = remaining.pop()) {
    const { value, level } = next;
    levels = Math.max(levels, level);
    characters += countOwnCharacters(value);
    if (levels > MAX_JSON_LEVELS || characters > MAX_CHARACTERS) break;
    if (typeof value !== 'object' || value === null) continue;
    for (const child of Object.values(value)) remaining.push({ value: child, level: level + 1 });
  }
  return { levels, characters };
}

/** Returns about how many characters a value adds to JSON, without the values inside it. */
function countOwnCharacters(value: unknown): number {
  if (typeof value === 'string') return value.length + 2;
  if (Array.isArray(value)) return value.length + 2;
  if (isObject(value)) return Object.keys(value).reduce((sum, key) => sum + key.length + 4, 2);
  return 1;
}

/** Keywords whose value is an object of named schemas: definitions, schemas one level below, and on the same level. */
const NAMED_DEFINITIONS = ['$defs', 'definitions'];
const NAMED_MEMBERS = ['properties', 'patternProperties'];
const NAMED_ALTERNATIVES = ['dependentSchemas'];
/** Keywords whose value is a schema or a list of schemas: one level below, and on the same level. */
const MEMBERS = ['items', 'prefixItems', 'additionalItems', 'additionalProperties', 'contains', 'unevaluatedItems'];
const ALTERNATIVES = ['anyOf', 'oneOf', 'allOf', 'not', 'if', 'then', 'else'];

interface SchemaCounts {
  properties: number;
  enumValues: number;
  nameCharacters: number;
}

/**
 * Returns the first of OpenAI's limits that a strict schema exceeds. Levels are counted as in OpenAI's client for Java:
 * members and items are one level below their object or array, and references are not followed.
 */
function findStrictProblem(root: Readonly<Record<string, unknown>>): string | undefined {
  const counts: SchemaCounts = { properties: 0, enumValues: 0, nameCharacters: 0 };
  const remaining: { schema: unknown; level: number }[] = [{ schema: root, level: 0 }];
  for (let next = remaining.pop(); next !== undefined; next = remaining.pop()) {
    const { schema, level } = next;
    if (!isObject(schema)) continue;
    if (level > MAX_LEVELS) return `${level} levels of nesting exceeds limit of ${MAX_LEVELS}.`;
    const problem = count(schema, counts);
    if (problem !== undefined) return problem;
    const push = (value: unknown, childLevel: number) => {
      for (const child of Array.isArray(value) ? value : [value]) remaining.push({ schema: child, level: childLevel });
    };
    for (const keyword of NAMED_DEFINITIONS) push(listValues(schema[keyword]), 0);
    for (const keyword of NAMED_MEMBERS) push(listValues(schema[keyword]), level + 1);
    for (const keyword of NAMED_ALTERNATIVES) push(listValues(schema[keyword]), level);
    for (const keyword of MEMBERS) push(schema[keyword], level + 1);
    for (const keyword of ALTERNATIVES) push(schema[keyword], level);
  }
  return findCountProblem(counts);
}

/** Adds what a schema itself has to the counts. Returns the problem of its enum, if it has one. */
function count(schema: Readonly<Record<string, unknown>>, counts: SchemaCounts): string | undefined {
  const names = [...NAMED_DEFINITIONS, ...NAMED_MEMBERS].flatMap((keyword) => listKeys(schema[keyword]));
  counts.properties += listKeys(schema['properties']).length;
  const values: readonly unknown[] = Array.isArray(schema['enum']) ? schema['enum'] : [];
  const texts = values.filter((value) => typeof value === 'string');
  const enumCharacters = sumLengths(texts);
  counts.enumValues += values.length;
  counts.nameCharacters += sumLengths(names) + enumCharacters;
  if (typeof schema['const'] === 'string') counts.nameCharacters += schema['const'].length;
  if (texts.length <= LARGE_ENUM_VALUES || enumCharacters <= MAX_LARGE_ENUM_CHARACTERS) return undefined;
  return describeExcess(
    `${MAX_LARGE_ENUM_CHARACTERS} characters in the values of an enum with more than ${LARGE_ENUM_VALUES} values`,
    enumCharacters,
    'enum values',
  );
}

function findCountProblem({ properties, enumValues, nameCharacters }: SchemaCounts): string | undefined {
  if (properties > MAX_PROPERTIES) {
    const limit = `${MAX_PROPERTIES} object properties in total within a single schema`;
    return describeExcess(limit, properties, 'object properties');
  }
  if (enumValues > MAX_ENUM_VALUES) {
    return describeExcess(`${MAX_ENUM_VALUES} enum values in total within a single schema`, enumValues, 'enums');
  }
  if (nameCharacters > MAX_NAME_CHARACTERS) {
    const limit = `${MAX_NAME_CHARACTERS} characters in all property names, definition names, enum values and const values`;
    return describeExcess(limit, nameCharacters, 'names and values');
  }
  return undefined;
}

/** Returns OpenAI's message. */
function describeExcess(limit: string, received: number, plural: string): string {
  return `Expected at most ${limit} when using structured outputs, but received ${received}. Consider reducing the number of ${plural}, or use 'strict: false' to opt out of structured outputs.`;
}

function listKeys(value: unknown): string[] {
  return isObject(value) ? Object.keys(value) : [];
}

function listValues(value: unknown): unknown[] {
  return isObject(value) ? Object.values(value) : [];
}

function sumLengths(texts: readonly string[]): number {
  return texts.reduce((sum, { length }) => sum + length, 0);
}
