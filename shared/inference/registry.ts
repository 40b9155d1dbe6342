import * as v from 'valibot';
import { LambentError } from '../core/errors.ts';
import { findInheritedName } from '../core/objects.ts';
import type { Protocol } from './generation.ts';
import { priceSchema } from './price-schema.ts';
import { guardrailTarget, moderationTarget } from './safety-schema.ts';
import { httpUrl, milliseconds, name, secretReference, target, tokens } from './target-schema.ts';

/** Encodings of OpenAI's tokenizers. */
export const TOKEN_ENCODINGS = ['cl100k_base', 'o200k_base'] as const;

const fleet = v.strictObject({
  /** Engine of the workers. It decides how requests use features that OpenAI's API doesn't have. */
  engine: v.optional(v.picklist(['vllm', 'sglang', 'llama.cpp', 'other']), 'vllm'),
  /** Workers with fixed addresses: on premises or in another cloud. */
  workers: v.optional(
    v.array(
      v.strictObject({
        id: v.pipe(v.string(), v.regex(/^[\w.-]{1,64}$/, 'must be 1 to 64 letters, digits, ., _ or -')),
        url: httpUrl,
        slots: v.optional(v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(1_024))),
      }),
    ),
    [],
  ),
  /** The ECS service whose tasks are workers. */
  ecs: v.optional(
    v.strictObject({
      cluster: name,
      service: name,
      port: v.optional(v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(65_535)), 8_000),
    }),
  ),
  /** API key of the engines. */
  apiKey: v.optional(secretReference),
  /** Concurrent requests that a worker serves well. More would queue inside it, where placement can't move them. */
  slots: v.optional(v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(1_024)), 32),
  /** Share of each worker's slots that is reserved for interactive work. */
  reserve: v.optional(v.pipe(v.number(), v.minValue(0), v.maxValue(0.9)), 0.25),
  /** Milliseconds that an interactive request waits for a slot before it is refused with 503. */
  waitMs: v.optional(milliseconds, 10_000),
  /**
   * Milliseconds without a token after which a worker counts as hung. Keep it below the `firstTokenTimeoutMs` of the
   * fleet's models, so that there is time to try another worker.
   */
  stallMs: v.optional(milliseconds, 20_000),
  /** LoRA adapters: model name to the path that the engine loads the adapter from. */
  lora: v.optional(v.record(name, v.pipe(v.string(), v.minLength(1))), {}),
  /** Parameters for the number of workers that the fleet needs: docs/gpu-fleet.md has the formula. */
  scaling: v.optional(
    v.strictObject({
      /** Tokens that one worker processes per second. Output tokens count twice. */
      tokensPerSecond: v.optional(v.pipe(v.number(), v.minValue(1)), 2_000),
      /** Seconds within which queued work should be finished. */
      drainSeconds: v.optional(v.pipe(v.number(), v.integer(), v.minValue(1)), 300),
      minWorkers: v.optional(v.pipe(v.number(), v.integer(), v.minValue(0)), 0),
      maxWorkers: v.optional(v.pipe(v.number(), v.integer(), v.minValue(0)), 4),
    }),
    {},
  ),
});

const alias = v.strictObject({
  targets: v.pipe(
    v.array(target),
    v.minLength(1, 'must name at least one target'),
    v.check((targets) => targets.some(({ weight }) => weight > 0), 'must have a target whose weight is above 0'),
  ),
  /** Aliases to try, in order, if no target of this alias could answer. */
  fallbacks: v.optional(v.array(name), []),
  /** Milliseconds to the first token of a streamed call after which the router tries the next target. */
  firstTokenTimeoutMs: v.optional(milliseconds, 30_000),
  /** Milliseconds that a request may take in total, retries and fallbacks included. */
  timeoutMs: v.optional(milliseconds, 300_000),
  /**
   * Milliseconds that a request may wait before retries in total. If a provider asks for a longer pause, the caller gets
   * its time in `retry-after`, instead of a silent connection and a function that waits.
   */
  maxRetryWaitMs: v.optional(v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(900_000)), 5_000),
  /** Maximum length of an answer. If absent, the model's own, as far as it is known (`model-limits.ts`). */
  maxOutputTokens: v.optional(tokens),
  /** Size of the context, the answer included. If absent, the model's own, as far as it is known. */
  contextTokens: v.optional(tokens),
  /** What happens to a request above the output limit. */
  outputLimit: v.optional(v.picklist(['clamp', 'refuse']), 'clamp'),
  /**
   * How strict schemas are treated on targets that don't enforce them. `check` validates the answer and repeats the call
   * once; a stream with a violation ends with an error. `hold` also holds streams back until they are checked. `refuse`
   * sends such requests only to targets that enforce schemas.
   */
  strictOutput: v.optional(v.picklist(['check', 'hold', 'refuse']), 'check'),
  /** Present for a model that generates embeddings, and nothing else. */
  embeddings: v.optional(
    v.strictObject({
      /** The encoding of token arrays, which some clients send. They are decoded to texts; without it, passed on. */
      tokens: v.optional(v.picklist(TOKEN_ENCODINGS)),
      /** What Cohere's models embed for: documents, or the queries that search them. */
      inputType: v.optional(
        v.picklist(['search_document', 'search_query', 'classification', 'clustering']),
        'search_document',
      ),
      /** The most tokens of an input. Checked for token arrays. */
      maxInputTokens: v.optional(tokens, 8_192),
    }),
  ),
  /** The prices of targets without prices of their own. */
  price: v.optional(priceSchema),
  /** False to cache only what callers mark, on all targets. */
  promptCache: v.optional(v.boolean(), true),
  /** Passes request fields that Lambent doesn't know to the upstream unchanged, instead of refusing them with 400. */
  passUnknown: v.optional(v.boolean(), false),
  /**
   * What happens to tools that OpenAI or Anthropic runs itself, such as `web_search`: they are refused, dropped from the request, or
   * passed to targets with the capability `hostedTools`.
   */
  hostedTools: v.optional(v.picklist(['refuse', 'drop', 'pass']), 'drop'),
  /** Shown by `GET /v1/models`. */
  ownedBy: v.optional(name, 'lambent'),
});

