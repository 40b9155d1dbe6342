import type { Capability } from '../../capabilities.ts';
import type { BedrockTarget } from '../../registry.ts';

/** The features of Converse that a family of models supports, derived from the model id. */
export interface BedrockFamily {
  readonly name: 'claude' | 'nova' | 'openai' | 'other';
  readonly images: boolean;
  readonly tools: boolean;
  /** True if `toolChoice` may force the use of a tool. */
  readonly forcedTools: boolean;
  /** True if `outputConfig.textFormat` and `toolSpec.strict` are enforced. */
  readonly structuredOutput: boolean;
  readonly stop: boolean;
  /** True if the model refuses every `temperature` and `topP` except the default. */
  readonly fixedSampling: boolean;
  /** The times for which a prefix can be cached; empty if the family has no cache points. */
  readonly cacheTtls: readonly ('5m' | '1h')[];
  readonly documents: boolean;
  /** True if the tools may end with a cache point. Nova accepts cache points in the system prompt and messages only. */
  readonly cachesTools: boolean;
  readonly reasoning: ReasoningStyle | undefined;
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
  if (family.tools && family.forcedTools) can.add('json').add('jsonSchema');
  if (family.name === 'claude' && family.tools) can.add('singleToolCall');
  if (target.reasoning ?? family.reasoning) can.add('reasoning');
  return can;
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

function describeClaude(model: string): BedrockFamily {
  const version = parseClaudeVersion(model);
  return {
    name: 'claude',
    images: version >= 300 && !model.includes('claude-3-5-haiku'),
    tools: version >= 300,
    forcedTools: version >= 300,
    structuredOutput: version >= 405,
    stop: true,
    fixedSampling: version >= 407,
    // From 4.5 on. Earlier models keep a prefix for five minutes.
    cacheTtls: version >= 405 ? ['5m', '1h'] : version >= 305 ? ['5m'] : [],
    documents: version >= 300,
    cachesTools: true,
    reasoning: chooseClaudeReasoning(version),
  };
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
    forcedTools: true,
    structuredOutput: false,
    stop: true,
    fixedSampling: false,
    cacheTtls: ['5m'],
    documents: !model.includes('nova-micro'),
    cachesTools: false,
    reasoning: model.includes('nova-2') ? { style: 'nova-effort' } : undefined,
  };
}

function describeOpenAI(model: string): BedrockFamily {
  return {
    name: 'openai',
    images: !model.includes('gpt-oss'),
    tools: true,
    forcedTools: false,
    structuredOutput: true,
    // "This model doesn't support the stopSequences field."
    stop: false,
    fixedSampling: !model.includes('gpt-oss'),
    cacheTtls: [],
    documents: false,
    cachesTools: false,
    reasoning: { style: 'openai-effort' },
  };
}

function describeOther(model: string): BedrockFamily {
  return {
    name: 'other',
    images: /llama3-2-(11|90)b|llama4|pixtral|mistral-large-3|ministral|gemma-3|qwen3-vl|kimi-k2-5/.test(model),
    tools:
      /llama3-[123]|llama4|mistral-large|mistral-small|ministral|pixtral|command-r|qwen3|kimi|minimax|glm|deepseek\.v3|nemotron|jamba-1-5|writer\.palmyra/.test(
        model,
      ),
    forcedTools: false,
    structuredOutput: /qwen3|kimi|minimax|gemma-3|nemotron|deepseek\.v3|ministral|mistral-large-3|glm/.test(model),
    stop: true,
    fixedSampling: false,
    cacheTtls: [],
    documents: false,
    cachesTools: false,
    reasoning: undefined,
  };
}
