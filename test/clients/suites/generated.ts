import Anthropic from '@anthropic-ai/sdk';
import fc from 'fast-check';
import OpenAI from 'openai';
import type { Shape } from '../../../infra/openapi/types.ts';
import { isObject } from '../../../shared/core/objects.ts';
import { generate } from '../../sdk-types/generate.ts';
import { type Method, readMethods } from '../../sdk-types/methods.ts';
import { REFERENCE_VALUES } from '../../sdk-types/reference-values.ts';
import type { Check } from '../drivers.ts';
import { createObjects, type Objects } from './objects.ts';
import { isServed, type ServedRoute } from './served-routes.ts';

/** The seed of all generated values, so that each run makes the same requests. */
const SEED = 20_261_130;

/** Where a suite's requests go. */
export interface SuiteTarget {
  /** The API's base URL, with `/v1`. */
  readonly url: string;
  readonly key: string;
  readonly routes: readonly ServedRoute[];
}

/** Calls each method of openai's resources that the service has, with each parameter of its types. */
export function runOpenAINode(target: SuiteTarget): Promise<Check[]> {
  const resources = ['chat', 'responses', 'conversations', 'embeddings', 'models'];
  const fetch = createFetch(target.routes);
  const client = new OpenAI({ baseURL: target.url, apiKey: target.key, maxRetries: 0, fetch });
  return callAll('openai', resources, client, target);
}

/** Calls each method of Anthropic's resources that the service has, with each parameter of its types. */
export function runAnthropicNode(target: SuiteTarget): Promise<Check[]> {
  const fetch = createFetch(target.routes);
  const baseURL = new URL(target.url).origin;
  const client = new Anthropic({ baseURL, apiKey: target.key, maxRetries: 0, fetch });
  return callAll('@anthropic-ai/sdk', ['messages', 'models'], client, target);
}

/** Thrown in place of a request to a route that the service doesn't have. */
class NotServed extends Error {}

function createFetch(routes: readonly ServedRoute[]): typeof fetch {
  return (input, init) => {
    const { method, url } = new Request(input, init);
    if (!isServed(routes, method, new URL(url).pathname)) throw new NotServed(url);
    return fetch(input, init);
  };
}

async function callAll(
  packageName: string,
  resources: readonly string[],
  client: object,
  { url, key }: SuiteTarget,
): Promise<Check[]> {
  using client_ = readMethods(import.meta.dirname, packageName, resources);
  const checks: Check[] = [];
  const shared = await createObjects(url, key);
  for (const method of client_.methods) {
    for (const property of [undefined, ...listOptional(method)]) {
      const check = `${method.path.join('.')} (${method.index + 1})${property === undefined ? '' : `: ${property}`}`;
      const isFinal = ['delete', 'cancel'].includes(method.path.at(-1) ?? '');
      const objects = isFinal ? await createObjects(url, key) : shared;
      const error = await call(client, method, property, objects);
      if (error !== NOT_SERVED) checks.push({ check, ...(error === undefined ? {} : { error }) });
    }
  }
  return checks;
}

const NOT_SERVED = Symbol('not served');

/** Returns why a call failed, or nothing if it passed. */
async function call(
  client: object,
  method: Method,
  property: string | undefined,
  objects: Objects,
): Promise<string | undefined | typeof NOT_SERVED> {
  const args = createArguments(method, property, objects);
  try {
    const result = await collect(await invoke(client, method.path, args));
    const problems = findProblems(method, result);
    return problems.length === 0 ? undefined : `${problems.join('\n')}\n${JSON.stringify(result)}`;
  } catch (error) {
    if (isCausedByRoute(error)) return NOT_SERVED;
    return `${error instanceof Error ? error.message : error}\n${JSON.stringify(args)}`;
  }
}

function isCausedByRoute(error: unknown): boolean {
  return error instanceof NotServed || (error instanceof Error && error.cause instanceof NotServed);
}