const registrySchema = v.pipe(
  v.strictObject({
    $schema: v.optional(v.string()),
    models: v.pipe(
      v.record(name, alias),
      v.check((models) => Object.keys(models).length > 0, 'must name at least one model'),
    ),
    /**
     * The model for names that `models` doesn't have. `*` stands for any text; the first pattern that matches counts. If
     * absent, the model `default` serves all other names, if there is one.
     */
    patterns: v.optional(v.record(name, name)),
    /** Fleets of GPU workers, by the name that a target refers to as its `fleet`. */
    fleets: v.optional(
      v.record(v.pipe(v.string(), v.regex(/^[\w.-]{1,64}$/, 'must be 1 to 64 letters, digits, ., _ or -')), fleet),
      {},
    ),
    /** Guardrails of Amazon Bedrock, by the name that policies and moderation models refer to. */
    guardrails: v.optional(v.record(name, guardrailTarget), {}),
    /** Moderation models. `default` serves all names that this object doesn't have. */
    moderations: v.optional(v.record(name, moderationTarget), {}),
    /** Hosts of images that a caller may refer to by https URL. The provider fetches them; Lambent never does. */
    imageHosts: v.optional(
      v.array(
        v.pipe(v.string(), v.regex(/^(\*\.)?([a-z0-9-]+\.)+[a-z]{2,}$/, 'must be a host name, or *. and a host name')),
      ),
      [],
    ),
  }),
  v.rawCheck(({ dataset, addIssue }) => {
    if (!dataset.typed) return;
    const { fleets } = dataset.value;
    for (const [fleetName, { workers }] of Object.entries(fleets)) {
      for (const [index, { id, url }] of workers.entries()) {
        const earlier = workers.slice(0, index);
        const path = `fleets.${fleetName}.workers.${index}`;
        if (earlier.some((worker) => worker.id === id))
          addIssue({ message: `${path}.id: another worker has the id ${id}` });
        // Two workers at one address would lease the slots of that machine twice.
        if (earlier.some((worker) => new URL(worker.url).href === new URL(url).href))
          addIssue({ message: `${path}.url: another worker has the same address as ${id}` });
      }
    }
    const { guardrails, moderations } = dataset.value;
    for (const [moderation, each] of Object.entries(moderations)) {
      if ('guardrail' in each && !Object.hasOwn(guardrails, each.guardrail))
        addIssue({ message: `moderations.${moderation}: the guardrail ${each.guardrail} does not exist` });
    }
    for (const [pattern, model] of Object.entries(dataset.value.patterns ?? {})) {
      if (!Object.hasOwn(dataset.value.models, model))
        addIssue({ message: `patterns.${pattern}: the model ${model} does not exist` });
    }
    for (const [publicName, { fallbacks, targets, embeddings }] of Object.entries(dataset.value.models)) {
      if (embeddings !== undefined && fallbacks.length > 0)
        addIssue({ message: `models.${publicName}.fallbacks: the vectors of another model can't replace embeddings` });
      for (const [index, each] of targets.entries()) {
        if (each.provider === 'gpu' && !Object.hasOwn(fleets, each.fleet))
          addIssue({ message: `models.${publicName}.targets.${index}.fleet: the fleet ${each.fleet} does not exist` });
      }
      for (const fallback of fallbacks) {
        if (fallback === publicName)
          addIssue({ message: `models.${publicName}.fallbacks: ${fallback} cannot fall back to itself` });
        else if (!Object.hasOwn(dataset.value.models, fallback))
          addIssue({ message: `models.${publicName}.fallbacks: the model ${fallback} does not exist` });
        else if (dataset.value.models[fallback]?.embeddings !== undefined)
          addIssue({ message: `models.${publicName}.fallbacks: the model ${fallback} only generates embeddings` });
      }
    }
  }),
);

