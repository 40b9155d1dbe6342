import type { Capability } from '../../capabilities.ts';
import type { BedrockTarget } from '../../registry.ts';

/**
 * What a family of models takes through Converse, derived from the model id. `local/bedrock/rules/` has the source of each
 * rule.
 */
export interface BedrockFamily {
  readonly name: 'claude' | 'nova' | 'openai' | 'other';
  readonly images: boolean;
  readonly tools: boolean;
  /** How `toolChoice` may force the use of a tool: any of them, or the named one. */
  readonly toolChoices: readonly ('any' | 'tool')[];
  /** False if tools can be declared in buffered calls only. */
  readonly streamsTools: boolean;
  readonly toolResults: ToolResultRules;
  /** True if `outputConfig.textFormat` and `toolSpec.strict` are enforced. */
  readonly structuredOutput: boolean;
  readonly stop: boolean;
  /** `oneOfTwo`: temperature or top_p, not both. `fixed`: neither. */
  readonly sampling: 'free' | 'oneOfTwo' | 'fixed';
  readonly systemPrompt: boolean;
  /** True if the conversation may end with an assistant message. */
  readonly prefill: boolean;
  readonly documents: boolean;
  readonly caching: CachingRules;
  readonly reasoning: ReasoningStyle | undefined;
}

interface ToolResultRules {
  /** True if a result may contain images. */
  readonly images: boolean;
  /** True if a result may contain PDFs. */
  readonly documents: boolean;
  /** What a turn may contain besides results. */
  readonly beside: 'anything' | 'noDocuments' | 'nothing';
  /** True if a result may say that the tool failed. */
  readonly status: boolean;
  /** True if the id of a call must be nine letters or digits. */
  readonly shortIds: boolean;
}

interface CachingRules {
  /** The times for which a prefix can be cached; empty if the family has no cache points. */
  readonly ttls: readonly ('5m' | '1h')[];
  /** True if the tools may end with a cache point. */
  readonly tools: boolean;
  /** True if a turn with tool calls or results may contain a cache point. */
  readonly toolTurns: boolean;
}

/** The registry's `reasoning` setting, or the family's default. */
export type ReasoningStyle = NonNullable<BedrockTarget['reasoning']>;

const BUDGETS = { low: 1_024, medium: 4_096, high: 16_384 } as const;

/**
 * Detects a model's family from its id, its inference profile id or its ARN. The ARN of an application inference
 * profile doesn't contain the model: its family is `other`, and its target needs `capabilities` and `reasoning` in the
 * registry.
 *
 * Source: the "supported models" tables of the Bedrock User Guide (Converse, structured outputs, adaptive thinking,
 * prompt caching), November 2026.
 */
export function detectFamily(model: string): BedrockFamily {
  if (model.includes('anthropic.claude')) return describeClaude(model);
  if (model.includes('amazon.nova')) return describeNova(model);
  if (model.includes('openai.')) return describeOpenAI(model);
  return describeOther(model);
}

/**
 * Describes a target. Of a model whose id doesn't show its family only the declared capabilities are known, so nothing else
 * is held back from it.
 */
export function describeTarget({ model, capabilities }: BedrockTarget): BedrockFamily {
  const family = detectFamily(model);
  if (family.name !== 'other' || family.tools || capabilities === undefined) return family;
  return {
    ...family,
    toolChoices: capabilities.includes('tools') ? ['any', 'tool'] : [],
    structuredOutput: capabilities.includes('strictJsonSchema'),
  };
}

/**
 * Returns the capabilities of a Bedrock target: `target.capabilities`, or else the defaults of its model family.
 */
export function getBedrockCapabilities(target: BedrockTarget): ReadonlySet<Capability> {
  if (target.capabilities) return new Set(target.capabilities);
  const family = detectFamily(target.model);
  const can = new Set<Capability>();
  if (family.images) can.add('images');
  if (family.documents) can.add('documents');
  if (family.stop) can.add('stop');
  if (family.tools) can.add('tools');
  if (family.structuredOutput) {
    can.add('strictTools').add('jsonSchema').add('strictJsonSchema');
    // Claude's grammar requires `additionalProperties: false`, so "any JSON object" uses a forced tool for Claude.
    if (family.name !== 'claude') can.add('json');
  }
  if (family.tools && family.toolChoices.length > 0) can.add('json').add('jsonSchema');
  if (family.name === 'claude' && family.tools) can.add('singleToolCall');
  if (target.reasoning ?? family.reasoning) can.add('reasoning');
  if (sellsServiceTiers(target.model)) can.add('serviceTiers');
  return can;
}

/**
 * Returns whether a model is offered in the tiers `flex` and `priority`. Claude, Llama and OpenAI's models other than
 * gpt-oss aren't; an application inference profile doesn't show its model.
 * @see https://docs.aws.amazon.com/bedrock/latest/userguide/service-tiers-inference.html
 */
function sellsServiceTiers(model: string): boolean {
  return !/anthropic\.|meta\.llama|openai\.gpt-(?!oss)|application-inference-profile/.test(model);
}

