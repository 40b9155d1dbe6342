import type { Alias, Target } from './registry.ts';

/** Limits in tokens. A limit that isn't known is absent: none is invented. */
export interface ModelLimits {
  /** Maximum length of an answer, reasoning included. */
  readonly maxOutputTokens?: number;
  /** Size of the context, the answer included. */
  readonly contextTokens?: number;
}

type Family = readonly [model: RegExp, contextTokens: number, maxOutputTokens: number];

/**
 * Models of Bedrock by id, the first match counts. From the model cards of the Bedrock User Guide and Anthropic's model
 * pages, compared with LiteLLM's table (1.110), November 2026; of different values the lower one, because Bedrock refuses
 * a higher one.
 * @see https://docs.aws.amazon.com/bedrock/latest/userguide/model-cards.html
 * @see https://platform.claude.com/docs/en/about-claude/models/overview
 */
const BEDROCK: readonly Family[] = [
  [/claude-(?:fable|mythos|opus-[5-9]|sonnet-[5-9]|haiku-[5-9]|opus-4-[6-9])/, 1_000_000, 128_000],
  [/claude-sonnet-4-6/, 1_000_000, 64_000],
  [/claude-(?:opus|sonnet|haiku)-4-5|claude-sonnet-4-|claude-3-7/, 200_000, 64_000],
  [/claude-opus-4-/, 200_000, 32_000],
  [/claude-3-5-(?:haiku|sonnet-20241022)/, 200_000, 8_192],
  [/claude-3-/, 200_000, 4_096],
  [/nova-2-lite/, 1_000_000, 64_000],
  [/nova-premier/, 1_000_000, 10_000],
  [/nova-(?:pro|lite)-v1/, 300_000, 5_000],
  [/nova-micro-v1/, 128_000, 5_000],
  [/openai\.gpt-oss/, 128_000, 16_384],
  [/openai\.gpt-[5-9]/, 922_000, 128_000],
  [/llama3-[123]-/, 128_000, 4_096],
  [/llama4-/, 1_000_000, 8_192],
  [/qwen3-coder-480b|qwen3-coder-30b/, 262_144, 16_384],
  [/qwen3-235b/, 262_144, 8_192],
  [/qwen3-32b/, 32_768, 8_192],
  [/deepseek\.(?:r1|v3)/, 128_000, 8_000],
  [/mistral-large-3/, 256_000, 32_000],
  [/pixtral-large/, 128_000, 16_384],
  [/ministral-3|gemma-3/, 128_000, 8_000],
  [/kimi-k2/, 256_000, 16_000],
  [/minimax-m2/, 196_000, 8_000],
  [/glm-4\.7|glm-5/, 200_000, 128_000],
];

/**
 * Models by the host that serves them, because hosts of open models have limits of their own.
 * @see https://platform.openai.com/docs/models
 * @see https://api-docs.deepseek.com/quick_start/pricing
 */
const BY_HOST: Readonly<Record<string, readonly Family[]>> = {
  'api.openai.com': [
    [/^gpt-5(?:\.\d)?-chat/, 128_000, 16_384],
    [/^gpt-(?:5\.[4-9]|[6-9])/, 922_000, 128_000],
    [/^gpt-5-pro/, 400_000, 272_000],
    [/^gpt-5/, 400_000, 128_000],
    [/^gpt-4\.1/, 1_047_576, 32_768],
    [/^gpt-4o/, 128_000, 16_384],
    [/^o[134]/, 200_000, 100_000],
  ],
  'api.deepseek.com': [
    [/^deepseek-chat$/, 131_072, 8_192],
    [/^deepseek-reasoner$/, 131_072, 65_536],
    [/^deepseek-(?:v4-)?(?:flash|pro)/, 1_000_000, 393_216],
  ],
};

/** Returns the limits of a target: those of its alias, or else those of its model, if it is known. */
export function getLimits(alias: Pick<Alias, 'maxOutputTokens' | 'contextTokens'>, target: Target): ModelLimits {
  const known = findKnownLimits(target);
  const maxOutputTokens = alias.maxOutputTokens ?? known.maxOutputTokens;
  const contextTokens = alias.contextTokens ?? known.contextTokens;
  return {
    ...(maxOutputTokens === undefined ? {} : { maxOutputTokens }),
    ...(contextTokens === undefined ? {} : { contextTokens }),
  };
}

/** Returns the output limit to send: the lower of the caller's and the model's, or undefined without either. */
export function chooseOutputLimit(requested: number | undefined, limit: number | undefined): number | undefined {
  if (requested === undefined || limit === undefined) return requested ?? limit;
  return Math.min(requested, limit);
}

/** Returns the limits that hold for every target of an alias: of each limit the lowest, if all targets have one. */
export function getAliasLimits(alias: Alias): ModelLimits {
  const [first, ...others] = alias.targets.map((target) => getLimits(alias, target));
  return others.reduce(
    (lowest: ModelLimits, limits) => ({
      ...minimumOf('maxOutputTokens', lowest, limits),
      ...minimumOf('contextTokens', lowest, limits),
    }),
    first ?? {},
  );
}

function minimumOf<K extends keyof ModelLimits>(name: K, a: ModelLimits, b: ModelLimits): ModelLimits {
  const [left, right] = [a[name], b[name]];
  return left === undefined || right === undefined ? {} : { [name]: Math.min(left, right) };
}

function findKnownLimits(target: Target): ModelLimits {
  const cached = knownLimits.get(target);
  if (cached !== undefined) return cached;
  const found = listFamilies(target).find(([model]) => model.test(target.model));
  const limits = found === undefined ? {} : { contextTokens: found[1], maxOutputTokens: found[2] };
  knownLimits.set(target, limits);
  return limits;
}

const knownLimits = new WeakMap<Target, ModelLimits>();

function listFamilies(target: Target): readonly Family[] {
  if (target.provider === 'bedrock') return BEDROCK;
  return target.provider === 'gpu' ? [] : (BY_HOST[new URL(target.baseUrl).hostname] ?? []);
}