export type ModelRegistry = v.InferOutput<typeof registrySchema>;
export type Alias = ModelRegistry['models'][string];
export type Target = Alias['targets'][number];
export type BedrockTarget = Extract<Target, { provider: 'bedrock' }>;
export type OpenAICompatibleTarget = Extract<Target, { provider: 'openai-compatible' }>;
export type GpuTarget = Extract<Target, { provider: 'gpu' }>;
export type Fleet = ModelRegistry['fleets'][string];
export type GuardrailTarget = ModelRegistry['guardrails'][string];
export type ModerationTarget = ModelRegistry['moderations'][string];

/**
 * Parses and validates the text of a `models.json`.
 * @param text the content of the file, JSON
 * @param source the name of the file, for the error
 * @throws LambentError `configuration`, with every invalid field
 */
export function parseModelRegistry(text: string, source: string): ModelRegistry {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw new LambentError('configuration', `${source} is not JSON: ${(cause as Error).message}`, { cause });
  }
  const inherited = findInheritedName(json);
  if (inherited !== undefined)
    throw new LambentError('configuration', `${source} is not valid:\n  ${inherited}: no field can have this name`);
  const result = v.safeParse(registrySchema, json);
  if (result.success) return result.output;
  const lines = result.issues.map((issue) => {
    const path = v.getDotPath(issue);
    const problem = describeProblem(issue);
    return path ? `${path}: ${problem}` : problem;
  });
  throw new LambentError('configuration', `${source} is not valid:\n  ${lines.join('\n  ')}`);
}

/** Says of a key what is wrong with it, which valibot doesn't: "Expected never but received "weigth"". */
function describeProblem({ expected, path, message }: v.BaseIssue<unknown>): string {
  if (path?.at(-1)?.origin !== 'key') return message;
  return expected === 'never' ? 'is not a field of this object' : 'is missing';
}

/** An alias and its name in the registry. */
export interface ResolvedModel {
  readonly name: string;
  readonly alias: Alias;
}

/** The longest model name that is compared with patterns. */
const MAX_NAME_LENGTH = 200;

/**
 * Returns the alias that serves the model a caller names: the one with this name, or else that of the first pattern that
 * matches.
 * @throws LambentError `model_not_found`, with OpenAI's message
 */
export function resolveModel(model: string, registry: ModelRegistry): ResolvedModel {
  if (Object.hasOwn(registry.models, model) || model.length > MAX_NAME_LENGTH) {
    return { name: model, alias: findAlias(model, registry) };
  }
  const { patterns = Object.hasOwn(registry.models, 'default') ? CATCH_ALL : {} } = registry;
  const name = Object.entries(patterns).find(([pattern]) => matchesPattern(model, pattern))?.[1] ?? model;
  return { name, alias: findAlias(name, registry) };
}

const CATCH_ALL = { '*': 'default' };

/** Returns whether a name matches a pattern. No regular expression, whose time could grow with the power of the stars. */
function matchesPattern(name: string, pattern: string): boolean {
  const [start = '', ...others] = pattern.split('*');
  const end = others.pop();
  if (end === undefined) return name === pattern;
  if (!name.startsWith(start)) return false;
  let from = start.length;
  for (const part of others) {
    const index = name.indexOf(part, from);
    if (index === -1) return false;
    from = index + part.length;
  }
  return name.length - end.length >= from && name.endsWith(end);
}

/**
 * Returns the name of the moderation model that serves the one a caller names.
 * @param param the caller's name of the parameter
 * @throws LambentError `model_not_found`, with OpenAI's message
 */
export function resolveModeration(
  model: string,
  { moderations }: Pick<ModelRegistry, 'moderations'>,
  param: string,
): string {
  const name = [model, 'default'].find((each) => Object.hasOwn(moderations, each));
  if (name === undefined) throw modelNotFoundError(model, param);
  return name;
}

/**
 * Returns whether a request for an alias may be sent natively: whether a target of the alias or of its fallbacks speaks
 * the protocol.
 */
export function maySpeak(protocol: Exclude<Protocol, 'messages'>, name: string, registry: ModelRegistry): boolean {
  return expandFallbacks(name, registry).some((each) =>
    registry.models[each]?.targets.some(
      (target) => target.provider === 'openai-compatible' && target.passThrough?.includes(protocol),
    ),
  );
}

/** Lists an alias, its fallbacks and their fallbacks, each once, nearest first. Throws as `findAlias`. */
export function expandFallbacks(model: string, registry: ModelRegistry): string[] {
  findAlias(model, registry);
  const names = [model];
  // The array grows during the loop (breadth first). A cycle ends, because each name is added once.
  for (const name of names) {
    for (const fallback of registry.models[name]?.fallbacks ?? []) if (!names.includes(fallback)) names.push(fallback);
  }
  return names;
}

/**
 * Returns the alias with a name.
 * @throws LambentError `model_not_found`, with OpenAI's message
 */
export function findAlias(model: string, { models }: ModelRegistry): Alias {
  const alias = Object.hasOwn(models, model) ? models[model] : undefined;
  if (alias !== undefined) return alias;
  throw modelNotFoundError(model, 'model');
}

function modelNotFoundError(model: string, param: string): LambentError {
  const message = `The model \`${model.slice(0, 200).toWellFormed()}\` does not exist or you do not have access to it.`;
  return new LambentError('model_not_found', message, { param });
}