function invoke(client: object, path: readonly string[], args: readonly unknown[]): unknown {
  const name = path.at(-1) ?? '';
  const resource = path.slice(0, -1).reduce((at: object, each) => Object(Reflect.get(at, each)), client);
  const method: unknown = Reflect.get(resource, name);
  if (typeof method !== 'function') throw new Error(`The client has no method ${path.join('.')}`);
  return method.apply(resource, args);
}

/** Returns a result as JSON has it: a stream or page as the list of its items. */
async function collect(result: unknown): Promise<unknown> {
  if (!isObject(result) || !(Symbol.asyncIterator in result)) return result;
  const items: unknown[] = [];
  for await (const item of result as unknown as AsyncIterable<unknown>) {
    items.push(item);
    if (items.length === MAX_ITEMS) break;
  }
  return items;
}

/** Lists go on with the objects of earlier calls. */
const MAX_ITEMS = 50;

/** The compiler's error for a property that a type doesn't have. */
const EXTRA_PROPERTY = /'"(\w+)"' does not exist in type/;

/**
 * Returns why a result is not of the method's type. Properties that the type lacks are no reason, as clients ignore them,
 * and neither is `output_text`, which the client adds, but not in streams.
 */
function findProblems(method: Method, result: unknown): readonly string[] {
  let value = addOutputText(result);
  for (let step = 0; step < MAX_STEPS; step += 1) {
    const problems = method.check(value);
    const extra = new Set(problems.flatMap((problem) => EXTRA_PROPERTY.exec(problem)?.[1] ?? []));
    if (extra.size === 0) return problems;
    value = mapObjects(value, (object) =>
      Object.fromEntries(Object.entries(object).filter(([name]) => !extra.has(name))),
    );
  }
  return ['the result has too many properties that its type lacks'];
}

const MAX_STEPS = 50;

function addOutputText(result: unknown): unknown {
  return mapObjects(result, (object) => (object['object'] === 'response' ? { output_text: '', ...object } : object));
}

type Fields = Readonly<Record<string, unknown>>;

/** Changes all objects in a value, the outer ones last. */
function mapObjects(value: unknown, change: (object: Fields) => Fields): unknown {
  if (Array.isArray(value)) return value.map((each) => mapObjects(each, change));
  if (!isObject(value)) return value;
  return change(Object.fromEntries(Object.entries(value).map(([name, each]) => [name, mapObjects(each, change)])));
}

/** Lists the optional properties of a method's parameters. */
function listOptional({ parameters }: Method): string[] {
  const properties = parameters.flatMap((shape) => toObject(shape)?.properties() ?? []);
  return properties.filter(({ optional, shape }) => optional && shape().kind !== 'none').map(({ name }) => name);
}

function toObject(shape: Shape): Extract<Shape, { kind: 'object' }> | undefined {
  if (shape.kind === 'object') return shape;
  return shape.kind === 'union' ? shape.members().flatMap((member) => toObject(member) ?? [])[0] : undefined;
}

function createArguments({ path, parameters }: Method, property: string | undefined, objects: Objects): unknown[] {
  const [draw] = fc.sample(fc.gen(), { numRuns: 1, seed: SEED });
  if (draw === undefined) throw new Error('fast-check has made no value');
  const values = { ...REFERENCE_VALUES, ...objects.values(path) };
  const required = property === undefined ? [] : [property, ...(COMPANIONS[property] ?? [])];
  return parameters.map((shape) => {
    const object = toObject(shape);
    // A text beside the parameters is the id in the path.
    if (object === undefined) return objects.idFor(path);
    return generate(object, draw, { values, required: [...required, 'model', 'input'], withoutNull: true, share: 0 });
  });
}

/** Parameters that are valid only beside others. */
const COMPANIONS: Readonly<Record<string, readonly string[]>> = {
  functions: ['function_call'],
  top_logprobs: ['logprobs'],
};
