import * as v from 'valibot';
import { LambentError } from '../core/errors.ts';
import type { Hints, ReasoningEffort, ServiceTier } from '../inference/generation.ts';
import { type Alias, findAlias, type ModelRegistry } from '../inference/registry.ts';
import {
  boolean,
  decimal,
  ignored,
  integer,
  isObject,
  object,
  oneOf,
  recordOf,
  string,
  supportedIf,
  text,
} from './schema.ts';
import { describeJsonType, invalidValueError, missingParameterError } from './validation.ts';

/** What parsing a request takes besides its body. */
export interface ParseContext {
  readonly registry: ModelRegistry;
  readonly tenant: string;
}

/** An optional field. OpenAI takes null for "not given", so everybody's clients send it. */
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

/** @param unsupported the API's further tiers, which only OpenAI itself sells */
export function serviceTier(unsupported: readonly string[]) {
  return optional(
    v.pipe(
      oneOf([...TIERS, ...unsupported]),
      supportedIf(isTier, `supports only ${TIERS.map((tier) => `'${tier}'`).join(', ')}.`),
      v.transform((tier) => (isTier(tier) ? tier : undefined)),
    ),
  );
}

function isTier(text: string): text is ServiceTier {
  return TIERS.some((tier) => tier === text);
}

/** Up to 16 pairs; keys of 64 characters at most, values of 512. */
export const metadata = optional(
  recordOf<string>(16, (key, value) => {
    if (key.length > 64)
      return `key too long. Expected a key with maximum length 64, but got one with length ${key.length}.`;
    if (typeof value !== 'string') return `expected a string, but got ${describeJsonType(value)} instead.`;
    if (value.length <= 512) return undefined;
    return `string too long. Expected a string with maximum length 512, but got a string with length ${value.length} instead.`;
  }),
);

/** What changes no answer, and both APIs take. */
export const hintParameters = {
  metadata,
  prompt_cache_key: optional(string),
  prompt_cache_options: optional(
    object({
      mode: ignored,
      ttl: ignored,
      comparison_response_id: ignored,
      prewarm: optional(
        v.pipe(
          boolean,
          supportedIf((prewarm) => !prewarm, 'supports only false: a request is always answered.'),
        ),
      ),
    }),
  ),
  prompt_cache_retention: ignored,
  safety_identifier: optional(text({ max: 64 })),
  user: optional(string),
};

type HintFields = v.InferOutput<v.ObjectSchema<typeof hintParameters, undefined>>;

/** The hints of a request in Lambent's own names. */
export function toHints(body: HintFields): Hints {
  return omitNullish({
    user: body.user,
    safetyIdentifier: body.safety_identifier,
    promptCacheKey: body.prompt_cache_key,
    metadata: body.metadata,
  });
}

/**
 * Takes a body apart: the alias that it names, the fields that the API has, and those that only its upstream knows.
 * @param fields the API's own parameters
 * @throws LambentError when there is no object, no model, or no such model. Unknown fields of an alias without
 * `passUnknown` stay in `known`, where the schema refuses them
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
  const alias = findAlias(model, registry);
  if (!alias.passUnknown) return { alias, known: body, unknown: {} };
  const entries = Object.entries(body);
  return {
    alias,
    known: Object.fromEntries(entries.filter(([name]) => Object.hasOwn(fields, name))),
    unknown: Object.fromEntries(entries.filter(([name]) => !Object.hasOwn(fields, name))),
  };
}

export interface SplitBody {
  readonly alias: Alias;
  readonly known: Readonly<Record<string, unknown>>;
  readonly unknown: Readonly<Record<string, unknown>>;
}

/** @throws LambentError `invalid_value` for stream options of an answer that is not streamed */
export function checkStreamOptions(options: object | null | undefined, streamed: boolean): void {
  if (streamed || options === null || options === undefined) return;
  throw invalidValueError('stream_options', "The 'stream_options' parameter is only allowed when 'stream' is enabled.");
}

/** @throws LambentError `invalid_value` when `tokens` is more than the alias allows; `param` is the caller's name for it */
export function checkMaxTokens(tokens: number | undefined, alias: Alias, param: string): void {
  if (tokens === undefined || tokens <= alias.maxOutputTokens) return;
  throw invalidValueError(
    param,
    `${param} is too large: ${tokens}. This model supports at most ${alias.maxOutputTokens} completion tokens, whereas you provided ${tokens}.`,
  );
}

/** `fields` without those that are null or undefined. */
export function omitNullish<T extends object>(fields: T): { [K in keyof T]?: NonNullable<T[K]> } {
  const entries = Object.entries(fields).filter(([, value]) => value !== undefined && value !== null);
  return Object.fromEntries(entries) as { [K in keyof T]?: NonNullable<T[K]> };
}
