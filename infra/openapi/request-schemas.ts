import { type JsonSchema, toJsonSchemaDefs } from '@valibot/to-json-schema';
import * as v from 'valibot';
import { isObject } from '../../shared/core/objects.ts';

type Schema = v.GenericSchema<unknown, unknown>;

/**
 * Converts our request schemas to JSON Schema. Where one refers to another of them, so does its conversion.
 * @param schemas by the name of the component
 * @returns the components' JSON schemas, by name
 * @throws Error if a schema is of a kind that can't be converted
 */
export function convertRequestSchemas(schemas: Readonly<Record<string, Schema>>): Record<string, JsonSchema> {
  const rewrite = createRewriter();
  const plain = Object.fromEntries(Object.entries(schemas).map(([name, schema]) => [name, rewrite(schema)]));
  const converted = toJsonSchemaDefs(plain, {
    target: 'draft-2020-12',
    typeMode: 'input',
    // Checks and transformations have no equivalent. `createRewriter` refuses schemas that have none.
    errorMode: 'ignore',
    overrideRef: ({ referenceId }) => `#/components/schemas/${referenceId}`,
    overrideAction: ({ valibotAction, jsonSchema }) => describeAction(valibotAction, jsonSchema),
  });
  return Object.fromEntries(Object.entries(converted).map(([name, schema]) => [name, shorten(schema)]));
}

/** Limits that every value keeps. */
const NO_LIMITS = [
  'minItems:0',
  'minLength:0',
  'required:[]',
  'propertyNames:{"type":"string"}',
  'additionalProperties:{}',
];

/** Returns a schema, or a part of it, with null as one of its types where it was an alternative to one type. */
function shorten<T>(schema: T): T {
  if (Array.isArray(schema)) return schema.map(shorten) as T;
  if (!isObject(schema)) return schema;
  const limits = Object.entries(schema).filter(
    ([key, value]) => !NO_LIMITS.includes(`${key}:${JSON.stringify(value)}`),
  );
  const short = Object.fromEntries(limits.map(([key, value]) => [key, shorten(value)]));
  const { anyOf, ...rest } = short;
  if (Array.isArray(anyOf) && anyOf.some((option) => Object.keys(option).length === 0)) return rest as T;
  if (!Array.isArray(anyOf) || anyOf.length !== 2 || anyOf[1]?.type !== 'null') return short as T;
  const { type, enum: values, ...of } = anyOf[0];
  if (typeof type !== 'string') return short as T;
  return { ...rest, type: [type, 'null'], ...(values === undefined ? {} : { enum: [...values, null] }), ...of } as T;
}

/** Describes values that are refused although the schema has them, and leaves out a pattern that matches any text. */
function describeAction(action: v.PipeAction<unknown, unknown, v.BaseIssue<unknown>>, schema: JsonSchema) {
  if (action.type === 'check' && 'message' in action && typeof action.message === 'string')
    return {
      ...schema,
      description: `The service ${action.message.replace(/^is not/, 'does not take it: it is not')}`,
    };
  if (schema.pattern !== '(?:)') return undefined;
  const { pattern: _, ...rest } = schema;
  return rest;
}

/**
 * Creates a function that returns a schema without its lazy and custom parts, which depend on the input: a lazy schema
 * becomes the union of those that it may return. Equal schemas have equal results.
 */
function createRewriter(): (schema: Schema) => Schema {
  const rewritten = new Map<Schema, Schema>();
  const rewrite = (schema: Schema): Schema => {
    const known = rewritten.get(schema);
    if (known !== undefined) return known;
    const made = create(schema);
    rewritten.set(schema, made);
    return made;
  };
  const unite = (options: readonly Schema[]): Schema => {
    const possible = [...new Set(options.map(rewrite))].filter((option) => !isNever(option));
    return possible.length === 1 ? (possible[0] ?? v.never()) : possible.length === 0 ? v.never() : v.union(possible);
  };
  const create = (schema: Schema): Schema => {
    if ('pipe' in schema && Array.isArray(schema.pipe)) {
      const [first, ...actions] = schema.pipe;
      // `closedObject` has another schema after its first.
      const last = actions.find(({ kind, type }) => kind === 'schema' && type !== 'never');
      if (last !== undefined) return rewrite(last);
      const refused = actions.some((action) => action.kind === 'schema' && action.type === 'never');
      return refused ? v.never() : Object.assign({ ...schema }, { pipe: [rewrite(first), ...actions] });
    }
    if (isLazy(schema)) return unite(listChoices(schema));
    if ('options' in schema && schema.type === 'union') return unite(schema.options as readonly Schema[]);
    if ('wrapped' in schema) return Object.assign({ ...schema }, { wrapped: rewrite(schema.wrapped as Schema) });
    if ('item' in schema) return Object.assign({ ...schema }, { item: rewrite(schema.item as Schema) });
    if ('entries' in schema)
      return Object.assign({ ...schema }, { entries: rewriteEntries(schema.entries as Entries) });
    return schema.type === 'custom' ? toPlain(schema) : schema;
  };
  const rewriteEntries = (entries: Entries): Entries =>
    Object.fromEntries(
      Object.entries(entries).flatMap(([name, schema]): [string, Schema][] => {
        const made = rewrite(schema);
        return isNever('wrapped' in made ? (made.wrapped as Schema) : made) ? [] : [[name, made]];
      }),
    );
  return rewrite;
}

type Entries = Readonly<Record<string, Schema>>;

type Lazy = Schema & { readonly getter: (input: unknown) => Schema };

function isLazy(schema: Schema): schema is Lazy {
  return schema.type === 'lazy';
}

function isNever(schema: Schema): boolean {
  return schema.type === 'never';
}

/** Inputs that together select every schema of a lazy one that has no kinds. */
const PROBES: readonly unknown[] = [{}, { role: '' }, { id: '' }, '', [], [''], [0], [[0]]];

/** Returns the schemas that a lazy one may return. One with kinds lists them, or returns a schema that names them. */
function listChoices(schema: Lazy): Schema[] {
  if ('options' in schema) return schema.options as Schema[];
  const choices = PROBES.map(schema.getter);
  return [...choices, ...choices.flatMap((choice) => listKinds(choice).map(schema.getter))];
}

/** Returns an object of each kind that the error of `variant` in `shared/openai/schema.ts` names. */
function listKinds(schema: Schema): Record<string, unknown>[] {
  if (!('pipe' in schema) || !Array.isArray(schema.pipe) || schema.pipe.at(-1)?.type !== 'never') return [];
  const { entries } = schema.pipe[0] as { entries: Readonly<Record<string, unknown>> };
  return Object.entries(entries).flatMap(([key, kinds]) =>
    isObject(kinds) && Array.isArray(kinds['options']) ? kinds['options'].map((kind) => ({ [key]: kind })) : [],
  );
}

/** Returns the plain schema of what a custom one accepts. @throws Error for one that isn't known here */
function toPlain(schema: Schema): Schema {
  const accepts = (input: unknown): boolean => v.safeParse(schema, input).success;
  const accepted = [accepts({}), accepts(1), accepts(1.5), accepts(''), accepts([])].map(Number).join('');
  if (accepted === '00000') return v.never();
  if (accepted === '10000') return OBJECT;
  if (accepted === '01000') return INTEGER;
  throw new Error(`A custom schema accepts values of no type that is known here: ${accepted}`);
}

const OBJECT = v.record(v.string(), v.unknown());
const INTEGER = v.pipe(v.number(), v.integer());
