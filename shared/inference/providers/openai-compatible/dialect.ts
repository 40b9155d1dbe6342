import { CAPABILITIES, type Capability, RARE_CAPABILITIES } from '../../capabilities.ts';
import type { OpenAICompatibleTarget } from '../../registry.ts';
import { servesMessagesOnly } from '../../served-endpoints.ts';
import type { ReasoningPlace } from './reasoning.ts';

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
  /** Where it expects reasoning that a caller sends back as text. Absent: in both fields that engines know. */
  readonly reasoningPlaces?: readonly ReasoningPlace[];
  /** Expects the reasoning of all turns. Others expect that of turns with tool calls. */
  readonly needsAllReasoning?: true;
  /** The ids of tool calls that it accepts. */
  readonly callIds?: CallIdRule;
  /** The thought signature for calls without one. The first call of an assistant message has to have a signature. */
  readonly unsignedCall?: string;
  /** Gets back the records of reasoning and the signatures of calls that callers have. Others may refuse these fields. */
  readonly returnsRecords?: true;
  /** The field by which parts of messages mark the end of a prefix to cache. Others may refuse it, or an array of texts. */
  readonly markField?: 'cache_control' | 'prompt_cache_breakpoint';
  /** Sends embeddings in base64 on request, which are a quarter of the size. Others may refuse `encoding_format`. */
  readonly encodesEmbeddings?: true;
}

/** Other ids are replaced by a hash of `length` letters and digits. */
export interface CallIdRule {
  readonly pattern: RegExp;
  readonly length: number;
}

/** The strictest rule, which ids for any other upstream satisfy as well. */
export const SHORT_CALL_IDS: CallIdRule = { pattern: /^[a-zA-Z0-9]{9}$/, length: 9 };

/** https://github.com/vercel/ai/issues/5171: "Expected a string with maximum length 40" */
const OPENAI_CALL_IDS: CallIdRule = { pattern: /^.{1,40}$/s, length: 32 };

export type OptionalField =
  | 'user'
  | 'safety_identifier'
  | 'prompt_cache_key'
  | 'prompt_cache_retention'
  | 'service_tier';

/** Google's documented placeholder for the signature of a call that passed through an API without signatures. */
const UNSIGNED_CALL = 'skip_thought_signature_validator';

/** An unknown host gets no documents: most engines don't know the part. */
const PLAIN: Dialect = { unsupported: ['documents'], optionalFields: [] };

/** It may be a proxy in front of any model. */
const UNKNOWN: Dialect = { ...PLAIN, returnsRecords: true };

/** https://platform.minimax.io/docs/api-reference/text-openai-api: the `<think>` text "must be preserved completely". */
const MINIMAX: Dialect = { ...PLAIN, reasoningPlaces: ['think'], needsAllReasoning: true };

