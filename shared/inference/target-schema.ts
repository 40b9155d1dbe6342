import * as v from 'valibot';
import { CAPABILITIES } from './capabilities.ts';
import { PROTOCOLS } from './generation.ts';
import { priceSchema } from './price-schema.ts';

export const milliseconds = v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(900_000));
export const tokens = v.pipe(v.number(), v.integer(), v.minValue(1));
export const name = v.pipe(v.string(), v.minLength(1), v.maxLength(200));

/** A reference to a key: environment variable, SSM parameter or Secrets Manager secret, never the key itself. */
export const secretReference = v.pipe(
  v.string(),
  v.regex(
    /^(env|ssm|secret):[\w/.:@+=-]+$/,
    'must be a reference (env:NAME, ssm:NAME or secret:NAME), never a key itself',
  ),
);

export const httpUrl = v.pipe(
  v.string(),
  v.check((text) => {
    const url = URL.parse(text);
    return url !== null && ['http:', 'https:'].includes(url.protocol) && url.username === '' && url.password === '';
  }, 'must be an http or https URL without credentials in it'),
  v.transform((text) => text.replace(/\/+$/, '')),
);

export const region = v.pipe(v.string(), v.regex(/^[a-z]{2}(-[a-z]+)+-\d$/, 'must be an AWS region such as eu-west-1'));

/** A guardrail's id or ARN, and one of its versions. */
export const guardrail = {
  id: name,
  version: v.pipe(v.string(), v.regex(/^(\d+|DRAFT)$/, 'must be a version number or DRAFT')),
};

const common = {
  /** The provider's name of the model. */
  model: name,
  /** Share of new conversations, relative to the other targets. A target with 0 is used only as a last resort. */
  weight: v.optional(v.pipe(v.number(), v.minValue(0)), 1),
  /** Capabilities of the target; replaces the provider's defaults. */
  capabilities: v.optional(v.array(v.picklist(CAPABILITIES))),
  /** What its tokens cost. If absent, the price of the alias. */
  price: v.optional(priceSchema),
};

const bedrockTarget = v.strictObject({
  ...common,
  provider: v.literal('bedrock'),
  /** AWS region to call; absent for the function's region. */
  region: v.optional(region),
  guardrail: v.optional(
    v.strictObject({
      ...guardrail,
      trace: v.optional(v.picklist(['disabled', 'enabled', 'enabled_full']), 'disabled'),
    }),
  ),
  /**
   * The cache points of requests without the caller's marks: how long the cache keeps the prompt, and whether they are also
   * set if the prompt will probably not be repeated. False for no points. If absent, for five minutes, where it will.
   */
  promptCache: v.optional(
    v.union([
      v.literal(false),
      v.strictObject({
        ttl: v.optional(v.picklist(['5m', '1h']), '5m'),
        when: v.optional(v.picklist(['likely', 'always']), 'likely'),
      }),
    ]),
  ),
  /** How the model family expects `reasoning_effort`; derived from the model id if absent. */
  reasoning: v.optional(
    v.variant('style', [
      v.strictObject({
        style: v.literal('anthropic-budget'),
        /** Thinking tokens for each effort, at least 1024. */
        budgets: v.optional(v.strictObject({ low: tokens, medium: tokens, high: tokens }), {
          low: 1_024,
          medium: 4_096,
          high: 16_384,
        }),
      }),
      v.strictObject({ style: v.literal('anthropic-adaptive') }),
      v.strictObject({ style: v.literal('openai-effort') }),
      v.strictObject({ style: v.literal('nova-effort') }),
    ]),
  ),
  serviceTier: v.optional(v.picklist(['default', 'flex', 'priority'])),
});

/** How an OpenAI-compatible API is reached. */
export const openAIEndpoint = {
  /** Base URL of the API, version included: `https://api.deepseek.com/v1`. */
  baseUrl: httpUrl,
  apiKey: v.optional(secretReference),
  /** Headers to send, by value or by reference. `apiKey` sets `Authorization`. */
  headers: v.optional(v.record(v.pipe(v.string(), v.regex(/^[!#$%&'*+.^_`|~\w-]+$/)), v.string())),
};

const openAICompatibleTarget = v.strictObject({
  ...common,
  provider: v.literal('openai-compatible'),
  ...openAIEndpoint,
  /** The upstream's parameter for the output limit. */
  maxTokensParameter: v.optional(v.picklist(['max_tokens', 'max_completion_tokens']), 'max_tokens'),
  /** The protocols in which requests and answers are passed on without translation. */
  passThrough: v.optional(v.array(v.picklist(PROTOCOLS))),
});

const gpuTarget = v.strictObject({
  ...common,
  provider: v.literal('gpu'),
  /** A name under `fleets`. `model` is the engine's name of the model or of a LoRA adapter. */
  fleet: name,
});

/** A target of an alias, by its provider. */
export const target = v.variant('provider', [bedrockTarget, openAICompatibleTarget, gpuTarget]);
