import { CAPABILITIES, type Capability } from '../../capabilities.ts';
import type { OpenAICompatibleTarget } from '../../registry.ts';

/** Where an upstream departs from OpenAI's own API, as far as its host gives that away. */
export interface Dialect {
  /** What it refuses, or ignores in silence; `capabilities` of the target overrule it. */
  readonly lacks: readonly Capability[];
  /** Request fields that change no answer and that it is known to take; elsewhere they may be a 400. */
  readonly extras: readonly OptionalField[];
  /** Name of the output limit where only one works. */
  readonly maxTokensParameter?: 'max_completion_tokens';
  /** Wants `reasoning_content` back on every assistant message with tool calls, and answers 400 without it. */
  readonly wantsReasoningBack?: true;
  /** Turns reasoning off by `thinking`, not by the effort `none`. */
  readonly thinkingSwitch?: true;
  /** Wants a thought signature on the first tool call of an assistant message, and answers 400 without it. */
  readonly wantsThoughtSignature?: true;
}

export type OptionalField = 'user' | 'safety_identifier' | 'prompt_cache_key' | 'service_tier';

const PLAIN: Dialect = { lacks: [], extras: [] };

/** By host, subdomains included. */
const BY_HOST: Readonly<Record<string, Dialect>> = {
  'openai.com': {
    lacks: [],
    extras: ['user', 'safety_identifier', 'prompt_cache_key', 'service_tier'],
    // Reasoning models refuse max_tokens; every chat model takes the newer name.
    maxTokensParameter: 'max_completion_tokens',
  },
  'openai.azure.com': { lacks: [], extras: ['user'], maxTokensParameter: 'max_completion_tokens' },
  'openrouter.ai': { lacks: [], extras: ['user'] },
  // https://api-docs.deepseek.com/guides/thinking_mode: "will return a 400 error" when reasoning_content is missing
  // from a turn with tool calls; from other turns it is ignored.
  'deepseek.com': {
    lacks: [
      'images',
      'imageUrls',
      'singleToolCall',
      'jsonSchema',
      'strictJsonSchema',
      'seed',
      'logitBias',
      'verbosity',
    ],
    extras: [],
    wantsReasoningBack: true,
    thinkingSwitch: true,
  },
  'moonshot.ai': { ...PLAIN, wantsReasoningBack: true },
  'moonshot.cn': { ...PLAIN, wantsReasoningBack: true },
  // Refuses every field that it doesn't know, and calls its seed random_seed.
  'mistral.ai': { lacks: ['seed', 'logitBias', 'logprobs', 'verbosity'], extras: [] },
  'groq.com': { lacks: ['logitBias', 'logprobs', 'verbosity'], extras: ['user'] },
  // https://ai.google.dev/gemini-api/docs/thought-signatures: Gemini 3 refuses a tool call without one.
  'generativelanguage.googleapis.com': { lacks: ['logitBias', 'verbosity'], extras: [], wantsThoughtSignature: true },
  'aiplatform.googleapis.com': { lacks: ['logitBias', 'verbosity'], extras: [], wantsThoughtSignature: true },
};

/** What is known of the upstream at `target.baseUrl`. */
export function findDialect(target: OpenAICompatibleTarget): Dialect {
  const labels = new URL(target.baseUrl).hostname.split('.');
  for (let from = 0; from < labels.length; from += 1) {
    const dialect = BY_HOST[labels.slice(from).join('.')];
    if (dialect) return dialect;
  }
  return PLAIN;
}

/** What `target` can be asked for: what it declares, else all of OpenAI's API less what its host is known to lack. */
export function getOpenAICompatibleCapabilities(target: OpenAICompatibleTarget): ReadonlySet<Capability> {
  if (target.capabilities) return new Set(target.capabilities);
  const { lacks } = findDialect(target);
  return new Set(CAPABILITIES.filter((capability) => !lacks.includes(capability)));
}
