import { CAPABILITIES, type Capability, RARE_CAPABILITIES } from '../../capabilities.ts';
import type { OpenAICompatibleTarget } from '../../registry.ts';

/** The differences between an upstream and OpenAI's API, derived from the upstream's host name. */
export interface Dialect {
  /** Capabilities that it refuses or silently ignores. The target's `capabilities` override them. */
  readonly unsupported: readonly Capability[];
  /** Capabilities that other upstreams lack. */
  readonly rare?: readonly Capability[];
  /** Request fields that don't change the answer and that it accepts. Other upstreams may answer 400 to them. */
  readonly optionalFields: readonly OptionalField[];
  /** Name of the output limit, if only one works. */
  readonly maxTokensParameter?: 'max_completion_tokens';
  /** Requires `reasoning_content` on every assistant message with tool calls, and answers 400 without it. */
  readonly requiresReasoning?: true;
  /** Reasoning is disabled by the field `thinking`, not by the effort `none`. */
  readonly thinkingSwitch?: true;
  /** Requires a thought signature on the first tool call of an assistant message, and answers 400 without it. */
  readonly requiresThoughtSignature?: true;
}

export type OptionalField = 'user' | 'safety_identifier' | 'prompt_cache_key' | 'service_tier';

/** An unknown host gets no documents: most engines don't know the part. */
const PLAIN: Dialect = { unsupported: ['documents'], optionalFields: [] };

/** Dialects by host; each includes the host's subdomains. */
const BY_HOST: Readonly<Record<string, Dialect>> = {
  'openai.com': {
    unsupported: [],
    rare: ['customTools'],
    optionalFields: ['user', 'safety_identifier', 'prompt_cache_key', 'service_tier'],
    // Reasoning models refuse max_tokens; every chat model accepts the newer name.
    maxTokensParameter: 'max_completion_tokens',
  },
  'openai.azure.com': { unsupported: [], optionalFields: ['user'], maxTokensParameter: 'max_completion_tokens' },
  'openrouter.ai': { unsupported: [], optionalFields: ['user'] },
  // https://api-docs.deepseek.com/guides/thinking_mode: "will return a 400 error" if reasoning_content is missing from
  // a turn with tool calls. In other turns it is ignored.
  'deepseek.com': {
    unsupported: [
      'images',
      'imageUrls',
      'documents',
      'singleToolCall',
      'jsonSchema',
      'strictJsonSchema',
      'seed',
      'logitBias',
      'verbosity',
    ],
    optionalFields: [],
    requiresReasoning: true,
    thinkingSwitch: true,
  },
  'moonshot.ai': { ...PLAIN, requiresReasoning: true },
  'moonshot.cn': { ...PLAIN, requiresReasoning: true },
  // Refuses every field that it doesn't know. Its name for the seed is random_seed.
  'mistral.ai': { unsupported: ['documents', 'seed', 'logitBias', 'logprobs', 'verbosity'], optionalFields: [] },
  'groq.com': { unsupported: ['documents', 'logitBias', 'logprobs', 'verbosity'], optionalFields: ['user'] },
  // https://ai.google.dev/gemini-api/docs/thought-signatures: Gemini 3 refuses a tool call without one.
  'generativelanguage.googleapis.com': {
    unsupported: ['documents', 'logitBias', 'verbosity'],
    optionalFields: [],
    requiresThoughtSignature: true,
  },
  'aiplatform.googleapis.com': {
    unsupported: ['documents', 'logitBias', 'verbosity'],
    optionalFields: [],
    requiresThoughtSignature: true,
  },
};

/** Returns the dialect of the host in `target.baseUrl`. An unknown host gets OpenAI's API without optional fields. */
export function findDialect(target: OpenAICompatibleTarget): Dialect {
  const labels = new URL(target.baseUrl).hostname.split('.');
  for (let from = 0; from < labels.length; from += 1) {
    const dialect = BY_HOST[labels.slice(from).join('.')];
    if (dialect) return dialect;
  }
  return PLAIN;
}

/** Returns a target's capabilities: those it declares, or else all of OpenAI's API that its dialect supports. */
export function getOpenAICompatibleCapabilities(target: OpenAICompatibleTarget): ReadonlySet<Capability> {
  if (target.capabilities) return new Set(target.capabilities);
  const { unsupported, rare = [] } = findDialect(target);
  const usual = CAPABILITIES.filter((each) => !unsupported.includes(each) && !RARE_CAPABILITIES.includes(each));
  return new Set([...usual, ...rare]);
}