/** Returns the version of a Claude model as major × 100 + minor (406 for 4.6); 0 before version 3 and for others. */
export function parseClaudeVersion(model: string): number {
  if (/claude-(mythos-preview)/.test(model)) return 407;
  // In `claude-opus-4-20250514`, a date follows the major version. A minor version has at most two digits.
  const since4 = /claude-(?:opus|sonnet|haiku|fable|mythos)-(\d{1,2})(?:-(\d{1,2}))?(?!\d)/.exec(model);
  if (since4) return Number(since4[1]) * 100 + Number(since4[2] ?? 0);
  const until3 = /claude-(3)(?:-(\d))?-(?:opus|sonnet|haiku)/.exec(model);
  return until3 ? 300 + Number(until3[2] ?? 0) : 0;
}

const ANY_CHOICE = ['any', 'tool'] as const;
const FREE_RESULTS: ToolResultRules = {
  images: true,
  documents: true,
  beside: 'anything',
  status: true,
  shortIds: false,
};
const NO_CACHING: CachingRules = { ttls: [], tools: false, toolTurns: false };

function describeClaude(model: string): BedrockFamily {
  const version = parseClaudeVersion(model);
  return {
    name: 'claude',
    images: version >= 300 && !model.includes('claude-3-5-haiku'),
    tools: version >= 300,
    // Fable and Mythos refuse to be forced.
    toolChoices: version < 300 || /fable|mythos/.test(model) ? [] : ANY_CHOICE,
    streamsTools: true,
    toolResults: { ...FREE_RESULTS, beside: 'noDocuments' },
    // Anthropic offers it for later models, too, but Bedrock refuses the fields for them.
    structuredOutput: version === 405 || version === 406,
    stop: true,
    sampling: version >= 407 ? 'fixed' : version >= 401 ? 'oneOfTwo' : 'free',
    systemPrompt: true,
    prefill: version < 406,
    documents: version >= 300,
    caching: chooseClaudeCaching(version),
    reasoning: chooseClaudeReasoning(version),
  };
}

function chooseClaudeCaching(version: number): CachingRules {
  if (version < 305) return NO_CACHING;
  // Models before 4.5 keep a prefix for five minutes.
  return { ttls: version >= 405 ? ['5m', '1h'] : ['5m'], tools: true, toolTurns: true };
}

function chooseClaudeReasoning(version: number): ReasoningStyle | undefined {
  if (version >= 406) return { style: 'anthropic-adaptive' };
  return version >= 307 ? { style: 'anthropic-budget', budgets: { ...BUDGETS } } : undefined;
}

function describeNova(model: string): BedrockFamily {
  return {
    name: 'nova',
    images: !model.includes('nova-micro'),
    tools: true,
    toolChoices: ANY_CHOICE,
    streamsTools: true,
    toolResults: { ...FREE_RESULTS, documents: false },
    structuredOutput: false,
    stop: true,
    sampling: 'free',
    systemPrompt: true,
    prefill: true,
    documents: !model.includes('nova-micro'),
    caching: { ttls: ['5m'], tools: false, toolTurns: false },
    reasoning: model.includes('nova-2') ? { style: 'nova-effort' } : undefined,
  };
}

function describeOpenAI(model: string): BedrockFamily {
  return {
    name: 'openai',
    images: !model.includes('gpt-oss'),
    tools: true,
    toolChoices: [],
    streamsTools: true,
    toolResults: { ...FREE_RESULTS, status: false },
    structuredOutput: true,
    stop: false,
    sampling: model.includes('gpt-oss') ? 'free' : 'fixed',
    systemPrompt: true,
    prefill: true,
    documents: false,
    caching: NO_CACHING,
    reasoning: { style: 'openai-effort' },
  };
}

function describeOther(model: string): BedrockFamily {
  const is = (pattern: RegExp): boolean => pattern.test(model);
  return {
    name: 'other',
    images: is(/llama3-2-(11|90)b|llama4|pixtral|mistral-large-3|ministral|gemma-3|qwen3-vl|kimi-k2[.-]5/),
    tools: is(
      /llama3-[13]|llama3-2-(11|90)b|llama4|mistral-large|mistral-small|ministral|pixtral|command-r|qwen3|kimi|minimax|glm|deepseek\.v3|nemotron|jamba-1-5|writer\.palmyra/,
    ),
    toolChoices: is(/kimi|zai\.|deepseek\.v3(?!-v1)/) ? ANY_CHOICE : is(/mistral-large|deepseek\.v3/) ? ['any'] : [],
    streamsTools: !is(/meta\.|mistral\.|writer\./),
    toolResults: {
      images: !is(/mistral\.|qwen\.|moonshot/),
      documents: !is(/qwen\.|moonshot/),
      beside: is(/meta\.|mistral\.|writer\./) ? 'nothing' : 'anything',
      status: false,
      shortIds: is(/mistral\./),
    },
    structuredOutput: is(
      /qwen3|kimi|minimax|gemma-3-(12|27)b|nemotron|deepseek\.v3|magistral|ministral-3|mistral-large-3|voxtral|glm/,
    ),
    stop: !is(/qwen\./),
    sampling: 'free',
    systemPrompt: !is(/titan|mistral-7b|mixtral|command-(light-)?text|ai21\.j2/),
    prefill: true,
    documents: false,
    // An ARN doesn't show the model. Its operator knows whether it caches.
    caching: is(/^arn:.*application-inference-profile/)
      ? { ttls: ['5m', '1h'], tools: true, toolTurns: true }
      : NO_CACHING,
    reasoning: undefined,
  };
}
