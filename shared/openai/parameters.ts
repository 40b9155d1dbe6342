import * as v from 'valibot';
import { LambentError } from '../core/errors.ts';
import { isObject } from '../core/objects.ts';
import type { GenerationRequest, Hints, ReasoningEffort, ServiceTier } from '../inference/generation.ts';
import { getAliasLimits } from '../inference/model-limits.ts';
import {
  type Alias,
  type ModelRegistry,
  type ResolvedModel,
  resolveModel,
  resolveModeration,
} from '../inference/registry.ts';
import type { SchemaLimit } from '../limits/schema-limits.ts';
import { classifyUnknownField } from '../wire/unknown-fields.ts';
import { boolean, decimal, ignored, integer, object, oneOf, recordOf, string, supportedIf, text } from './schema.ts';
import { describeJsonType, invalidValueError, missingParameterError } from './validation.ts';

/** The inputs of a request parser, except for the body. */
export interface ParseContext {
  readonly registry: ModelRegistry;
  readonly tenant: string;
  /** The client's name of the session, from a header. */
  readonly session?: string | undefined;
  /** The limits of the caller's policy on schemas. */
  readonly schemaLimits?: readonly SchemaLimit[];
  /** Whether the caller's policy lets content be stored. Default: true. */
  readonly mayStore?: boolean;
}

/** Makes a field optional. As in OpenAI's API, null means absent; many clients send it. */
export const optional = v.nullish;

export const temperature = optional(decimal(0, 2));
export const topP = optional(decimal(0, 1));
export const topLogprobs = optional(integer(0, 20));
export const maxTokens = optional(integer(1, Number.MAX_SAFE_INTEGER));
export const stream = optional(boolean);
export const verbosity = optional(oneOf(['low', 'medium', 'high']));

const EFFORTS = ['none', 'minimal', 'low', 'medium', 'high', 'xhigh', 'max'] as const satisfies ReasoningEffort[];
export const reasoningEffort = optional(oneOf(EFFORTS));

const TIERS = ['auto', 'default', 'flex', 'priority'] as const satisfies ServiceTier[];

/** The API's other tiers, and the ones that serve them: `fast` is OpenAI's new name of `priority`. */
const OTHER_TIERS = { fast: 'priority', ultrafast: 'priority', scale: 'default' } as const satisfies Record<
  string,
  ServiceTier
>;

/**
 * Returns the schema of `service_tier`.
 * @param others the API's names besides those of Lambent
 */
export function serviceTier(others: readonly (keyof typeof OTHER_TIERS)[]) {
  return optional(
    v.pipe(
      oneOf([...TIERS, ...others]),
      v.transform((tier): ServiceTier => (isOtherTier(tier) ? OTHER_TIERS[tier] : tier)),
    ),
  );
}

function isOtherTier(tier: string): tier is keyof typeof OTHER_TIERS {
  return Object.hasOwn(OTHER_TIERS, tier);
}

/** At most 16 pairs, with keys of up to 64 characters and values of up to 512. */
export const metadata = optional(
  recordOf<string>(16, (key, value) => {
    if (key.length > 64)
      return `key too long. Expected a key with maximum length 64, but got one with length ${key.length}.`;
    if (typeof value !== 'string') return `expected a string, but got ${describeJsonType(value)} instead.`;
    if (value.length <= 512) return undefined;
    return `string too long. Expected a string with maximum length 512, but got a string with length ${value.length} instead.`;
  }),
);

/** The schemas of parameters that both APIs have and that do not change the response. */
export const hintParameters = {
  metadata,
  prompt_cache_key: optional(string),
  prompt_cache_options: optional(
    object({
      mode: v.nullish(v.unknown()),
      ttl: ignored,
      comparison_response_id: ignored,
      prewarm: optional(
        v.pipe(
          boolean,
          supportedIf((prewarm) => !prewarm, 'supports only false: cache prewarming is not available.'),
        ),
      ),
    }),
  ),
  prompt_cache_retention: v.nullish(v.unknown()),
  safety_identifier: optional(text({ max: 64 })),
  user: optional(string),
};

const moderationPolicy = optional(object({ mode: oneOf(['score', 'block']) }));

export const moderation = optional(
  object({ model: string, policy: optional(object({ input: moderationPolicy, output: moderationPolicy })) }),
);

/**
 * Returns the moderation that a request asks for.
 * @throws LambentError `model_not_found` if the registry doesn't have the moderation model
 */
export function toModeration(
  field: v.InferOutput<typeof moderation>,
  registry: ModelRegistry,
): Pick<GenerationRequest, 'moderation'> {
  if (field == null) return {};
  const { model, policy } = field;
  resolveModeration(model, registry, 'moderation.model');
  return {
    moderation: { model, input: policy?.input?.mode ?? 'score', output: policy?.output?.mode ?? 'score' },
  };
}

type HintFields = v.InferOutput<v.ObjectSchema<typeof hintParameters, undefined>>;