/** Dialects by host; each includes the host's subdomains. */
const BY_HOST: Readonly<Record<string, Dialect>> = {
  'openai.com': {
    unsupported: [],
    rare: ['customTools'],
    optionalFields: ['user', 'safety_identifier', 'prompt_cache_key', 'prompt_cache_retention', 'service_tier'],
    // Reasoning models refuse max_tokens; every chat model accepts the newer name.
    maxTokensParameter: 'max_completion_tokens',
    reasoningPlaces: [],
    callIds: OPENAI_CALL_IDS,
    markField: 'prompt_cache_breakpoint',
    encodesEmbeddings: true,
  },
  'openai.azure.com': {
    unsupported: [],
    // https://learn.microsoft.com/azure/ai-foundry/openai/how-to/prompt-caching
    optionalFields: ['user', 'prompt_cache_key'],
    maxTokensParameter: 'max_completion_tokens',
    reasoningPlaces: [],
    callIds: OPENAI_CALL_IDS,
    encodesEmbeddings: true,
  },
  // https://openrouter.ai/docs/guides/best-practices/reasoning-tokens: text in `reasoning`, signatures in
  // `reasoning_details`.
  'openrouter.ai': {
    unsupported: [],
    optionalFields: ['user'],
    returnsRecords: true,
    reasoningPlaces: ['reasoning'],
    // https://openrouter.ai/docs/guides/best-practices/prompt-caching
    markField: 'cache_control',
  },
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
    reasoningPlaces: ['reasoning_content'],
    thinkingSwitch: true,
  },
  'moonshot.ai': { ...PLAIN, requiresReasoning: true, reasoningPlaces: ['reasoning_content'] },
  'moonshot.cn': { ...PLAIN, requiresReasoning: true, reasoningPlaces: ['reasoning_content'] },
  'minimax.io': MINIMAX,
  'minimaxi.com': MINIMAX,
  'minimax.chat': MINIMAX,
  // Zhipu (GLM) and Alibaba (Qwen).
  'z.ai': { ...PLAIN, reasoningPlaces: ['reasoning_content'] },
  'bigmodel.cn': { ...PLAIN, reasoningPlaces: ['reasoning_content'] },
  'aliyuncs.com': { ...PLAIN, reasoningPlaces: ['reasoning_content'] },
  // Refuses every field that it doesn't know, and ids of calls other than its own. Its name for the seed is random_seed.
  'mistral.ai': {
    unsupported: ['documents', 'seed', 'logitBias', 'logprobs', 'verbosity'],
    // https://docs.mistral.ai/inference/conversations/advanced/prompt-caching
    optionalFields: ['prompt_cache_key'],
    reasoningPlaces: ['content'],
    callIds: SHORT_CALL_IDS,
  },
  'groq.com': {
    unsupported: ['documents', 'logitBias', 'logprobs', 'verbosity'],
    optionalFields: ['user'],
    reasoningPlaces: ['reasoning'],
  },
  'cerebras.ai': { ...PLAIN, reasoningPlaces: ['reasoning'] },
  // https://ai.google.dev/gemini-api/docs/thought-signatures: Gemini 3 refuses a tool call without one.
  'generativelanguage.googleapis.com': {
    unsupported: ['documents', 'logitBias', 'verbosity'],
    optionalFields: [],
    unsignedCall: UNSIGNED_CALL,
    reasoningPlaces: [],
  },
  'aiplatform.googleapis.com': {
    unsupported: ['documents', 'logitBias', 'verbosity'],
    optionalFields: [],
    unsignedCall: UNSIGNED_CALL,
    reasoningPlaces: [],
  },
};

/** Returns the dialect of the host in `target.baseUrl`. An unknown host gets OpenAI's API without optional fields. */
export function findDialect(target: Pick<OpenAICompatibleTarget, 'baseUrl'>): Dialect {
  const labels = new URL(target.baseUrl).hostname.split('.');
  for (let from = 0; from < labels.length; from += 1) {
    const dialect = BY_HOST[labels.slice(from).join('.')];
    if (dialect) return dialect;
  }
  return UNKNOWN;
}

/** Returns a target's capabilities: those it declares, or else all of OpenAI's API that its dialect supports. */
export function getOpenAICompatibleCapabilities(target: OpenAICompatibleTarget): ReadonlySet<Capability> {
  const { unsupported, optionalFields, rare = [] } = findDialect(target);
  // What an upstream with only Anthropic's own endpoint lacks depends on its model: the upstream refuses it.
  const lacks = (each: Capability): boolean => unsupported.includes(each) && !servesMessagesOnly(target);
  const usual = CAPABILITIES.filter((each) => !lacks(each) && !RARE_CAPABILITIES.includes(each));
  const capabilities = new Set<Capability>(target.capabilities ?? [...usual, ...rare]);
  // Its own protocol has all of them.
  if (target.capabilities === undefined && target.passThrough !== undefined) capabilities.add('hostedTools');
  // Known of the host, whatever is declared: no other upstream gets the field.
  if (optionalFields.includes('service_tier')) capabilities.add('serviceTiers');
  else capabilities.delete('serviceTiers');
  return capabilities;
}