/** Translates the hint parameters of a request into the internal form. */
export function toHints(body: HintFields): Hints {
  return omitNullish({
    user: body.user,
    safetyIdentifier: body.safety_identifier,
    promptCacheKey: body.prompt_cache_key,
    cachesMarksOnly: body.prompt_cache_options?.mode === 'explicit' || undefined,
    promptCacheRetention: toRetention(body.prompt_cache_retention),
    metadata: body.metadata,
  });
}

/** Returns a known retention: it is a hint, so any other value has no effect. */
function toRetention(value: unknown): Hints['promptCacheRetention'] {
  if (value === '24h') return value;
  // The older types of the official client have a hyphen.
  return value === 'in_memory' || value === 'in-memory' ? 'in_memory' : undefined;
}

/**
 * Splits a request body into the alias that it names, the fields to validate and those to pass to the upstream. Unknown
 * fields that are neither passed nor refused stay in `known`, from which the schema drops them.
 * @param fields the API's own parameters, by name
 * @throws LambentError if `body` is not an object, names no model, or names a model that doesn't exist, and
 * `unknown_parameter` for an unknown field without which the answer would be another one
 */
export function splitBody(body: unknown, fields: object, registry: ModelRegistry): SplitBody {
  if (!isObject(body)) {
    const message = `Invalid type for the request body: expected an object, but got ${body === undefined ? 'nothing' : describeJsonType(body)} instead.`;
    throw new LambentError('invalid_type', message);
  }
  const model = body['model'];
  if (model === undefined || model === null) throw missingParameterError('model');
  if (typeof model !== 'string') {
    const message = `Invalid type for 'model': expected a string, but got ${describeJsonType(model)} instead.`;
    throw new LambentError('invalid_type', message, { param: 'model' });
  }
  const { name: aliasName, alias } = resolveModel(model, registry);
  const passed = Object.entries(body).filter(([name, value]) => {
    if (Object.hasOwn(fields, name)) return false;
    const treatment = classifyUnknownField(name, value, alias);
    if (treatment === 'refuse') throw unknownParameterError(name, fields);
    return treatment === 'pass';
  });
  if (passed.length === 0) return { name: aliasName, alias, known: body, unknown: {} };
  const unknown = Object.fromEntries(passed);
  const known = Object.fromEntries(Object.entries(body).filter(([name]) => !Object.hasOwn(unknown, name)));
  return { name: aliasName, alias, known, unknown };
}

/** What parameters of one of OpenAI's APIs are called in another one. */
const OTHER_NAMES: ReadonlyMap<string, string> = new Map([
  ['messages', 'input'],
  ['max_tokens', 'max_output_tokens'],
  ['max_completion_tokens', 'max_output_tokens'],
  ['max_output_tokens', 'max_completion_tokens'],
  ['response_format', 'text.format'],
  ['instructions', 'messages'],
]);

function unknownParameterError(name: string, fields: object): LambentError {
  const param = name.slice(0, 200).toWellFormed();
  const otherName = OTHER_NAMES.get(name);
  const isField = otherName !== undefined && Object.hasOwn(fields, otherName.replace(/\..*/, ''));
  const advice = isField ? ` Use '${otherName}' instead.` : '';
  return new LambentError('unknown_parameter', `Unknown parameter: '${param}'.${advice}`, { param });
}

export interface SplitBody extends ResolvedModel {
  /** The fields to validate. */
  readonly known: Readonly<Record<string, unknown>>;
  /** The fields that are sent to the upstream unchanged. */
  readonly unknown: Readonly<Record<string, unknown>>;
}

/**
 * Rejects stream options in a request that isn't streamed.
 * @throws LambentError `invalid_value`
 */
export function checkStreamOptions(options: object | null | undefined, streamed: boolean): void {
  if (streamed || options === null || options === undefined) return;
  throw invalidValueError('stream_options', "The 'stream_options' parameter is only allowed when 'stream' is enabled.");
}

/**
 * Rejects an output limit above that of the alias, if the alias refuses them. Otherwise the router lowers it.
 * @param param the caller's name of the parameter
 * @throws LambentError `invalid_value`
 */
export function checkMaxTokens(tokens: number | undefined, alias: Alias, param: string): void {
  if (alias.outputLimit === 'clamp') return;
  const { maxOutputTokens = Number.POSITIVE_INFINITY } = getAliasLimits(alias);
  if (tokens === undefined || tokens <= maxOutputTokens) return;
  throw invalidValueError(
    param,
    `${param} is too large: ${tokens}. This model supports at most ${maxOutputTokens} completion tokens, whereas you provided ${tokens}.`,
  );
}

/** Returns a copy of `fields` without those that are null or undefined. */
export function omitNullish<T extends object>(fields: T): { [K in keyof T]?: NonNullable<T[K]> } {
  const entries = Object.entries(fields).filter(([, value]) => value !== undefined && value !== null);
  return Object.fromEntries(entries) as { [K in keyof T]?: NonNullable<T[K]> };
}
